"""Episodes: small tasks drawn from a data set, by index, from a seed.

Episode number i of a sampler depends on the seed and on i alone. So an episode can be replayed without drawing
those before it, two models meet the very same episodes, and interrupted training goes on where it stopped.

Support and query go by these names everywhere:

==================================  ============================================
``shot``, ``query``                 arguments: how many examples of each class
``episode.support, episode.query``  which examples, as indices into the data set
``episode.shot, episode.n_query``   how many examples of each class they are
==================================  ============================================

Within one program, then, the seed is all there is to keep. Episodes that another program drew, or that another is to
meet, go through a file: :func:`save` and :func:`load`.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from fslib import files
from fslib.config import whole
from fslib.data import ImageSet
from fslib.labels import as_labels

# Of classes of up to so many examples, each example draws a number, and the smallest are taken. In larger ones the
# positions are drawn, which costs the same however large a class is. Another value here gives other episodes.
_KEYS = 8192


@dataclass(frozen=True, eq=False)
class Episode:
    """One N-way K-shot task, or a stack of them along leading axes, as indices into a data set.

    A stack has a length, gives its episodes one after the other, and an index or a slice takes from it along the first
    axis. A single episode gives the indices of its examples, support first, as a ``DataLoader`` wants of a batch.

    Attributes:
        classes: the labels, in the data set, of the classes drawn, shape (..., way).
        support: indices of the support examples, grouped by class, shape (..., way · shot).
        query: indices of the query examples, grouped by class, shape (..., way · n_query).
    """

    classes: Tensor
    support: Tensor
    query: Tensor

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

    @property
    def _single(self) -> bool:
        return self.classes.ndim == 1

    def __len__(self) -> int:
        """Number of episodes of a stack; of a single episode, the number of its examples."""
        return len(self.support) + len(self.query) if self._single else len(self.classes)

    def __iter__(self) -> Iterator:
        """The episodes of a stack; of a single episode, the indices of its examples, support first."""
        if self._single:
            return iter(torch.cat([self.support, self.query]).tolist())
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Episode:
        """An episode of a stack; for a slice or several indices, a stack."""
        if self._single:
            raise TypeError(
                "This is a single episode, of which there is no part by number; "
                "its parts are classes, support and query."
            )
        if isinstance(index, range):
            index = list(index)
        try:
            return Episode(self.classes[index], self.support[index], self.query[index])
        except IndexError as error:
            raise IndexError(
                f"Episode {index} was asked for, but the stack holds {len(self)}."
            ) from error

    def __eq__(self, other: object) -> bool:
        """Whether the other holds the same classes and examples in the same order."""
        if not isinstance(other, Episode):
            return NotImplemented
        return all(map(np.array_equal, self._arrays(), other._arrays()))

    def __hash__(self) -> int:
        return hash((self.support.shape, self._arrays()[1].tobytes()))

    def _arrays(self) -> list[np.ndarray]:
        """Classes, support and query in NumPy's arrays."""
        return [part.cpu().numpy().astype(np.int64) for part in vars(self).values()]


# A DataLoader over a sampler, with a batch_size, then stacks its episodes.
default_collate_fn_map[Episode] = lambda batch, **_: Episode(
    *(torch.stack(parts) for parts in zip(*(vars(episode).values() for episode in batch)))
)


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
        self._groups = None if groups is None else _groups(groups, len(self.classes))
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
        random = _random(self.seed, index)
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


def within_groups(data: ImageSet, way: int = 20, episodes: int = 2000, seed: int = 0) -> Episode:
    """One-shot episodes within a writing system, from one writer to another, in the manner of Lake et al. (2015).

    The classes of an episode are characters of one alphabet. One person drew the support, one picture of each, and
    another person drew the queries, one of each. Both are harder than classes and examples drawn from everywhere:
    characters of an alphabet resemble each other, and the two sides share no writer.

    The rule: groups take turns, in order of their names, so episode i is of group i mod (number of groups). From the
    seed and i come ``way`` different classes of that group, and then two different writers, all equally likely. These
    are other trials than the twenty of Lake et al., whose characters and writers are fixed, from ten alphabets.

    Args:
        data: with ``class_groups`` and ``domains``, and one picture of each class by each writer. Of Omniglot, load it
            with ``rotations=False``; else the turned alphabets take turns too.
        way: classes in an episode, N.
        episodes: how many.
        seed: the same seed gives the same episodes.

    Returns:
        A stack of episodes with one support and one query example of each class, for ``evaluate(…, query=1)``.

    Raises:
        ValueError: if a number is below 1, the data does not tell groups and writers, a group has fewer than ``way``
            classes, or a writer did not draw each class once.

    Example:
        >>> from fslib import data
        >>> test = data.load("omniglot", "test", protocol="lake", rotations=False)     # doctest: +SKIP
        >>> within_groups(test).query.shape     # doctest: +SKIP
        torch.Size([2000, 20])
    """
    way, episodes, seed = whole("way", way), whole("episodes", episodes), whole("A seed", seed, 0, 2**63)
    pictures = _by_writer(data)
    group_of = _groups(data.class_groups, len(data.class_names))
    groups = [np.flatnonzero(group_of == group) for group in np.unique(group_of)]
    smallest = min(groups, key=len)
    if way > len(smallest):
        raise ValueError(
            f"A {way}-way episode within a group needs {way} classes of each, "
            f"but {data.class_groups[smallest[0]]} has only {len(smallest)}."
        )
    classes = np.empty((episodes, way), dtype=np.int64)
    writers = np.empty((2, episodes, 1), dtype=np.int64)
    for i in range(episodes):
        random = _random(seed, i)
        classes[i] = random.choice(groups[i % len(groups)], way, replace=False)
        writers[:, i, 0] = random.choice(pictures.shape[1], 2, replace=False)
    support, query = pictures[classes, writers]
    return Episode(*map(torch.from_numpy, (classes, support, query)))


