"""Chapter 10: is the difference real."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.evaluation import student95


def _units(
    by_episode: Callable[[Tensor, Tensor], Tensor | float] = lambda a, b: (a - b).std() / a.numel() ** 0.5,
    by_training: Callable[[Tensor, Tensor], Tensor | float] = lambda a, b: (a - b).mean(1).std() / len(a) ** 0.5,
    factor: float = 1.96,
    t: float | None = None,
) -> Callable[[Tensor, Tensor, float], tuple[Tensor | float, Tensor | float]]:
    """Half-widths from the standard errors, rightly or with a mistake."""
    return lambda a, b, given: (factor * by_episode(a, b), (t or given) * by_training(a, b))


def _two_recipes() -> tuple[Tensor, Tensor, float]:
    """Accuracies of trainings, on episodes that are as hard for all of them."""
    trainings = int(torch.randint(4, 9, ()))
    hard = 0.1 * torch.randn(200, dtype=torch.float64)
    seeds = (0.01 + 0.02 * torch.rand(())) * torch.randn(2, trainings, 1, dtype=torch.float64)
    a, b = 0.7 + hard + seeds + 0.05 * torch.randn(2, trainings, 200, dtype=torch.float64)
    return a, b - 0.03, student95(trainings - 1)


which_unit = Exercise(
    asks="10.1: the half-width of the interval of a difference, with episodes and with trainings as the unit",
    level="medium",
    minutes=10,
    given=_two_recipes,
    right=_units(),
    parts=("the half-width over episodes", "that over trainings"),
    also=(
        lambda a, b, t: (
            1.96 * math.sqrt((a - b).var().item() / (len(a) * len(a[0]))),
            t * (a.mean(1) - b.mean(1)).numpy().std(ddof=1) / math.sqrt(len(a)),
        ),
        lambda a, b, t: [1.96 * (a - b).flatten().var().div(a.numel()).sqrt(), t * _units()(a, b, 1)[1]],
    ),
    hints=(
        "Subtract first, for both. How many numbers are there to take the spread of, once and the other time?",
        "What did the episodes of one training say on average? That is one number a training.",
    ),
    wrong={
        "order": Wrong(
            "the two are in the other order; episodes come first.", lambda *given: _units()(*given)[::-1]
        ),
        "unpaired": Wrong(
            "both met the same episodes from the same seeds: subtract before you take a spread.",
            _units(
                lambda a, b: ((a.var() + b.var()) / a.numel()) ** 0.5,
                lambda a, b: ((a.mean(1).var() + b.mean(1).var()) / len(a)) ** 0.5,
            ),
            _units(by_training=lambda a, b: ((a.mean(1).var() + b.mean(1).var()) / len(a)) ** 0.5),
            _units(lambda a, b: ((a.var() + b.var()) / a.numel()) ** 0.5),
        ),
        "one unit": Wrong(
            "a training is no unit while you take the spread over its episodes; take their mean first.",
            _units(by_training=lambda a, b: (a - b).std() / a.numel() ** 0.5),
            _units(by_training=lambda a, b: (a - b).std() / len(a) ** 0.5),
        ),
        "averaged": Wrong(
            "you average over the trainings first; as units, all the episodes of all of them count.",
            _units(lambda a, b: (a - b).mean(0).std() / a.shape[1] ** 0.5),
        ),
        "normal": Wrong("with few trainings 1.96 is too small; take the t that is given.", _units(t=1.96)),
        "biased": Wrong(
            "the spread of few is divided by n − 1, not by n.",
            _units(by_training=lambda a, b: (a - b).mean(1).std(correction=0) / len(a) ** 0.5),
        ),
        "single": Wrong(
            "that is the spread of single trainings; the mean of n varies √n times less.",
            _units(by_training=lambda a, b: (a - b).mean(1).std()),
        ),
        "standard error": Wrong(
            "those are standard errors; the intervals reach 1.96 and t of them.", _units(factor=1, t=1)
        ),
    },
    otherwise="subtract; once the spread of all differences, once that of the mean of each training.",
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
    level="medium",
    minutes=10,
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


def _trainings() -> list[tuple[Tensor, float, int]]:
    n = int(torch.randint(4, 8, ()))
    return [(0.7 + 0.02 * torch.randn(n, dtype=torch.float64), student95(n - 1), m) for m in (2, 3)]


def _promised(
    errors: Callable[[int, int], float] = lambda n, m: (1 / n + 1 / m) ** 0.5,
    unbiased: bool = True,
    t: float | None = None,
) -> Callable[[Tensor, float, int], float]:
    """The half-width for the mean of m further trainings, rightly or with a mistake."""

    def answer(accuracies: Tensor, given: float, m: int) -> float:
        return (t or given) * accuracies.std(correction=int(unbiased)).item() * errors(len(accuracies), m)

    return answer


what_to_promise = Exercise(
    asks="10.3: the half-width of the interval for the mean of m further trainings",
    level="hard",
    minutes=12,
    given=_trainings,
    right=_promised(),
    also=(
        lambda a, t, m: t * (a.var() / m + a.var() / len(a)).sqrt(),
        lambda a, t, m: t * a.std().item() * math.sqrt((len(a) + m) / (len(a) * m)),
    ),
    hints=(
        "Two means meet: that of your trainings and that of the customer's. How much does either vary?",
        "A mean of $n$ varies with $s^2 / n$, and variances of what is independent add up.",
        "With $m = 1$ you should get the right side of equation 10.2. And with very many?",
    ),
    wrong={
        "mean": Wrong(
            "that is for the mean of very many trainings; the customer's m vary too.",
            _promised(lambda n, m: n**-0.5),
        ),
        "next": Wrong(
            "that is for one further training; the mean of m varies less.", _promised(lambda n, m: (1 + 1 / n) ** 0.5)
        ),
        "known": Wrong(
            "that takes your own mean for the true one; it has an error too.", _promised(lambda n, m: m**-0.5)
        ),
        "pooled": Wrong(
            "the customer's trainings are still to come, so they make your mean no surer.",
            _promised(lambda n, m: (n + m) ** -0.5),
        ),
        "sum of roots": Wrong(
            "variances add up, not standard errors.", _promised(lambda n, m: n**-0.5 + m**-0.5)
        ),
        "product": Wrong(
            "the 1 of equation 10.2 stands for one training; the 1/n beside it stays.",
            _promised(lambda n, m: ((1 + 1 / n) / m) ** 0.5),
        ),
        "end": Wrong(
            "that is the lower end itself; how far does it lie below your mean?",
            lambda a, t, m: a.mean().item() - _promised()(a, t, m),
        ),
        "normal": Wrong("with so few trainings take the t that is given, not 1.96.", _promised(t=1.96)),
        "biased": Wrong(
            "the standard deviation divides by n - 1 here, as torch.std does by default.", _promised(unbiased=False)
        ),
    },
    otherwise="t standard errors of a difference of two means, one of m trainings and one of n.",
)


def _flipped(differences: Tensor) -> Tensor:
    """The mean under every pattern of signs; the first is the one seen."""
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=differences.dtype)] * len(differences))
    return (signs * differences).mean(1)


def _share(differences: Tensor) -> float:
    means = _flipped(differences)
    return (means.abs() >= means[0].abs()).double().mean().item()


def _share_by_loop(differences: Tensor) -> float:
    values, seen = differences.tolist(), abs(sum(differences.tolist()))
    several = itertools.product((-1, 1), repeat=len(values))
    far = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= seen for signs in several]
    return sum(far) / len(far)


def _differences() -> list[tuple[Tensor]]:
    """Differences in quarters of a point, which any sum leaves exact, on which each mistake shows."""
    answers = [by_flips.right, *(each for wrong in by_flips.wrong.values() for each in wrong.answers)]
    drawn: list[tuple[Tensor]] = []
    while len(drawn) < 3:
        n, side = int(torch.randint(5, 9, ())), int(2 * torch.randint(2, ()) - 1)
        differences = side * (torch.randint(-4, 9, (n,)) / 4).double()
        if 0.1 < _share(differences) < 0.9 and len({round(each(differences), 9) for each in answers}) == len(answers):
            drawn.append((differences,))
    return drawn


by_flips = Exercise(
    asks="10.4: the share of sign patterns whose mean is as far from zero as the one seen",
    level="medium",
    minutes=12,
    given=_differences,
    right=_share,
    also=(_share_by_loop, lambda d: 2 * _flipped(d).ge(d.mean().abs()).double().mean()),
    hints=(
        "`itertools.product((-1, 1), repeat=n)`, or `torch.cartesian_prod`, gives all patterns of signs.",
        "The pattern seen is one of them, and so is the one that flips all signs: both are as far as themselves.",
    ),
    wrong={
        "beyond": Wrong(
            "those are farther than the one seen; *at least as far* counts that one too.",
            lambda d: (_flipped(d).abs() > d.mean().abs()).double().mean().item(),
        ),
        "one side": Wrong(
            "far from zero is so on both sides.",
            lambda d: (_flipped(d) >= d.mean().abs()).double().mean().item(),
        ),
        "nearer": Wrong(
            "that is the share that is nearer to zero.",
            lambda d: 1 - _share(d),
        ),
        "count": Wrong("that is their number; return the share.", lambda d: _share(d) * 2 ** len(d)),
        "least": Wrong(
            "that is the least that so many differences can give, were they all of one sign.",
            lambda d: 2 ** (1 - len(d)),
        ),
        "shuffled": Wrong(
            "the order of the differences changes no mean; their signs do.", lambda d: 1.0
        ),
    },
    otherwise="the mean under each pattern of signs, without its sign, against that of the pattern seen.",
)
