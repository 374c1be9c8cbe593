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


def _any_script(scripts: Tensor) -> Tensor:
    present = scripts.unique()
    return scripts == present[torch.randint(len(present), ())]


def _script_of_an_image(scripts: Tensor) -> Tensor:
    return scripts == scripts[torch.randint(len(scripts), ())]


def _draw(
    labels: Tensor, scripts: Tensor, way: int, shot: int, query: int, *,
    pick: Callable[[Tensor, int], Tensor] | None = None, script: Callable[[Tensor], Tensor] = _any_script,
    twice: bool = False, leak: bool = False, again: bool = False, apart: bool = False, mixed: bool = False,
    numbered: bool = False, order: bool = True,
) -> Episode:  # fmt: skip
    """An episode, right or with a mistake."""
    present = labels[script(scripts)].unique()
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


def _of_labels(labels: Tensor, *task: Any) -> Episode:
    episode = _draw(labels, *task)
    return Episode(episode.classes, labels[episode.support], labels[episode.query])


def _counted(labels: Tensor, scripts: Tensor, way: int, shot: int, query: int) -> Episode:
    """As if the labels were 0 and up."""
    classes = torch.randperm(len(labels.unique()))[:way]
    rows = [(labels == c).nonzero().flatten()[: shot + query] for c in classes]
    return Episode(classes, torch.cat([row[:shot] for row in rows]), torch.cat([row[shot:] for row in rows]))


def _favourite(present: Tensor, way: int) -> Tensor:
    return torch.cat([present[:1], present[1:][torch.randperm(len(present) - 1)[: way - 1]]])


def _neighbours(present: Tensor, way: int) -> Tensor:
    return present.roll(int(torch.randint(len(present), ())))[:way]


def _mistake(labels: Tensor, scripts: Tensor, way: int, shot: int, query: int, drawn: list[Episode]) -> str:
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
    of_script = scripts[support]
    if (of_script != of_script[:, :1]).any():
        return "scripts"
    if (of_support[..., 0] != of_queries[..., 0]).any():
        return "sides"
    if (support[:, :, None] == queries[:, None]).any():
        return "leak"
    if any((each[:, 1:] == each[:, :-1]).any() for each in (support.sort(1).values, queries.sort(1).values)):
        return "example twice"
    if (torch.stack([e.classes for e in drawn]) != of_support[..., 0]).any():
        return "classes"
    return _unfair(labels, scripts, classes, support)


def _unfair(labels: Tensor, scripts: Tensor, classes: Tensor, support: Tensor) -> str:
    """What comes too often or not often enough, by six standard deviations."""
    if (support == support[0]).all():
        return "always the same"
    way, episodes, several = classes.shape[1], len(classes), len(scripts.unique())
    times = support.flatten().bincount(minlength=len(labels))

    def odd(counts: Tensor, chance: float) -> bool:
        return bool(((counts - episodes * chance).abs() > 6 * (episodes * chance * (1 - chance)) ** 0.5).any())

    for script in scripts.unique():
        present = labels[scripts == script].unique()
        comes = (classes[..., None] == present).any(1).double()  # (episodes, classes of the script)
        share, n = 1 / several, len(present)
        if odd(comes.any(1).sum(), share):
            return "some scripts"
        if odd(comes.sum(0), share * way / n):
            return "some classes"
        if odd((comes.T @ comes)[*torch.triu_indices(n, n, 1)], share * way * (way - 1) / n / (n - 1)):
            return "together"
        if odd(times[scripts == script], share * support.shape[1] / (scripts == script).sum().item()):
            return "some examples"
    return "right"


def _mistaken(**mistake: Any) -> Callable[..., Episode]:
    return functools.partial(_draw, **mistake)


def _always(labels: Tensor, *task: Any) -> Episode:
    torch.manual_seed(0)
    return _draw(labels, *task)


def _by_weights(labels: Tensor, scripts: Tensor, way: int, shot: int, query: int) -> Episode:
    present = labels[_any_script(scripts)].unique()
    classes = present[torch.multinomial(torch.ones(len(present)), way)]
    of_class = [(labels == c).nonzero().flatten() for c in classes]
    drawn = torch.stack([of[torch.multinomial(torch.ones(len(of)), shot + query)] for of in of_class])
    return Episode(classes, drawn[:, :shot].flatten(), drawn[:, shot:].flatten())


def _by_order(labels: Tensor, scripts: Tensor, way: int, shot: int, query: int) -> Episode:
    """Shuffle all of a script, and take the first of each class."""
    order = _any_script(scripts).nonzero().flatten()
    order = order[torch.randperm(len(order))]
    classes = torch.tensor(list(dict.fromkeys(labels[order].tolist()))[:way])
    drawn = torch.stack([order[labels[order] == c][: shot + query] for c in classes])
    return Episode(classes, drawn[:, :shot].flatten(), drawn[:, shot:].flatten())


def _often(draw: Callable[..., Episode], labels: Tensor, *task: Any) -> Any:
    first = draw(labels, *task)
    if first is None or first is ...:
        return first
    drawn = [first, *(draw(labels, *task) for _ in range(799))]
    if not all(isinstance(each, Episode) for each in drawn):
        raise not_a("episode", first)
    return drawn


