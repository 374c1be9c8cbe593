"""Measure a model on thousands of episodes, and say how sure the figure is.

Run as a command::

    python -m fslib.evaluation results/omniglot/prototypical-seed0.safetensors --data omniglot --way 20
    python -m fslib.evaluation prototypical                       # what a network does without training
"""

from __future__ import annotations

import argparse
import hashlib
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
from fslib.config import whole
from fslib.data import ImageSet
from fslib.deprecation import renamed_in
from fslib.devices import (
    borrowed,
    default_device,
    device_of,
    evaluation_mode,
    kept_memory,
    known_device,
    to_device,
    upload,
)
from fslib.episodes import Episode, EpisodeSampler, SemiSupervisedEpisode, check_episodes
from fslib.labels import as_labels
from fslib.methods import FewShotClassifier, MatchingNetwork, PrototypicalNetwork
from fslib.methods.base import check_finite
from fslib.metrics import Metric, expect, squared_euclidean

# For one chunk of episodes. On a CPU more is slower, for memory that is new must be cleared; a GPU wants work.
CHUNK_BYTES = 32 * 2**20
CHUNK_BYTES_ON_GPU = 2**30


@dataclass(frozen=True, eq=False)
class OverEpisodes:
    """A quantity measured in each episode, its mean, and how sure that is.

    Attributes:
        per_episode: its value in each episode, (episodes,).
        unit: what the values are of, if not of episodes; the interval is over these.
        transductive: whether the method saw the other queries of an episode when it answered one.
        drawn: a digest of the episodes, by which others of the same ones are known; ``None`` if nobody says.
        unlabelled: how many unlabelled examples the method saw in each episode.
    """

    per_episode: Tensor
    unit: str = "episodes"
    transductive: bool = False
    drawn: str | None = None
    unlabelled: int = 0

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.per_episode).cpu()
        if values.ndim != 1 or not len(values):
            raise ValueError(
                f"A result holds one value for each of some episodes, but got shape {tuple(values.shape)}."
            )
        object.__setattr__(self, "per_episode", values)

    @property
    def mean(self) -> float:
        """Mean over episodes."""
        return self.per_episode.double().mean().item()

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % interval of the mean over episodes; see :func:`ci95`."""
        return ci95(self.per_episode)

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and torch.equal(self.per_episode, other.per_episode)  # type: ignore[attr-defined]
            and vars(self) | {"per_episode": 0} == vars(other) | {"per_episode": 0}
        )

    def __hash__(self) -> int:
        return hash((type(self), len(self.per_episode), self.unit, self.drawn))


@dataclass(frozen=True, eq=False, repr=False)
class Accuracy(OverEpisodes):
    """Accuracy over episodes: in each, the fraction of its queries that were right.

    Mean and interval are those of :class:`OverEpisodes`. Subtract two that were measured on the same episodes, and
    their difference is paired, episode by episode.

    Example:
        >>> Accuracy(torch.tensor([0.6, 0.9, 0.7])) - Accuracy(torch.tensor([0.5, 0.8, 0.5]))
        +13.33 ± 14.34 points (3 paired episodes)
    """

    def __sub__(self, other: Accuracy) -> Difference:
        if not isinstance(other, Accuracy):
            return NotImplemented
        mine, others = (f"{len(each.per_episode):,} {each.unit}" for each in (self, other))
        if mine != others:
            raise ValueError(
                f"Accuracies are subtracted episode by episode, but these are of {mine} and {others}."
            )
        if None not in (self.drawn, other.drawn) and self.drawn != other.drawn:
            raise ValueError(
                f"Accuracies are subtracted {self.unit.removesuffix('s')} by {self.unit.removesuffix('s')}, but these "
                f"{mine} are not the same ones; measure both with the same data, way, shot, query, episodes and seed."
            )
        return Difference(
            self.per_episode - other.per_episode,
            self.unit,
            self.transductive or other.transductive,
            self.drawn or other.drawn,
            max(self.unlabelled, other.unlabelled),
        )

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} % ± {100 * self.ci95:.2f} ({_of_what(self)})"

    __repr__ = __str__


@dataclass(frozen=True, eq=False, repr=False)
class Difference(OverEpisodes):
    """What one model is better than another by, in accuracy, on the same episodes.

    An episode that is hard for one model is mostly hard for the other. Their difference leaves that out, and so its
    interval is narrower than those of the two accuracies.
    """

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f} ± {100 * self.ci95:.2f} points ({_of_what(self, 'paired ')})"

    __repr__ = __str__


def _of_what(result: OverEpisodes, how: str = "") -> str:
    """What a result is over, and what the method saw beside the support set."""
    seen = ", transductive" if result.transductive else ""
    seen += f", with {result.unlabelled} unlabelled" if result.unlabelled else ""
    return f"{len(result.per_episode):,} {how}{result.unit}{seen}"


class Comparison(dict[str, Accuracy]):
    """Accuracies of several models on the same episodes, by name; the others are compared with the first.

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

    Over episodes it covers their draw: which classes and which examples. It does not cover the variation between
    trainings, for which the model is trained again under other seeds.
    """
    n = len(values)
    if n < 2:
        return math.inf
    return student95(n - 1) * values.cpu().double().std().item() / math.sqrt(n)


def student95(df: int) -> float:
    """The 97.5 % point of Student's t with ``df`` degrees of freedom."""
    if df <= 6:
        return (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469)[df - 1]
    z = 1.959964  # Abramowitz and Stegun, 1964, 26.7.5
    return (
        z
        + (z**3 + z) / (4 * df)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
    )


