"""Episodes: small tasks drawn from a data set, by index, from a seed.

Episode number i of a sampler depends on the seed and on i alone. So an episode can be replayed without drawing
those before it, two models meet the very same episodes, and interrupted training goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Episode:
    """One N-way K-shot task, or a stack of them along leading axes, as indices into a data set.

    Attributes:
        classes: the labels, in the data set, of the classes drawn, shape (..., way).
        support: indices of the support examples, grouped by class, shape (..., way · shot).
        query: indices of the query examples, grouped by class, shape (..., way · queries).
    """

    classes: Tensor
    support: Tensor
    query: Tensor

    @property
    def way(self) -> int:
        """Number of classes, N."""
        return self.classes.shape[-1]

    @property
    def shot(self) -> int:
        """Support examples of each class, K."""
        return self.support.shape[-1] // self.way

    @property
    def support_labels(self) -> Tensor:
        """Class of each support example within the episode, 0 … way − 1, shape (way · shot,)."""
        return torch.arange(self.way).repeat_interleave(self.shot)

    @property
    def query_labels(self) -> Tensor:
        """Class of each query within the episode, 0 … way − 1, shape (way · queries,)."""
        return torch.arange(self.way).repeat_interleave(self.query.shape[-1] // self.way)


class EpisodeSampler:
    """Draw episodes at random: first the classes, then the examples of each.

    Within an episode no class comes twice and no example stands on both sides.

    Args:
        labels: the class of every example, shape (n,), or a data set with such an attribute ``labels``.
        way: classes in an episode, N.
        shot: support examples of each class, K.
        query: query examples of each class.
        episodes: how many episodes the sampler holds.
        seed: the same seed gives the same episodes.

    Raises:
        ValueError: if there are fewer than ``way`` classes, or a class has fewer than ``shot + query`` examples.

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
    ):
        labels = torch.as_tensor(getattr(labels, "labels", labels))
        for name, value in dict(way=way, shot=shot, query=query, episodes=episodes).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, but is {value}.")
        self.classes, sizes = (array.numpy() for array in labels.unique(return_counts=True))
        if way > len(self.classes):
            raise ValueError(
                f"A {way}-way episode needs {way} classes, but the data set has {len(self.classes)}."
            )
        if shot + query > sizes.min():
            raise ValueError(
                f"{shot} support and {query} query examples make {shot + query} of each class, "
                f"but class {self.classes[sizes.argmin()]} has only {sizes.min()}; lower shot or query."
            )
        self.way, self.shot, self.query, self.episodes, self.seed = way, shot, query, episodes, seed
        # Row c lists the examples of class c. Shorter rows are padded, and the padding is never drawn.
        self._examples = np.zeros((len(sizes), sizes.max()), dtype=np.int64)
        self._exists = np.arange(sizes.max()) < sizes[:, None]
        self._examples[self._exists] = labels.argsort(stable=True).numpy()

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
        if not -len(self) <= index < len(self):
            raise IndexError(f"Episode {index} was asked for, but the sampler holds {len(self)}.")
        return self._episode(*self._draw(index % len(self)))

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes (way,) and examples (way, shot + query) of one episode."""
        # A counter-based generator: each episode number starts its own stream, with nothing to run through first.
        random = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, index]))
        rows = random.choice(len(self.classes), self.way, replace=False)
        keys = np.where(
            self._exists[rows], random.random((self.way, self._exists.shape[1])), np.inf
        )
        columns = keys.argsort(1)[:, : self.shot + self.query]
        return rows, self._examples[rows[:, None], columns]

    def _episode(self, rows: np.ndarray, examples: np.ndarray) -> Episode:
        support, query = examples[..., : self.shot], examples[..., self.shot :]
        flat = (*rows.shape[:-1], -1)
        return Episode(
            classes=torch.from_numpy(self.classes[rows]),
            support=torch.from_numpy(support.reshape(flat)),
            query=torch.from_numpy(query.reshape(flat)),
        )
