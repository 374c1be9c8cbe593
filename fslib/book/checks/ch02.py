"""Chapter 2: episodes."""

import functools
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong, not_a
from fslib.episodes import Episode


def _draw(
    labels: Tensor, way: int, shot: int, query: int, *, pick: Callable[[Tensor, int], Tensor] | None = None,
    twice: bool = False, leak: bool = False, again: bool = False, apart: bool = False, mixed: bool = False,
    numbered: bool = False, order: bool = True,
) -> Episode:  # fmt: skip
    """An episode, right or with a mistake."""
    present = labels.unique()
    classes = pick(present, way) if pick else present[torch.randperm(len(present))[:way]]
    if twice:
        classes = torch.cat([classes[:1], classes[:-1]])
    rows = [(labels == c).nonzero().flatten() for c in classes]
    drawn = torch.stack([row[torch.randperm(len(row)) if order else ...][: shot + query] for row in rows])
    if again:
        drawn[:, 1] = drawn[:, 0]
    support, queries = drawn[:, :shot], drawn[:, :query] if leak else drawn[:, shot:]
    if apart:
        queries = queries.flip(0)
    if mixed:
        support = support.T
    return Episode(torch.arange(way) if numbered else classes, support.flatten(), queries.flatten())


def _of_labels(labels: Tensor, *task: int) -> Episode:
    episode = _draw(labels, *task)
    return Episode(episode.classes, labels[episode.support], labels[episode.query])


def _counted(labels: Tensor, way: int, shot: int, query: int) -> Episode:
    """As if the labels were 0 and up."""
    classes = torch.randperm(len(labels.unique()))[:way]
    rows = [(labels == c).nonzero().flatten()[: shot + query] for c in classes]
    return Episode(classes, torch.cat([row[:shot] for row in rows]), torch.cat([row[shot:] for row in rows]))


def _favourite(present: Tensor, way: int) -> Tensor:
    return torch.cat([present[:1], present[1:][torch.randperm(len(present) - 1)[: way - 1]]])


def _neighbours(present: Tensor, way: int) -> Tensor:
    return present.roll(int(torch.randint(len(present), ())))[:way]


def _mistake(labels: Tensor, way: int, shot: int, query: int, drawn: list[Episode]) -> str:
    """What is wrong with many episodes."""
    if any(len(e.support) != way * shot or len(e.query) != way * query for e in drawn):
        return "sizes"
    support, queries = torch.stack([e.support for e in drawn]), torch.stack([e.query for e in drawn])
    if torch.isin(support, labels).all():
        return "of labels"
    of_support, of_queries = labels[support].view(-1, way, shot), labels[queries].view(-1, way, query)
    if (of_support != of_support[..., :1]).any() or (of_queries != of_queries[..., :1]).any():
        return "not grouped"
    classes = of_support[..., 0].sort(1).values
    if (classes[:, 1:] == classes[:, :-1]).any():
        return "class twice"
    if (of_support[..., 0] != of_queries[..., 0]).any():
        return "sides"
    if (support[:, :, None] == queries[:, None]).any():
        return "leak"
    if any((each[:, 1:] == each[:, :-1]).any() for each in (support.sort(1).values, queries.sort(1).values)):
        return "example twice"
    if (torch.stack([e.classes for e in drawn]) != of_support[..., 0]).any():
        return "classes"
    return _unfair(labels, classes, support)


def _unfair(labels: Tensor, classes: Tensor, support: Tensor) -> str:
    """What comes too often or not often enough, by five standard deviations."""
    if (support == support[0]).all():
        return "always the same"
    present = labels.unique()
    way, several, episodes = classes.shape[1], len(present), len(classes)
    comes = (classes[..., None] == present).any(1).double()  # (episodes, classes)

    def odd(counts: Tensor, chance: float) -> bool:
        return bool(((counts - episodes * chance).abs() > 5 * (episodes * chance * (1 - chance)) ** 0.5).any())

    if odd(comes.sum(0), way / several):
        return "some classes"
    if odd((comes.T @ comes)[*torch.triu_indices(several, several, 1)], way * (way - 1) / several / (several - 1)):
        return "together"
    if odd(support.flatten().bincount(minlength=len(labels)), support.shape[1] / len(labels)):
        return "some examples"
    return "right"


