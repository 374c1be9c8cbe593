"""The comparison of Simple CNAPS (Bateni et al., *Improved Few-Shot Visual Classification*, 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fslib.methods.base import FewShotClassifier, at_least_float32, by_class, check_above_zero
from fslib.methods.prototypical import prototypes
from fslib.metrics import full_precision


class MahalanobisClassifier(FewShotClassifier):
    """Score a query by its Mahalanobis distance to each prototype, by a covariance that the support set gives.

    −(q − μ_k)ᵀ Q_k⁻¹ (q − μ_k) with Q_k = λ_k Σ_k + (1 − λ_k) Σ + β I. Σ_k is the covariance of the examples of
    class k, Σ that of the whole support set, and λ_k = n/(n + 1): the more examples a class has, the more its own
    covariance counts. Both are divided by one less than the number of examples; of a single example Σ_k is zero, and
    Σ and β alone decide. The authors' network is also adapted to the task by FiLM layers, which is another matter.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d). A d × d matrix is inverted for each
            class, so d should be some hundreds at most.
        beta: β, beside which the covariances count. The authors have 1, for embeddings of variances near one; with
            embeddings of length one that leaves little but the Euclidean distance.

    Example:
        >>> import torch
        >>> model = MahalanobisClassifier(torch.nn.Flatten(), beta=0.1)
        >>> wide, narrow = [[-3.0, 0.0], [3.0, 0.0]], [[4.0, 1.0], [4.0, -1.0]]
        >>> scores = model(torch.tensor(wide + narrow), [0, 0, 1, 1], torch.tensor([[2.1, 0.0]]))
        >>> scores.argmax(1)     # the nearer prototype is the second
        tensor([0])
    """

    def __init__(self, feature_extractor: nn.Module, beta: float = 1.0):
        super().__init__(feature_extractor)
        check_above_zero("beta", beta)
        self.beta = beta

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Minus the squared Mahalanobis distance of each query to each prototype, (..., m, classes).

        Raises:
            ValueError: if there is a single example, which has no covariance.
        """
        support, labels, query = self._ready(support, support_labels, query)
        with full_precision(support):
            support, query = at_least_float32(support, query)
            means = prototypes(support, labels)
            root = torch.linalg.cholesky_ex(self.covariances(support, labels)).L
            apart = query.unsqueeze(-3) - means.unsqueeze(-2)  # (..., classes, m, d)
            return -torch.linalg.solve_triangular(root, apart.mT, upper=False).square().sum(-2).mT

    def covariances(self, support: Tensor, support_labels: Tensor) -> Tensor:
        """Q of each class, (..., classes, d, d), of embeddings (..., n, d)."""
        n = support.shape[-2]
        if n < 2:
            raise ValueError("A single example has no covariance; the support set must hold two at least.")
        members, present = by_class(support, support_labels)
        sizes = present.sum(-1)[..., None, None]
        spread = (members - members.sum(-2, keepdim=True) / sizes) * present[..., None]
        of_class = spread.mT @ spread / (sizes - 1).clamp_min(1)
        centered = support - support.mean(-2, keepdim=True)
        of_task = (centered.mT @ centered / (n - 1)).unsqueeze(-3)
        own = sizes / (sizes + 1)
        identity = torch.eye(support.shape[-1], dtype=support.dtype, device=support.device)
        return own * of_class + (1 - own) * of_task + self.beta * identity

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time."""
        return super().memory_per_episode(way, shot, query, dim) + 4 * way * dim * dim + 4 * way * way * query * dim
