"""Chapter 2: episodes."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.episodes import Episode


def _draw(
    labels: Tensor, way: int, shot: int, query: int, *, twice: bool = False, leak: bool = False, again: bool = False,
    first: bool = False, apart: bool = False, mixed: bool = False, numbered: bool = False, order: bool = True,
) -> Episode:  # fmt: skip
    """An episode, right or with a mistake."""
    present = labels.unique()
    classes = present[:way] if first else present[torch.randperm(len(present))[:way]]
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


def _mistake(labels: Tensor, way: int, shot: int, query: int, drawn: list[Episode]) -> str:
    """What is wrong with 30 episodes."""
    for episode in drawn:
        support, queries = labels[episode.support].reshape(way, shot), labels[episode.query].reshape(way, query)
        if (support != support[:, :1]).any() or (queries != queries[:, :1]).any():
            return "not grouped"
        if len(support[:, 0].unique()) < way:
            return "class twice"
        if not torch.equal(support[:, 0], queries[:, 0]):
            return "sides"
        if set(episode.support.tolist()) & set(episode.query.tolist()):
            return "leak"
        if len({*episode.support.tolist(), *episode.query.tolist()}) < way * (shot + query):
            return "example twice"
        if not torch.equal(episode.classes, support[:, 0]):
            return "classes"
    if len({tuple(episode.support.tolist()) for episode in drawn}) == 1:
        return "always the same"
    if len(torch.cat([episode.classes for episode in drawn]).unique()) < 12:
        return "some classes"
    if len(torch.cat([episode.support for episode in drawn]).unique()) < 80:
        return "some examples"
    return "right"


def _mistaken(**mistake: bool) -> Callable[..., Episode]:
    return functools.partial(_draw, **mistake)  # type: ignore[arg-type]


def _always(labels: Tensor, *task: int) -> Episode:
    torch.manual_seed(0)
    return _draw(labels, *task)


draw_episode = Exercise(
    asks="2.1: an Episode of indices, drawn by draw(labels, way, shot, query)",
    given=lambda: ((10 * torch.arange(12) + 7).repeat_interleave(9)[torch.randperm(108)], 6, 2, 3),
    call=lambda draw, labels, *task: None if (first := draw(labels, *task)) is None else [
        first, *(draw(labels.clone(), *task) for _ in range(29))
    ],
    right=_draw,
    same=lambda drawn, others: False,
    judge=_mistake,
    wrong={
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
            "some classes are never drawn; every class should have the same chance.", _mistaken(first=True)
        ),
        "some examples": Wrong(
            "some examples are never in the support set; draw the examples at random too.", _mistaken(order=False)
        ),
    },
    otherwise="the episodes are not drawn as equation 2.1 has it.",
)

interval = Exercise(
    asks="2.2: half-width of the 95 % interval of the mean",
    given=lambda: (0.5 + 0.1 * torch.randn(int(torch.randint(300, 900, ())), dtype=torch.float64),),
    right=lambda accuracies: 1.96 * accuracies.std().item() / len(accuracies) ** 0.5,
    tolerance=0.01,
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
        "whole": Wrong(
            "that is the whole width; the half-width is asked for.",
            lambda accuracies: 2 * 1.96 * accuracies.std() / len(accuracies) ** 0.5,
        ),
    },
    otherwise="divide the standard deviation by the square root of the number of episodes, and multiply by 1.96.",
)

episodes_needed = Exercise(
    asks="2.3: episodes for an interval of a given half-width, from the standard deviation of one",
    given=[(0.08, 0.002), (0.11, 0.004)],
    right=lambda s, half_width: math.ceil((1.96 * s / half_width) ** 2),
    same=lambda a, b: abs(a - b) <= 1,
    wrong={
        "not squared": Wrong(
            "half the width takes four times the episodes: the ratio must be squared.",
            lambda s, half_width: 1.96 * s / half_width,
        ),
    },
    otherwise="solve 1.96 · s / √n = half-width for n.",
)
