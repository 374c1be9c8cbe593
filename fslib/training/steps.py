"""What one step of training lowers. A new technique is a new step: :func:`fslib.training.fit` stays as it is.

A step is anything with one method, ``step(model, batch) → loss``. If it is a module too, its weights are trained
beside the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from fslib import losses, mining, objectives
from fslib.devices import autocast, upload
from fslib.episodes import Episode
from fslib.methods import FewShotClassifier

Loss = Callable[[Tensor, Tensor], Tensor]
Mining = Literal["hard", "semi-hard"]


@dataclass
class Batch:
    """What a step sees: the images of one episode, and what is known of them.

    Attributes:
        images: network input, augmented, support first, (n, c, h, w).
        labels: the class of each image in the data set, (n,), on the CPU.
        episode: which images these are; its labels are those of the episode, on the CPU.
        bfloat16: whether networks run in bfloat16.
        embeddings: of the images, (n, d), once they are embedded.
        scores: of the queries, (queries, way), if the step has them; else the loop compares for the history.
    """

    images: Tensor
    labels: Tensor
    episode: Episode
    bfloat16: bool = False
    embeddings: Tensor | None = None
    scores: Tensor | None = None

    def embed(self, model: FewShotClassifier) -> Tensor:
        """Embeddings of the images, in float32 or better, in whatever precision the network runs."""
        images = self.images
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(images.device, self.bfloat16):
            embeddings = model.embed(images)
        self.embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        return self.embeddings

    def sides(self, model: FewShotClassifier) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of the support set, its labels, and embeddings of the queries, as a method compares them."""
        embeddings = self.embed(model) if self.embeddings is None else self.embeddings
        support, query = embeddings.split([len(self.episode.support), len(self.episode.query)])
        return support, self.episode.support_labels, query

    def comparing(self, model: FewShotClassifier) -> torch.autocast:
        """A context for comparing: in bfloat16 only what compares by a network."""
        return autocast(self.images.device, self.bfloat16 and model.compares_by_network)


class Step(Protocol):
    """What :func:`fslib.training.fit` asks of a step."""

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of a batch, with a gradient."""


class Episodic:
    """The method's own loss: how well the queries are told by the support set."""

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the queries of the episode."""
        support, labels, query = batch.sides(model)
        with batch.comparing(model):
            loss, scores = model.episode_loss(support, labels, query, batch.episode.query_labels)
        batch.scores = scores.detach()
        return loss


class OnBatch(nn.Module):
    """A loss on the embeddings of the whole batch and their classes; which image is support or query plays no part.

    Args:
        loss: any of :mod:`fslib.losses` or :mod:`fslib.objectives`, or a function of embeddings (n, d) and labels (n,).
            Weights of its own, as ArcFace has, are trained. Those that take tuples get them from the batch: all pairs
            for :class:`~fslib.losses.ContrastiveLoss`, and for :class:`~fslib.losses.NPairLoss` and
            :class:`~fslib.losses.NTXentLoss` the first two images of each class.
        mining: of triplets for :class:`~fslib.losses.TripletLoss`: ``"hard"``, the farthest positive and the nearest
            negative of each anchor, or ``"semi-hard"``, of each pair the nearest negative beyond the positive.
    """

    def __init__(self, loss: Loss, mining: Mining = "hard"):
        super().__init__()
        if not callable(loss):
            raise ValueError(
                f"A loss is called with embeddings and labels, but this is a {type(loss).__name__}."
            )
        if mining not in ("hard", "semi-hard"):
            raise ValueError(f'mining must be "hard" or "semi-hard", but is {mining!r}.')
        self.loss, self.mining = loss, mining

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the batch."""
        embeddings = batch.embed(model)
        if isinstance(self.loss, losses.TripletLoss):
            return objectives.mined_triplets(embeddings, batch.labels, self.loss, self.mining)
        if isinstance(self.loss, losses.ContrastiveLoss):
            first, second, same = _uploaded(mining.all_pairs(batch.labels), embeddings.device)
            return self.loss(embeddings[first], embeddings[second], same)
        if isinstance(self.loss, losses.NPairLoss | losses.NTXentLoss):
            first, second = _uploaded(_two_of_each(batch.labels), embeddings.device)
            return self.loss(embeddings[first], embeddings[second])
        return self.loss(embeddings, upload(batch.labels, embeddings.device))


def as_step(step: Any) -> Step:
    """A step as it is; a loss as a step on the batch; ``None`` as the method's own."""
    if step is None:
        return Episodic()
    return step if hasattr(step, "step") else OnBatch(step)


def _two_of_each(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the first and of the second image of each class that has two."""
    order = labels.argsort(stable=True)
    sizes = labels.unique(return_counts=True)[1]
    first = (sizes.cumsum(0) - sizes)[sizes > 1]
    return order[first], order[first + 1]


def _uploaded(parts: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    return tuple(upload(part, device) for part in parts)
