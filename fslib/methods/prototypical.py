"""Prototypical Networks (Snell, Swersky and Zemel, 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fslib.methods.base import FewShotClassifier, check_above_zero, check_labels, one_hot
from fslib.metrics import Metric, expect, full_precision, squared_euclidean


class PrototypicalNetwork(FewShotClassifier):
    """Represent each class by the mean of its embedded examples; score a query by how near that mean is.

    Snell, Swersky and Zemel, *Prototypical Networks for Few-shot Learning*, 2017, equations 1 and 2. Softmax over
    the scores gives the probability of each class.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
        metric: a distance of :mod:`fslib.metrics`. The paper's is the squared Euclidean.
        temperature: τ, by which scores are divided. It changes no answer, but how sure the probabilities are.

    Example:
        >>> import torch
        >>> model = PrototypicalNetwork(torch.nn.Flatten())
        >>> support, query = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.5, 0.0]])
        >>> model(support, torch.tensor([7, 3]), query)          # columns: class 3, class 7
        tensor([[-2.2500, -0.2500]])
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        metric: Metric = squared_euclidean,
        temperature: float = 1.0,
    ):
        super().__init__(feature_extractor)
        expect(metric, "distance", "PrototypicalNetwork")
        check_above_zero("temperature", temperature)
        self.metric, self.temperature = metric, temperature

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Minus the distance of each query to each prototype, over the temperature, (..., m, classes)."""
        support, labels, query = self._ready(support, support_labels, query)
        return -self.metric(query, prototypes(support, labels)) / self.temperature


def prototypes(support: Tensor, support_labels: Tensor) -> Tensor:
    """Mean embedding of each class (Snell et al., 2017, equation 1).

    Args:
        support: embeddings, (..., n, d).
        support_labels: (n,) where all episodes share them, else (..., n); any distinct integers, or names.

    Returns:
        Prototypes, (..., classes, d), in the order of the sorted distinct labels.
    """
    labels = check_labels(support_labels, support.shape[-2])
    with full_precision(support):
        support = support.to(torch.promote_types(support.dtype, torch.float32))
        of_class = one_hot(labels, support.device).to(support.dtype)
        return (of_class / of_class.sum(-2, keepdim=True)).mT @ support