def across_domains(
    data: ImageSet,
    way: int = 20,
    shot: int = 1,
    query: int = 1,
    episodes: int = 2000,
    seed: int = 0,
    domains: Any = None,
    same: bool = False,
) -> Episode:
    """Episodes whose support is of one domain and whose queries are of another: one face, writer or camera each.

    What tells domains apart cannot help here, and may mislead. What a domain adds to all classes alike moves all
    queries alike, and changes few answers; what it does to each class alone draws queries to wrong ones.

    The rule: from the seed and i come two different domains, then ``way`` different classes of those that have
    ``shot`` examples in the first and ``query`` in the second, then these examples; all equally likely. Pairs of
    domains with too few such classes are never drawn.

    Args:
        data: with ``domains``, and classes that have examples in several of them.
        way: classes in an episode, N.
        shot: support examples of each class.
        query: query examples of each class.
        episodes: how many.
        seed: the same seed gives the same episodes.
        domains: the domain of each image, (n,), integers or names; default, that of the data.
        same: for comparison, draw the queries too from the domain of the support.

    Returns:
        A stack of episodes.

    Raises:
        ValueError: if a number is below 1, the data does not tell domains, or no two of them have ``way`` classes with
            enough examples.

    Example:
        >>> from fslib import data
        >>> from fslib.data import glyphs
        >>> test = glyphs.balanced(data.load("glyphs", "test"))
        >>> family = glyphs.attributes(test.domains)["family"]
        >>> stack = across_domains(test, way=5, shot=1, query=4, episodes=100, domains=family)
        >>> (family[stack.support][:, :1] == family[stack.query]).any()     # never of one family
        tensor(False)
    """
    way, shot, query, episodes = (
        whole(name, value)
        for name, value in dict(way=way, shot=shot, query=query, episodes=episodes).items()
    )
    seed = whole("A seed", seed, 0, 2**63)
    examples, starts, sizes = _by_domain(data, domains)
    pairs = _pairs_of_domains(data, sizes, way, shot, query, same)
    support = np.empty((episodes, way, shot), dtype=np.int64)
    queries = np.empty((episodes, way, query), dtype=np.int64)
    classes = np.empty((episodes, way), dtype=np.int64)
    for i in range(episodes):
        random = _random(seed, i)
        pair = pairs[random.integers(len(pairs))]
        enough = _have_enough(sizes, pair, shot, query)
        classes[i] = random.choice(np.flatnonzero(enough), way, replace=False)
        for row, c in enumerate(classes[i]):
            first, second = (starts[c, d] + random.permutation(sizes[c, d]) for d in pair)
            # In one domain, the queries are what the support leaves.
            support[i, row] = examples[first[:shot]]
            queries[i, row] = examples[first[shot:][:query] if same else second[:query]]
    return Episode(
        torch.from_numpy(classes),
        torch.from_numpy(support.reshape(episodes, -1)),
        torch.from_numpy(queries.reshape(episodes, -1)),
    )


