"""Chapter 11: what sharpens a comparison and leaves it as it is: augmentation, mixtures, teachers, small changes.

The plan of compute: one training of each arm on validation classes, some forty of two minutes on a core; of the arms
about which the text makes claims, three trainings that are measured on test classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from fslib import data
from fslib.augmentation import (
    TestTimeAugmentation,
    mirrored,
    random_crop,
    random_mirror,
    random_thickness,
    random_turn,
    random_warp,
    turned,
)
from fslib.backbones import Conv4, Ensemble
from fslib.book.experiments.measures import on_tasks, with_test_time_augmentation
from fslib.book.experiments.networks import BATCHES, prototypical_conv4
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Load, Plan, warps
from fslib.data import ImageSet, glyphs
from fslib.losses import SoftmaxLoss, SupConLoss
from fslib.methods import FewShotClassifier, PrototypicalNetwork
from fslib.training import Augmented, Distilled, Mixed, Objective

# The best loss of chapter 4, glyphs/loss-supcon, beside which most arms stand.
SUPCON: dict[str, Any] = dict(temperature=0.03, **BATCHES)


def network(channels: int = 64) -> FewShotClassifier:
    """A Prototypical Network over a Conv-4, its embeddings of length one, its scores at the scale of the best loss."""
    return on_unit_vectors(Conv4(channels, normalize=True))


def on_unit_vectors(extractor: nn.Module) -> FewShotClassifier:
    """Scores at the scale of the best loss: on unit vectors the squared distance is 2 − 2 · cosine."""
    return PrototypicalNetwork(extractor, temperature=2 * SUPCON["temperature"])


# Augmentation: other pictures of a class, or pictures of other classes -------------------------------------------

#: Maps of which each makes a new class of every class.
NEW_CLASSES: dict[str, dict[str, Callable]] = {
    "nothing": {},
    "mirrors": {"mirrored": mirrored},
    "turns": {f"turned {90 * k}°": functools.partial(turned, quarters=k) for k in (1, 2, 3)},
}


def augmentation(by: str) -> Any:
    """What may be done to every picture of a batch, by its name."""
    named = {
        "nothing": None,
        "half-warps": warps(0.5),
        "warps": warps(1.0),
        "elastic": functools.partial(random_warp, rotation=0, scale=0, shear=0, shift=0, elastic=0.05),
        "crops": random_crop,
        "mirrors": random_mirror,
        "turns": random_turn,
        "thickness": random_thickness,
    }
    return chosen(named, by)


@recipe("glyphs/augmented", by="half-warps", **SUPCON)
@recipe("glyphs/augmented-mirrors", by="mirrors", **SUPCON)
def augmented(run: Plan, by: str, temperature: float, **fit: Any) -> None:
    """The best loss on pictures that are augmented, all alike."""
    model = network()
    fit |= dict(objective=lambda _: SupConLoss(temperature), augment=augmentation(by))
    run.train(model, "train", **fit)
    run.save_weights(model, seeds=(0,) if by == "mirrors" else ())
    run.measure(model, on_tasks)


@recipe("glyphs/augmented-but", by="mirrors", **SUPCON)
def augmented_but(run: Plan, by: str, temperature: float, **fit: Any) -> None:
    """The same, but for classes that would become other ones: a mirror leaves p and q alone."""
    model, maps = network(), chosen(NEW_CLASSES, by)

    def objective(_: int) -> Objective:
        return Augmented(SupConLoss(temperature), augmentation(by), but=numbers(become_others(maps), "train"))

    run.train(model, "train", objective=objective, **fit)
    run.measure(model, on_tasks)


@recipe("glyphs/new-classes", by="mirrors", but_existing=True, **SUPCON)
def new_classes(run: Plan, by: str, but_existing: bool, temperature: float, **fit: Any) -> None:
    """Mirrors or turns as classes of their own: all, or all but those that some split has already."""
    model, load = network(), with_new_classes(chosen(NEW_CLASSES, by), but_existing)
    run.train(model, "train", objective=lambda _: SupConLoss(temperature), load=load, **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)


# Which side of an episode is warped, with a Prototypical Network's own loss: that is glyphs/loss-prototypical.
@recipe("glyphs/one-side-warped", side="support", strength=0.5, **BATCHES)
def one_side(run: Plan, side: Any, strength: float, **fit: Any) -> None:
    """Warps of the support set, of the queries, or of both."""
    model = prototypical_conv4()
    run.train(model, "train", objective=lambda _: Augmented(None, warps(strength), of=side), **fit)
    run.measure(model, on_tasks)


# Mixtures: for a classifier, for which they were published, and for queries ---------------------------------------


@recipe("glyphs/softmax", mixed="nothing", alpha=1.0, smoothing=0.0, **BATCHES)
def softmax(run: Plan, mixed: Any, alpha: float, smoothing: float, **fit: Any) -> None:
    """A classifier of all training classes, on pictures, on mixtures, or with smoothed labels."""
    model = prototypical_conv4()

    def objective(classes: int) -> Objective:
        loss = SoftmaxLoss(classes, 64, label_smoothing=smoothing)
        return loss if mixed == "nothing" else Mixed(loss, mixed, alpha)

    run.train(model, "train", objective=objective, **fit)
    run.measure(model, on_tasks)


@recipe("glyphs/queries-mixed", mixed="mixup", alpha=1.0, **BATCHES)
def queries_mixed(run: Plan, mixed: Any, alpha: float, **fit: Any) -> None:
    """A Prototypical Network's own loss on mixtures of queries."""
    model = prototypical_conv4()
    run.train(model, "train", objective=lambda _: Mixed(None, mixed, alpha), **fit)
    run.measure(model, on_tasks)