def _images() -> tuple[Tensor, Tensor, int, int, int]:
    """Nine images of each of 16 classes, of which four are of one script and twelve of another."""
    classes = torch.arange(16).repeat_interleave(9)[torch.randperm(144)]
    return 10 * classes + 7, 5 + 3 * (classes % 4 > 0), 3, 2, 3


draw_episode = Exercise(
    asks="2.1: an Episode of indices within one script, drawn by draw(labels, scripts, way, shot, query)",
    level="medium",
    minutes=15,
    given=_images,
    call=_often,
    right=_draw,
    also=(_by_weights, _by_order),
    judged=True,
    judge=_mistake,
    shows=None,
    hints=(
        "One step comes before those of the chapter. What does it draw, and from what?",
        "`scripts.unique()` holds the scripts, and `labels[scripts == script].unique()` the classes of one. "
        "`torch.randperm(n)[:k]` is `k` different positions of `n`.",
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
        "scripts": Wrong(
            "the classes of an episode are of more than one script.",
            _mistaken(script=lambda scripts: scripts == scripts),
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
        "some scripts": Wrong(
            "scripts with many classes come more often; draw the script from scripts.unique(), not from the images.",
            _mistaken(script=_script_of_an_image),
        ),
        "some classes": Wrong(
            "some classes come more often than others; every class of a script should have the same chance.",
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
    otherwise="draw a script, then classes of it, and then shot + query examples of each, none of them twice.",
)

def _coverage(
    half: Callable[[Tensor, float], Tensor] = lambda spread, n: 1.96 * spread / n**0.5,
    score: Callable[[Tensor], Tensor] = torch.mean, queries: Callable[[int, int], int] = lambda size, each: size * each,
) -> Callable[..., tuple[Tensor, Tensor]]:  # fmt: skip
    """Shares of intervals over episodes, and over queries, that hold; rightly or with a mistake."""

    def shares(hits: Tensor, size: int) -> tuple[Tensor, Tensor]:
        parts = hits[: len(hits) // size * size].unflatten(0, (-1, size))  # (evaluations, size, queries)
        off = (parts.mean((1, 2)) - hits.mean()).abs()
        over_episodes = half(parts.mean(2).std(1), size)
        over_queries = half(parts.flatten(1).std(1), queries(size, hits.shape[1]))
        return score((off <= over_episodes).double()), score((off <= over_queries).double())

    return shares


def _coverage_by_loop(hits: Tensor, size: int) -> tuple[float, float]:
    truth, by_episodes, by_queries = hits.mean().item(), 0, 0
    parts = [part for part in hits.split(size) if len(part) == size]
    for part in parts:
        mean, accuracies = part.mean().item(), part.mean(1)
        half = 1.96 * accuracies.std().item() / math.sqrt(size)
        by_episodes += mean - half <= truth <= mean + half
        half = 1.96 * math.sqrt(mean * (1 - mean) / part.numel())
        by_queries += mean - half <= truth <= mean + half
    return by_episodes / len(parts), by_queries / len(parts)


def _hits() -> list[tuple[Tensor, int]]:
    """25 queries of each of many episodes, of which some are easier than others."""
    return [
        ((torch.rand(300 * size + 3, 25) < 0.3 + 0.7 * torch.rand(300 * size + 3, 1)).double(), size)
        for size in (10, 30)
    ]


coverage = Exercise(
    asks="2.2: the shares of 95 % intervals, over episodes and over queries, that hold the mean of all",
    level="medium",
    minutes=20,
    given=_hits,
    right=_coverage(),
    also=(_coverage_by_loop, lambda *given: [share.item() for share in _coverage()(*given)]),
    tolerance=0.05,
    parts=("the share over episodes", "the share over queries"),
    hints=(
        "`hits[:whole].view(-1, size, queries)` has an evaluation in each row. What must `whole` be?",
        "Both intervals of an evaluation lie around the same mean. How many numbers has each, with what spread?",
        "An interval holds a number that is no farther from its middle than its half-width.",
    ),
    wrong={
        "one error": Wrong(
            "your intervals are one standard error wide; 95 % take 1.96.", _coverage(lambda spread, n: spread / n**0.5)
        ),
        "single": Wrong(
            "that is the spread of single numbers, so nearly all intervals hold; divide by the root of their number.",
            _coverage(lambda spread, n: 1.96 * spread),
        ),
        "whole": Wrong(
            "those intervals are twice as wide: 1.96 standard errors go to each side.",
            _coverage(lambda spread, n: 2 * 1.96 * spread / n**0.5),
        ),
        "not the root": Wrong(
            "you divide by how many there are; divide by its square root.",
            _coverage(lambda spread, n: 1.96 * spread / n),
        ),
        "few queries": Wrong(
            "an evaluation has size · queries queries: the second interval divides by the root of all of them.",
            _coverage(queries=lambda size, each: size),
            _coverage(queries=lambda size, each: each),
        ),
        "missed": Wrong("those are the shares that miss.", _coverage(score=lambda held: 1 - held.mean())),
        "count": Wrong("those are numbers of intervals; divide by how many there are.", _coverage(score=torch.sum)),
        "order": Wrong("episodes come first, queries second.", lambda *given: _coverage()(*given)[::-1]),
    },
    otherwise="for each evaluation: is the mean of all within its mean plus or minus the half-width?",
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
        "Start from the formula of the interval. Which letter in it do you look for?",
        "Solve it for $E$, and round up.",
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