def embed_all(
    model: FewShotClassifier,
    data: ImageSet,
    device: torch.device | str | None = None,
    batch: int = 512,
) -> Tensor:
    """Embed every image of a data set once, in evaluation mode and float32.

    Args:
        model: stays where it is.
        data: the images; the model sees what ``data.inputs`` makes of them.
        device: to embed on; default, that of the model. From another one the model comes back.
        batch: images embedded at a time.

    Returns:
        Embeddings, (n, d), on that device; a classifier can be trained on them.

    Raises:
        ValueError: if an embedding holds NaN or infinity.
    """
    if not isinstance(model, FewShotClassifier):
        raise ValueError(
            f"What is measured is a method of fslib.methods over a network, but this is a {type(model).__name__}; "
            "methods.PrototypicalNetwork(network) makes one."
        )
    batch = whole("batch", batch)
    if not isinstance(data, ImageSet):
        raise ValueError(
            f"embed_all embeds an ImageSet, as fslib.data.load gives, but got a {type(data).__name__}."
        )
    where = known_device(device) or device_of(model)
    model.to(memory_format=torch.channels_last)  # the order of memory in which convolutions are fastest
    with borrowed(model, where), evaluation_mode(model), kept_memory(), torch.no_grad():
        parts = []
        for indices in torch.arange(len(data)).split(batch):
            images = data.inputs(indices)
            images = upload(images, where or images.device)
            if images.ndim == 4:
                images = images.contiguous(memory_format=torch.channels_last)
            parts.append(model.embed(images))
        return check_finite(torch.cat(parts))