# Teachers and students --------------------------------------------------------------------------------------------


@recipe("glyphs/teacher", teacher="ensemble")
@recipe("glyphs/teacher-sixteen-looks", teacher="sixteen-looks")
@recipe("glyphs/teacher-warped-looks", teacher="warped-looks")
@recipe("glyphs/teacher-warped-ensemble", teacher="warped-ensemble")
def teacher(run: Plan, teacher: str) -> None:
    """What the teachers themselves reach."""
    run.measure(teachers(run, teacher), on_tasks)


@recipe("glyphs/distilled", teacher="ensemble", by="relations", channels=64, weight=0.97, **SUPCON)
@recipe("glyphs/distilled-small", teacher="ensemble", by="relations", channels=16, weight=0.97, **SUPCON)
def distilled(
    run: Plan, teacher: str, by: Any, channels: int, weight: float, temperature: float, **fit: Any
) -> None:
    """The best loss beside a teacher."""
    model = network(channels)
    _teach(run, model, lambda _: SupConLoss(temperature), teachers(run, teacher), by, weight, fit)
    run.save_weights(model, seeds=(0,) if channels < 64 else ())
    run.measure(model, on_tasks)


@recipe("glyphs/distilled-warped", teacher="warped-looks", by="embeddings", weight=0.9, warp=0.5, **SUPCON)
def distilled_warped(
    run: Plan, teacher: str, by: Any, weight: float, warp: float, temperature: float, **fit: Any
) -> None:
    """One look taught by many: the student sees a warped image, and is asked for what the teacher made of the image."""
    model = network()
    its = teachers(run, teacher)
    _teach(run, model, lambda _: SupConLoss(temperature), its, by, weight, fit | dict(warp=warp))
    run.measure(model, on_tasks)


@recipe("glyphs/distilled-own-loss", teacher="ensemble", by="scores", weight=0.5, **BATCHES)
def distilled_own_loss(run: Plan, teacher: str, by: Any, weight: float, **fit: Any) -> None:
    """A Prototypical Network's own loss, the weaker one, beside a teacher."""
    model = prototypical_conv4()
    _teach(run, model, lambda _: None, teachers(run, teacher), by, weight, fit)
    run.measure(model, on_tasks)


@recipe("glyphs/generations", generations=2, by="relations", weight=0.97, **SUPCON)
def of_generations(
    run: Plan, generations: int, by: Any, weight: float, temperature: float, **fit: Any
) -> None:
    """The best loss, each network taught by the one before, as a born-again network is; the first had no teacher."""
    model = on_unit_vectors(run.network("glyphs/loss-supcon"))
    for seed in run.members(generations):
        its, model = model, network()
        fit |= dict(seed=seed)
        _teach(run, model, lambda _: SupConLoss(temperature), its, by, weight, fit)
    run.measure(model, on_tasks)


@recipe("glyphs/small", channels=16, **SUPCON)
def small(run: Plan, channels: int, temperature: float, **fit: Any) -> None:
    """A network of sixteen channels on its own."""
    model = network(channels)
    run.train(model, "train", objective=lambda _: SupConLoss(temperature), **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)


def _teach(
    run: Plan,
    model: FewShotClassifier,
    loss: Callable[[int], Any],
    its: FewShotClassifier,
    by: Any,
    weight: float,
    fit: dict[str, Any],
) -> None:
    remembered = run.embedded(its, "train", fit.get("load"))

    def objective(classes: int) -> Objective:
        return Distilled(loss(classes), its, by, weight, remembered=remembered)

    run.train(model, "train", objective=objective, **fit)


