"""FEAT (Ye, Hu, Zhan and Sha, *Few-Shot Learning via Embedding Adaptation with Set-to-Set Functions*, 2020)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import whole
from fslib.methods.base import FewShotClassifier, check_above_zero
from fslib.methods.prototypical import prototypes
from fslib.metrics import full_precision, squared_euclidean


class FEAT(FewShotClassifier):
    """Let the prototypes of an episode see each other before queries are compared with them.

    Self-attention over the set of prototypes, LayerNorm(p + W softmax(QKᵀ/√d) V), moves each by what the others are:
    what tells them apart in this task is not what does in another (Ye et al., 2020). It is a function of a set, so the
    order of the classes plays no part. Queries stay as they are embedded, and none sees another.

    It is trained in episodes, best over a network that is trained already. The paper's second loss, which pulls
    adapted embeddings to the adapted mean of their class, is left out.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
        dim: d, of the embeddings.
        temperature: τ, by which scores are divided.
        dropout: of what the attention adds, in training; the authors' code has a half.

    Example:
        >>> import torch
        >>> model = FEAT(torch.nn.Flatten(), dim=4).eval()
        >>> model(torch.rand(3, 4), ["a", "b", "c"], torch.rand(5, 4)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self, feature_extractor: nn.Module, dim: int = 64, temperature: float = 1.0, dropout: float = 0.5
    ):
        super().__init__(feature_extractor)
        check_above_zero("temperature", temperature)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least zero and below one, but is {dropout!r}.")
        self.dim, self.temperature, self.dropout = whole("dim", dim), temperature, dropout
        self.qkv = nn.Linear(self.dim, 3 * self.dim, bias=False)
        self.proj = nn.Linear(self.dim, self.dim)
        self.norm = nn.LayerNorm(self.dim)

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Minus the squared distance of each query to each adapted prototype, over the temperature, (..., m, classes).

        Raises:
            ValueError: if embeddings have another dimension than ``dim``.
        """
        support, labels, query = self._ready(support, support_labels, query)
        if support.shape[-1] != self.dim:
            raise ValueError(
                f"This network was built for embeddings of {self.dim} numbers, not {support.shape[-1]}."
            )
        with full_precision(support):
            adapted = self.adapt(prototypes(support, labels).to(self.qkv.weight.dtype))
            return -squared_euclidean(query, adapted) / self.temperature

    def adapt(self, prototypes: Tensor) -> Tensor:
        """Prototypes that have seen each other, (..., classes, d)."""
        queries, keys, values = self.qkv(prototypes).chunk(3, -1)
        attended = (queries @ keys.mT / self.dim**0.5).softmax(-1) @ values
        return self.norm(prototypes + F.dropout(self.proj(attended), self.dropout, self.training))
