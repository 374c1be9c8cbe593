"""What an episode is, and what well-formed ones keep to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from fslib.labels import as_labels


@dataclass(frozen=True, eq=False)
class Episode:
    """One N-way K-shot task, or a stack of them along leading axes, as indices into a data set.

    A stack has a length, gives its episodes one after the other, and an index or a slice takes from it along the first
    axis. A single episode gives the indices of its examples, support first, as a ``DataLoader`` wants of a batch.

    Other kinds of episodes add parts to these three, :class:`SemiSupervisedEpisode` and :class:`UnbalancedEpisode`.

    Attributes:
        classes: the labels, in the data set, of the classes drawn, shape (..., way).
        support: indices of the support examples, grouped by class, shape (..., way · shot).
        query: indices of the query examples, grouped by class, shape (..., way · n_query).
    """

    classes: Tensor
    support: Tensor
    query: Tensor

    _SHAPES: ClassVar[str] = (
        "classes (episodes, way), support (episodes, way · shot) and query (episodes, way · queries)"
    )

    def __post_init__(self) -> None:
        for name, part in vars(self).items():
            if not isinstance(part, Tensor) and part is not ...:  # which an exercise leaves open
                try:
                    object.__setattr__(self, name, as_labels(part, axes=None, names=False))
                except ValueError as error:
                    raise ValueError(
                        f"{name} of an episode is a tensor of integers, but is {type(part).__name__}: {error}"
                    ) from error

    @property
    def way(self) -> int:
        """Number of classes, N."""
        return self.classes.shape[-1]

    @property
    def shot(self) -> int:
        """Support examples of each class, K."""
        return self.support.shape[-1] // self.way

    @property
    def n_query(self) -> int:
        """Query examples of each class."""
        return self.query.shape[-1] // self.way

    @property
    def queries(self) -> int:
        """Another name of :attr:`n_query`."""
        return self.n_query

    @property
    def support_labels(self) -> Tensor:
        """Class of each support example within the episode, 0 … way − 1, shape (way · shot,)."""
        return torch.arange(self.way, device=self.classes.device).repeat_interleave(self.shot)

    @property
    def query_labels(self) -> Tensor:
        """Class of each query within the episode, 0 … way − 1, shape (way · n_query,)."""
        return torch.arange(self.way, device=self.classes.device).repeat_interleave(self.n_query)

    def to(self, device: torch.device | str) -> Self:
        """The same episodes with all parts on a device."""
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Episodes of the same kind, each part changed."""
        return type(self)(*map(change, vars(self).values()))

    @property
    def _single(self) -> bool:
        return self.classes.ndim == 1

    @property
    def _sides(self) -> tuple[Tensor, ...]:
        """The parts that are examples, (..., any number) each."""
        return self.support, self.query

    @property
    def _all_classes(self) -> Tensor:
        """All classes that examples are of, (..., any number)."""
        return self.classes

    @property
    def _places(self) -> Tensor:
        """Which of these classes each example of the sides, one after the other, is said to be of."""
        labels = self.support_labels.expand_as(self.support), self.query_labels.expand_as(self.query)
        return torch.cat(labels, -1)

    @property
    def _is_stack(self) -> bool:
        """Whether all parts have the shapes of a stack along one axis."""
        return self.classes.ndim == 2 and all(
            side.numel() and side.ndim == 2 and len(side) == len(self.classes) and side.shape[1] % self.way == 0
            for side in (self.support, self.query)
        )

    def __len__(self) -> int:
        """Number of episodes of a stack; of a single episode, the number of its examples."""
        return sum(map(len, self._sides)) if self._single else len(self.classes)

    def __iter__(self) -> Iterator:
        """The episodes of a stack; of a single episode, the indices of its examples, support first."""
        if self._single:
            return iter(torch.cat(self._sides).tolist())
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Self:
        """An episode of a stack; for a slice or several indices, a stack."""
        if self._single:
            *parts, last = vars(self)
            raise TypeError(
                "This is a single episode, of which there is no part by number; "
                f"its parts are {', '.join(parts)} and {last}."
            )
        if isinstance(index, range):
            index = list(index)
        try:
            return self._each(lambda part: part[index])
        except IndexError as error:
            raise IndexError(
                f"Episode {index} was asked for, but the stack holds {len(self)}."
            ) from error

    def __eq__(self, other: object) -> bool:
        """Whether the other is of the same kind, and holds the same classes and examples in the same order."""
        if not isinstance(other, Episode):
            return NotImplemented
        return type(self) is type(other) and all(map(np.array_equal, self._arrays(), other._arrays()))

    def __hash__(self) -> int:
        return hash((self.support.shape, self._arrays()[1].tobytes()))

    def _arrays(self) -> list[np.ndarray]:
        """All parts in NumPy's arrays."""
        return [part.cpu().numpy().astype(np.int64) for part in vars(self).values()]


# A DataLoader over a sampler, with a batch_size, then stacks its episodes.
default_collate_fn_map[Episode] = lambda batch, **_: type(batch[0])(
    *(torch.stack(parts) for parts in zip(*(vars(episode).values() for episode in batch)))
)


def check_episodes(episodes: Episode, labels: Tensor) -> None:
    """Raise unless a stack of episodes keeps what :class:`EpisodeSampler` promises, whoever drew it.

    Args:
        episodes: a stack along one axis.
        labels: the class of every example of the data set, (n,).

    Raises:
        ValueError: if the shapes are not those of a stack, its parts are not integers, an index is not one of the data
            set's, an example stands in the place of another class, or a class or an example comes twice in an episode.
    """
    labels = as_labels(labels).cpu()
    parts = vars(episodes).values()
    if fractions := [part.dtype for part in parts if part.is_floating_point() or part.is_complex()]:
        raise ValueError(f"Episodes are made of integers, but these are of {fractions[0]}.")
    episodes = episodes._each(lambda part: part.cpu().long())
    if not episodes._is_stack:
        raise ValueError(
            f"A stack of episodes has {episodes._SHAPES}, but the shapes here are "
            f"{', '.join(str(tuple(part.shape)) for part in parts)}."
        )
    classes, examples = episodes._all_classes, torch.cat(episodes._sides, -1)
    if examples.min() < 0 or examples.max() >= len(labels):
        raise ValueError(
            f"The episodes hold the examples {examples.min()} to {examples.max()}, "
            f"but the data set has 0 to {len(labels) - 1}."
        )
    for wrong, what in (
        (labels[examples] != classes.gather(-1, episodes._places), "has an example in the place of another class"),
        (_repeated(classes), "draws a class twice"),
        (_repeated(examples), "uses an example twice"),
    ):
        if wrong.any():
            raise ValueError(f"Episode {wrong.nonzero()[0, 0].item()} {what}.")


def _repeated(numbers: Tensor) -> Tensor:
    """Where a number comes again along the last axis, in sorted order."""
    return numbers.sort(-1).values.diff(dim=-1) == 0
