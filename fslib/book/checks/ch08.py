"""Chapter 8: Matching Networks."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.ch06 import in_order_of_appearance, shuffled
from fslib.book.checks.exercise import Exercise, Wrong
from fslib.metrics import cosine_similarity

attention = Exercise(
    asks="8.1: the attention each query pays to each support example",
    level="easy",
    minutes=5,
    given=lambda: [(2 * torch.randn(7, 5), 2 * torch.randn(9, 5), 2 + 3 * torch.rand(()).item()) for _ in range(2)],
    right=lambda support, query, scale: (scale * cosine_similarity(query, support)).softmax(1),
    shows=(0, 1),
    also=(
        lambda support, query, scale: (scale * F.cosine_similarity(query[:, None], support, dim=-1)).softmax(-1),
        lambda support, query, scale: F.softmax(F.normalize(scale * query) * scale @ F.normalize(support).T, dim=1),
    ),
    hints=(
        "The cosine is the inner product of vectors of length one.",
        "The attention of one query sums to one. Along which axis of `(queries, examples)` is that?",
    ),
    wrong={
        "transposed": Wrong(
            "rows should be queries and columns support examples, and yours are the other way round.",
            lambda support, query, scale: (scale * cosine_similarity(query, support)).softmax(1).T,
        ),
        "over queries": Wrong(
            "the attention of one query should sum to one: take the softmax over the support examples.",
            lambda support, query, scale: (scale * cosine_similarity(query, support)).softmax(0),
        ),
        "inner product": Wrong(
            "you use inner products; bring both sides to length one first.",
            lambda support, query, scale: (scale * query @ support.T).softmax(1),
        ),
        "no scale": Wrong(
            "you do not use the scale.", lambda support, query, scale: cosine_similarity(query, support).softmax(1)
        ),
        "after": Wrong(
            "multiply the cosines by the scale before the softmax, not its result after it.",
            lambda support, query, scale: scale * cosine_similarity(query, support).softmax(1),
        ),
        "softer": Wrong(
            "a larger scale should make the attention sharper, and yours is softer: multiply.",
            lambda support, query, scale: (cosine_similarity(query, support) / scale).softmax(1),
        ),
        "no softmax": Wrong(
            "those are scaled cosines; take their softmax.",
            lambda support, query, scale: scale * cosine_similarity(query, support),
        ),
        "logarithms": Wrong(
            "those are logarithms; return the attention itself.",
            lambda support, query, scale: (scale * cosine_similarity(query, support)).log_softmax(1),
        ),
    },
    otherwise="take the softmax, over the support examples, of the scale times the cosines.",
)


def _labels() -> Tensor:
    return shuffled(7, -2, 7, 30, -2, 7)


def _of_classes(
    reduce: Callable[..., Tensor],
    values: Tensor,
    labels: Tensor,
    order: Callable[[Tensor], Tensor | list[int]] = torch.unique,
) -> Tensor:
    """Values (m, n) brought together over the examples of each class, (m, classes)."""
    return torch.stack([reduce(values[:, labels == c], dim=1) for c in order(labels)], 1)


votes = Exercise(
    asks="8.2: the probability of each class, from the attention to its examples",
    level="medium",
    minutes=8,
    given=lambda: (torch.randn(9, 6).softmax(1), _labels()),
    right=lambda shares, labels: _of_classes(torch.sum, shares, labels),
    shows=(0, 0),
    also=(
        lambda shares, labels: shares @ F.one_hot(labels.unique(return_inverse=True)[1]).to(shares),
        lambda shares, labels: shares @ (labels[:, None] == labels.unique()).float(),
    ),
    hints=(
        "`labels.unique()` is sorted. What do the examples of one class have together?",
        "`attention[:, labels == k]` picks the columns of one class.",
    ),
    wrong={
        "average": Wrong(
            "you average the attention of a class; equation 8.2 sums it.",
            lambda shares, labels: _of_classes(torch.mean, shares, labels),
        ),
        "average shared": Wrong(
            "you average the attention of a class; sum it, and the rows sum to one by themselves.",
            lambda shares, labels: F.normalize(_of_classes(torch.mean, shares, labels), p=1),
        ),
        "greatest": Wrong(
            "only the example with the most attention votes; all of a class should.",
            lambda shares, labels: _of_classes(torch.amax, shares, labels),
        ),
        "order": Wrong(
            "the columns stand in the order in which the labels appear; sort the labels.",
            lambda shares, labels: _of_classes(torch.sum, shares, labels, in_order_of_appearance),
        ),
        "softmax": Wrong(
            "the sums are probabilities already; no second softmax.",
            lambda shares, labels: _of_classes(torch.sum, shares, labels).softmax(1),
        ),
        "logarithms": Wrong(
            "those are logarithms; return the probabilities.",
            lambda shares, labels: _of_classes(torch.sum, shares, labels).log(),
        ),
        "numbered": Wrong(
            "labels may be any integers, not only 0, 1, 2, …: take the classes from labels.unique().",
            lambda shares, labels: _of_classes(torch.sum, shares, labels, lambda of: list(range(len(of.unique())))),
        ),
    },
    otherwise="for each class, sum the columns of its examples.",
)


def _where_tiny(log_attention: Tensor, labels: Tensor, found: Tensor) -> str | None:
    """What is wrong where attention is tiny, if this is such a case."""
    if log_attention.min() > -100:
        return None
    return "inexact" if found.isfinite().all() else "infinite"


def _by_the_largest(log_attention: Tensor, labels: Tensor) -> Tensor:
    """Exponentials of what each is below the largest of its class."""
    columns = []
    for k in labels.unique():
        of_class = log_attention[:, labels == k]
        largest = of_class.amax(1, keepdim=True)
        columns.append(largest[:, 0] + (of_class - largest).exp().sum(1).log())
    return torch.stack(columns, 1)


log_votes = Exercise(
    asks="8.3: log-probabilities from logarithms of attention, finite however small the attention",
    level="medium",
    minutes=10,
    given=lambda: [((scale * torch.randn(9, 6)).log_softmax(1), _labels()) for scale in (1, 400)],
    right=lambda log_attention, labels: _of_classes(torch.logsumexp, log_attention, labels),
    judge=_where_tiny,
    shows=(0, 0),
    also=(
        lambda log_attention, labels: (
            log_attention[:, None].masked_fill(labels.unique()[:, None] != labels, -torch.inf).logsumexp(2)
        ),
        _by_the_largest,
    ),
    hints=(
        "Which steps lead from a logarithm to a probability and back? Where do they lose everything?",
        "The logarithm of a sum is not the sum of logarithms. PyTorch has `logsumexp`.",
    ),
    wrong={
        "sum of logarithms": Wrong(
            "you sum the logarithms; the logarithm of the sum is asked for.",
            lambda log_attention, labels: _of_classes(torch.sum, log_attention, labels),
        ),
        "mean of logarithms": Wrong(
            "you average the logarithms; the logarithm of the sum is asked for.",
            lambda log_attention, labels: _of_classes(torch.mean, log_attention, labels),
        ),
        "greatest": Wrong(
            "only the example with the most attention votes; all of a class should.",
            lambda log_attention, labels: _of_classes(torch.amax, log_attention, labels),
        ),
        "probabilities": Wrong(
            "those are probabilities; return their logarithms.",
            lambda log_attention, labels: _of_classes(torch.sum, log_attention.exp(), labels),
        ),
        "order": Wrong(
            "the columns stand in the order in which the labels appear; sort the labels.",
            lambda log_attention, labels: _of_classes(torch.logsumexp, log_attention, labels, in_order_of_appearance),
        ),
        "infinite": Wrong(
            "right while attention is large, but where it is tiny its exponential is zero and "
            "the logarithm infinite: look for a function that does both at once.",
            lambda log_attention, labels: _of_classes(torch.sum, log_attention.exp(), labels).log(),
        ),
        "inexact": Wrong(
            "right while attention is large, but inexact where it is tiny.",
            lambda log_attention, labels: _of_classes(torch.sum, log_attention.exp(), labels).clamp_min(1e-30).log(),
        ),
    },
    otherwise="for each class, take the logarithm of the sum of its attention.",
)

fair_votes = Exercise(
    asks="8.4: log-probabilities that do not favour the class with most examples",
    level="hard",
    minutes=15,
    given=lambda: (torch.randn(9, 6).log_softmax(1), _labels()),
    right=lambda v, labels: F.normalize(_of_classes(torch.mean, v.exp(), labels), p=1).log(),
    shows=(0, 0),
    also=(
        lambda v, labels: (
            _of_classes(torch.logsumexp, v, labels) - labels.unique(return_counts=True)[1].log()
        ).log_softmax(1),
        lambda v, labels: _of_classes(torch.mean, v.softmax(1), labels).log().log_softmax(1),
    ),
    hints=(
        "The mean is the sum divided by the number of examples; in logarithms that is a difference.",
        "Means over classes of different sizes no longer sum to one.",
        "`log_softmax` makes a row a distribution again, whatever number was added to all of it.",
    ),
    wrong={
        "sum": Wrong(
            "that is the sum, and the class with most examples still has most votes.",
            lambda v, labels: _of_classes(torch.sum, v.exp(), labels).log(),
        ),
        "mean of logarithms": Wrong(
            "you average the logarithms; take the logarithm of the mean.",
            lambda v, labels: _of_classes(torch.mean, v, labels).log_softmax(1),
        ),
        "no distribution": Wrong(
            "the scores are right but for a number for each query: make each row a distribution.",
            lambda v, labels: _of_classes(torch.mean, v.exp(), labels).log(),
        ),
        "probabilities": Wrong(
            "those are probabilities; return their logarithms.",
            lambda v, labels: F.normalize(_of_classes(torch.mean, v.exp(), labels), p=1),
        ),
        "greatest": Wrong(
            "only the example with the most attention votes; all of a class should, on average.",
            lambda v, labels: _of_classes(torch.amax, v, labels),
        ),
    },
    otherwise="take the mean attention of each class, then make each row sum to one, then the logarithm.",
)
