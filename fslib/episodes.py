"""Episodes: small tasks drawn from a data set, by index, from a seed.

Episode number i of a sampler depends on the seed and on i alone. So an episode can be replayed without drawing
those before it, two models meet the very same episodes, and interrupted training goes on where it stopped.

Within one program, then, the seed is all there is to keep. Episodes that another program drew, or that another is to
meet, go through a file: :func:`save` and :func:`load`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from fslib import files
from fslib.data import ImageSet


@dataclass(frozen=True)
class Episode:
    """One N-way K-shot task, or a stack of them along leading axes, as indices into a data set.

    A stack has a length, and an index or a slice takes from it along the first axis.

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
    def queries(self) -> int:
        """Query examples of each class."""
        return self.query.shape[-1] // self.way

    @property
    def support_labels(self) -> Tensor:
        """Class of each support example within the episode, 0 … way − 1, shape (way · shot,)."""
        return torch.arange(self.way).repeat_interleave(self.shot)

    @property
    def query_labels(self) -> Tensor:
        """Class of each query within the episode, 0 … way − 1, shape (way · queries,)."""
        return torch.arange(self.way).repeat_interleave(self.queries)

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, index: int | slice) -> Episode:
        return Episode(self.classes[index], self.support[index], self.query[index])


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
        groups: the group of each class, in the order of their labels. An episode then takes the groups in random order,
            all classes of each, and of the last group as many as are missing, at random; so its classes resemble each
            other as a group's do.

    Raises:
        ValueError: if there are fewer than ``way`` classes, a class has fewer than ``shot + query`` examples, or there
            is not one group for each class.

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
        if groups is not None and len(groups) != len(self.classes):
            raise ValueError(
                f"There must be one group for each of the {len(self.classes)} classes, but there are {len(groups)}."
            )
        self.way, self.shot, self.query, self.episodes, self.seed = way, shot, query, episodes, seed
        self._groups = None if groups is None else np.unique(groups, return_inverse=True)[1]
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
        random = _random(self.seed, index)
        rows = self._draw_classes(random)
        keys = np.where(
            self._exists[rows], random.random((self.way, self._exists.shape[1])), np.inf
        )
        columns = keys.argsort(1)[:, : self.shot + self.query]
        return rows, self._examples[rows[:, None], columns]

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


def within_groups(data: ImageSet, way: int = 20, episodes: int = 2000, seed: int = 0) -> Episode:
    """One-shot episodes within a writing system, from one hand to another, in the manner of Lake et al. (2015).

    The classes of an episode are characters of one alphabet. One person drew the support, one picture of each, and
    another person drew the queries, one of each. Both are harder than classes and examples drawn from everywhere:
    characters of an alphabet resemble each other, and the two sides share no hand.

    The rule: groups take turns, in order of their names, so episode i is of group i mod (number of groups). From the
    seed and i come ``way`` different classes of that group, and then two different drawers, all equally likely. These
    are other trials than the twenty of Lake et al., whose characters and drawers are fixed, from ten alphabets.

    Args:
        data: with ``class_groups`` and ``domains``, and one picture of each class by each drawer. Of Omniglot, load it
            with ``rotations=False``; else the turned alphabets take turns too.
        way: classes in an episode, N.
        episodes: how many.
        seed: the same seed gives the same episodes.

    Returns:
        A stack of episodes with one support and one query example of each class, for ``evaluate(…, query=1)``.

    Raises:
        ValueError: if a number is below 1, the data does not tell groups and drawers, a group has fewer than ``way``
            classes, or a drawer did not draw each class once.

    Example:
        >>> from fslib import data
        >>> test = data.load("omniglot", "test", protocol="lake", rotations=False)     # doctest: +SKIP
        >>> within_groups(test).query.shape     # doctest: +SKIP
        torch.Size([2000, 20])
    """
    for name, value in dict(way=way, episodes=episodes).items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}.")
    pictures = _by_drawer(data)
    group_of = np.array(data.class_groups)
    groups = [np.flatnonzero(group_of == group) for group in np.unique(group_of)]
    smallest = min(groups, key=len)
    if way > len(smallest):
        raise ValueError(
            f"A {way}-way episode within a group needs {way} classes of each, "
            f"but {group_of[smallest[0]]} has only {len(smallest)}."
        )
    classes = np.empty((episodes, way), dtype=np.int64)
    drawers = np.empty((2, episodes, 1), dtype=np.int64)
    for i in range(episodes):
        random = _random(seed, i)
        classes[i] = random.choice(groups[i % len(groups)], way, replace=False)
        drawers[:, i, 0] = random.choice(pictures.shape[1], 2, replace=False)
    support, query = pictures[classes, drawers]
    return Episode(*map(torch.from_numpy, (classes, support, query)))