def _mistaken(**mistake: Any) -> Callable[..., Episode]:
    return functools.partial(_draw, **mistake)


def _always(labels: Tensor, *task: int) -> Episode:
    torch.manual_seed(0)
    return _draw(labels, *task)


def _by_weights(labels: Tensor, way: int, shot: int, query: int) -> Episode:
    classes = torch.multinomial(torch.ones(len(labels.unique())), way)
    of_class = [(labels == c).nonzero().flatten() for c in labels.unique()[classes]]
    drawn = torch.stack([of[torch.multinomial(torch.ones(len(of)), shot + query)] for of in of_class])
    return Episode(labels.unique()[classes], drawn[:, :shot].flatten(), drawn[:, shot:].flatten())


def _by_order(labels: Tensor, way: int, shot: int, query: int) -> Episode:
    """Shuffle all, and take the first of each class."""
    order = torch.randperm(len(labels))
    classes = torch.tensor(list(dict.fromkeys(labels[order].tolist()))[:way])
    drawn = torch.stack([order[labels[order] == c][: shot + query] for c in classes])
    return Episode(classes, drawn[:, :shot].flatten(), drawn[:, shot:].flatten())


def _often(draw: Callable[..., Episode], labels: Tensor, *task: int) -> Any:
    first = draw(labels, *task)
    if first is None or first is ...:
        return first
    drawn = [first, *(draw(labels, *task) for _ in range(199))]
    if not all(isinstance(each, Episode) for each in drawn):
        raise not_a("episode", first)
    return drawn


draw_episode = Exercise(
    asks="2.1: an Episode of indices, drawn by draw(labels, way, shot, query)",
    level="medium",
    minutes=15,
    given=lambda: ((10 * torch.arange(12) + 7).repeat_interleave(9)[torch.randperm(108)], 6, 2, 3),
    call=_often,
    right=_draw,
    also=(_by_weights, _by_order),
    judged=True,
    judge=_mistake,
    shows=None,
    hints=(
        "First draw the classes, then the examples of each. Why must neither be drawn twice?",
        "`labels.unique()` holds the classes, and `torch.randperm(n)[:k]` is `k` different positions of "
        "`n`. Where are the examples of one class?",
        "Draw `shot + query` different examples of a class in one go and cut the draw in two. Then "
        "nothing can be on both sides.",
    ),
    wrong={
        "of labels": Wrong("those are labels; an episode holds the positions of its examples.", _of_labels),
        "sizes": Wrong(
            "support should hold way · shot positions and query way · query of them. Labels may be any "
            "integers: take the classes from labels.unique().",
            _counted,
        ),
        "not grouped": Wrong(
            "examples should be grouped by class: all of the first class, then all of the second, and so on.",
            _mistaken(mixed=True),
        ),
        "class twice": Wrong(
            "a class came twice in one episode; draw classes without replacement.", _mistaken(twice=True)
        ),
        "sides": Wrong("support and query must hold the same classes in the same order.", _mistaken(apart=True)),
        "leak": Wrong(
            "an example stands in both support and query, so the answer leaks; split one draw in two.",
            _mistaken(leak=True),
        ),
        "example twice": Wrong("an example came twice; draw examples without replacement.", _mistaken(again=True)),
        "classes": Wrong(
            "classes should hold the labels of the classes drawn, in the order of the rows.", _mistaken(numbered=True)
        ),
        "always the same": Wrong("every episode is the same; draw at random.", _always),
        "some classes": Wrong(
            "some classes come more often than others; every class should have the same chance.",
            _mistaken(pick=lambda present, way: present[:way][torch.randperm(way)]),
            _mistaken(pick=_favourite),
        ),
        "together": Wrong(
            "some classes come together too often or too rarely; draw each whatever the others are.",
            _mistaken(pick=_neighbours),
        ),
        "some examples": Wrong(
            "some examples are in the support set too often or too rarely; draw the examples at random too.",
            _mistaken(order=False),
        ),
    },
    otherwise="draw the classes first, and then shot + query examples of each, none of them twice.",
)

