"""Matching Networks (Vinyals et al., *Matching Networks for One Shot Learning*, 2016)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fslib.methods.base import FewShotClassifier, check_above_zero, one_hot, vectors
from fslib.metrics import Metric, cosine_similarity, expect, full_precision


class MatchingNetwork(FewShotClassifier):
    """Let every support example vote for its class, each with the attention the query pays it.

    The attention is a softmax over all support examples of s · cos(f(x), g(xᵢ)), and the probability of a class is
    the sum of what its examples get (Vinyals et al., 2016, equation 1 and section 2.1.1). The paper has no scale s;
    without one no attention can be sure of anything (see :func:`fslib.metrics.cosine_similarity`, which ends at 1).

    Args:
        feature_extractor: g, any module from images to embeddings, (n, ...) → (n, d); also f, unless that is given.
        query_extractor: f, which embeds queries, (n, ...) → (n, d); default, the feature extractor for both.
        similarity: of a query and an example; the paper's is the cosine.
        scale: s at the start of training. It is learned, as the exponential of a weight, so that it stays above zero.

    Example:
        >>> import torch
        >>> model = MatchingNetwork(torch.nn.Flatten())
        >>> scores = model(torch.eye(2), torch.tensor([7, 3]), torch.eye(2)[:1])     # columns: class 3, class 7
        >>> scores.exp().detach().round(decimals=2)
        tensor([[0., 1.]])
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        query_extractor: nn.Module | None = None,
        similarity: Metric = cosine_similarity,
        scale: float = 10.0,
    ):
        super().__init__(feature_extractor)
        expect(similarity, "similarity", "MatchingNetwork")
        check_above_zero("scale", scale)
        self.query_extractor, self.similarity = query_extractor, similarity
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def scale(self) -> Tensor:
        """s, as it is now, without gradient."""
        return self.log_scale.detach().exp()

    def embed(self, images: Tensor) -> Tensor:
        """Embed images, (n, ...) → (n, d); with a query extractor, as both, g(x) and f(x) joined, (n, 2d)."""
        as_support = super().embed(images)
        if self.query_extractor is None:
            return as_support
        as_query = vectors(self.query_extractor(self._here(images)))
        if as_query.shape != as_support.shape:
            raise ValueError(
                "Support and query must be embedded to the same shape, "
                f"but are {tuple(as_support.shape[1:])} and {tuple(as_query.shape[1:])}."
            )
        return torch.cat([as_support, as_query], 1)

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Log-probability of each class for each query, (..., m, classes)."""
        support, labels, query = self._ready(support, support_labels, query)
        if self.query_extractor is not None:
            support, query = support.chunk(2, -1)[0], query.chunk(2, -1)[1]
        support, query = self.in_context(support, query)
        attention = self.log_attention(support, query)
        with full_precision(attention):
            of_class = one_hot(labels, attention.device).to(attention.dtype)
            # In units of the greatest vote of its class, so that no class underflows.
            greatest = greatest_of_class(attention.detach(), of_class)
            unit = greatest.clamp_min(torch.finfo(attention.dtype).min)
            votes = (attention - unit.gather(-1, _positions(of_class, attention))).exp() @ of_class
            return votes.log() + unit

    def log_attention(self, support: Tensor, query: Tensor) -> Tensor:
        """Logarithm of the attention of each query to each example, (..., m, n)."""
        similarities = self.similarity(query, support)
        with full_precision(similarities):
            return (self.log_scale.exp() * similarities).log_softmax(-1)

    def in_context(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Full context embeddings of both sets; here, the embeddings as they are."""
        return support, query

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time."""
        return super().memory_per_episode(way, shot, query, dim) + 4 * way * query * way * shot


class ContextMatchingNetwork(MatchingNetwork):
    """A Matching Network with full context embeddings: what an example means depends on the others.

    Vinyals et al., 2016, section 2.1.2 and appendix A. A bidirectional LSTM runs over the support set, in the order
    in which it is given, and an LSTM with attention re-reads the support set for each query. So, alone among the
    methods here, **the order of the support set matters**, and an embedding has no meaning outside its episode. What
    :meth:`~MatchingNetwork.embed` gives is still free of the task; the context comes in
    :meth:`~MatchingNetwork.compare`.

    Args:
        feature_extractor: as for :class:`MatchingNetwork`.
        dim: d, of the embeddings.
        steps: how often a query re-reads the support set.
        query_extractor, similarity, scale: as for :class:`MatchingNetwork`.
    """

    reads_in_order = True

    def __init__(
        self,
        feature_extractor: nn.Module,
        dim: int = 64,
        steps: int = 5,
        query_extractor: nn.Module | None = None,
        similarity: Metric = cosine_similarity,
        scale: float = 10.0,
    ):
        super().__init__(feature_extractor, query_extractor, similarity, scale)
        self.dim, self.steps = dim, steps
        self.of_support = nn.LSTM(dim, dim, bidirectional=True, batch_first=True)
        self.of_query = nn.LSTMCell(2 * dim, dim)

    def in_context(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Full context embeddings: of each example beside the others, and of each query beside the support set."""
        if support.shape[-1] != self.dim:
            raise ValueError(
                f"This network was built for embeddings of {self.dim} numbers, not {support.shape[-1]}."
            )
        with full_precision(support):
            leading, n, m = support.shape[:-2], support.shape[-2], query.shape[-2]
            dtype = self.of_query.weight_ih.dtype
            support, query = (
                support.to(dtype).reshape(-1, n, self.dim),
                query.to(dtype).reshape(-1, m, self.dim),
            )
            forth, back = self.of_support(support)[0].chunk(2, -1)
            support = support + forth + back  # g(xᵢ, S)
            query = self._reread(support, query)
            return support.reshape(*leading, n, -1), query.reshape(*leading, m, -1)

    def _reread(self, support: Tensor, query: Tensor) -> Tensor:
        """f(x, S), the read-attend loop of appendix A.1, (b, n, d) and (b, m, d) → (b, m, d)."""
        state = query.flatten(0, 1)
        read, memory = torch.zeros_like(state), torch.zeros_like(state)
        hidden = torch.zeros_like(state)
        for _ in range(self.steps):
            hidden, memory = self.of_query(torch.cat([state, read], 1), (hidden, memory))
            hidden = hidden + state
            attention = (hidden.view_as(query) @ support.mT).softmax(-1)
            read = (attention @ support).flatten(0, 1)
        return hidden.view_as(query)


def greatest_of_class(values: Tensor, of_class: Tensor) -> Tensor:
    """The greatest value of each class, from (..., m, n) and :func:`one_hot` (..., n, classes): (..., m, classes)."""
    least = values.new_full((*values.shape[:-1], of_class.shape[-1]), -torch.inf)
    return least.scatter_reduce(-1, _positions(of_class, values), values, "amax")


def _positions(of_class: Tensor, values: Tensor) -> Tensor:
    """The class of each of the values (..., m, n), by its column in :func:`one_hot`."""
    return of_class.argmax(-1).unsqueeze(-2).expand_as(values)
