"""Episodes whose two sides are of two domains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fslib.config import whole
from fslib.data import ImageSet
from fslib.episodes.episode import Episode
from fslib.episodes.sampler import random_of
from fslib.labels import as_labels


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
        random = random_of(seed, i)
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
