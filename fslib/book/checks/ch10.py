"""Chapter 10: is the difference real."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.evaluation import student95


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
    (mean, half), (other_mean, other_half) = found, other
    return math.isclose(mean, other_mean, rel_tol=1e-4) and math.isclose(half, other_half, rel_tol=0.01)


paired_difference = Exercise(
    asks="10.1: mean and 95 % interval of the difference of two models on the same episodes",
    level="easy",
    minutes=5,
    given=_paired_accuracies,
    right=lambda a, b: ((a - b).mean().item(), _half((a - b).std(), a)),
    parts=("the mean difference", "the half-width of its interval"),
    same=_close_enough,
    judge=_of_mean,
    also=(
        lambda a, b: [(a - b).mean(), 1.96 * ((a - b).var() / len(a)).sqrt()],
        lambda a, b: (a.mean() - b.mean(), 1.96 * (a - b).numpy().std() / len(a) ** 0.5),
    ),
    hints=(
        "Subtract first. Then it is one list of numbers.",
        "The rule is that of the chapter on episodes: 1.96 standard deviations over the root of the number.",
    ),
    wrong={
        "sign": Wrong(
            "the difference has the wrong sign: subtract the second from the first.",
            lambda a, b: ((b - a).mean(), _half((a - b).std(), a)),
        ),
        "mean": Wrong("the first thing should be the mean of a - b.", lambda a, b: (a.mean(), _half((a - b).std(), a))),
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
    """Episodes by equation 10.1, rightly or with a mistake."""

    def count(sigma: float, correlation: float, gap: float) -> tuple[float, float]:
        paired, apart = ((v**0.5 * factor * sigma / gap) ** power for v in (same(correlation), own))
        return paired, apart

    return count


def _near(found: tuple[float, float], other: tuple[float, float]) -> bool:
    """As exact, or rounded up."""
    pairs = zip(found, other, strict=True)
    return all(math.isclose(a, b, rel_tol=1e-4) or a == math.ceil(b) for a, b in pairs)


def _models() -> tuple[float, float, float]:
    """A spread, a correlation and a gap for which rounding down, and to the nearest, gives too few episodes."""
    while True:
        sigma, correlation, gap = (torch.tensor([0.1, 0.7, 0.015]) * (1 + 0.3 * torch.rand(3))).tolist()
        if all(0.2 < exact % 1 < 0.4 for exact in _needed()(sigma, correlation, gap)):
            return sigma, correlation, gap


episodes_to_tell_apart = Exercise(
    asks="10.2: episodes that tell two models apart, on the same episodes and on their own",
    level="hard",
    minutes=15,
    given=_models,
    fixed=(0.1, 0.75, 0.02),
    right=_needed(),
    parts=("the number with the same episodes", "that with their own"),
    same=_near,
    also=(
        lambda *given: tuple(map(math.ceil, _needed()(*given))),
        lambda sigma, correlation, gap: tuple(
            (1.96 / gap) ** 2 * (2 * sigma**2 - 2 * covariance) for covariance in (correlation * sigma**2, 0)
        ),
    ),
    hints=(
        "Equation 10.1, with the covariance as the correlation times $\\sigma^2$.",
        "For models that meet their own episodes the covariance is zero.",
        "Set the half-width of the interval equal to the gap, and solve for the number of episodes.",
    ),
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
            "equation 10.1 takes the covariance off twice, once for each side.",
            _needed(lambda correlation: 2 - correlation),
        ),
        "not squared": Wrong(
            "half the width takes four times the episodes: the ratio must be squared.", _needed(power=1)
        ),
        "no 1.96": Wrong("you have left out the 1.96 of the 95 % interval.", _needed(factor=1)),
        "rounded down": Wrong(
            "with so few the interval is still a little wider than the gap: round up.",
            lambda *given: tuple(map(math.floor, _needed()(*given))),
        ),
    },
    otherwise="solve 1.96 · s / √n = gap for n, with s² from equation 10.1.",
)


def _trainings() -> tuple[Tensor, float]:
    n = int(torch.randint(4, 9, ()))
    return 0.7 + 0.02 * torch.randn(n, dtype=torch.float64), student95(n - 1)


def _promised(
    width: float = 1, ratio: float = 0.5, side: int = -1, unbiased: bool = True, t: float | None = None
) -> Callable[[Tensor, float], tuple[float, float]]:
    """Lower end and ratio of widths, rightly or with a mistake: the exponents of n + 1."""

    def answer(accuracies: Tensor, given: float) -> tuple[float, float]:
        n, s = len(accuracies), accuracies.std(correction=int(unbiased)).item()
        for_mean = (t or given) * s / n**0.5
        half = for_mean * (n + 1) ** (0.5 * width)
        return accuracies.mean().item() + side * half, (n + 1) ** ratio

    return answer


what_to_promise = Exercise(
    asks="10.3: the lower end of the prediction interval, and how much wider it is than that of the mean",
    level="hard",
    minutes=12,
    given=_trainings,
    right=_promised(),
    parts=("the lower end for the next training", "the ratio of the two widths"),
    also=(
        lambda a, t: (a.mean() - t * a.std() * (1 + 1 / len(a)) ** 0.5, (len(a) + 1) ** 0.5),
        lambda a, t: [
            a.mean().item() - t * math.sqrt(a.var().item() + a.var().item() / len(a)),
            math.sqrt(1 + 1 / len(a)) / math.sqrt(1 / len(a)),
        ],
    ),
    hints=(
        "Equation 10.2 has both half-widths. Which of them does the customer need?",
        "Nearly all of their ratio cancels: what is left has $n$ in it and no $s$ and no $t$.",
    ),
    wrong={
        "mean": Wrong(
            "that is the lower end for the mean of many trainings; one training varies more, by √(1 + 1/n).",
            _promised(width=0),
            _promised(width=0, ratio=0),
        ),
        "upper": Wrong("that is the upper end; the customer asks how low it may come out.", _promised(side=1)),
        "normal": Wrong("with so few trainings take the t that is given, not 1.96.", _promised(t=1.96)),
        "biased": Wrong(
            "the standard deviation divides by n - 1 here, as torch.std does by default.", _promised(unbiased=False)
        ),
        "no new one": Wrong(
            "that is how far the trainings seen so far reach; a new one also has the error of their mean, so it is "
            "√(1 + 1/n), not 1.",
            lambda a, t: (a.mean().item() - t * a.std().item(), (len(a) + 1) ** 0.5),
            lambda a, t: (a.mean().item() - t * a.std().item(), len(a) ** 0.5),
        ),
        "inverse": Wrong("the ratio is upside down; the interval for the next is the wider.", _promised(ratio=-0.5)),
        "squared": Wrong("that is the ratio of the variances; the widths go with its square root.", _promised(ratio=1)),
        "root of n": Wrong(
            "the ratio is √(1 + 1/n) over √(1/n); look again at what is left of it.",
            lambda a, t: (_promised()(a, t)[0], len(a) ** 0.5),
        ),
    },
    otherwise="the lower end is the mean less t · s · √(1 + 1/n); divide that half-width by t · s / √n for the ratio.",
)
