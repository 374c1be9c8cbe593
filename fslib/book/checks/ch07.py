"""Chapter 7: Relation Networks."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fslib.book.checks.exercise import Exercise, Found, Wrong


def _entropy(ways: int) -> float:
    """Binary cross-entropy of the score 1/ways, over all pairs of a query."""
    return -(math.log(1 / ways) + (ways - 1) * math.log(1 - 1 / ways)) / ways


def _floor(ways: int, found: tuple[float, float]) -> str | None:
    return None if abs(float(found[0]) * ways - 1) < 1e-4 else "another score"


constant_floor = Exercise(
    asks="7.1: the best constant relation score, and its binary cross-entropy",
    level="medium",
    minutes=10,
    given=[(5,), (20,)],
    right=lambda ways: (1 / ways, _entropy(ways)),
    parts=("the score", "its loss"),
    judge=_floor,
    fixed=(5,),
    also=(
        lambda ways: (1 / ways, math.log(ways) - (1 - 1 / ways) * math.log(ways - 1)),
        lambda ways: (torch.eye(ways).mean(), F.binary_cross_entropy(torch.ones(ways, ways) / ways, torch.eye(ways))),
    ),
    hints=(
        "Of the $N$ targets of a query one is 1, the others are 0. Write the mean of their losses for a score $s$.",
        "A pair that belongs together costs $-\\log s$, any other one $-\\log(1 - s)$.",
        "Where the derivative in $s$ is zero, $s$ is the share of the pairs that belong together.",
    ),
    wrong={
        "half": Wrong(
            "one half is the best only for as many pairs that belong together as apart.",
            lambda ways: (0.5, math.log(2)),
        ),
        "another score": Wrong(
            "of {given[0]} targets one is 1 and the others are 0; the best constant is their mean.",
            lambda ways: ((ways - 1) / ways, _entropy(ways)),
        ),
        "squared": Wrong(
            "that is the squared error; the binary cross-entropy is asked for.",
            lambda ways: (1 / ways, (ways - 1) / ways**2),
        ),
        "sum": Wrong(
            "that is the sum over the pairs of one query; take the mean over them.",
            lambda ways: (1 / ways, ways * _entropy(ways)),
        ),
        "one pair": Wrong(
            "that is the loss of the one pair that belongs together; take the mean over all pairs.",
            lambda ways: (1 / ways, math.log(ways)),
        ),
        "apart": Wrong(
            "that is the loss of a pair that does not belong together; take the mean over all pairs.",
            lambda ways: (1 / ways, -math.log(1 - 1 / ways)),
        ),
        "half of it": Wrong(
            "the pairs that do not belong together cost too.", lambda ways: (1 / ways, math.log(ways) / ways)
        ),
        "bits": Wrong(
            "you take logarithms to the base 2; PyTorch takes natural ones.",
            lambda ways: (1 / ways, _entropy(ways) / math.log(2)),
        ),
    },
    otherwise="one pair costs −log s, the N − 1 others −log(1 − s); take the mean.",
)


def _joined(classes: Tensor, query: Tensor) -> Tensor:
    """Every query with every class, the class first, (queries, classes, 2d)."""
    shape = len(query), len(classes), -1
    return torch.cat([classes.expand(shape), query[:, None].expand(shape)], -1)


def _by_halves(linear: nn.Linear, classes: Tensor, query: Tensor, biases: int = 1, swapped: bool = False) -> Tensor:
    left, right = linear.weight.chunk(2, 1)[:: -1 if swapped else 1]
    return classes @ left.T + (query @ right.T)[:, None] + biases * linear.bias


class _Numbers(TorchDispatchMode):
    """Counts the numbers that PyTorch makes, copies and views included, and ends when they are as many as allowed."""

    def __init__(self, allowed: int) -> None:
        super().__init__()
        self.left = allowed

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **kwargs or {})
        self.left -= sum(each.numel() for each in tree_leaves(made) if isinstance(each, Tensor))
        if self.left <= 0:
            raise Found("pairs")
        return made


def _without_pairs(answer: Callable[..., Any], linear: nn.Linear, classes: Tensor, query: Tensor) -> Any:
    """Call an answer that must not make half as many numbers as there are in all pairs."""
    with _Numbers(allowed=len(query) * classes.numel()):
        return answer(linear, classes, query)


linear_on_pairs = Exercise(
    asks="7.2: a linear layer on joined vectors, by halves",
    level="medium",
    minutes=12,
    # Pairs of long vectors and a short answer: who makes the pairs makes many more numbers.
    given=lambda: (nn.Linear(32, 2), torch.randn(20, 16), torch.randn(30, 16)),
    right=_by_halves,
    also=(
        lambda linear, classes, query: (
            F.linear(query, linear.weight[:, 16:], linear.bias)[:, None] + F.linear(classes, linear.weight[:, :16])
        ),
        lambda linear, classes, query: torch.stack(
            [classes @ linear.weight[:, :16].T + each for each in query @ linear.weight[:, 16:].T + linear.bias]
        ),
    ),
    call=_without_pairs,
    shows=(1, 0, 0),
    hints=(
        "A linear layer on a joined vector is a sum: one part sees the class only, the other the query only.",
        "`linear.weight` has shape (out, 2d). Its first d columns belong to the class. The bias must be "
        "added once, not twice.",
        "One part has a row for each class, the other one for each query. Which new axis lets all meet all?",
    ),
    wrong={
        "pairs": Wrong(
            "you make the pairs, or do as much work; apply each half once, to all classes and to all queries.",
            lambda linear, classes, query: linear(_joined(classes, query)),
        ),
        "bias twice": Wrong(
            "you add the bias twice.", lambda linear, classes, query: _by_halves(linear, classes, query, biases=2)
        ),
        "no bias": Wrong(
            "you leave out the bias.", lambda linear, classes, query: _by_halves(linear, classes, query, biases=0)
        ),
        "swapped": Wrong(
            "the first half of the weight belongs to the class, the second to the query.",
            lambda linear, classes, query: _by_halves(linear, classes, query, swapped=True),
        ),
        "order": Wrong(
            "queries come first, then classes: swap the first two axes.",
            lambda linear, classes, query: _by_halves(linear, classes, query).transpose(0, 1),
        ),
    },
    otherwise="split linear.weight into its first and last columns, apply each half once, and add.",
)


Pairs = Callable[[Tensor], Tensor]  # a relation module: (n, 2d) -> (n,)


def _exchanged(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([second, first], 1)


def _asymmetry(
    change: Callable[[Tensor], Tensor] = torch.abs,
    factor: float = 1.96,
    power: float = 0.5,
    other: Callable[[Tensor, Tensor], Tensor] = _exchanged,
    correction: int = 1,
) -> Callable[[Pairs, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Mean change of a score, and half-width, rightly or with a mistake."""

    def measured(relation: Pairs, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            changes = change(relation(torch.cat([first, second], 1)) - relation(other(first, second)))
        return changes.mean(), factor * changes.std(correction=correction) / len(changes) ** power

    return measured


def _asymmetry_by_pairs(relation: Pairs, first: Tensor, second: Tensor) -> tuple[float, float]:
    pairs = [(torch.cat([a, b])[None], torch.cat([b, a])[None]) for a, b in zip(first, second, strict=True)]
    changes = torch.tensor([abs(relation(there).item() - relation(back).item()) for there, back in pairs])
    return changes.mean().item(), 1.96 * (changes.var() / len(changes)).sqrt().item()


def _mean_is_right(relation: Pairs, first: Tensor, second: Tensor, found: tuple) -> str | None:
    mean, _ = _asymmetry()(relation, first, second)
    return "half-width" if math.isclose(found[0], mean, rel_tol=0.002) else None


def _relation_and_pairs() -> tuple[nn.Module, Tensor, Tensor]:
    module = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 1), nn.Flatten(0))
    return module, torch.randn(50, 4), torch.randn(50, 4)


