"""A step on episodes in which each picture is a class."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fslib.config import whole
from fslib.episodes import Episode
from fslib.methods import FewShotClassifier
from fslib.training.steps.augmented import Augment, augmented, check_augment
from fslib.training.steps.batch import Batch


class ProtoTransfer:
    """The method's own loss in episodes without labels: each picture is a class, its augmented copies are the queries.

    With n pictures in a batch it is an n-way 1-shot episode, the support as it is (Medina, Devos and Grossglauser,
    *Self-Supervised Prototypical Transfer Learning for Few-Shot Classification*, 2020; with one query,
    Khodadadeh, Bölöni and Shah, *Unsupervised Meta-Learning for Few-Shot Image Classification*, 2019). Two pictures of
    one character count as two classes; so the batches should come from everywhere, by
    :func:`fslib.clustering.at_random`. Accuracies in the history are those of telling the copies.

    Args:
        augment: called on the pictures of the batch, once for each query, as that of
            :class:`~fslib.training.TwoViews`.
        queries: copies of each picture; the paper's are 3.
    """

    def __init__(self, augment: Augment, queries: int = 3):
        check_augment(augment)
        self.augment, self.queries = augment, whole("queries", queries)

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the copies, in the episode that the pictures make; it is the batch's afterwards."""
        pictures = torch.cat([batch.episode.support, batch.episode.query])
        copies = [augmented(batch.images, self.augment, None) for _ in range(self.queries)]
        episode = Episode(pictures, pictures, pictures.repeat_interleave(self.queries))
        together = replace(
            batch,
            images=torch.cat([batch.images, torch.stack(copies, 1).flatten(0, 1)]),
            episode=episode,
            embeddings=None,
        )
        support, labels, query = together.sides(model)
        with batch.comparing(model):
            loss, scores = model.episode_loss(support, labels, query, episode.query_labels)
        batch.episode, batch.scores = episode, scores
        return loss
