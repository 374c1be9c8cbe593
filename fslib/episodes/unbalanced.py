"""Episodes in which some classes have more queries than others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fslib.config import whole
from fslib.episodes.episode import Episode
from fslib.episodes.sampler import EpisodeSampler, random_of
from fslib.labels import as_labels

_TRIES = 1000


@dataclass(frozen=True, eq=False)
class UnbalancedEpisode(Episode):
    """An episode, or a stack of them, in which some classes have more queries than others.

    Queries are grouped by class still. ``n_query`` is the mean over classes.

    Attributes:
        counts: how many queries each class has, perhaps none, shape (..., way).
    """

    counts: Tensor

    _SHAPES: ClassVar[str] = f"{Episode._SHAPES}, and counts (episodes, way) that add up to the queries"

    @property
    def query_labels(self) -> Tensor:
        """The classes of the queries within the episode, 0 … way − 1, (..., queries), others in each episode."""
        places = torch.arange(self.query.shape[-1], device=self.query.device)
        return torch.searchsorted(self.counts.cumsum(-1), places.expand_as(self.query).contiguous(), right=True)

    @property
    def _is_stack(self) -> bool:
        return (
            super()._is_stack
            and self.counts.shape == self.classes.shape
            and bool((self.counts >= 0).all())
            and bool((self.counts.sum(1) == self.query.shape[1]).all())
        )


def unbalanced(
    data: Any,
    way: int = 5,
    shot: int = 1,
    query: int = 5,
    concentration: float = 2.0,
    episodes: int = 1000,
    seed: int = 0,
) -> UnbalancedEpisode:
    """Episodes in which the shares of the classes among the queries are drawn from a Dirichlet distribution.

    A method that sees all queries together may count on equal shares, and lose where they are not (Veilleux, Boudiaf,
    Piantanida and Ben Ayed, *Realistic Evaluation of Transductive Few-Shot Learning*, 2021). All episodes have
    ``way · query`` queries. The higher the concentration, the more equal the shares; at 1 all are as likely.

    The rule: plain episodes of that seed, with as many queries as the smallest class has beside its support; of each
    class the first few stay. Their numbers are the shares times ``way · query``, rounded down, and the rest goes to the
    largest remainders. Shares by which a class would have to give more queries than it has are drawn again: with few
    images in a class, as 20, a low ``query`` changes the distribution least.

    Args:
        data: with an attribute ``labels``, or the class of every example, (n,).
        way: classes in an episode, N.
        shot: support examples of each class, K.
        query: query examples of a class, on average.
        concentration: a, the same for all classes; the paper's is 2.
        episodes: how many.
        seed: the same seed gives the same episodes.

    Returns:
        A stack of episodes.

    Raises:
        ValueError: if there are too few classes or examples, or a number makes no sense.

    Example:
        >>> stack = unbalanced(torch.arange(10).repeat(20), way=5, query=4, episodes=100)
        >>> stack.query.shape, stack.counts.sum(1).unique()
        (torch.Size([100, 20]), tensor([20]))
    """
    if isinstance(concentration, bool | str) or not 0 < concentration < np.inf:  # so that NaN is refused too
        raise ValueError(f"The concentration must be above zero and finite, but is {concentration!r}.")
    labels = as_labels(getattr(data, "labels", data)).cpu()
    EpisodeSampler(labels, way, shot, query, episodes, seed)  # which refuses what makes no sense
    most = int(labels.unique(return_counts=True)[1].min()) - whole("shot", shot)
    plain = EpisodeSampler(labels, way, shot, most, episodes, seed)[:]
    counts = torch.stack(
        [_counts(random_of(seed, i, stream=1), way, way * query, most, concentration) for i in range(episodes)]
    )
    stays = torch.arange(most) < counts[..., None]
    queries = plain.query.unflatten(-1, (way, most))[stays].unflatten(0, (episodes, way * query))
    return UnbalancedEpisode(plain.classes, plain.support, queries, counts)


def _counts(random: np.random.Generator, way: int, total: int, most: int, concentration: float) -> Tensor:
    """How many of all queries each class has, none more than ``most``, (way,)."""
    for _ in range(_TRIES):
        shares = total * random.dirichlet([concentration] * way)
        counts = np.floor(shares).astype(np.int64)
        largest = (counts - shares).argsort(kind="stable")[: total - counts.sum()]
        counts[largest] += 1
        if counts.max() <= most:
            return torch.from_numpy(counts)
    raise ValueError(
        f"Of {_TRIES} draws of shares with concentration {concentration} none gives each of {way} classes at most "
        f"{most} of {total} queries, which is what the smallest class has; lower query, or raise the concentration."
    )