def evaluate(
    model: FewShotClassifier,
    data: ImageSet,
    *,
    way: int | None = None,
    shot: int | None = None,
    query: int | None = None,
    episodes: int | Episode | EpisodeSampler = 10_000,
    seed: int | None = None,
    device: torch.device | str | None = None,
    embeddings: Tensor | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> Accuracy:
    """Accuracy of a model over random episodes.

    Every image is embedded once; then episodes are compared many at a time. The model is in evaluation mode, so
    the answer to one query does not depend on the others, and is put back into its former mode afterwards.

    Args:
        model: to measure; stays where it is.
        data: images of classes that the model was not trained on.
        way: classes in an episode; default 5, or what a stack of episodes has.
        shot: support examples of each class; default 1, or what a stack has.
        query: query examples of each class; default 15, or what a stack has.
        episodes: how many to draw; more make the interval narrower, by the square root. Or a stack of them,
            drawn already, as the functions of :mod:`fslib.episodes` give it, or a sampler.
        seed: the same seed gives the same episodes, to this model or another; default 0.
        device: to embed and compare on; default, that of the model. From another one the model comes back.
        embeddings: what :func:`embed_all` gave for this model and data, to measure more than once; default, embed.
        chunk: episodes compared at once; default, as many as fit into some 32 MB, or 1 GB of a GPU.
        progress: show a bar.

    Returns:
        The accuracies, their mean and its 95 % interval.

    Raises:
        ValueError: if the data has too few classes or examples, a stack of episodes does not fit the data or is of
            another kind, the method wants an unlabelled set where there is none, an embedding is missing, NaN or
            infinite, or the scores are not one number a class.

    Example:
        >>> from fslib import backbones, data, methods
        >>> model = methods.PrototypicalNetwork(backbones.Conv4())
        >>> print(evaluate(model, data.load("glyphs", "test"), episodes=1000))     # doctest: +SKIP
        51.60 % ± 0.55 (1,000 episodes)
    """
    chunk = None if chunk is None else whole("chunk", chunk)
    drawn = _drawn(data, episodes, dict(way=way, shot=shot, query=query), seed)
    if embeddings is None:
        embeddings = embed_all(model, data, device)
    embeddings = _checked(embeddings, data)
    where = known_device(device) or device_of(model) or embeddings.device
    embeddings = upload(embeddings, where)
    first = drawn[0]
    dim = embeddings.shape[1:].numel()
    unlabelled = _unlabelled(model, first)
    compared = first.n_query + math.ceil(unlabelled / first.way)
    chunk = chunk or _chunk(model, first.way, first.shot, compared, dim, where)
    # All at once: small pieces would lie scattered in freed memory.
    accuracies = torch.empty(len(drawn), device=where)
    identity = _Identity(data)
    with borrowed(model, where), evaluation_mode(model), torch.inference_mode():
        for start in tqdm(range(0, len(drawn), chunk), disable=not progress):
            stack = drawn[start : start + chunk]
            identity.update(stack)
            accuracies[start : start + chunk] = _shares_right(model, embeddings, stack)
        _check_answered(model, accuracies)
    return Accuracy(
        accuracies.cpu(), transductive=model.transductive, drawn=identity.digest(), unlabelled=unlabelled
    )


def compare_models(
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
        >>> compare_models(models, test, shot=5, episodes=1000, embeddings=space)     # doctest: +SKIP
        means          58.95 % ± 0.59 (1,000 episodes)
        votes          59.66 % ± 0.59 (1,000 episodes)
        votes − means  +0.71 ± 0.37 points (1,000 paired episodes)
    """
    if not isinstance(models, Mapping) or len(models) < 2:
        raise ValueError(
            'A comparison needs two models or more, with names: compare_models({"one": …, "other": …}, …).'
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


def recall_at_1(embeddings: Tensor, labels: Any, metric: Metric = squared_euclidean) -> Accuracy:
    """How often the nearest other image is of one's own class, the measure of retrieval (Oh Song et al., 2016).

    Classes count alike, whatever their size; the paper's mean is over images, which is the same for equal classes. A
    class of a single image has nothing to find, and is left out.

    Args:
        embeddings: of all images, (n, d).
        labels: their classes, (n,), integers or names.
        metric: a distance of :mod:`fslib.metrics`.

    Returns:
        The fraction in each class, in the place of episodes, with its mean and 95 % interval over classes.

    Raises:
        ValueError: if the metric is a similarity, labels and embeddings differ in number, an embedding is NaN or
            infinite, or no class has two images.
    """
    expect(metric, "distance", "recall_at_1")
    labels = as_labels(labels).to(embeddings.device)
    if not len(labels):
        raise ValueError("There is no image, and so none to find.")
    if embeddings.ndim != 2 or len(labels) != len(embeddings):
        raise ValueError(
            f"recall_at_1 takes embeddings (n, d) and a label for each, but got {tuple(embeddings.shape)} and "
            f"{len(labels)} labels."
        )
    check_finite(embeddings)
    found = []
    for rows in torch.arange(len(labels), device=embeddings.device).split(512):
        distances = metric(embeddings[rows], embeddings)
        itself = rows[:, None] == torch.arange(len(labels), device=rows.device)
        found.append(labels[distances.masked_fill(itself, torch.inf).argmin(1)] == labels[rows])
    classes, positions, sizes = labels.unique(return_inverse=True, return_counts=True)
    if not (sizes > 1).any():
        raise ValueError("Each class has a single image, so there is no other image to find.")
    right = torch.zeros(len(classes), device=labels.device)
    right.index_add_(0, positions, torch.cat(found).float())
    drawn = _identity((), labels).hexdigest()[:16]
    return Accuracy((right / sizes)[sizes > 1].cpu(), unit="classes", drawn=drawn)


def _identity(names: Sequence[str], labels: Any) -> Any:
    """The digest of what episodes are drawn from, to be gone on with: classes, and which image is of which."""
    digest = hashlib.sha256("\n".join(map(str, names)).encode())
    digest.update(as_labels(labels).cpu().numpy().tobytes())
    return digest


class _Identity:
    """Tells stacks of episodes apart: a digest of what they are drawn from, and of the images on either side."""

    def __init__(self, data: ImageSet):
        names, labels = getattr(data, "class_names", ()), getattr(data, "labels", data)
        self.support, self.query = _identity(names, labels), _identity(names, labels)

    def update(self, stack: Episode) -> None:
        self.support.update(stack.support.long().numpy().tobytes())
        self.query.update(stack.query.long().numpy().tobytes())

    def digest(self) -> str:
        return self.support.hexdigest()[:8] + self.query.hexdigest()[:8]


def _drawn(
    data: ImageSet,
    episodes: int | Episode | EpisodeSampler,
    task: dict[str, int | None],
    seed: int | None,
) -> Episode | EpisodeSampler:
    """The episodes to measure on: drawn by number and seed, or those given, which must fit the data and the task."""
    if not isinstance(episodes, Episode | EpisodeSampler):
        usual = dict(way=5, shot=1, query=15)
        way, shot, query = (usual[name] if n is None else n for name, n in task.items())
        _check_way(way)
        return EpisodeSampler(data, way, shot, query, episodes, seed or 0)
    if seed is not None:
        raise ValueError(
            "These episodes are drawn already, and a seed changes nothing; leave it out, or give their number."
        )
    stack = episodes[:] if isinstance(episodes, EpisodeSampler) else episodes
    stack = stack.to("cpu")
    check_episodes(stack, data.labels)
    _check_way(stack.way)
    has = dict(way=stack.way, shot=stack.shot, query=stack.n_query)
    if any(n not in (None, has[name]) for name, n in task.items()):
        asked = ", ".join(f"{name}={n}" for name, n in task.items() if n is not None)
        raise ValueError(
            f"These episodes have way={stack.way}, shot={stack.shot} and query={stack.n_query}, "
            f"but {asked} is asked for; leave it out."
        )
    return stack


def _unlabelled(model: FewShotClassifier, episode: Episode) -> int:
    """How many unlabelled examples a model sees in each episode of this kind."""
    if not model.uses_unlabelled:
        return 0
    if isinstance(episode, SemiSupervisedEpisode):
        return len(episode.unlabelled)
    raise ValueError(
        f"{type(model).__name__} uses an unlabelled set, but these episodes have none; "
        "fslib.episodes.with_unlabelled draws some that do."
    )


def _check_way(way: int) -> None:
    if way == 1:
        raise ValueError("With one class every answer is right; way must be at least 2.")


def _checked(embeddings: Tensor, data: ImageSet) -> Tensor:
    """Embeddings, if there is a finite one for each image."""
    if not isinstance(embeddings, Tensor):
        raise ValueError(
            f"Embeddings must be a tensor, as embed_all gives, but are a {type(embeddings).__name__}."
        )
    if embeddings.ndim < 2 or len(embeddings) != len(data):
        raise ValueError(
            f"There must be one embedding for each of the {len(data)} images, but there are {len(embeddings)}."
            if embeddings.ndim > 1
            else f"Embeddings must be of shape (n, d), but have shape {tuple(embeddings.shape)}."
        )
    return check_finite(embeddings.detach())


def _shares_right(model: FewShotClassifier, embeddings: Tensor, stack: Episode) -> Tensor:
    """Of each episode the share of its queries that are right, NaN if one has no answer, (episodes,)."""
    beside = {"classes": stack.classes} if model.knows_classes else {}
    if model.uses_unlabelled and isinstance(stack, SemiSupervisedEpisode):
        beside["unlabelled"] = embeddings[stack.unlabelled]
    scores = model.compare(embeddings[stack.support], stack.support_labels, embeddings[stack.query], **beside)
    _check_scores(scores, (*stack.query.shape, stack.way))
    best, answers = scores.max(-1)
    right = (answers == upload(stack.query_labels, answers.device)).float()
    if not best.isfinite().all():
        right.masked_fill_(_without_answer(scores, best), torch.nan)
    return right.mean(-1)


def _check_answered(model: FewShotClassifier, accuracies: Tensor) -> None:
    if accuracies.isnan().any():
        raise ValueError(
            "Some scores are NaN, or infinite for several classes at once, and such a query has no answer: look for a "
            f"division by zero, or for numbers too large, in the compare of {type(model).__name__}."
        )


def _without_answer(scores: Tensor, best: Tensor) -> Tensor:
    """Which queries have no answer: a score is NaN, or the best is infinite and not the only one."""
    return best.isnan() | (best.isinf() & ((scores == best[..., None]).sum(-1) > 1))


def _check_scores(scores: Tensor, shape: tuple[int, ...]) -> None:
    if not isinstance(scores, Tensor) or scores.shape != shape or not scores.is_floating_point():
        what = f"{tuple(scores.shape)}, {scores.dtype}" if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(
            f"compare must give a score for each query and class, here of shape {shape}: episodes, queries, classes; "
            f"but it gave {what}."
        )


def _chunk(
    model: FewShotClassifier,
    way: int,
    shot: int,
    query: int,
    dim: int,
    device: torch.device | None = None,
) -> int:
    """Episodes that fit into :data:`CHUNK_BYTES`, or on a GPU into :data:`CHUNK_BYTES_ON_GPU`."""
    on_cpu = device is None or device.type == "cpu"
    size = CHUNK_BYTES if on_cpu else CHUNK_BYTES_ON_GPU
    return max(1, size // (4 * model.memory_per_episode(way, shot, query, dim)))


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
        "--data", default="glyphs", help="glyphs, omniglot or digits (default: %(default)s)"
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
        classifier = _classifier(model)
        to_device(classifier, default_device())
        accuracy = evaluate(classifier, images, **chosen)
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


__getattr__ = renamed_in(__name__, globals(), compare="compare_models")

if __name__ == "__main__":
    main()