interval = Exercise(
    asks="2.2: half-width of the 95 % interval of the mean",
    level="easy",
    minutes=5,
    given=lambda: [(0.5 + 0.1 * torch.randn(n, dtype=torch.float64),) for n in torch.randint(300, 900, (3,)).tolist()],
    right=lambda accuracies: 1.96 * accuracies.std().item() / len(accuracies) ** 0.5,
    also=(
        lambda accuracies: 1.96 * (accuracies.var() / len(accuracies)).sqrt(),
        lambda accuracies: NormalDist().inv_cdf(0.975) * float(accuracies.numpy().std()) / len(accuracies) ** 0.5,
    ),
    tolerance=0.01,
    hints=(
        "How much does one episode vary? How much less does the mean of $E$ of them vary?",
        "`accuracies.std()` is the spread of one episode. Divide it by the square root of their number: "
        "that is one standard error.",
        "The 95 % interval reaches 1.96 standard errors to each side.",
    ),
    wrong={
        "single": Wrong(
            "that is the spread of single episodes; the mean of n episodes varies √n times less.",
            lambda accuracies: accuracies.std(),
            lambda accuracies: 1.96 * accuracies.std(),
        ),
        "standard error": Wrong(
            "that is the standard error; the 95 % interval reaches 1.96 of them to each side.",
            lambda accuracies: accuracies.std() / len(accuracies) ** 0.5,
        ),
        "not the root": Wrong(
            "you divide by the number of episodes; divide by its square root.",
            lambda accuracies: 1.96 * accuracies.std() / len(accuracies),
        ),
        "variance": Wrong(
            "you use the variance; the standard deviation is its root.",
            lambda accuracies: 1.96 * accuracies.var() / len(accuracies) ** 0.5,
            lambda accuracies: 1.96 * accuracies.var() / len(accuracies),
        ),
        "mean": Wrong(
            "that is the mean; the half-width of its interval is asked for.", lambda accuracies: accuracies.mean()
        ),
        "whole": Wrong(
            "that is the whole width; the half-width is asked for.",
            lambda accuracies: 2 * 1.96 * accuracies.std() / len(accuracies) ** 0.5,
        ),
    },
    otherwise="divide the standard deviation by the square root of the number of episodes, and multiply by 1.96.",
)


def _widths() -> list[tuple[float, float]]:
    """Three cases in which rounding down, and to the nearest, gives too few episodes."""
    cases: list[tuple[float, float]] = []
    while len(cases) < 3:
        s, width = (torch.tensor([0.08, 0.004]) * (1 + 0.5 * torch.rand(2))).tolist()
        if 0.2 < (1.96 * s / width) ** 2 % 1 < 0.4:
            cases.append((s, width))
    return cases


def _needed(z: float = 1.96, power: int = 2, rounded: Callable[[float], float] = math.ceil) -> Callable[..., float]:
    return lambda s, width: rounded((z * s / width) ** power)


episodes_needed = Exercise(
    asks="2.3: episodes for an interval of a given half-width, from the standard deviation of one",
    level="easy",
    minutes=5,
    given=_widths,
    fixed=(0.08, 0.003),
    right=_needed(),
    also=(
        _needed(NormalDist().inv_cdf(0.975)),
        lambda s, width: int(-(-(1.96**2) * s**2 // width**2)),
    ),
    tolerance=0,
    hints=(
        "Start from the formula of exercise 2. Which letter in it do you look for?",
        "Solve the formula of the interval for $E$, and round up.",
    ),
    wrong={
        "not squared": Wrong(
            "half the width takes four times the episodes: the ratio must be squared.",
            _needed(power=1),
            _needed(power=1, rounded=float),
        ),
        "not rounded": Wrong("there are no fractions of an episode: round up.", _needed(rounded=float)),
        "rounded down": Wrong(
            "with so few the interval is still a little too wide: round up.", _needed(rounded=math.floor)
        ),
        "no 1.96": Wrong("you have left out the 1.96 of the 95 % interval.", _needed(z=1), _needed(z=1, rounded=float)),
        "whole": Wrong(
            "that many give an interval of half the width: the argument is already a half.",
            _needed(z=2 * 1.96),
            _needed(z=2 * 1.96, rounded=float),
        ),
        "upside down": Wrong(
            "a narrower interval takes more episodes, and yours takes fewer: divide the other way round.",
            lambda s, width: math.ceil((width / (1.96 * s)) ** 2),
            lambda s, width: (width / (1.96 * s)) ** 2,
        ),
    },
    otherwise="solve 1.96 · s / √n = half-width for n, and round up.",
)
