"""Episodes drawn at random from everywhere, or from whole groups."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from fslib.config import whole
from fslib.episodes.episode import Episode
from fslib.labels import as_labels

# Of classes of up to so many examples, each example draws a number, and the smallest are taken. In larger ones the
# positions are drawn, which costs the same however large a class is. Another value here gives other episodes.
_KEYS = 8192


class EpisodeSampler:
    """Draw episodes at random: first the classes, then the examples of each.

    Within an episode no class comes twice and no example stands on both sides. A sampler is also what PyTorch calls a
    batch sampler: ``DataLoader(data, batch_sampler=sampler)`` gives the images and labels of one episode at a time,
    support first.

    Args:
        labels: the class of every example, shape (n,), or a data set with such an attribute ``labels``. Names are
            numbered in sorted order.
        way: classes in an episode, N.
        shot: support examples of each class, K.
        query: query examples of each class.
        episodes: how many episodes the sampler holds.
        seed: the same seed gives the same episodes.
        groups: the group of each class, by name or number, in the order of their labels. An episode then takes the
            groups in random order, all classes of each, and of the last group as many as are missing, at random; so
            its classes resemble each other as a group's do.

    Raises:
        ValueError: if there are fewer than ``way`` classes, a class has fewer than ``shot + query`` examples, there
            is not one group for each class, or a number is not a whole one.

    Example:
        >>> sampler = EpisodeSampler(torch.arange(10).repeat(20), way=5, shot=1, query=15, episodes=100, seed=0)
        >>> sampler[7].support.shape, sampler[:100].query.shape
        (torch.Size([5]), torch.Size([100, 75]))
    """

    def __init__(
        self,
        labels,
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        episodes: int = 1000,
        seed: int = 0,
        groups: Sequence[str] | None = None,
    ):
        labels = as_labels(getattr(labels, "labels", labels)).cpu().numpy()
        way, shot, query, episodes = (
            whole(name, value)
            for name, value in dict(way=way, shot=shot, query=query, episodes=episodes).items()
        )
        self.classes, sizes = np.unique(labels, return_counts=True)
        if way > len(self.classes):
            raise ValueError(
                f"A {way}-way episode needs {way} classes, but the data set has {len(self.classes)}."
            )
        if shot + query > sizes.min():
            raise ValueError(
                f"{shot} support and {query} query examples make {shot + query} of each class, "
                f"but class {self.classes[sizes.argmin()]} has only {sizes.min()}; lower shot or query."
            )
        self.way, self.shot, self.query, self.episodes = way, shot, query, episodes
        self.seed = whole("A seed", seed, 0, 2**63)
        self._groups = None if groups is None else numbered_groups(groups, len(self.classes))
        # The examples of class c are those of a sorted list from its start on, as many as its size.
        self._sorted = labels.argsort(kind="stable")
        self._sizes, self._starts = sizes, sizes.cumsum() - sizes
        self._smallest, self._largest = sizes.min(), sizes.max()

    def __len__(self) -> int:
        return self.episodes

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | slice) -> Episode:
        """Episode number ``index``, or for a slice a stack of episodes along a new first axis."""
        if isinstance(index, slice):
            drawn = [self._draw(i) for i in range(*index.indices(len(self)))]
            if not drawn:
                raise IndexError(f"The slice holds none of the {len(self)} episodes.")
            return self._episode(*(np.stack(part) for part in zip(*drawn)))
        try:
            number = operator.index(index)
        except TypeError as error:
            raise TypeError(
                f"Episodes are numbered: ask for one by a whole number, or for several by a slice, not by {index!r}."
            ) from error
        if not -len(self) <= number < len(self):
            raise IndexError(f"Episode {number} was asked for, but the sampler holds {len(self)}.")
        return self._episode(*self._draw(number % len(self)))

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes (way,) and examples (way, shot + query) of one episode."""
        random = random_of(self.seed, index)
        rows = self._draw_classes(random)
        number, sizes = self.shot + self.query, self._sizes[rows, None]
        if self._largest <= _KEYS:
            keys = random.random((self.way, self._largest))
            if self._smallest < self._largest:
                keys[np.arange(self._largest) >= sizes] = np.inf  # what a smaller class lacks
            places = keys.argsort(1)[:, :number]
        else:
            places = np.stack([random.choice(size, number, replace=False) for (size,) in sizes])
        return rows, self._sorted[self._starts[rows, None] + places]

    def _draw_classes(self, random: np.random.Generator) -> np.ndarray:
        if self._groups is None:
            return random.choice(len(self.classes), self.way, replace=False)
        turn = random.permutation(self._groups.max() + 1)[self._groups]
        return (turn + random.random(len(turn))).argsort()[: self.way]

    def _episode(self, rows: np.ndarray, examples: np.ndarray) -> Episode:
        support, query = examples[..., : self.shot], examples[..., self.shot :]
        flat = (*rows.shape[:-1], -1)
        return Episode(
            classes=torch.from_numpy(self.classes[rows]),
            support=torch.from_numpy(support.reshape(flat)),
            query=torch.from_numpy(query.reshape(flat)),
        )


def random_of(seed: int, index: int, stream: int = 0) -> np.random.Generator:
    """The random stream of one episode, or another one of it.

    The generator is counter-based: each episode number starts its own stream, with nothing to run through first.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, stream, index]))


def numbered_groups(groups: Any, classes: int) -> np.ndarray:
    """The group of each class, numbered in sorted order."""
    try:
        numbers = as_labels(groups).cpu().numpy()
    except ValueError as error:
        raise ValueError(f"Groups are given as labels are: {error}") from error
    if len(numbers) != classes:
        raise ValueError(
            f"There must be one group for each of the {classes} classes, but there are {len(numbers)}."
        )
    return np.unique(numbers, return_inverse=True)[1]