asymmetry = Exercise(
    asks="7.3: how much a relation score changes when the two sides change places, with an interval",
    level="easy",
    minutes=8,
    given=_relation_and_pairs,
    right=_asymmetry(),
    parts=("the mean change", "the half-width"),
    tolerance=0.002,
    judge=_mean_is_right,
    also=(
        _asymmetry_by_pairs,
        _asymmetry(other=lambda first, second: torch.cat([first, second], 1).roll(first.shape[1], 1)),
    ),
    hints=(
        "`torch.cat([first, second], 1)` joins the pairs. How do you join them the other way round?",
        "Take the change of each pair without its sign, before you take the mean.",
    ),
    wrong={
        "sign": Wrong(
            "changes up and down cancel; drop the sign of each before the mean.", _asymmetry(lambda change: change)
        ),
        "squares": Wrong("those are squares; take each change without its sign.", _asymmetry(torch.square)),
        "same": Wrong(
            "a pair of a thing with itself is nothing turned round; swap first and second.",
            _asymmetry(other=lambda first, second: torch.cat([first, first], 1)),
            _asymmetry(other=lambda first, second: torch.cat([second, second], 1)),
        ),
        "reversed": Wrong(
            "you turn the numbers of the joined vector round; swap its two halves.",
            _asymmetry(other=lambda first, second: torch.cat([first, second], 1).flip(1)),
        ),
        "standard error": Wrong(
            "that is the standard error; the 95 % interval reaches 1.96 of them.", _asymmetry(factor=1)
        ),
        "single": Wrong(
            "that is the spread of single pairs; the mean of n varies √n times less.",
            _asymmetry(power=0),
            _asymmetry(factor=1, power=0),
        ),
        "half-width": Wrong(
            "the mean is right; the half-width is 1.96 · std (n − 1) / √n.",
            _asymmetry(correction=0),
            _asymmetry(factor=2),
        ),
    },
    otherwise="the score of (first, second) less that of (second, first), without sign, over all pairs.",
)


