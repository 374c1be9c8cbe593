"""Chapter 6: Prototypical Networks."""

import math
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


def numbered(labels: Tensor) -> list[int]:
    """As many numbers as there are classes, from 0: another one."""
    return list(range(len(labels.unique())))


expected_distance = Exercise(
    asks="6.1: the mean squared distance from a query to the prototype of its own class",
    level="easy",
    minutes=6,
    given=[(0.5, 64, 5), (2.0, 3, 1), (1.5, 16, 20)],
    fixed=(0.5, 64, 5),
    right=lambda sigma, dim, shots: dim * sigma**2 * (1 + 1 / shots),
    also=(
        lambda sigma, dim, shots: sum(sigma**2 + sigma**2 / shots for _ in range(dim)),
        lambda sigma, dim, shots: torch.full((dim,), sigma).square().sum() * (shots + 1) / shots,
    ),
    hints=(
        "One direction first. The query scatters, and so does the prototype; which of the two scatters less?",
        "The variance of a mean of $K$ independent numbers is that of one, divided by $K$. And that of a difference?",
        "A squared distance is a sum over directions.",
    ),
    wrong={
        "query": Wrong(
            "the prototype scatters too: it is a mean of few.", lambda sigma, dim, shots: dim * sigma**2
        ),
        "prototype": Wrong(
            "that is how far the prototype is from the true mean; the query scatters too.",
            lambda sigma, dim, shots: dim * sigma**2 / shots,
        ),
        "root": Wrong(
            "the variance of a mean is divided by the number of shots, not by its root.",
            lambda sigma, dim, shots: dim * sigma**2 * (1 + shots**-0.5),
        ),
        "subtracted": Wrong(
            "the variances of independent numbers add up, even in a difference.",
            lambda sigma, dim, shots: dim * sigma**2 * (1 - 1 / shots),
        ),
        "one direction": Wrong(
            "that is one direction; add up all of them.", lambda sigma, dim, shots: sigma**2 * (1 + 1 / shots)
        ),
        "not squared": Wrong(
            "the variance is the square of sigma.", lambda sigma, dim, shots: dim * sigma * (1 + 1 / shots)
        ),
        "distance": Wrong(
            "that is the root; the squared distance is asked for.",
            lambda sigma, dim, shots: math.sqrt(dim * (1 + 1 / shots)) * sigma,
        ),
    },
    otherwise="in each direction the variance of the query and that of the prototype add up.",
)


def _where(logit: float, squared_twice: float) -> float:
    """A position that is so far from half-way."""
    return 0.5 - logit / squared_twice


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _by_bisection(apart: float, probability: float) -> float:
    low, high = -50.0, 50.0  # the probability falls from the one to the other
    for _ in range(100):
        middle = (low + high) / 2
        score = apart**2 * ((1 - middle) ** 2 - middle**2)
        low, high = (middle, high) if 1 / (1 + math.exp(-score)) > probability else (low, middle)
    return low


position_of = Exercise(
    asks="6.2: where on the line through two prototypes the first has a given probability",
    level="medium",
    minutes=10,
    given=[(1.5, 0.8), (2.5, 0.9), (3.0, 0.3)],
    fixed=(3.0, 0.8),
    right=lambda apart, p: _where(_logit(p), 2 * apart**2),
    also=(_by_bisection, lambda apart, p: (1 + math.log((1 - p) / p) / apart**2) / 2),
    hints=(
        "The probability depends on the difference of the two scores alone. How large is it at position $x$?",
        "The squared distances are (apart · x)² and (apart · (1 − x))². In their difference the squares of x cancel.",
        "Of two classes, the difference of the scores is log(p / (1 − p)). Solve for x.",
    ),
    wrong={
        "plain": Wrong(
            "that is with the plain distance; take the squared one.",
            lambda apart, p: _where(_logit(p), 2 * apart),
        ),
        "other": Wrong(
            "there it is the other one that has this probability.",
            lambda apart, p: _where(-_logit(p), 2 * apart**2),
        ),
        "twice": Wrong(
            "a step away from the one is a step towards the other: the difference falls by 2 · apart² from 0 to 1.",
            lambda apart, p: _where(_logit(p), apart**2),
        ),
        "middle": Wrong(
            "that is the position from half-way; count it from the first prototype.",
            lambda apart, p: -_logit(p) / (2 * apart**2),
        ),
        "distance": Wrong(
            "that is a distance; the other prototype should stand at 1, so divide by how far they are apart.",
            lambda apart, p: apart * _where(_logit(p), 2 * apart**2),
        ),
        "logarithm": Wrong(
            "the difference of the scores is not log p but log p − log(1 − p).",
            lambda apart, p: _where(math.log(p), 2 * apart**2),
        ),
    },
    otherwise="set the difference of the two scores to log(p / (1 − p)), and solve for the position.",
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
    level="easy",
    minutes=8,
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
            _scores(order=numbered),
            _scores(lambda distances, dim: distances.min(dim).values, order=numbered),
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
