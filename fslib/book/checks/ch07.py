"""Chapter 7: Relation Networks."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fslib.book.checks.exercise import Exercise, Found, Wrong


def _joined(classes: Tensor, query: Tensor) -> Tensor:
    """Every query with every class, the class first, (queries, classes, 2d)."""
    shape = len(query), len(classes), -1
    return torch.cat([classes.expand(shape), query[:, None].expand(shape)], -1)


join_pairs = Exercise(
    asks="7.1: every query with every class, the class first",
    level="medium",
    minutes=10,
    given=lambda: (torch.randn(3, 4), torch.randn(5, 4)),
    right=lambda classes, query: _joined(classes, query).flatten(0, 1),
    shows=(1, -1),
    also=(
        lambda classes, query: torch.cat([classes.repeat(len(query), 1), query.repeat_interleave(len(classes), 0)], 1),
        lambda classes, query: torch.stack([torch.cat([c, q]) for q in query for c in classes]),
    ),
    hints=(
        "How many pairs are there? For two queries and two classes, write the four of them down in order.",
        "`expand` repeats a tensor along a new axis without copying it: `classes.expand(len(query), -1, "
        "-1)`. Which axis do you join along, and which do you flatten?",
    ),
    wrong={
        "query first": Wrong(
            "the class comes first in each pair, then the query.",
            lambda classes, query: _joined(classes, query).roll(4, -1).flatten(0, 1),
        ),
        "order": Wrong(
            "those are the pairs, but in the order of the classes; the queries come first.",
            lambda classes, query: _joined(classes, query).transpose(0, 1).flatten(0, 1),
        ),
        "not flat": Wrong(
            "those are the pairs, in a table; flatten its first two axes.",
            lambda classes, query: _joined(classes, query),
        ),
        "not all": Wrong(
            "both sides run in step, so some pairs come twice and others never: repeat one in blocks, the other "
            "item by item.",
            lambda classes, query: torch.cat([classes.repeat(len(query), 1), query.repeat(len(classes), 1)], 1),
        ),
    },
    otherwise="row 3·i + k should hold class k, then query i, for three classes.",
)


def _floor(ways: int, found: tuple[float, float]) -> str | None:
    return None if abs(float(found[0]) * ways - 1) < 1e-4 else "another score"


constant_floor = Exercise(
    asks="7.2: the best constant relation score, and its squared error",
    level="medium",
    minutes=10,
    given=[(5,), (20,)],
    right=lambda ways: (1 / ways, (ways - 1) / ways**2),
    parts=("the score", "its squared error"),
    judge=_floor,
    fixed=(5,),
    also=(
        lambda ways: (1 / ways, ((1 - 1 / ways) ** 2 + (ways - 1) * (1 / ways) ** 2) / ways),
        lambda ways: (torch.eye(ways).mean(), torch.eye(ways).var(correction=0)),
    ),
    hints=(
        "One of $N$ targets is 1, the others are 0. Which constant is nearest to them in the mean square?",
        "The constant misses one target by $1 - s$ and the $N - 1$ others by $s$.",
        "Square what it misses, and take the mean over all $N$ pairs of a query.",
    ),
    wrong={
        "half": Wrong(
            "one half is the best only for as many pairs that belong together as apart.",
            lambda ways: (0.5, 0.25),
        ),
        "zero": Wrong(
            "zero is right for most pairs, but its error is not the least: the best constant is the mean of the "
            "targets.",
            lambda ways: (0.0, 1 / ways),
        ),
        "another score": Wrong(
            "of {given[0]} targets one is 1 and the others are 0; the best constant is their mean.",
            lambda ways: ((ways - 1) / ways, (ways - 1) / ways**2),
        ),
        "sum": Wrong(
            "that is the sum over the pairs of one query; take the mean over them.",
            lambda ways: (1 / ways, 1 - 1 / ways),
        ),
        "one pair": Wrong(
            "that is the error of the one pair that belongs together; take the mean over all pairs.",
            lambda ways: (1 / ways, (1 - 1 / ways) ** 2),
        ),
        "apart": Wrong(
            "that is the error of a pair that does not belong together; take the mean over all pairs.",
            lambda ways: (1 / ways, 1 / ways**2),
        ),
    },
    otherwise="one target misses the score by 1 − s, the others by s; square, and take the mean.",
)


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
    asks="7.3: a linear layer on joined vectors, by halves",
    level="hard",
    minutes=15,
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