def _let_in(
    threshold: Callable[[Tensor, float], Tensor | float] = lambda best, kept: best.quantile(1 - kept),
    best: Callable[[Tensor], Tensor] = lambda scores: scores.amax(1),
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """The share of outsiders above a threshold, rightly or with a mistake."""
    return lambda members, outsiders, kept: (best(outsiders) >= threshold(best(members), kept)).double().mean()


def _let_in_by_count(members: Tensor, outsiders: Tensor, kept: float) -> float:
    threshold = members.max(1).values.quantile(1 - kept).item()
    return sum(score > threshold for score in outsiders.max(1).values.tolist()) / len(outsiders)


def _members_and_outsiders() -> tuple[Tensor, Tensor, float]:
    """Scores of queries that have a class among five and of queries that have none, where each mistake shows."""
    answers = [outsiders_let_in.right, *(each for wrong in outsiders_let_in.wrong.values() for each in wrong.answers)]
    while True:
        logits = torch.randn(2, 2000, 5, dtype=torch.float64) - 2.25
        logits[0, :, 0] += 1 + torch.rand(())
        members, outsiders = logits.sigmoid()
        given = members[:, torch.randperm(5)], outsiders, (0.75 + 0.2 * torch.rand(())).item()
        shares = sorted(float(each(*given)) for each in answers)
        if all(b - a > 0.01 for a, b in pairwise(shares)):
            return given


outsiders_let_in = Exercise(
    asks="7.4: the share of outsiders let in by a threshold that keeps a given share of the members",
    level="medium",
    minutes=12,
    given=lambda: [_members_and_outsiders() for _ in range(2)],
    right=_let_in(),
    tolerance=0.008,
    also=(
        _let_in(lambda best, kept: best.sort(descending=True).values[round(kept * len(best)) - 1]),
        _let_in_by_count,
    ),
    hints=(
        "Which of the scores of a query says that no class fits? Make one number of each row first.",
        "If nine of ten members are to stay, one of ten lies below the threshold: `Tensor.quantile`.",
        "Only members set the threshold; then count the outsiders that lie above it.",
    ),
    wrong={
        "refused": Wrong(
            "that is the share that is refused; how many get in?",
            lambda members, outsiders, kept: 1 - _let_in()(members, outsiders, kept),
        ),
        "other end": Wrong(
            "your threshold refuses the share of members that it should keep.",
            _let_in(lambda best, kept: best.quantile(kept)),
        ),
        "outsiders": Wrong(
            "nobody has examples of all outsiders, so they must not set the threshold.",
            lambda members, outsiders, kept: (
                (outsiders.amax(1) >= outsiders.amax(1).quantile(1 - kept)).double().mean()
            ),
        ),
        "half": Wrong("one half keeps another share of the members; find the threshold.", _let_in(lambda *_: 0.5)),
        "middle": Wrong("that threshold ignores how many are to stay.", _let_in(lambda best, kept: best.mean())),
        "all scores": Wrong(
            "every query is refused or let in once, by its best score.", _let_in(best=lambda scores: scores.flatten())
        ),
        "mean score": Wrong(
            "a query belongs to one class, so its mean score says little; take its best.",
            _let_in(best=lambda scores: scores.mean(1)),
        ),
    },
    otherwise="the best score of each query; a quantile of the members; the share of outsiders above it.",
)
