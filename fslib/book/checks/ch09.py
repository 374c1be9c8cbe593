"""Chapter 9: the three compared."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fslib.book.checks.ch06 import in_order_of_appearance, shuffled
from fslib.book.checks.exercise import Exercise, Wrong


def _paired_accuracies() -> tuple[Tensor, Tensor]:
    episodes = int(torch.randint(300, 900, ()))
    hard, a, b = (scale * torch.randn(episodes, dtype=torch.float64) for scale in (0.2, 0.05, 0.05))
    return 0.6 + hard + a, 0.5 + hard + b


def _half(spread: Tensor, a: Tensor, factor: float = 1.96) -> float:
    return factor * spread.item() / len(a) ** 0.5


def _of_mean(a: Tensor, b: Tensor, found: tuple[float, float]) -> str | None:
    """What is wrong with the mean, whatever the half-width is."""
    mean, right = float(found[0]), (a - b).mean().item()
    if math.isclose(mean, -right, rel_tol=1e-4):
        return "sign"
    return None if math.isclose(mean, right, rel_tol=1e-4) else "mean"


def _close_enough(found: tuple[float, float], other: tuple[float, float]) -> bool:
    """The mean to a ten-thousandth, the half-width to a hundredth: there are several standard deviations."""
    try:
        mean, half = map(float, found)
    except (TypeError, ValueError):
        return False
    return math.isclose(mean, float(other[0]), rel_tol=1e-4) and math.isclose(half, float(other[1]), rel_tol=0.01)


paired_difference = Exercise(
    asks="9.1: mean and 95 % interval of the difference of two models on the same episodes",
    given=_paired_accuracies,
    right=lambda a, b: ((a - b).mean().item(), _half((a - b).std(), a)),
    parts=("the mean difference", "the half-width of its interval"),
    same=_close_enough,
    judge=_of_mean,
    wrong={
        "sign": Wrong(
            "the difference has the wrong sign: subtract the second from the first.",
            lambda a, b: ((b - a).mean(), _half((a - b).std(), a)),
        ),
        "mean": Wrong(
            "the first thing should be the mean of a - b.", lambda a, b: (a.mean(), _half((a - b).std(), a))
        ),
        "unpaired": Wrong(
            "that is the interval for two models on episodes of their own; subtract first, then take the spread.",
            lambda a, b: ((a - b).mean(), _half((a.var() + b.var()).sqrt(), a)),
        ),
        "spreads": Wrong(
            "the spread of a difference is not the difference of the spreads; subtract the accuracies first.",
            lambda a, b: ((a - b).mean(), _half((a.std() - b.std()).abs(), a)),
        ),
        "standard error": Wrong(
            "that is the standard error; the 95 % interval reaches 1.96 of them to each side.",
            lambda a, b: ((a - b).mean(), _half((a - b).std(), a, 1)),
        ),
        "whole": Wrong(
            "that is the whole width; the half-width is asked for.",
            lambda a, b: ((a - b).mean(), 2 * _half((a - b).std(), a)),
        ),
        "single": Wrong(
            "that is the spread of single episodes; the mean of n episodes varies √n times less.",
            lambda a, b: ((a - b).mean(), 1.96 * (a - b).std()),
            lambda a, b: ((a - b).mean(), (a - b).std()),
        ),
    },
    otherwise="take the standard deviation of a - b, times 1.96, over the square root of the number of episodes.",
)


def _needed(
    same: Callable[[float], float] = lambda correlation: 2 * (1 - correlation), own: float = 2, factor: float = 1.96,
    power: int = 2,
) -> Callable[[float, float, float], tuple[float, float]]:  # fmt: skip
    """Episodes by equation 9.1, rightly or with a mistake."""

    def count(sigma: float, correlation: float, gap: float) -> tuple[float, float]:
        paired, apart = ((v**0.5 * factor * sigma / gap) ** power for v in (same(correlation), own))
        return paired, apart

    return count


def _near(found: tuple[float, float], other: tuple[float, float]) -> bool:
    """Rounded or not."""
    try:
        return all(abs(float(a) - b) <= max(1, 1e-3 * b) for a, b in zip(found, other, strict=True))
    except (TypeError, ValueError):
        return False


episodes_to_tell_apart = Exercise(
    asks="9.2: episodes that tell two models apart, on the same episodes and on their own",
    given=lambda: tuple((torch.tensor([0.1, 0.7, 0.003]) * (1 + 0.3 * torch.rand(3))).tolist()),
    right=_needed(),
    parts=("the number with the same episodes", "that with their own"),
    same=_near,
    wrong={
        "order": Wrong(
            "the two are in the other order; the same episodes need fewer.", lambda *given: _needed()(*given)[::-1]
        ),
        "one variance": Wrong(
            "both accuracies vary, so the variance without pairing is twice that of one.", _needed(own=1)
        ),
        "half": Wrong(
            "the covariance comes off twice, and both variances count: 2 σ² (1 - correlation).",
            _needed(lambda correlation: 1 - correlation, own=1),
        ),
        "once": Wrong(
            "equation 9.1 takes the covariance off twice, once for each side.",
            _needed(lambda correlation: 2 - correlation),
        ),
        "not squared": Wrong(
            "half the width takes four times the episodes: the ratio must be squared.", _needed(power=1)
        ),
        "no 1.96": Wrong("you have left out the 1.96 of the 95 % interval.", _needed(factor=1)),
    },
    otherwise="solve 1.96 · s / √n = gap for n, with s² from equation 9.1.",
)


def _middles(
    middle: Callable[[Tensor], Tensor] = lambda examples: examples.median(0).values,
    order: Callable[[Tensor], Tensor | list[int]] = torch.unique,
) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda support, labels: torch.stack([middle(support[labels == c]) for c in order(labels)])


class_medians = Exercise(
    asks="9.3: the median of each class, number by number",
    given=lambda: (torch.randn(9, 4), shuffled(7, -2, 7, 30, -2, 7, -2, -2, -2)),
    right=_middles(),
    wrong={
        "means": Wrong("those are means.", _middles(lambda examples: examples.mean(0))),
        "order": Wrong(
            "the rows stand in the order in which the labels appear; sort the labels.",
            _middles(order=in_order_of_appearance),
        ),
        "one example": Wrong(
            "you take one example for all numbers; take the median of each number on its own.",
            _middles(lambda examples: examples[torch.cdist(examples, examples).sum(1).argmin()]),
        ),
        "one number": Wrong(
            "you take one median of all numbers of a class; take one for each number.",
            _middles(lambda examples: examples.median().expand(4)),
        ),
    },
    otherwise="for each class, take the median over its examples, of each number on its own.",
)

comparisons = Exercise(
    asks="9.4: similarities of an episode, with means and with votes",
    given=[(7, 3, 5), (4, 2, 6)],
    right=lambda ways, shots, queries: (ways * queries * ways, ways * queries * ways * shots),
    parts=("the number with means", "that with votes"),
    tolerance=0,
    wrong={
        "order": Wrong(
            "the two are in the other order; votes compare with every example.",
            lambda ways, shots, queries: (ways * queries * ways * shots, ways * queries * ways),
        ),
        "queries": Wrong(
            "queries are counted for each class: N · R of them in all.",
            lambda ways, shots, queries: (queries * ways, queries * ways * shots),
        ),
        "own class": Wrong(
            "every query is compared with the mean of every class, not of its own alone.",
            lambda ways, shots, queries: (ways * queries, ways * queries * ways * shots),
        ),
        "one class": Wrong(
            "every query is compared with every example, N · K of them.",
            lambda ways, shots, queries: (ways * queries * ways, ways * queries * shots),
        ),
        "no shots": Wrong(
            "votes compare with every example, so the shots count too.",
            lambda ways, shots, queries: (ways * queries * ways, ways * queries * ways),
        ),
    },
    otherwise="multiply the number of queries by the vectors that each is compared with.",
)
