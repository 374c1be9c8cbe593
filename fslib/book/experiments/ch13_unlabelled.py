"""Chapter 13: what pictures without labels teach, in training and when a task is solved.

The plan of compute. All is measured at 20-way 1-shot beside the best loss of chapter 4, ``glyphs/loss-supcon``: 1,000
batches of 120 pictures. A training without labels has as many batches of as many pictures of the same classes, and
forgets their labels. SimCLR and MoCo see each picture in two views, 240 embeddings a step against SupCon's 120, so at
most twice its time; ProtoTransfer sees 60 pictures and three copies of each, 240 as well. A single training of each
setting on validation classes, some ten of four minutes on a core; then three on test classes of the arms about which
the text makes claims, at most fifteen. What refines prototypes when a task is solved trains nothing but a mask, or a
radius, of a few numbers over the frozen network, in minutes; the rest takes seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from fslib import data
from fslib.augmentation import random_mirror, random_thickness, random_warp
from fslib.backbones import Conv4, FrozenConv4
from fslib.book.experiments.ch11_sharpened import SUPCON, chosen, network, on_unit_vectors
from fslib.book.experiments.measures import Result, on_tasks
from fslib.book.experiments.networks import BATCHES
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan, warps
from fslib.clustering import at_random, clusters_as_classes
from fslib.data import ImageSet
from fslib.episodes import Episode, unbalanced, with_unlabelled
from fslib.evaluation import compare_models, embed_all
from fslib.losses import NTXentLoss, SupConLoss
from fslib.methods import (
    BalancedSoftKMeans,
    FewShotClassifier,
    LabelSpreading,
    MaskedSoftKMeans,
    PrototypicalNetwork,
    PseudoLabels,
    SoftKMeans,
    SoftKMeansWithCluster,
)
from fslib.training import MoCo, ProtoTransfer, SemiSupervised, Step, TwoViews

BEST = "glyphs/loss-supcon"
# Scores and shares of the best loss: on unit vectors the squared distance is 2 − 2 · cosine.
SCALE = 2 * SUPCON["temperature"]

# Training without labels ------------------------------------------------------------------------------------------


def views(by: str) -> Callable[[Tensor], Tensor]:
    """What makes a view of a picture, by its name."""
    named = {
        "half-warps": warps(0.5),
        "warps": warps(1.0),
        "double-warps": warps(2.0),
        "warps-and-strokes": warp_with_strokes,
        "mirrored-warps": mirrored_warp,
    }
    return chosen(named, by)


def warp_with_strokes(images: Tensor) -> Tensor:
    """A random warp, and strokes that are thicker or thinner, as in another weight of a face."""
    return random_thickness(random_warp(images))


def mirrored_warp(images: Tensor) -> Tensor:
    """A random warp, and of every other picture the mirror image: a claim that p is q."""
    return random_mirror(random_warp(images))


def without_labels(split: str) -> ImageSet:
    """Pictures whose labels say nothing, so that batches are drawn from everywhere."""
    return at_random(data.load("glyphs", split))


def projection_head(wanted: bool) -> nn.Module | None:
    """SimCLR's perceptron behind the embedding, or none."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) if wanted else None


@recipe("glyphs/simclr", by="warps", temperature=0.1, head=False, **BATCHES)
@recipe("glyphs/simclr-mirrors", by="mirrored-warps", temperature=0.1, head=False, **BATCHES)
def simclr(run: Plan, by: str, temperature: float, head: bool, **fit: Any) -> None:
    """Two views of each picture belong together, and all others apart."""
    model = network()

    def objective(_: int) -> Step:
        return TwoViews(views(by), NTXentLoss(temperature), projection_head(head))

    run.train(model, "train", objective=objective, load=without_labels, **fit)
    run.save_weights(model, seeds=(0,) if by != "mirrored-warps" else ())
    run.measure(model, on_tasks)


@recipe(
    "glyphs/moco", by="warps", temperature=0.1, queue=1024, momentum=0.99, head=False, **BATCHES
)
def moco(
    run: Plan, by: str, temperature: float, queue: int, momentum: float, head: bool, **fit: Any
) -> None:
    """The same against a queue of earlier pictures, as a slow copy of the network sees them."""
    model = network()

    def objective(_: int) -> Step:
        return MoCo(model, views(by), 64, queue, momentum, temperature, projection_head(head))

    run.train(model, "train", objective=objective, load=without_labels, **fit)
    run.measure(model, on_tasks)


# 60 pictures, 240 embeddings a step with their copies.
@recipe("glyphs/prototransfer", by="warps", temperature=0.2, queries=3, **BATCHES | dict(way=10))
def prototransfer(run: Plan, by: str, temperature: float, queries: int, **fit: Any) -> None:
    """Episodes in which each picture is a class, and its copies are the queries."""
    model = PrototypicalNetwork(Conv4(normalize=True), temperature=temperature)
    run.train(
        model,
        "train",
        objective=lambda _: ProtoTransfer(views(by), queries),
        load=without_labels,
        **fit,
    )
    run.measure(model, on_tasks)


@recipe("glyphs/clusters", clusters=500, **SUPCON)
def clusters(run: Plan, clusters: int, temperature: float, **fit: Any) -> None:
    """The best loss, with clusters of what SimCLR made of the pictures in the place of classes."""
    model, its = network(), on_unit_vectors(run.network("glyphs/simclr"))

    def load(split: str) -> ImageSet:
        drawn = fit["shot"] + fit["query"]
        return clusters_as_classes(
            data.load("glyphs", split), run.embedded(its, split), clusters, drawn
        )

    run.train(model, "train", objective=lambda _: SupConLoss(temperature), load=load, **fit)
    run.measure(model, on_tasks)


