"""Chapter 8: Matching Networks."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.ch06 import in_order_of_appearance, numbered, shuffled
from fslib.book.checks.exercise import Exercise, Wrong


def _entropy(attention: Tensor, dim: int = 1) -> Tensor:
    return -(attention * attention.log()).nan_to_num(0).sum(dim)


voters = Exercise(
    asks="8.1: how many examples vote, exp of the entropy of the attention",
    level="easy",
    minutes=8,
    given=lambda: [((scale * torch.randn(7, 9)).softmax(1),) for scale in (1, 2, 300)],
    right=lambda attention: _entropy(attention).exp(),
    also=(
        lambda attention: torch.special.entr(attention).sum(1).exp(),
        lambda attention: (attention.where(attention > 0, 1.0) ** -attention).prod(1),
        lambda attention: torch.distributions.Categorical(attention).entropy().exp(),
    ),
    tolerance=1e-3,
    judge=lambda attention, found: "nan" if found.isnan().any() else None,
    shows=(0,),
    hints=(
        "The entropy is minus the sum of p log p. What is its value for k equal shares?",
        "A logarithm of zero is minus infinity, and zero times that is NaN. What should it be?",
        "`torch.special.entr` is −p log p, and 0 at 0.",
    ),
    wrong={
        "nan": Wrong(
            "right but where attention is exactly zero: 0 · log 0 is NaN, and should count as 0.",
            lambda attention: (-(attention * attention.log()).sum(1)).exp(),
        ),
        "entropy": Wrong("that is the entropy; take its exponential.", _entropy),
        "bits": Wrong(
            "you take logarithms to the base 2 but the exponential to the base e.",
            lambda attention: (_entropy(attention) / math.log(2)).exp(),
        ),
        "sign": Wrong(
            "the sign is wrong: fewer than one cannot vote.", lambda attention: (-_entropy(attention)).exp()
        ),
        "greatest": Wrong(
            "that is one over the greatest share; all shares count.", lambda attention: 1 / attention.amax(1)
        ),
        "squares": Wrong(
            "that is one over the sum of squares, another count; take exp of the entropy.",
            lambda attention: 1 / attention.square().sum(1),
        ),
        "over queries": Wrong(
            "that is one number for each example; sum over the examples of each query.",
            lambda attention: _entropy(attention, 0).exp(),
        ),
    },
    otherwise="minus the sum of p log p over the examples of a query, then the exponential.",
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


def _without(
    leaves: Callable[[Tensor, Tensor], Tensor] = lambda attention, labels: _nearest(attention),
    share: Callable[[Tensor, Tensor], Tensor] = lambda rest, gone: F.normalize(rest, p=1),
    order: Callable[[Tensor], Tensor | list[int]] = torch.unique,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Votes without the examples that leave, by what becomes of the rest, rightly or with a mistake."""

    def votes(attention: Tensor, labels: Tensor) -> Tensor:
        gone = leaves(attention, labels)
        return _of_classes(torch.sum, share(attention.masked_fill(gone, 0), gone), labels, order)

    return votes


def _nearest(attention: Tensor) -> Tensor:
    """Where the most attended example of each query stands, (m, n) boolean."""
    return attention == attention.amax(1, keepdim=True)


def _without_by_rows(attention: Tensor, labels: Tensor) -> Tensor:
    rows = []
    for row in attention:
        kept = torch.arange(len(row)) != row.argmax()
        rows.append([row[kept & (labels == k)].sum() / row[kept].sum() for k in labels.unique()])
    return torch.tensor(rows)


without_nearest = Exercise(
    asks="8.2: the probability of each class when each query loses the example that it attends to most",
    level="medium",
    minutes=12,
    given=lambda: ((2 * torch.randn(9, 18)).softmax(1), _labels().repeat(3)),
    right=_without(),
    shows=(5, 1),
    also=(
        _without_by_rows,
        lambda attention, labels: (
            attention.log().scatter(1, attention.argmax(1, keepdim=True), -torch.inf).softmax(1)
            @ (labels[:, None] == labels.unique()).float()
        ),
    ),
    hints=(
        "Had the example never been there, what would the others have got? A term is missing in the denominator of "
        "equation 8.1, and nothing else changes.",
        "`attention.argmax(1)` is another example for each query. `scatter` can set one number in each row.",
        "Divide each row by its sum, and then count the votes of each class.",
    ),
    wrong={
        "not shared": Wrong(
            "your rows no longer sum to one: the others get the attention that is free.",
            _without(share=lambda rest, gone: rest),
        ),
        "evenly": Wrong(
            "the free attention is not shared evenly: a softmax over the others keeps their proportions.",
            _without(share=lambda rest, gone: rest + ~gone * (1 - rest.sum(1, keepdim=True)) / (rest.shape[1] - 1)),
        ),
        "softmax": Wrong(
            "attention has been through a softmax; divide by the sum, with no second softmax.",
            _without(share=lambda rest, gone: rest.softmax(1)),
        ),
        "one for all": Wrong(
            "you take one example from all queries; each has a nearest of its own.",
            _without(lambda attention, labels: _nearest(attention.sum(0, keepdim=True)).expand_as(attention)),
        ),
        "farthest": Wrong(
            "you take out the example with the least attention; take the one with the most.",
            _without(lambda attention, labels: _nearest(-attention)),
        ),
        "whole class": Wrong(
            "you take out all examples of a class; only one leaves.",
            _without(lambda attention, labels: labels == labels[attention.argmax(1)][:, None]),
        ),
        "nobody": Wrong(
            "nobody has left: those are the votes of all examples.",
            _without(lambda attention, labels: torch.zeros_like(attention, dtype=torch.bool)),
        ),
        "order": Wrong(
            "the columns stand in the order in which the labels appear; sort the labels.",
            _without(order=in_order_of_appearance),
        ),
        "numbered": Wrong(
            "labels may be any integers, not only 0, 1, 2, …: take the classes from labels.unique().",
            _without(order=numbered),
        ),
        "columns": Wrong(
            "every query loses the nearest examples of all; give each row a position of its own, as scatter does.",
            _without(
                lambda attention, labels: torch.zeros_like(attention, dtype=torch.bool).index_fill(
                    1, attention.argmax(1), True
                )
            ),
        ),
    },
    otherwise="set the greatest attention of each query to zero, divide by the sum, and sum over each class.",
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
    level="easy",
    minutes=8,
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
        "numbered": Wrong(
            "labels may be any integers, not only 0, 1, 2, …: take the classes from labels.unique().",
            lambda log_attention, labels: _of_classes(torch.logsumexp, log_attention, labels, numbered),
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
    level="medium",
    minutes=12,
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
        "order": Wrong(
            "the columns stand in the order in which the labels appear; sort the labels.",
            lambda v, labels: F.normalize(
                _of_classes(torch.mean, v.exp(), labels, in_order_of_appearance), p=1
            ).log(),
        ),
        "numbered": Wrong(
            "labels may be any integers, not only 0, 1, 2, …: take the classes from labels.unique().",
            lambda v, labels: F.normalize(_of_classes(torch.mean, v.exp(), labels, numbered), p=1).log(),
        ),
    },
    otherwise="take the mean attention of each class, then make each row sum to one, then the logarithm.",
)
