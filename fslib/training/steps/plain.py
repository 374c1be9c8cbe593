"""The two plain steps: the method's own loss on the queries, and any loss on the whole batch."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fslib import losses, mining, objectives
from fslib.devices import upload
from fslib.methods import FewShotClassifier
from fslib.training.steps.batch import Batch, Loss, Step

Mining = Literal["hard", "semi-hard"]


class Episodic:
    """The method's own loss: how well the queries are told by the support set."""

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the queries of the episode."""
        support, labels, query = batch.sides(model)
        with batch.comparing(model):
            loss, scores = model.episode_loss(support, labels, query, batch.episode.query_labels)
        batch.scores = scores
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


def innermost(step: Any) -> Any:
    """The plain step within steps that wrap another."""
    while hasattr(step, "wrapped"):
        step = step.wrapped
    return step


def _two_of_each(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the first and of the second image of each class that has two."""
    order = labels.argsort(stable=True)
    sizes = labels.unique(return_counts=True)[1]
    first = (sizes.cumsum(0) - sizes)[sizes > 1]
    return order[first], order[first + 1]


def _uploaded(parts: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    return tuple(upload(part, device) for part in parts)