#: Of each teacher: the recipe of its networks, their seeds, and the warped copies of an image that they see beside it.
TEACHERS: dict[str, tuple[str, Sequence[int], int]] = {
    "ensemble": ("glyphs/loss-supcon", range(10, 14), 0),
    "sixteen-looks": ("glyphs/loss-supcon", (10,), 16),
    "equal": ("glyphs/loss-supcon", (10,), 0),
    "warped-looks": ("glyphs/recipe", (10,), 16),
    "warped-ensemble": ("glyphs/recipe", range(10, 14), 4),
}


def teachers(run: Plan, name: str) -> FewShotClassifier:
    """A teacher of that name: one network, or several side by side, that looks once, or many times."""
    of, seeds, copies = chosen(TEACHERS, name)
    members = [run.network(of, seed) for seed in seeds]
    joined = members[0] if len(members) == 1 else Ensemble(members)
    return on_unit_vectors(TestTimeAugmentation(joined, copies) if copies else joined)


# Small changes of a recipe, and what helps together ---------------------------------------------------------------


@recipe("glyphs/decayed", weight_decay=0.05, **SUPCON)
def decayed(run: Plan, weight_decay: float, temperature: float, **fit: Any) -> None:
    """The best loss with weight decay, apart from the gradient."""
    model = network()
    optimizer = functools.partial(torch.optim.AdamW, weight_decay=weight_decay)
    run.train(model, "train", objective=lambda _: SupConLoss(temperature), optimizer=optimizer, **fit)
    run.measure(model, on_tasks)


@recipe("glyphs/longer", **SUPCON | dict(episodes=2000))
def longer(run: Plan, temperature: float, **fit: Any) -> None:
    """The best loss for twice as long."""
    model = network()
    run.train(model, "train", objective=lambda _: SupConLoss(temperature), **fit)
    run.measure(model, on_tasks)


@recipe("glyphs/best", by="mirrors", warp=0.5, **SUPCON | dict(episodes=2000))
def best(run: Plan, by: str, warp: float, temperature: float, **fit: Any) -> None:
    """What helps, together: more classes, warps, and time for them; with one look and with sixteen."""
    model, load = network(), with_new_classes(chosen(NEW_CLASSES, by))
    fit |= dict(objective=lambda _: SupConLoss(temperature), warp=warp, load=load)
    run.train(model, "train", **fit)
    run.save_weights(model)
    run.measure(model, with_test_time_augmentation(on_tasks, 0, 16))


TAUGHT: dict[str, Any] = dict(teacher="warped-ensemble", by="relations", weight=0.97)


@recipe("glyphs/best-distilled", **TAUGHT, warp=0.5, **SUPCON | dict(episodes=2000))
def best_distilled(
    run: Plan, teacher: str, by: Any, weight: float, warp: float, temperature: float, **fit: Any
) -> None:
    """The same beside a teacher, mirrors as new classes."""
    model, load = network(), with_new_classes(NEW_CLASSES["mirrors"])
    its, fit = teachers(run, teacher), fit | dict(warp=warp, load=load)
    _teach(run, model, lambda _: SupConLoss(temperature), its, by, weight, fit)
    run.measure(model, on_tasks)


def with_new_classes(maps: dict[str, Callable], but_existing: bool = True) -> Load:
    """What loads a split with new classes; none that looks like a class of a split, lest a test class be trained on."""

    def load(split: str) -> ImageSet:
        images = data.load("glyphs", split)
        known = {one for change in maps.values() for one, _ in glyphs.look_alikes(change)} if but_existing else set()
        return images.with_new_classes(maps, but=[name for name in images.class_names if name in known])

    return load


# Which classes a map makes of which -------------------------------------------------------------------------------


def become_others(maps: dict[str, Callable]) -> set[str]:
    """Names of classes of which some map makes another one."""
    return {one for change in maps.values() for one, other in glyphs.look_alikes(change) if one != other}


def numbers(names: set[str], split: str) -> list[int]:
    """Numbers of these classes in a split."""
    return [c for c, name in enumerate(data.load("glyphs", split).class_names) if name in names]


def chosen(choices: dict[str, Any], name: str) -> Any:
    """One of several, by its name."""
    if name not in choices:
        raise ValueError(f"There is no {name!r}; there are {', '.join(choices)}.")
    return choices[name]
