"""Chapter 6: Prototypical Networks."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.methods import prototypes
from fslib.metrics import squared_euclidean


def shuffled(*labels: int) -> Tensor:
    """Labels in an order that is not that of their numbers."""
    order = torch.tensor(labels)[torch.randperm(len(labels))]
    return order if in_order_of_appearance(order) != order.unique().tolist() else shuffled(*labels)


def in_order_of_appearance(labels: Tensor) -> list[int]:
    """The distinct labels, unsorted: a common mistake."""
    return list(dict.fromkeys(labels.tolist()))


def _of_classes(
    reduce: Callable[[Tensor], Tensor], order: Callable[[Tensor], Tensor | list[int]] = torch.unique
) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda support, labels: torch.stack([reduce(support[labels == c]) for c in order(labels)])


class_means = Exercise(
    asks="6.1: the mean embedding of each class, in the order of the sorted labels",
    level="easy",
    minutes=5,
    given=lambda: (torch.randn(9, 4), shuffled(7, -2, 7, 30, -2, 7, 30, 30, 30)),
    right=prototypes,
    shows=(0,),
    also=(
        lambda support, labels: torch.stack(
            [support[labels == k].sum(0) / (labels == k).sum() for k in labels.unique()]
        ),
        lambda support, labels: F.normalize((labels.unique()[:, None] == labels).to(support), p=1) @ support,
    ),
    hints=(
        "`labels.unique()` is sorted. `support[labels == k]` picks the examples of one class.",
        "Over which axis is the mean? It has as many numbers as one embedding. `torch.stack` makes rows of them.",
    ),
    wrong={
        "axis": Wrong(
            "the means have different lengths: take each over the examples of a class, axis 0, not axis 1.",
            _of_classes(lambda examples: examples.mean(1)),
        ),
        "all": Wrong(
            "you averaged all classes together; there should be one mean for each class.",
            lambda support, labels: support.mean(0),
        ),
        "sums": Wrong(
            "those are sums; divide each by the number of examples of its class.",
            _of_classes(lambda examples: examples.sum(0)),
        ),
        "one number": Wrong(
            "classes have different numbers of examples; divide each sum by its own.",
            _of_classes(lambda examples: examples.sum(0) / 3),
        ),
        "order": Wrong(
            "the rows stand in the order in which the labels appear; sort the labels.",
            _of_classes(lambda examples: examples.mean(0), in_order_of_appearance),
        ),
        "numbered": Wrong(
            "labels may be any integers, not only 0, 1, 2, …: take the classes from labels.unique().",
            lambda support, labels: torch.stack([support[labels == k].mean(0) for k in range(len(labels.unique()))]),
        ),
    },
    otherwise="the rows are not the class means.",
)


def _classifies(centers: Tensor, query: Tensor, found: tuple[Tensor, Tensor]) -> str | None:
    """Whether a weight and a bias give the probabilities of a Prototypical Network, and if not, which one is wrong."""
    weight, bias = (part.to(query) for part in found)
    norms = centers.square().sum(1)

    def near(a: Tensor, b: Tensor) -> bool:
        return torch.allclose(a, b, 1e-4, 1e-4)

    if near(bias, norms):
        return "sign of the bias"
    if near(weight, centers):
        return "no two"
    if near(weight, -2 * centers):
        return "sign of the weight"
    if near(bias, -norms.sqrt()):
        return "not squared"
    agree = (query @ weight.T + bias).softmax(1) - (-squared_euclidean(query, centers)).softmax(1)
    return "right" if agree.abs().max() < 1e-4 else None


linear_form = Exercise(
    asks="6.2: weight and bias of the linear classifier that equals a Prototypical Network",
    level="medium",
    minutes=10,
    given=lambda: (torch.randn(5, 8), torch.randn(40, 8)),
    call=lambda weights_and_bias, centers, query: weights_and_bias(centers),
    right=lambda centers: (2 * centers, -centers.square().sum(1)),
    parts=("the weight", "the bias"),
    judge=_classifies,
    also=(
        lambda centers: [2 * centers.double(), -(centers.double() ** 2).sum(1)],
        lambda centers: (centers + centers, -torch.einsum("cd,cd->c", centers, centers)),
        lambda centers: (2 * centers, 1 - centers.norm(dim=1) ** 2),
    ),
    hints=(
        "Write ‖q − c‖² out in three terms, and put a minus before it.",
        "Equation 6.3. Which of its terms depend on the class?",
        "What multiplies $q$ is the weight; what depends on $c$ alone is the bias.",
    ),
    wrong={
        "half": Wrong(
            "that gives the same answers but softer probabilities: both halves of equation 6.3 count double.",
            lambda centers: (centers, -centers.square().sum(1) / 2),
        ),
        "sign of the bias": Wrong(
            "the bias should lower the score of long prototypes: look at its sign.",
            lambda centers: (2 * centers, centers.square().sum(1)),
        ),
        "no two": Wrong("the weight misses the 2 of 2 c·q.", lambda centers: (centers, -centers.square().sum(1))),
        "sign of the weight": Wrong(
            "scores are minus distances: look at the sign of the weight.",
            lambda centers: (-2 * centers, -centers.square().sum(1)),
        ),
        "not squared": Wrong(
            "the bias holds the squared length of each prototype.", lambda centers: (2 * centers, -centers.norm(dim=1))
        ),
    },
    otherwise="expand ‖q − c‖² and drop the term that is the same for all classes.",
)


def _scores(
    reduce: Callable[..., Tensor] = torch.amin, sign: int = -1, power: float = 1,
    order: Callable[[Tensor], Tensor | list[int]] = torch.unique,
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:  # fmt: skip
    def scores(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        distances = squared_euclidean(query, support) ** power
        return sign * torch.stack([reduce(distances[:, labels == c], dim=1) for c in order(labels)], 1)

    return scores


nearest_example = Exercise(
    asks="6.3: the score of each class, minus the squared distance to its nearest example",
    level="medium",
    minutes=10,
    given=lambda: (torch.randn(7, 4), shuffled(3, 1, 3, 2, 1, 2, 3), torch.randn(20, 4)),
    right=_scores(),
    shows=(0, 0),
    also=(
        lambda support, labels, query: torch.stack(
            [-torch.cdist(query, support[labels == k]).square().min(1).values for k in labels.unique()], 1
        ),
        lambda support, labels, query: (
            (-squared_euclidean(query, support)[:, None])
            .masked_fill(labels.unique()[:, None] != labels, -torch.inf)
            .amax(2)
        ),
    ),
    hints=(
        "In which order: reduce the examples, then compare, or compare, then reduce?",
        "All distances to all examples first; then, for each class, the smallest over the columns of that class.",
    ),
    wrong={
        "sign": Wrong("near should score high: put a minus before the distance.", _scores(sign=1)),
        "mean": Wrong("you average the distances of a class; take the smallest.", _scores(torch.mean)),
        "farthest": Wrong("you take the farthest example of each class; take the nearest.", _scores(torch.amax)),
        "order": Wrong(
            "the columns stand in the order in which the labels appear; sort the labels.",
            _scores(order=in_order_of_appearance),
        ),
        "root": Wrong("those are distances; square them.", _scores(power=0.5)),
        "prototypes": Wrong(
            "that is the distance to the mean; take the distance to the nearest example.",
            lambda support, labels, query: -squared_euclidean(query, prototypes(support, labels)),
        ),
        "numbered": Wrong(
            "labels may be any integers, not only 0, 1, 2, …: take the classes from labels.unique().",
            _scores(order=lambda labels: list(range(len(labels.unique())))),
        ),
    },
    otherwise="for each class, take the smallest squared distance to one of its examples, with a minus.",
)

temperature = Exercise(
    asks="6.4: probabilities at a temperature; higher is softer",
    level="easy",
    minutes=3,
    given=lambda: [(torch.randn(6, 5), 2 + 3 * torch.rand(()).item()) for _ in range(2)],
    right=lambda scores, t: (scores / t).softmax(-1),
    shows=(0, 0),
    also=(
        lambda scores, t: F.softmax(scores / t, dim=1),
        lambda scores, t: (scores / t - (scores / t).logsumexp(1, keepdim=True)).exp(),
    ),
    hints=(
        "At a very high temperature all classes should be equally probable. Which operation brings all "
        "scores near zero?",
        "Do it before the softmax, and mind the axis: the probabilities of one query sum to one.",
    ),
    wrong={
        "unused": Wrong("you do not use the temperature.", lambda scores, t: scores.softmax(-1)),
        "sharper": Wrong(
            "a higher temperature should make the probabilities softer, and yours are sharper: divide.",
            lambda scores, t: (scores * t).softmax(-1),
        ),
        "over queries": Wrong(
            "the probabilities of one query should sum to one: take the softmax over the classes.",
            lambda scores, t: (scores / t).softmax(0),
        ),
        "after": Wrong(
            "scale the scores before the softmax, not the probabilities after it.",
            lambda scores, t: scores.softmax(-1) / t,
        ),
    },
    otherwise="divide the scores by the temperature, then take the softmax over the last axis.",
)
