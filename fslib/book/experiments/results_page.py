"""What the results page calls the recipe, on whole data sets and within alphabets, and how it was chosen.

It is the loss that did best in chapter 4, gentle warps in training, and test-time augmentation.
"""

from __future__ import annotations

from typing import Any

from fslib import data
from fslib.augmentation import TestTimeAugmentation
from fslib.backbones import Conv4, Ensemble, ResNet12
from fslib.book.experiments.ch11_sharpened import NEW_CLASSES, chosen, on_unit_vectors
from fslib.book.experiments.measures import on_tasks, with_test_time_augmentation, within_alphabets
from fslib.book.experiments.networks import BATCHES, OMNIGLOT, metric_by_name, prototypical_conv4
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Load, Plan
from fslib.data import ImageSet
from fslib.losses import SupConLoss
from fslib.methods import FewShotClassifier, PrototypicalNetwork
from fslib.training import Distilled, Objective

COPIES = (0, 16)
UNIT: dict[str, Any] = dict(unit=True, pools=4)


@recipe("omniglot/supcon", **UNIT, temperature=0.05, **OMNIGLOT)
@recipe("omniglot/supcon-warped", **UNIT, temperature=0.05, warp=1.0, **OMNIGLOT)
def supcon(
    run: Plan, unit: bool, pools: int, temperature: float, warp: float = 0.0, **fit: Any
) -> None:
    """The loss alone, and with warps at their full bounds."""
    model = prototypical_conv4(normalize=unit, pools=pools)
    run.train(model, "train", objective=lambda _: SupConLoss(temperature), warp=warp, **fit)
    run.measure(model, on_tasks)


@recipe("omniglot/recipe", **UNIT, temperature=0.03, warp=0.5, **OMNIGLOT | dict(episodes=6000))
def whole(
    run: Plan, unit: bool, pools: int, temperature: float, warp: float, **fit: Any
) -> None:
    """The recipe on Omniglot."""
    model = prototypical_conv4(normalize=unit, pools=pools)
    fit |= dict(objective=lambda _: SupConLoss(temperature), warp=warp)
    run.train(model, "train+validation", **fit)
    run.save_weights(model)
    run.measure(model, with_test_time_augmentation(on_tasks, *COPIES))


BEST: dict[str, Any] = dict(by="mirrors", temperature=0.03, warp=0.5)


@recipe("omniglot/best", channels=64, **BEST, **OMNIGLOT | dict(episodes=6000))
@recipe("omniglot/best-wide", channels=128, **BEST, **OMNIGLOT)
def best(run: Plan, channels: int, by: str, temperature: float, warp: float, **fit: Any) -> None:
    """The recipe with more classes, as chapter 11 stacks what helps on Glyphs; wider, it is another network."""
    model = on_unit_vectors(Conv4(channels, normalize=True))
    fit |= dict(objective=lambda _: SupConLoss(temperature), warp=warp)
    run.train(model, "train+validation", load=more_classes(by, lambda split: data.load("omniglot", split)), **fit)
    run.measure(model, with_test_time_augmentation(on_tasks, *COPIES))


@recipe("omniglot/best-distilled", by="embeddings", weight=0.9, temperature=0.03, warp=0.5, **OMNIGLOT)
def best_distilled(run: Plan, by: Any, weight: float, temperature: float, warp: float, **fit: Any) -> None:
    """The same network, one look taught by sixteen of a network like it."""
    model = on_unit_vectors(Conv4(64, normalize=True))
    its = on_unit_vectors(TestTimeAugmentation(run.network("omniglot/best"), 16))
    load = more_classes("mirrors", lambda split: data.load("omniglot", split))
    remembered = run.embedded(its, "train+validation", load)

    def objective(_: int) -> Objective:
        return Distilled(SupConLoss(temperature), its, by, weight, remembered=remembered)

    run.train(model, "train+validation", load=load, objective=objective, warp=warp, **fit)
    run.measure(model, with_test_time_augmentation(on_tasks, *COPIES))


@recipe("glyphs/recipe", **UNIT, temperature=0.03, warp=0.5, **BATCHES)
def on_glyphs(
    run: Plan, unit: bool, pools: int, temperature: float, warp: float, **fit: Any
) -> None:
    """The recipe on Glyphs, beside glyphs/loss-supcon, which has neither warps nor test-time augmentation."""
    model = prototypical_conv4(normalize=unit, pools=pools)
    run.train(model, "train", objective=lambda _: SupConLoss(temperature), warp=warp, **fit)
    run.measure(model, with_test_time_augmentation(on_tasks, *COPIES))


