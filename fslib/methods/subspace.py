"""Deep Subspace Networks (Simon, Koniusz, Nock and Harandi, *Adaptive Subspaces for Few-Shot Learning*, 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fslib.methods.base import FewShotClassifier, at_least_float32, by_class, check_above_zero
from fslib.methods.prototypical import prototypes
from fslib.metrics import full_precision, squared_euclidean


class SubspaceNetwork(FewShotClassifier):
    """Represent each class by the flat through its examples; score a query by how near it comes to that.

    −‖(I − M_c)(q − μ_c)‖², where μ_c is the prototype of a class and M_c projects on the directions in which its
    examples lie about it (Simon et al., 2020). K examples span K − 1 directions: with one there is none, and this is
    the Prototypical Network. What varies among the examples of a class, the slant perhaps, then does not count against
    a query that varies alike.

    The paper finds the directions by a singular value decomposition, whose gradient is not defined where two
    singular values are equal. Here the same projection comes from a linear system, with a trace of ridge. The paper's
    second term of the loss, which turns the subspaces of an episode away from each other, is left out.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
        temperature: τ, by which scores are divided.

    Example:
        >>> import torch
        >>> model = SubspaceNetwork(torch.nn.Flatten())
        >>> line, point = [[0.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 3.0]]
        >>> model(torch.tensor(line + point), [0, 0, 1, 1], torch.tensor([[9.0, 1.0]])).round(decimals=3)
        tensor([[ -1., -85.]])
    """

    def __init__(self, feature_extractor: nn.Module, temperature: float = 1.0):
        super().__init__(feature_extractor)
        check_above_zero("temperature", temperature)
        self.temperature = temperature

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Minus the squared distance of each query to the flat of each class, over the temperature, (..., m, classes).

        Raises:
            ValueError: if a class has more examples than an embedding has numbers, for their flat is the whole space.
        """
        support, labels, query = self._ready(support, support_labels, query)
        with full_precision(support):
            support, query = at_least_float32(support, query)
            means = prototypes(support, labels)
            members, present = by_class(support, labels)
            if members.shape[-2] > support.shape[-1]:
                raise ValueError(
                    f"{members.shape[-2]} examples of a class span all {support.shape[-1]} dimensions, and no query is "
                    "away from that; lower shot, or embed into more."
                )
            spread = (members - means[..., None, :]) * present[..., None]
            return -(squared_euclidean(query, means) - _within(spread, means, query)) / self.temperature

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time."""
        of_pairs = 5 * way * shot * way * query
        return super().memory_per_episode(way, shot, query, dim) + 3 * way * shot * dim + of_pairs


def _within(spread: Tensor, means: Tensor, query: Tensor) -> Tensor:
    """The squared length of each query's part in the subspace of each class, ‖M_c(q − μ_c)‖², (..., m, classes).

    Args:
        spread: examples of each class less its mean, (..., classes, k, d).
        means: μ, (..., classes, d).
        query: (..., m, d).
    """
    center = means.mean(-2, keepdim=True)  # which changes no difference, but keeps digits
    from_center = spread.flatten(-3, -2) @ (query - center).mT  # one product of matrices for all classes
    along = from_center.unflatten(-2, spread.shape[-3:-1]) - spread @ (means - center)[..., None]
    gram = spread @ spread.mT
    size = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
    ridge = torch.finfo(gram.dtype).eps ** 0.75 * size.where(size > 0, 1)
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve_ex(gram + ridge[..., None, None] * identity, along).result
    # ‖v‖² − ‖v − Xᵀw‖² for whatever w: what the ridge does to it is of second order.
    return (weights * (2 * along - gram @ weights)).sum(-2).mT
