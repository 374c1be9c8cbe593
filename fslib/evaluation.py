"""Measure a model on thousands of episodes, and say how sure the figure is.

Run as a command::

    python -m fslib.evaluation results/omniglot/prototypical-seed0.safetensors --data omniglot --way 20
    python -m fslib.evaluation prototypical                       # what a network does without training
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from fslib import data as data_sets
from fslib import storage
from fslib.backbones import Conv4
from fslib.data import ImageSet
from fslib.devices import default_device, evaluation_mode, kept_memory, place
from fslib.episodes import Episode, EpisodeSampler, check_episodes
from fslib.methods import FewShotClassifier, MatchingNetwork, PrototypicalNetwork
from fslib.methods.base import check_finite
from fslib.metrics import Metric, squared_euclidean

# For one chunk of episodes; more is slower, for memory that is new must be cleared.
CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class OverEpisodes:
    """A quantity measured in each episode, its mean, and how sure that is.

    Attributes:
        per_episode: its value in each episode, (episodes,).
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


@dataclass(frozen=True)
class Accuracy(OverEpisodes):
    """Accuracy over episodes: in each, the fraction of its queries that were right.

    Mean and interval are those of :class:`OverEpisodes`. Subtract two that were measured on the same episodes, and
    their difference is paired, episode by episode.

    Example:
        >>> Accuracy(torch.tensor([0.6, 0.9, 0.7])) - Accuracy(torch.tensor([0.5, 0.8, 0.5]))
        +13.33 ± 14.34 points (3 paired episodes)
    """

    def __sub__(self, other: Accuracy) -> Difference:
        if len(self.per_episode) != len(other.per_episode):
            raise ValueError(
                "Accuracies are subtracted episode by episode, but these are of "
                f"{len(self.per_episode):,} and {len(other.per_episode):,} episodes."
            )
        return Difference(self.per_episode - other.per_episode)

    def __str__(self) -> str:
        return (
            f"{100 * self.mean:.2f} % ± {100 * self.ci95:.2f} ({len(self.per_episode):,} episodes)"
        )

    __repr__ = __str__


@dataclass(frozen=True)
class Difference(OverEpisodes):
    """What one model is better than another by, in accuracy, on the same episodes.

    An episode that is hard for one model is mostly hard for the other. Their difference leaves that out, and so its
    interval is narrower than those of the two accuracies.
    """

    def __str__(self) -> str:
        return (
            f"{100 * self.mean:+.2f} ± {100 * self.ci95:.2f} points "
            f"({len(self.per_episode):,} paired episodes)"
        )

    __repr__ = __str__


class Comparison(dict[str, Accuracy]):
    """Accuracies of several models on the same episodes, by name; the first is what the others are held against.

    It prints as a table. For any other pair, subtract: ``comparison["votes"] - comparison["means"]``.
    """

    @property
    def differences(self) -> dict[str, Difference]:
        """Each model but the first, less the first."""
        (_, first), *others = self.items()
        return {name: accuracy - first for name, accuracy in others}

    def __str__(self) -> str:
        first = next(iter(self))
        rows = {**self, **{f"{name} − {first}": d for name, d in self.differences.items()}}
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())

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
    episodes: int | Episode | EpisodeSampler = 10_000,
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
        episodes: how many to draw; more make the interval narrower, by the square root. Or a stack of that kind,
            drawn already, as :func:`fslib.episodes.load` gives it, or a sampler of them.
        seed: the same seed gives the same episodes, to this model or another.
        device: default, a GPU if there is one.
        embeddings: what :func:`embed_all` gave for this model and data, to measure more than once; default, embed.
        chunk: episodes compared at once; default, as many as fit into some 32 MB.
        progress: show a bar.

    Returns:
        The accuracies, their mean and its 95 % interval.

    Raises:
        ValueError: if the data has too few classes or examples, a stack of episodes does not fit the data or is of
            another kind, or an embedding is missing, NaN or infinite.

    Example:
        >>> from fslib import backbones, data, methods
        >>> model = methods.PrototypicalNetwork(backbones.Conv4())
        >>> print(evaluate(model, data.load("glyphs", "test"), episodes=1000))     # doctest: +SKIP
        51.60 % ± 0.55 (1,000 episodes)
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, but is {chunk}.")
    drawn: Episode | EpisodeSampler
    if isinstance(episodes, EpisodeSampler):
        episodes = episodes[:]
    if isinstance(episodes, Episode):
        _check_stack(episodes, data, way, shot, query)
        drawn = episodes
    else:
        drawn = EpisodeSampler(data, way, shot, query, episodes, seed)
    if embeddings is None:
        embeddings = embed_all(model, data, device)
    check_finite(embeddings)
    if len(embeddings) != len(data):
        raise ValueError(
            f"There must be one embedding for each of the {len(data)} images, but there are {len(embeddings)}."
        )
    chunk = chunk or _chunk(model, way, shot, query, embeddings.shape[1:].numel())
    # All at once: small pieces would lie scattered in freed memory.
    accuracies = torch.empty(len(drawn))
    with evaluation_mode(model), torch.inference_mode():
        for start in tqdm(range(0, len(drawn), chunk), disable=not progress):
            stack = drawn[start : start + chunk]
            labels, targets = (
                part.to(embeddings.device) for part in (stack.support_labels, stack.query_labels)
            )
            scores = model.compare(embeddings[stack.support], labels, embeddings[stack.query])
            accuracies[start : start + chunk] = (scores.argmax(-1) == targets).float().mean(-1)
    return Accuracy(accuracies)


