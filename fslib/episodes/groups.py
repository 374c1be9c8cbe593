"""Episodes within a writing system, from one writer to another."""

from __future__ import annotations

import numpy as np
import torch

from fslib.config import whole
from fslib.data import ImageSet
from fslib.episodes.episode import Episode
from fslib.episodes.sampler import numbered_groups, random_of


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
    group_of = numbered_groups(data.class_groups, len(data.class_names))
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
        random = random_of(seed, i)
        classes[i] = random.choice(groups[i % len(groups)], way, replace=False)
        writers[:, i, 0] = random.choice(pictures.shape[1], 2, replace=False)
    support, query = pictures[classes, writers]
    return Episode(*map(torch.from_numpy, (classes, support, query)))


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