def _by_drawer(data: ImageSet) -> np.ndarray:
    """The picture of each class by each drawer, as indices into the data set, (classes, drawers)."""
    if data.domains is None or not data.class_groups:
        raise ValueError(
            f"{data.name} does not tell the group of each class and the drawer of each picture "
            "(class_groups and domains); Omniglot does."
        )
    if not len(data.class_groups) == len(data.class_names) or len(data.domains) != len(data):
        raise ValueError(
            f"{data.name} must have one group for each of its {len(data.class_names)} classes and one drawer for each "
            f"of its {len(data)} pictures, but has {len(data.class_groups)} and {len(data.domains)}."
        )
    drawers, drawer = data.domains.unique(return_inverse=True)
    if len(drawers) < 2:
        raise ValueError(f"{data.name} has a single drawer; support and queries need one each.")
    cells = data.labels * len(drawers) + drawer
    shape = len(data.class_names), len(drawers)
    drawn = cells.bincount(minlength=shape[0] * shape[1]).view(shape)
    if (drawn != 1).any():
        c, d = (drawn != 1).nonzero()[0].tolist()
        raise ValueError(
            "Each class must have one picture by each drawer, numbered alike in all groups, "
            f"but {data.class_names[c]} has {drawn[c, d]} by drawer {drawers[d]}."
        )
    return cells.argsort().view(shape).numpy()


def _random(seed: int, index: int) -> np.random.Generator:
    """The random stream of one episode.

    The generator is counter-based: each episode number starts its own stream, with nothing to run through first.
    """
    if seed < 0:
        raise ValueError(f"A seed must be 0 or more, but is {seed}.")
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index]))


def check_episodes(episodes: Episode, labels: Tensor) -> None:
    """Raise unless a stack of episodes keeps what :class:`EpisodeSampler` promises, whoever drew it.

    Args:
        episodes: a stack along one axis.
        labels: the class of every example of the data set, (n,).

    Raises:
        ValueError: if the shapes are not those of a stack, an index is not one of the data set's, an example stands
            in the place of another class, or a class or an example comes twice in an episode.
    """
    classes, sides = episodes.classes, (episodes.support, episodes.query)
    if classes.ndim != 2 or not all(
        side.numel()
        and side.ndim == 2
        and len(side) == len(classes)
        and side.shape[1] % episodes.way == 0
        for side in sides
    ):
        raise ValueError(
            "A stack of episodes has classes (episodes, way), support (episodes, way · shot) and query "
            "(episodes, way · queries), but the shapes here are "
            f"{', '.join(str(tuple(part.shape)) for part in (classes, *sides))}."
        )
    examples = torch.cat([side.unflatten(1, (episodes.way, -1)) for side in sides], -1)
    if examples.min() < 0 or examples.max() >= len(labels):
        raise ValueError(
            f"The episodes hold the examples {examples.min()} to {examples.max()}, "
            f"but the data set has 0 to {len(labels) - 1}."
        )
    for wrong, what in (
        (labels[examples] != classes[..., None], "has an example in the place of another class"),
        (_repeated(classes), "draws a class twice"),
        (_repeated(examples), "uses an example twice"),
    ):
        if wrong.any():
            raise ValueError(f"Episode {wrong.nonzero()[0, 0].item()} {what}.")


def _repeated(numbers: Tensor) -> Tensor:
    """Where a number comes again along the last axis, in sorted order."""
    return numbers.sort(-1).values.diff(dim=-1) == 0


def save(episodes: Episode | EpisodeSampler, path: str | Path, data: ImageSet) -> None:
    """Store episodes in a file that any program with NumPy can read.

    It is an ``.npz`` with the arrays ``classes``, ``support`` and ``query`` of :class:`Episode`, and ``about``, a
    JSON text that says which data set they are of and how many there are of what kind.

    Args:
        episodes: a sampler, whose seed is noted too, or a stack.
        path: by custom ending in ``.npz``. An interrupted write leaves the old file as it was.
        data: the data set that the indices are of.

    Raises:
        ValueError: if the episodes are not well-formed; see :func:`check_episodes`.

    Example:
        >>> from fslib import data, episodes
        >>> test = data.load("glyphs", "test")
        >>> episodes.save(EpisodeSampler(test, way=5, shot=1, query=15, episodes=100), "test.npz", test)
        >>> len(episodes.load("test.npz", test))
        100
    """
    stack = episodes if isinstance(episodes, Episode) else episodes[:]
    check_episodes(stack, data.labels)
    about = _identity(data) | dict(
        way=stack.way,
        shot=stack.shot,
        query=stack.queries,
        episodes=len(stack),
        seed=getattr(episodes, "seed", None),
    )
    arrays = {name: array.numpy().astype(np.int32) for name, array in vars(stack).items()}
    with files.atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=json.dumps(about), **arrays)


def load(path: str | Path, data: ImageSet) -> Episode:
    """The stack of episodes that :func:`save` stored.

    Args:
        path: of the file.
        data: the data set that they are of; the same images in the same order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no episodes, or those of other data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of episodes {path}.")
    try:
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            was = {key: about[key] for key in ("data", "images", "digest")}
            arrays = [stored[name].astype(np.int64) for name in ("classes", "support", "query")]
    except (ValueError, LookupError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is not a file that fslib.episodes.save has written, or it is damaged."
        ) from error
    if was != _identity(data):
        told = "{data}, {images} images, digest {digest}".format_map
        raise ValueError(
            f"{path} holds episodes of other data: of {told(was)}; this is {told(_identity(data))}."
        )
    return Episode(*map(torch.from_numpy, arrays))


def _identity(data: ImageSet) -> dict[str, Any]:
    """What tells a data set from others."""
    return dict(data=data.name, images=len(data), digest=data.digest)
