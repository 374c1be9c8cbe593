"""Measure a model on thousands of episodes, and say how sure the figure is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from fslib.data import ImageSet
from fslib.devices import default_device, evaluation_mode, kept_memory, place
from fslib.episodes import EpisodeSampler
from fslib.methods import FewShotClassifier
from fslib.methods.base import check_finite
from fslib.metrics import Metric, squared_euclidean

# For one chunk of episodes; more is slower, for memory that is new must be cleared.
CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over episodes.

    Attributes:
        per_episode: fraction of the queries that were right in each episode, (episodes,).
    """

    per_episode: Tensor

    @property
    def mean(self) -> float:
        """Mean over episodes."""
        return self.per_episode.double().mean().item()

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % interval of the mean over episodes; see :func:`ci95`."""
        return ci95(self.per_episode)

    def __str__(self) -> str:
        return (
            f"{100 * self.mean:.2f} % ± {100 * self.ci95:.2f} ({len(self.per_episode):,} episodes)"
        )

    __repr__ = __str__


def ci95(values: Tensor) -> float:
    """Half-width of the 95 % interval of a mean, t · σ / √n with Student's t, which is 1.96 for many values.

    Over episodes it covers their draw: which classes and which examples. It does not cover the luck of training,
    for which the model is trained again under other seeds.
    """
    n = len(values)
    if n < 2:
        return math.inf
    return student95(n - 1) * values.double().std().item() / math.sqrt(n)


def student95(freedom: int) -> float:
    """The 97.5 % point of Student's t with that many degrees of freedom."""
    if freedom <= 6:
        return (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469)[freedom - 1]
    z, f = 1.959964, freedom  # Abramowitz and Stegun, 1964, 26.7.5
    return (
        z
        + (z**3 + z) / (4 * f)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * f**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * f**3)
    )


def embed_all(
    model: FewShotClassifier,
    data: ImageSet,
    device: torch.device | str | None = None,
    batch: int = 512,
) -> Tensor:
    """Embed every image of a data set once, in evaluation mode and float32.

    Returns:
        Embeddings, (n, d), on the device.

    Raises:
        ValueError: if an embedding holds NaN or infinity.
    """
    device = torch.device(device or default_device())
    place(model, device)
    with evaluation_mode(model), kept_memory(), torch.inference_mode():
        parts = [
            model.embed(data.inputs(indices).to(device, memory_format=torch.channels_last))
            for indices in torch.arange(len(data)).split(batch)
        ]
        return check_finite(torch.cat(parts))


def evaluate(
    model: FewShotClassifier,
    data: ImageSet,
    *,
    way: int = 5,
    shot: int = 1,
    query: int = 15,
    episodes: int = 10_000,
    seed: int = 0,
    device: torch.device | str | None = None,
    embeddings: Tensor | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> Accuracy:
    """Accuracy of a model over random episodes.

    Every image is embedded once; then episodes are compared many at a time. The model is in evaluation mode, so
    the answer to one query does not depend on the others, and is put back into its former mode afterwards.

    Args:
        model: to measure.
        data: images of classes that the model was not trained on.
        way: classes in an episode.
        shot: support examples of each class.
        query: query examples of each class.
        episodes: more make the interval narrower, by the square root.
        seed: the same seed gives the same episodes, to this model or another.
        device: default, a GPU if there is one.
        embeddings: what :func:`embed_all` gave for this model and data, to measure more than once; default, embed.
        chunk: episodes compared at once; default, as many as fit into some 32 MB.
        progress: show a bar.

    Returns:
        The accuracies, their mean and its 95 % interval.

    Example:
        >>> from fslib import backbones, data, methods
        >>> model = methods.PrototypicalNetwork(backbones.Conv4())
        >>> print(evaluate(model, data.load("glyphs", "test"), episodes=1000))     # doctest: +SKIP
        51.60 % ± 0.55 (1,000 episodes)
    """
    sampler = EpisodeSampler(data, way, shot, query, episodes, seed)
    if embeddings is None:
        embeddings = embed_all(model, data, device)
    chunk = chunk or _chunk(model, way, shot, query, embeddings.shape[1:].numel())
    accuracies = torch.empty(episodes)  # at once: small pieces would lie scattered in freed memory
    with evaluation_mode(model), torch.inference_mode():
        for start in tqdm(range(0, episodes, chunk), disable=not progress):
            stack = sampler[start : start + chunk]
            labels, targets = (
                part.to(embeddings.device) for part in (stack.support_labels, stack.query_labels)
            )
            scores = model.compare(embeddings[stack.support], labels, embeddings[stack.query])
            accuracies[start : start + chunk] = (scores.argmax(-1) == targets).float().mean(-1)
    return Accuracy(accuracies)


def recall_at_1(embeddings: Tensor, labels: Tensor, metric: Metric = squared_euclidean) -> Accuracy:
    """How often the nearest other image is of one's own class, the measure of retrieval (Oh Song et al., 2016).

    Args:
        embeddings: of all images, (n, d).
        labels: their classes, (n,).
        metric: a distance of :mod:`fslib.metrics`.

    Returns:
        The fraction in each class, in the place of episodes, with its mean and 95 % interval over classes.
    """
    labels = labels.to(embeddings.device)
    found = []
    for rows in torch.arange(len(labels), device=embeddings.device).split(512):
        distances = metric(embeddings[rows], embeddings)
        distances[torch.arange(len(rows)), rows] = torch.inf  # oneself
        found.append(labels[distances.argmin(1)] == labels[rows])
    right = torch.cat(found).float()
    return Accuracy(torch.stack([right[labels == c].mean() for c in labels.unique()]).cpu())


def _chunk(model: FewShotClassifier, way: int, shot: int, query: int, dim: int) -> int:
    """Episodes that fit into :data:`CHUNK_BYTES`."""
    return max(1, CHUNK_BYTES // (4 * model.workspace(way, shot, query, dim)))