def _by_domain(data: ImageSet, domains: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images in order of class and domain, (n,), where each class and domain starts there, and how many it has.

    The last two are (classes, domains).
    """
    domains = data.domains if domains is None else as_labels(domains).cpu()
    if domains is None:
        raise ValueError(f"{data.name} does not tell the domain of each image; give them as domains=.")
    if len(domains) != len(data):
        raise ValueError(
            f"There must be one domain for each of the {len(data)} images, but there are {len(domains)}."
        )
    known, numbers = domains.unique(return_inverse=True)
    cells = data.labels * len(known) + numbers
    shape = len(data.class_names), len(known)
    sizes = cells.bincount(minlength=shape[0] * shape[1]).numpy()
    return cells.argsort(stable=True).numpy(), (sizes.cumsum() - sizes).reshape(shape), sizes.reshape(shape)


def _pairs_of_domains(
    data: ImageSet, sizes: np.ndarray, way: int, shot: int, query: int, same: bool
) -> list[tuple[int, int]]:
    """The pairs of domains, support and query, for which ``way`` classes have enough examples."""
    known = range(sizes.shape[1])
    pairs = [(a, b) for a in known for b in known if (a == b) == same]
    counts = [_have_enough(sizes, pair, shot, query).sum() for pair in pairs]
    if max(counts, default=0) < way:
        of = "a domain" if same else "two domains"
        raise ValueError(
            f"A {way}-way episode with {shot} support and {query} query examples of {of} needs {way} classes that have "
            f"them, but {data.name} has at most {max(counts, default=0)}; lower way, shot or query."
        )
    return [pair for pair, count in zip(pairs, counts) if count >= way]


def _have_enough(sizes: np.ndarray, pair: tuple[int, int], shot: int, query: int) -> np.ndarray:
    """Which classes have the examples, by how many they have of each domain, (classes, domains)."""
    first, second = pair
    if first == second:
        return sizes[:, first] >= shot + query
    return (sizes[:, first] >= shot) & (sizes[:, second] >= query)


def _by_writer(data: ImageSet) -> np.ndarray:
    """The picture of each class by each writer, as indices into the data set, (classes, writers)."""
    if data.domains is None or not data.class_groups:
        raise ValueError(
            f"{data.name} does not tell the group of each class and the writer of each picture "
            "(class_groups and domains); Omniglot does."
        )
    writers, writer = data.domains.unique(return_inverse=True)
    if len(writers) < 2:
        raise ValueError(f"{data.name} has a single writer; support and queries need one each.")
    cells = data.labels * len(writers) + writer
    shape = len(data.class_names), len(writers)
    drawn = cells.bincount(minlength=shape[0] * shape[1]).view(shape)
    if (drawn != 1).any():
        c, d = (drawn != 1).nonzero()[0].tolist()
        raise ValueError(
            "Each class must have one picture by each writer, numbered alike in all groups, "
            f"but {data.class_names[c]} has {drawn[c, d]} by writer {writers[d]}."
        )
    return cells.argsort().view(shape).numpy()


def _random(seed: int, index: int) -> np.random.Generator:
    """The random stream of one episode.

    The generator is counter-based: each episode number starts its own stream, with nothing to run through first.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index]))


def _groups(groups: Any, classes: int) -> np.ndarray:
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
    parts = [part.cpu() for part in vars(episodes).values()]
    if fractions := [part.dtype for part in parts if part.is_floating_point() or part.is_complex()]:
        raise ValueError(f"Episodes are made of integers, but these are of {fractions[0]}.")
    classes, *sides = (part.long() for part in parts)
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
        ValueError: if these are no episodes, or not well-formed; see :func:`check_episodes`.

    Example:
        >>> from fslib import data, episodes
        >>> test = data.load("glyphs", "test")
        >>> episodes.save(EpisodeSampler(test, way=5, shot=1, query=15, episodes=100), "test.npz", test)
        >>> len(episodes.load("test.npz", test))
        100
    """
    if not isinstance(episodes, (Episode, EpisodeSampler)):
        raise ValueError(f"What is saved is a sampler or a stack of episodes, not {episodes!r}.")
    stack = episodes if isinstance(episodes, Episode) else episodes[:]
    check_episodes(stack, data.labels)
    about = _identity(data) | dict(
        way=stack.way,
        shot=stack.shot,
        query=stack.n_query,
        episodes=len(stack),
        seed=getattr(episodes, "seed", None),
    )
    arrays = {name: array.cpu().numpy().astype(np.int32) for name, array in vars(stack).items()}
    with files.atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=json.dumps(about), **arrays)


def load(path: str | Path, data: ImageSet) -> Episode:
    """The stack of episodes that :func:`save` stored.

    Args:
        path: of the file.
        data: the data set that they are of; the same images in the same order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no episodes, those of other data, or broken ones; see :func:`check_episodes`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file of episodes {path}.")
    try:
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            was = {key: about[key] for key in ("data", "images", "digest")}
            arrays = [stored[name] for name in ("classes", "support", "query")]
        if any(array.dtype.kind not in "iu" for array in arrays):
            raise ValueError("not integers")
        stack = Episode(*(torch.from_numpy(array.astype(np.int64)) for array in arrays))
    except PermissionError:  # names the file
        raise
    except Exception as error:  # zipfile, zlib, json, NumPy and Python each have their own
        raise ValueError(
            f"{path} is not a file that fslib.episodes.save has written, or it is damaged."
        ) from error
    if was != _identity(data):
        told = "{data}, {images} images, digest {digest}".format_map
        raise ValueError(
            f"{path} holds episodes of other data: of {told(was)}; this is {told(_identity(data))}."
        )
    try:
        check_episodes(stack, data.labels)
    except ValueError as error:
        raise ValueError(f"{path} holds broken episodes: {error}") from error
    return stack


def _identity(data: ImageSet) -> dict[str, Any]:
    """What tells a data set from others."""
    return dict(data=data.name, images=len(data), digest=data.digest)
