"""Chapter 9: the three compared."""

from collections.abc import Callable

import torch
from torch import Tensor

from fslib.book.checks.ch06 import in_order_of_appearance, numbered, shuffled
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
    minutes=10,
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
    level="easy",
    minutes=6,
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
            _middles(order=numbered),
        ),
    },
    otherwise="for each class, take the median over its examples, of each number on its own.",
)

left_of_means = Exercise(
    asks="9.3: what wrong labels leave of the differences between class means",
    level="easy",
    minutes=8,
    given=[(0.3, 5), (0.1, 20), (0.3, 3)],
    right=lambda wrong, ways: 1 - wrong * ways / (ways - 1),
    fixed=(0.35, 8),
    also=(
        lambda wrong, ways: (1 - wrong) - wrong / (ways - 1),
        lambda wrong, ways: torch.eye(ways).lerp((1 - torch.eye(ways)) / (ways - 1), wrong).diff(dim=0)[0, 1].item(),
    ),
    hints=(
        "What weight in a mean have its own examples, and another class's?",
        "Subtract two means: other classes fall out.",
    ),
    wrong={
        "own": Wrong(
            "that would be so if wrong ones came from nowhere; they also pull towards the other class.",
            lambda wrong, ways: 1 - wrong,
        ),
        "one other": Wrong(
            "that would be so if all wrong ones came from one and the same class.", lambda wrong, ways: 1 - 2 * wrong
        ),
        "lost": Wrong("that is what is lost; what is left?", lambda wrong, ways: wrong * ways / (ways - 1)),
        "towards": Wrong(
            "they bring the two means together, so what they pull comes off.",
            lambda wrong, ways: (1 - wrong) + wrong / (ways - 1),
        ),
        "all ways": Wrong(
            "the wrong ones come from the other classes, one fewer than all.",
            lambda wrong, ways: (1 - wrong) - wrong / ways,
        ),
        "twice": Wrong(
            "the class itself loses its wrong examples only once.",
            lambda wrong, ways: 1 - 2 * wrong * ways / (ways - 1),
        ),
        "squared": Wrong(
            "that is what is left of squared distances.", lambda wrong, ways: (1 - wrong * ways / (ways - 1)) ** 2
        ),
    },
    otherwise="the weight of its own mean in a class, less the weight of that mean in another class.",
)