def compare(
    models: Mapping[str, FewShotClassifier],
    data: ImageSet,
    *,
    embeddings: Tensor | Mapping[str, Tensor] | None = None,
    **task: Any,
) -> Comparison:
    """Accuracies of several models on the very same episodes, and their paired differences.

    Args:
        models: by name, the one to hold the others against first.
        data: images of classes that no model was trained on.
        embeddings: of all images by :func:`embed_all`, where they are there already: one tensor if all models embed
            alike, else by name.
        task: ``way``, ``shot``, ``query``, ``episodes``, ``seed`` and what else :func:`evaluate` takes.

    Returns:
        The accuracies, and the differences to the first, each with its 95 % interval.

    Raises:
        ValueError: on fewer than two models, embeddings of a model that is not among them, or whatever
            :func:`evaluate` refuses.

    Example:
        >>> from fslib import backbones, data, methods
        >>> network, test = backbones.Conv4(), data.load("glyphs", "test")
        >>> models = {"means": methods.PrototypicalNetwork(network), "votes": methods.MatchingNetwork(network)}
        >>> space = embed_all(models["means"], test)     # doctest: +SKIP
        >>> compare(models, test, shot=5, episodes=1000, embeddings=space)     # doctest: +SKIP
        means          58.95 % ± 0.59 (1,000 episodes)
        votes          59.66 % ± 0.59 (1,000 episodes)
        votes − means  +0.71 ± 0.37 points (1,000 paired episodes)
    """
    if not isinstance(models, Mapping) or len(models) < 2:
        raise ValueError(
            'A comparison needs two models or more, with names: compare({"one": …, "other": …}, …).'
        )
    if not isinstance(embeddings, Mapping):
        embeddings = {} if embeddings is None else dict.fromkeys(models, embeddings)
    if unknown := embeddings.keys() - models.keys():
        raise ValueError(
            f"There are embeddings of {min(unknown)!r}, but the models are {', '.join(models)}."
        )
    return Comparison(
        (name, evaluate(model, data, embeddings=embeddings.get(name), **task))
        for name, model in models.items()
    )


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


def _check_stack(episodes: Episode, data: ImageSet, way: int, shot: int, query: int) -> None:
    """Raise unless a stack of episodes is of that kind and fits the data."""
    check_episodes(episodes, data.labels)
    if (episodes.way, episodes.shot, episodes.queries) != (way, shot, query):
        raise ValueError(
            f"These episodes have way={episodes.way}, shot={episodes.shot} and query={episodes.queries}, "
            f"but way={way}, shot={shot} and query={query} are asked for."
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fslib.evaluation",
        description="Measure a classifier on classes it has not seen.",
    )
    parser.add_argument(
        "model",
        help="a file that fslib.save has written; or prototypical or matching, for an untrained Conv-4",
    )
    parser.add_argument(
        "--data", default="glyphs", help="glyphs or omniglot (default: %(default)s)"
    )
    parser.add_argument("--split", default="test", help="of the data (default: %(default)s)")
    for name, default in (
        ("way", 5),
        ("shot", 1),
        ("query", 15),
        ("episodes", 10_000),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help="(default: %(default)s)")
    chosen = vars(parser.parse_args(arguments))
    model, name, split = (chosen.pop(key) for key in ("model", "data", "split"))
    try:
        images = data_sets.load(name, split)
        accuracy = evaluate(_classifier(model), images, **chosen)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    print(f"{images.name}, {chosen['way']}-way {chosen['shot']}-shot: {accuracy}")


def _classifier(model: str) -> FewShotClassifier:
    """From a file, or an untrained one by the name of its method."""
    if model == "relation":
        raise ValueError(
            "An untrained relation module only guesses; give the file of a trained Relation Network."
        )
    untrained = {"prototypical": PrototypicalNetwork, "matching": MatchingNetwork}
    if model in untrained:
        torch.manual_seed(0)
        return untrained[model](Conv4())
    return storage.load(model)


if __name__ == "__main__":
    main()
