"""Baselines that fit a classifier to the support set of every episode, over an embedding that stays as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.methods.base import FewShotClassifier, check_above_zero, one_hot
from fslib.metrics import directions, full_precision


class LogisticRegression(FewShotClassifier):
    """Logistic regression on the support set's embeddings, scaled to length one (Tian et al., 2020, section 3).

    It minimises the sum over the support set of the cross-entropy, plus half the squared length of all weights over
    ``C``; the intercepts cost nothing. That is the objective of scikit-learn's class of this name, except for two
    classes, where scikit-learn has one weight vector and needs twice the ``C``. The weights are sums of support
    embeddings, so there is one number to fit for each example and class, and all episodes are fitted at once: by steps
    of Böhning's (1992) bound on the curvature, with momentum.

    The scores carry no gradient: the fit is made for embeddings that are trained already.

    Args:
        feature_extractor: any module from images to embeddings.
        C: the larger, the closer it fits the support set.
        steps: of the fit. A hundred are enough at a ``C`` of 1; a larger one needs more, and beyond some thousands
            nothing holds the weights back any longer.
    """

    def __init__(self, feature_extractor: nn.Module, C: float = 1.0, steps: int = 100):
        super().__init__(feature_extractor)
        check_above_zero("C", C)
        self.C, self.steps = C, steps

    @torch.no_grad()
    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Logits of each query, (..., m, classes)."""
        support, labels, query = self._ready(support, support_labels, query)
        with full_precision(support):
            examples, queries = directions(support), directions(query)
            center = examples.mean(-2, keepdim=True)  # the intercept takes up what this moves
            examples, queries = examples - center, queries - center
            weights, intercept = self._fit(examples, one_hot(labels, support.device).to(examples.dtype))
            return queries @ (examples.mT @ weights) + intercept

    def _fit(self, examples: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Weight of each example in each class, (..., n, classes), and the intercepts, (..., 1, classes)."""
        gram = examples @ examples.mT
        n = gram.shape[-1]
        identity = gram.new_ones(n).diag()
        inverse = (gram / 2 + identity / self.C).inverse()
        weights = targets.expand(*gram.shape[:-1], -1) * 0
        intercept = weights[..., :1, :]
        last = weights, intercept
        for step in range(self.steps):
            momentum = step / (step + 3)
            w, b = (new + momentum * (new - old) for new, old in zip((weights, intercept), last))
            last = weights, intercept
            error = (gram @ w + b).softmax(-1) - targets
            weights = w - inverse @ (error + w / self.C)
            intercept = b - 2 / n * error.sum(-2, keepdim=True)
        return weights, intercept


class CosineClassifier(FewShotClassifier):
    """One weight vector a class, compared by the cosine: the head of Baseline++ (Chen et al., 2019, section 3.2).

    The authors' code starts from weights drawn at random, learns their lengths too, doubles the cosines where classes
    are few, and goes a hundred times over the support set in batches of four, with momentum and weight decay. Here the
    weights start as the mean directions of the classes, keep length one, and take steps along the sphere by the
    gradient of the cross-entropy over the whole support set, so the result is the same every time.

    The scores carry no gradient: the fit is made for embeddings that are trained already.

    Args:
        feature_extractor: any module from images to embeddings.
        scale: of the cosines in the softmax.
        steps: of the fit.
    """

    def __init__(self, feature_extractor: nn.Module, scale: float = 10.0, steps: int = 100):
        super().__init__(feature_extractor)
        check_above_zero("scale", scale)
        self.scale, self.steps = scale, steps

    @torch.no_grad()
    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Scaled cosines of each query, (..., m, classes)."""
        support, labels, query = self._ready(support, support_labels, query)
        with full_precision(support):
            examples = directions(support)
            targets = one_hot(labels, support.device).to(examples.dtype)
            weights = F.normalize(targets.mT @ examples, dim=-1)
            for _ in range(self.steps):
                error = (self.scale * examples @ weights.mT).softmax(-1) - targets
                gradient = error.mT @ examples / examples.shape[-2]
                gradient = gradient - (gradient * weights).sum(-1, keepdim=True) * weights
                weights = F.normalize(weights - gradient, dim=-1)  # a step of 1 / scale
            return self.scale * directions(query) @ weights.mT
