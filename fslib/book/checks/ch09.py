"""Chapter 9: the three compared."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fslib.book.checks.ch06 import in_order_of_appearance, shuffled
from fslib.book.checks.exercise import Exercise, Wrong


def _parts(first: int = 1, second: int = 1, number: float = 2) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The two parts of a gap, as the mean of both ways round a table or of one alone, rightly or with a mistake."""

    def split(table: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = table[0] - table[1], table[:, 0] - table[:, 1]
        return (first * rows[0] + second * rows[1]) / number, (first * columns[1] + second * columns[0]) / number

    return split


split_gap = Exercise(
    asks="9.1: what embedding and comparison have of the gap of two methods",
    level="medium",
    minutes=8,
    given=lambda: (0.5 + 0.4 * torch.rand(2, 2),),
    right=_parts(),
    parts=("the part of the embedding", "the part of the comparison"),
    also=(
        lambda table: ((table[0] - table[1]).mean(), (table[:, 0] - table[:, 1]).mean()),
        lambda table: [
            ((table[0, 0] - table[1, 0]) + (table[0, 1] - table[1, 1])).item() / 2,
            ((table[0, 0] - table[0, 1]) + (table[1, 0] - table[1, 1])).item() / 2,
        ],
    ),
    hints=(
        "From the first entry of the diagonal to the second there are two ways round the table. What changes on each?",
        "The embedding's part is the difference between the rows, once in the first column and once in the second.",
        "The two parts must add up to the gap.",
    ),
    wrong={
        "order": Wrong(
            "the two parts are in the other order; rows are embeddings, columns are comparisons.",
            lambda table: _parts()(table)[::-1],
        ),
        "one way": Wrong("that is one of the two ways; take the mean of both.", _parts(2, 0), _parts(0, 2)),
        "not a mean": Wrong("the parts add up to twice the gap; take the mean of the two ways.", _parts(number=1)),
        "gap": Wrong(
            "the first of them is the whole gap; return its two parts.",
            lambda table: (table[0, 0] - table[1, 1], _parts()(table)[0]),
        ),
        "sign": Wrong(
            "the gap is that of the first method over the second.",
            lambda table: tuple(-part for part in _parts()(table)),
        ),
    },
    otherwise="each part is the mean of two differences between neighbours in the table.",
)


def _middles(
    middle: Callable[[Tensor], Tensor] = lambda examples: examples.median(0).values,
    order: Callable[[Tensor], Tensor | list[int]] = torch.unique,
) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda support, labels: torch.stack([middle(support[labels == c]) for c in order(labels)])


class_medians = Exercise(
    asks="9.2: the median of each class, number by number",
    level="medium",
    minutes=8,
    given=lambda: (torch.randn(10, 4), shuffled(7, -2, 7, 30, -2, 7, -2, -2, 30, 7)),
    right=_middles(),
    shows=(0, 3),
    also=(
        _middles(lambda examples: examples.sort(0).values[(len(examples) - 1) // 2]),
        _middles(lambda examples: examples.quantile(0.5, 0, interpolation="lower")),
    ),
    hints=(
        "`support[labels == k]` picks the examples of a class, as for means. Along which axis is the median?",
        "`torch.median` along an axis gives values and indices. Take the values. Of an even number of "
        "examples there are two middle ones, and it takes the lower.",
    ),
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
        "upper": Wrong(
            "of two middle values you take the upper; take the lower, as torch.median does.",
            _middles(lambda examples: examples.sort(0).values[len(examples) // 2]),
        ),
        "halfway": Wrong(
            "of two middle values you take the mean; take the lower, as torch.median does.",
            _middles(lambda examples: examples.quantile(0.5, 0)),
        ),
        "numbered": Wrong(
            "labels may be any integers, not only 0, 1, 2, …: take the classes from labels.unique().",
            _middles(order=lambda labels: list(range(len(labels.unique())))),
        ),
    },
    otherwise="for each class, take the median over its examples, of each number on its own.",
)

comparisons = Exercise(
    asks="9.3: similarities of an episode, with means and with votes",
    level="easy",
    minutes=5,
    given=[(7, 3, 5), (4, 2, 6)],
    right=lambda ways, shots, queries: (ways * queries * ways, ways * queries * ways * shots),
    parts=("the number with means", "that with votes"),
    tolerance=0,
    fixed=(3, 2, 4),
    also=(
        lambda ways, shots, queries: (queries * ways**2, queries * ways**2 * shots),
        lambda ways, shots, queries: [math.prod((ways, queries, n)) for n in (ways, ways * shots)],
    ),
    hints=(
        "How many queries are there in all?",
        "With how many vectors is each compared, once with means and once with votes?",
    ),
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
