"""Episodes with an unlabelled set (Ren et al., *Meta-Learning for Semi-Supervised Few-Shot Classification*, 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fslib.config import whole
from fslib.episodes.episode import Episode
from fslib.episodes.sampler import EpisodeSampler


@dataclass(frozen=True, eq=False)
class SemiSupervisedEpisode(Episode):
    """An episode, or a stack of them, that has unlabelled examples beside support and queries.

    They are grouped by class, those of the episode's classes first, so that one can look up what they are; a method is
    given them without their labels.

    Attributes:
        distractors: the labels, in the data set, of further classes of which some unlabelled examples are, shape
            (..., distractors).
        unlabelled: indices of the unlabelled examples, as many of each class, shape
            (..., (way + distractors) · n_unlabelled).
    """

    distractors: Tensor
    unlabelled: Tensor

    _SHAPES: ClassVar[str] = (
        "classes (episodes, way), support (episodes, way · shot), query (episodes, way · queries), distractors "
        "(episodes, any number) and unlabelled (episodes, (way + distractors) · any number)"
    )

    @property
    def n_unlabelled(self) -> int:
        """Unlabelled examples of each class."""
        return self.unlabelled.shape[-1] // self._all_classes.shape[-1]

    @property
    def unlabelled_labels(self) -> Tensor:
        """Class of each unlabelled example within the episode, 0 … way − 1, and −1 for distractors.

        Shape ((way + distractors) · n_unlabelled,). It is for looking up, never for a method.
        """
        places = self._unlabelled_places
        return places.where(places < self.way, -1)

    @property
    def _unlabelled_places(self) -> Tensor:
        classes = torch.arange(self._all_classes.shape[-1], device=self.classes.device)
        return classes.repeat_interleave(self.n_unlabelled)

    @property
    def _sides(self) -> tuple[Tensor, ...]:
        return *super()._sides, self.unlabelled

    @property
    def _all_classes(self) -> Tensor:
        return torch.cat([self.classes, self.distractors], -1)

    @property
    def _places(self) -> Tensor:
        return torch.cat([super()._places, self._unlabelled_places.expand_as(self.unlabelled)], -1)

    @property
    def _is_stack(self) -> bool:
        others = self.distractors, self.unlabelled
        return (
            super()._is_stack
            and all(part.ndim == 2 and len(part) == len(self.classes) for part in others)
            and self.unlabelled.numel() > 0
            and self.unlabelled.shape[1] % self._all_classes.shape[1] == 0
        )


def with_unlabelled(
    data: Any,
    way: int = 5,
    shot: int = 1,
    query: int = 5,
    unlabelled: int = 5,
    distractors: int = 0,
    episodes: int = 1000,
    seed: int = 0,
) -> SemiSupervisedEpisode:
    """Episodes with an unlabelled set: as many examples of each class, and of each of some distractor classes.

    The rule: an episode is drawn by :class:`EpisodeSampler` with ``way + distractors`` classes and
    ``query + unlabelled`` queries of each, and :func:`hide_labels` takes the labels off. Without distractors, support
    and queries are those of the plain episode of that seed and number.

    Args:
        data: with an attribute ``labels``, or the class of every example, (n,).
        way: classes in an episode, N.
        shot: support examples of each class, K.
        query: query examples of each class.
        unlabelled: unlabelled examples of each class, of distractors too.
        distractors: classes of which there are unlabelled examples and nothing else.
        episodes: how many.
        seed: the same seed gives the same episodes.

    Returns:
        A stack of episodes.

    Raises:
        ValueError: if there are too few classes or examples, or a number is not a whole one.

    Example:
        >>> labels = torch.arange(10).repeat(20)
        >>> stack = with_unlabelled(labels, way=5, unlabelled=4, distractors=2, episodes=100)
        >>> stack.unlabelled.shape, stack.distractors.shape
        (torch.Size([100, 28]), torch.Size([100, 2]))
    """
    way, query, unlabelled = whole("way", way), whole("query", query), whole("unlabelled", unlabelled)
    distractors = whole("distractors", distractors, 0)
    try:
        sampler = EpisodeSampler(data, way + distractors, shot, query + unlabelled, episodes, seed)
    except ValueError as error:
        raise ValueError(
            f"{way} classes and {distractors} distractors, with {query} queries and {unlabelled} unlabelled examples "
            f"of each, are drawn as one episode of all these classes with all these for queries: {error}"
        ) from error
    return hide_labels(sampler[:], unlabelled, distractors)


def hide_labels(episodes: Episode, unlabelled: int, distractors: int = 0) -> SemiSupervisedEpisode:
    """Take the labels off some queries of plain episodes, and make distractors of some classes.

    The last ``distractors`` classes of an episode become distractors, whose support and queries are dropped. The last
    ``unlabelled`` queries of each class become the unlabelled set.

    Args:
        episodes: one, or a stack.
        unlabelled: how many queries of each class.
        distractors: how many classes.

    Raises:
        ValueError: if no class or no query would be left.

    Example:
        >>> plain = Episode(torch.tensor([7, 3]), torch.tensor([0, 10]), torch.tensor([1, 2, 3, 11, 12, 13]))
        >>> hidden = hide_labels(plain, unlabelled=2, distractors=1)
        >>> hidden.classes, hidden.query, hidden.distractors, hidden.unlabelled
        (tensor([7]), tensor([1]), tensor([3]), tensor([ 2,  3, 12, 13]))
    """
    unlabelled, distractors = whole("unlabelled", unlabelled), whole("distractors", distractors, 0)
    way, query = episodes.way - distractors, episodes.n_query - unlabelled
    if way < 1:
        raise ValueError(
            f"Of the {episodes.way} classes of an episode {distractors} are to be distractors, and none is left to "
            f"compare with; at most {episodes.way - 1} can be."
        )
    if query < 1:
        raise ValueError(
            f"Of the {episodes.n_query} queries of a class {unlabelled} are to be unlabelled, and none is left to ask; "
            f"at most {episodes.n_query - 1} can be."
        )
    queries = episodes.query.unflatten(-1, (episodes.way, -1))
    return SemiSupervisedEpisode(
        classes=episodes.classes[..., :way],
        support=episodes.support[..., : way * episodes.shot],
        query=queries[..., :way, :query].flatten(-2),
        distractors=episodes.classes[..., way:],
        unlabelled=queries[..., query:].flatten(-2),
    )
