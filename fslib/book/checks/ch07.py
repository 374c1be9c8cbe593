"""Chapter 7: Relation Networks."""

import torch
from torch import Tensor, nn

from fslib.book.checks.exercise import Exercise, Wrong


def _joined(classes: Tensor, query: Tensor) -> Tensor:
    """Every query with every class, the class first, (queries, classes, 2d)."""
    shape = len(query), len(classes), -1
    return torch.cat([classes.expand(shape), query[:, None].expand(shape)], -1)


join_pairs = Exercise(
    asks="7.1: every query with every class, the class first",
    given=lambda: (torch.randn(3, 4), torch.randn(5, 4)),
    right=lambda classes, query: _joined(classes, query).flatten(0, 1),
    wrong={
        "query first": Wrong(
            "the class comes first in each pair, then the query.",
            lambda classes, query: _joined(classes, query).roll(4, -1).flatten(0, 1),
        ),
        "order": Wrong(
            "those are the pairs, but in the order of the classes; the queries come first.",
            lambda classes, query: _joined(classes, query).transpose(0, 1).flatten(0, 1),
        ),
    },
    otherwise="row 3·i + k should hold class k, then query i, for three classes.",
)


def _floor(ways: int, found: tuple[float, float]) -> str | None:
    return None if abs(float(found[0]) * ways - 1) < 1e-4 else "mean"


constant_floor = Exercise(
    asks="7.2: the best constant relation score, and its squared error",
    given=[(5,), (20,)],
    right=lambda ways: (1 / ways, (ways - 1) / ways**2),
    parts=("the score", "its squared error"),
    judge=_floor,
    wrong={
        "mean": Wrong(
            "of {given[0]} targets one is 1 and the others are 0; the best constant is their mean.",
            lambda ways: (0.5, 0.25),
        ),
        "one pair": Wrong(
            "that is the mean of one pair that belongs together, or the sum; take the mean over all pairs.",
            lambda ways: (1 / ways, 1 - 1 / ways),
        ),
    },
    otherwise="one target misses the score by 1 − s, the others by s; square, and take the mean.",
)


def _by_halves(linear: nn.Linear, classes: Tensor, query: Tensor, biases: int = 1, swapped: bool = False) -> Tensor:
    left, right = linear.weight.chunk(2, 1)[:: -1 if swapped else 1]
    return classes @ left.T + (query @ right.T)[:, None] + biases * linear.bias


linear_on_pairs = Exercise(
    asks="7.3: a linear layer on joined vectors, by halves",
    given=lambda: (nn.Linear(8, 6), torch.randn(3, 4), torch.randn(5, 4)),
    right=lambda linear, classes, query: linear(_joined(classes, query)),
    wrong={
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
    },
    otherwise="split linear.weight into its first and last columns, apply each half once, and add.",
)
