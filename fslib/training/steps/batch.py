"""What a step is, and what it sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fslib.devices import autocast
from fslib.episodes import Episode
from fslib.methods import FewShotClassifier

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Batch:
    """What a step sees: the images of one episode, and what is known of them.

    Attributes:
        images: network input, augmented, support first, (n, c, h, w).
        labels: the class of each image in the data set, (n,), on the CPU.
        episode: which images these are; its labels are those of the episode, on the CPU.
        bfloat16: whether networks run in bfloat16.
        embeddings: of the images, (n, d), once they are embedded.
        scores: of the queries, (queries, way), once they are compared, with their gradient.
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

    def compare(self, model: FewShotClassifier) -> Tensor:
        """Scores of the queries, (queries, way); those that there are, if they have been compared."""
        if self.scores is None:
            support, labels, query = self.sides(model)
            with self.comparing(model):
                self.scores = model.compare(support, labels, query)
        return self.scores

    def comparing(self, model: FewShotClassifier) -> torch.autocast:
        """A context for comparing: in bfloat16 only what compares by a network."""
        return autocast(self.images.device, self.bfloat16 and model.compares_by_network)


class Step(Protocol):
    """What :func:`fslib.training.fit` asks of a step."""

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of a batch, with a gradient."""
