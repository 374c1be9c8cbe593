"""A step on episodes of which a part has lost its labels."""

from __future__ import annotations

import torch
from torch import Tensor

from fslib.config import whole
from fslib.devices import upload
from fslib.episodes import Episode, hide_labels
from fslib.methods import FewShotClassifier
from fslib.training.steps.batch import Batch


class SemiSupervised:
    """The loss of the queries, told by a support set and an unlabelled set (Ren et al., 2018).

    Of the episodes that :func:`fslib.training.fit` draws, :func:`fslib.episodes.hide_labels` takes the labels off some
    queries of each class, and makes distractors of some classes. So ``fit(…, way=10, query=10)`` with
    ``SemiSupervised(5, distractors=5)`` trains on 5-way episodes with 5 queries of each class, and 50 unlabelled
    examples, half of them distractors.

    Args:
        unlabelled: how many queries of each class are made unlabelled.
        distractors: how many classes are made distractors.

    Raises:
        ValueError: in the step, if the model uses no unlabelled set, or no class or query would be left.
    """

    def __init__(self, unlabelled: int, distractors: int = 0):
        self.unlabelled = whole("unlabelled", unlabelled)
        self.distractors = whole("distractors", distractors, 0)

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the queries that are left; they, and the support set, are the episode of the batch afterwards."""
        if not model.uses_unlabelled:
            raise ValueError(
                f"{type(model).__name__} uses no unlabelled set; methods.SoftKMeans(network) is one that does."
            )
        images = torch.cat([batch.episode.support, batch.episode.query])
        places = _places(batch.episode)
        hidden = hide_labels(places, self.unlabelled, self.distractors)
        embeddings = batch.embed(model)
        support, query, unlabelled = (
            embeddings[upload(at, embeddings.device)] for at in (hidden.support, hidden.query, hidden.unlabelled)
        )
        batch.episode = Episode(batch.episode.classes[: hidden.way], images[hidden.support], images[hidden.query])
        with batch.comparing(model):
            batch.scores = model.compare(support, hidden.support_labels, query, **{"unlabelled": unlabelled})
            return model.loss(batch.scores, hidden.query_labels)


def _places(episode: Episode) -> Episode:
    """The episode with the places of its images in the batch instead of those in the data set."""
    support, query = torch.arange(len(episode)).split([len(episode.support), len(episode.query)])
    return Episode(episode.classes, support, query)