# The same scale as of that loss: on unit vectors the squared distance is 2 − 2 · cosine.
@recipe("glyphs/recipe-prototypical-loss", unit=True, temperature=0.06, warp=0.5, **BATCHES)
def with_own_loss(run: Plan, unit: bool, temperature: float, warp: float, **fit: Any) -> None:
    """The recipe with a Prototypical Network's own loss."""
    model = prototypical_conv4(normalize=unit, temperature=temperature)
    run.train(model, "train", warp=warp, **fit)
    run.measure(model, with_test_time_augmentation(on_tasks, *COPIES))


# Within alphabets -------------------------------------------------------------------------------------------


def turned(split: str) -> ImageSet:
    """The background alphabets, rotations as classes."""
    return data.load("omniglot", split, protocol="lake", rotations=True)


def upright(split: str) -> ImageSet:
    """Characters of other alphabets as they were drawn."""
    return data.load("omniglot", split, protocol="lake", rotations=False)


def measure_within(run: Plan, model: FewShotClassifier) -> None:
    """One writer's characters of one alphabet, against another writer's."""
    how = "within alphabets"
    run.measure(model, with_test_time_augmentation(within_alphabets, *COPIES), load=upright, how=how)


OWN_ALPHABET = dict(unit=True, pools=3, temperature=0.03, warp=0.5)


@recipe("omniglot/within-alphabet", **OWN_ALPHABET, **OMNIGLOT | dict(episodes=3000))
def within(
    run: Plan, unit: bool, pools: int, temperature: float, warp: float, **fit: Any
) -> None:
    """The recipe within an alphabet."""
    model = prototypical_conv4(normalize=unit, pools=pools)
    fit |= dict(objective=lambda _: SupConLoss(temperature), warp=warp, load=turned)
    run.train(model, "train+validation", **fit)
    run.save_weights(model)
    measure_within(run, model)


GROUPS: dict[str, Any] = dict(way=30, shot=1, query=3, episodes=7000, learning_rate=2e-3, whole_groups=True)
LOCAL: dict[str, Any] = dict(
    width=16, metric="local_distance", temperature=0.03, similarity="local_similarity", warp=0.5, **GROUPS
)
IN_PLACE = LOCAL | dict(metric="cosine_distance", similarity="cosine_similarity")


@recipe("omniglot/within-alphabet-local", **LOCAL)
@recipe("omniglot/within-alphabet-in-place", **IN_PLACE)
@recipe("omniglot/within-alphabet-mirrors", **LOCAL | dict(by="mirrors"))
def local(
    run: Plan,
    width: int,
    metric: str,
    temperature: float,
    similarity: str,
    warp: float,
    by: str = "nothing",
    **fit: Any,
) -> None:
    """Compared location by location, what is left when nothing may move, and what more classes bring."""
    model = over_maps(width, metric)
    fit |= dict(objective=lambda _: loss_by(similarity, temperature), warp=warp, load=more_classes(by, turned))
    run.train(model, "train+validation", **fit)
    run.save_weights(model, seeds=(0,) if (metric, by) == ("local_distance", "nothing") else ())
    measure_within(run, model)


@recipe("omniglot/within-alphabet-ensemble", **LOCAL)
def ensemble(
    run: Plan, width: int, metric: str, temperature: float, similarity: str, warp: float, **fit: Any
) -> None:
    """Four of these networks, whose embeddings are joined."""
    fit |= dict(objective=lambda _: loss_by(similarity, temperature), warp=warp, load=turned)
    models = []
    for seed in run.members(4):
        models.append(over_maps(width, metric))
        run.train(models[-1], "train+validation", seed=seed, **fit)
    models[0].feature_extractor = Ensemble([model.feature_extractor for model in models])
    measure_within(run, models[0])


def over_maps(width: int, metric: str) -> FewShotClassifier:
    """A Prototypical Network over the maps of a narrow ResNet-12, of 7 × 7 locations."""
    widths = (width, 2 * width, 4 * width, 4 * width)
    resnet12 = ResNet12(widths, normalize=True, pools=2, pooling="flatten")
    return PrototypicalNetwork(resnet12, metric_by_name(metric))


def loss_by(similarity: str, temperature: float) -> Objective:
    """The loss of the recipe, by a similarity of that name."""
    return SupConLoss(temperature=temperature, similarity=metric_by_name(similarity))


def more_classes(by: str, load: Load) -> Load:
    """What loads a split with mirrors as new classes; of Omniglot nobody knows which mirror is which letter."""
    maps = chosen(NEW_CLASSES, by)
    return lambda split: load(split).with_new_classes(maps) if maps else load(split)
