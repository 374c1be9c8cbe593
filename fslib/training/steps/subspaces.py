"""A step that trains disjoint parts of the embedding each by labels of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fslib import losses
from fslib.config import whole
from fslib.devices import upload
from fslib.labels import as_labels
from fslib.methods import FewShotClassifier
from fslib.training.steps.batch import Batch, Loss

_OF_TUPLES = losses.ContrastiveLoss | losses.TripletLoss | losses.NPairLoss | losses.NTXentLoss


class Subspaces(nn.Module):
    """The mean of one loss over parts of the embedding: what a character is in one, what face it is in in another.

    Conditional similarity networks (Veit, Belongie and Karaletsos, 2017) compare images under several notions of
    similarity, each in the embedding times a mask. Here the masks are fixed and disjoint: each notion has coordinates
    of its own, side by side in the order given, and no label pulls at those of another.
    :class:`fslib.backbones.Coordinates` behind the trained network picks a part.

    Args:
        parts: by name, the labels and how many coordinates they train. Labels are those of all images of the data set,
            (n,), integers or names, or ``None`` for its classes.
        loss: of embeddings (m, d) and labels (m,), the same for every part.
        weights: by name, how much the loss of a part counts; 1 where nothing is said.

    Example:
        >>> from fslib import data
        >>> from fslib.data.glyphs import attributes, balanced
        >>> from fslib.losses import SupConLoss
        >>> train = balanced(data.load("glyphs", "train"))
        >>> family = attributes(train.domains)["family"]
        >>> step = Subspaces({"character": (None, 48), "family": (family, 16)}, SupConLoss())
        >>> step.coordinates["family"]     # for fit(model, train, step), and then Coordinates(48, 64)
        (48, 64)
    """

    def __init__(
        self, parts: Mapping[str, tuple[Any, int]], loss: Loss, weights: Mapping[str, float] | None = None
    ):
        super().__init__()
        if not isinstance(parts, Mapping) or len(parts) < 2:
            raise ValueError('Subspaces are two or more, with names: {"character": (None, 48), "family": (…, 16)}.')
        if not callable(loss) or isinstance(loss, _OF_TUPLES):
            raise ValueError(
                "The loss of subspaces is called with embeddings and labels, as SupConLoss() is, or triplet_hard of "
                f"fslib.objectives, but this is a {type(loss).__name__}."
            )
        self.loss = loss
        self.labels = {name: None if of is None else as_labels(of).cpu() for name, (of, _) in parts.items()}
        self.dims = {name: whole(f"The dimension of {name}", dim) for name, (_, dim) in parts.items()}
        self.weights = _weights(weights or {}, parts)

    @property
    def coordinates(self) -> dict[str, tuple[int, int]]:
        """The first coordinate of each part, and the one after its last."""
        ends = torch.tensor([*self.dims.values()]).cumsum(0).tolist()
        return {name: (end - dim, end) for (name, dim), end in zip(self.dims.items(), ends)}

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The mean of the losses of all parts of a batch, by their weights."""
        embeddings = batch.embed(model)
        if embeddings.shape[1] != sum(self.dims.values()):
            raise ValueError(
                f"Subspaces of {' + '.join(map(str, self.dims.values()))} coordinates make up embeddings of "
                f"{sum(self.dims.values())}, but these have {embeddings.shape[1]}."
            )
        parts = embeddings.split([*self.dims.values()], 1)
        costs = [
            self.weights[name] * self.loss(part, upload(self._of(name, batch), part.device))
            for name, part in zip(self.dims, parts)
        ]
        return torch.stack(costs).sum() / sum(self.weights.values())

    def _of(self, name: str, batch: Batch) -> Tensor:
        """What a part is trained to tell of each image of a batch."""
        labels = self.labels[name]
        if labels is None:
            return batch.labels
        drawn = torch.cat([batch.episode.support, batch.episode.query])
        if len(labels) <= drawn.max():
            raise ValueError(
                f"The labels of {name} are of {len(labels)} images, but image {drawn.max()} was drawn; give those of "
                "all images of the data set."
            )
        return labels[drawn]


def _weights(given: Mapping[str, float], parts: Mapping[str, Any]) -> dict[str, float]:
    """Of each part its weight."""
    for name, weight in given.items():
        if name not in parts:
            raise ValueError(f"A weight is given for {name!r}, but the subspaces are {', '.join(parts)}.")
        if not 0 <= weight < math.inf:
            raise ValueError(f"A weight is a number, 0 or more, but that of {name} is {weight}.")
    found = {name: float(given.get(name, 1.0)) for name in parts}
    if not sum(found.values()):
        raise ValueError("The weights of all subspaces are 0, so there is nothing to learn.")
    return found