# Refining prototypes over the network of the best loss ------------------------------------------------------------

#: Of each unlabelled set its size per class, and how many distractor classes are in it.
UNLABELLED: dict[str, tuple[int, int]] = {
    "1 unlabelled": (1, 0),
    "5 unlabelled": (5, 0),
    "10 unlabelled": (10, 0),
    "1 unlabelled, 20 distractors": (1, 20),
    "5 unlabelled, 20 distractors": (5, 20),
    "10 unlabelled, 20 distractors": (10, 20),
}
#: Queries as the unlabelled set: in equal numbers, and in numbers by a Dirichlet distribution.
SHARES: dict[str, float | None] = {"equal queries": None, "unequal queries": 2.0}


@recipe("glyphs/soft-k-means", temperature=SCALE, steps=1)
def soft_k_means(run: Plan, temperature: float, steps: int) -> None:
    """Each class moves by its share of the unlabelled examples."""
    refined(run, lambda conv4, use: SoftKMeans(conv4, use, steps, temperature))


@recipe("glyphs/soft-k-means-cluster", temperature=SCALE, steps=1, radius=100.0)
def with_cluster(run: Plan, temperature: float, steps: int, radius: float) -> None:
    """One more cluster takes in what is far from all classes."""
    refined(run, lambda conv4, use: SoftKMeansWithCluster(conv4, use, steps, temperature, radius))


@recipe("glyphs/soft-k-means-untrained-mask", temperature=SCALE, steps=1)
def with_untrained_mask(run: Plan, temperature: float, steps: int) -> None:
    """What is farther from a class than the mean does not count for it."""
    refined(run, lambda conv4, use: MaskedSoftKMeans(conv4, use, steps, temperature))


@recipe("glyphs/soft-k-means-balanced", temperature=SCALE, steps=1)
def balanced(run: Plan, temperature: float, steps: int) -> None:
    """All classes are given as many of the unlabelled examples, whether they have them or not."""
    refined(run, lambda conv4, use: BalancedSoftKMeans(conv4, use, steps, temperature))


@recipe("glyphs/pseudo-labels", temperature=SCALE, steps=1, threshold=0.9)
def pseudo_labels(run: Plan, temperature: float, steps: int, threshold: float) -> None:
    """Examples of which a class is sure join it."""
    refined(run, lambda conv4, use: PseudoLabels(conv4, use, steps, temperature, threshold))


@recipe("glyphs/label-spreading", temperature=0.2, alpha=0.5)
def label_spreading(run: Plan, temperature: float, alpha: float) -> None:
    """Labels spread from the support set through the queries, from neighbour to neighbour."""
    _with_queries(run, LabelSpreading(run.network(BEST), alpha, temperature))


@recipe(
    "glyphs/soft-k-means-masked", temperature=SCALE, **BATCHES | dict(way=40, query=6, episodes=200)
)
def masked(run: Plan, temperature: float, **fit: Any) -> None:
    """A mask that is trained over the frozen network, in episodes with as many distractors as classes."""
    model = MaskedSoftKMeans(FrozenConv4(normalize=True), temperature=temperature)
    run.train(
        model, "train", objective=lambda _: SemiSupervised(5, distractors=20), init_from=BEST, **fit
    )
    _with_unlabelled(run, model)


def refined(run: Plan, method: Callable[[nn.Module, Any], FewShotClassifier]) -> None:
    """Measure a method with unlabelled sets, and with the queries in their place."""
    conv4 = run.network(BEST)
    _with_unlabelled(run, method(conv4, "unlabelled"))
    _with_queries(run, method(conv4, "queries"))


def _with_unlabelled(run: Plan, model: FewShotClassifier) -> None:
    for task, (number, distractors) in UNLABELLED.items():
        how = dict(unlabelled=number, distractors=distractors)
        _beside_prototypes(run, model, task, functools.partial(with_unlabelled, **how))


def _with_queries(run: Plan, model: FewShotClassifier) -> None:
    for task, concentration in SHARES.items():
        _beside_prototypes(
            run, model, task, functools.partial(_in_numbers, concentration=concentration)
        )


def _in_numbers(images: ImageSet, concentration: float | None, **task: Any) -> Episode:
    """Episodes with queries in equal numbers, or in numbers by a Dirichlet distribution."""
    return unbalanced(images, concentration=1e9 if concentration is None else concentration, **task)


def _beside_prototypes(
    run: Plan, model: FewShotClassifier, task: str, draw: Callable[..., Episode]
) -> None:
    """Measure a method on a stack of episodes, and its lead over prototypes on the same ones, paired by episodes."""
    drawn: dict[str, Any] = dict(way=20, shot=1, query=5, episodes=5000)
    settings = drawn | ({"transductive": True} if model.transductive else {})

    def measure(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
        models = {"prototypes": on_unit_vectors(model.feature_extractor), "refined": model}
        found = compare_models(
            models,
            images,
            episodes=draw(images, **drawn, seed=0),
            embeddings=embed_all(model, images),
        )
        lead: Any = found.differences["refined"]
        for of, metric, result in (
            (task, "accuracy", found["refined"]),
            (f"{task}, lead", "lead over prototypes", lead),
        ):
            named = of.replace(", ", "-").replace(" ", "-")
            yield f"20way-1shot-{named}", settings | dict(metric=metric, task=of), result

    run.measure(model, measure, how=task)
