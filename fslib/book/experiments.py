"""Train and measure by recipe, and enter the results in the ledger.

Run as a command::

    python -m fslib.book.experiments                                   # list the recipes
    python -m fslib.book.experiments omniglot/prototypical --validate  # how it was chosen
    python -m fslib.book.experiments omniglot/prototypical             # train + validation classes, tested once

A run saves as it goes and, started again, takes up where it stopped. Its records go to ``results/``, or to the folder
that ``FSLIB_RESULTS`` names.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import hashlib
import inspect
import math
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fslib import attention, data, losses, metrics, objectives, storage
from fslib.augmentation import Views, random_warp
from fslib.backbones import Conv4, Ensemble, FrozenConv4, ResNet12
from fslib.book import ledger
from fslib.devices import default_device
from fslib.episodes import within_groups
from fslib.evaluation import Accuracy, embed_all, evaluate, recall_at_1
from fslib.methods import (
    ContextMatchingNetwork,
    ConvRelation,
    FewShotClassifier,
    MatchingNetwork,
    PrototypicalNetwork,
    RelationNetwork,
    VectorRelation,
)
from fslib.methods.relation import Criterion
from fslib.training import Augment, History, Objective, fit


def _metric(name: str | None) -> metrics.Metric:
    """A metric of :mod:`fslib.metrics` by its name."""
    if name not in storage.METRICS:
        raise ValueError(f"There is no metric {name}; there are {', '.join(storage.METRICS)}.")
    return storage.METRICS[name]


def prototypical(
    metric: str = "squared_euclidean",
    temperature: float = 1.0,
    unit: bool = False,
    pools: int = 4,
    block: str | None = None,
) -> FewShotClassifier:
    """A Prototypical Network over a Conv-4."""
    conv4 = Conv4(unit=unit, pools=pools, block=block)
    return PrototypicalNetwork(conv4, _metric(metric), temperature)


def prototypical_resnet12(width: int = 16, block: str | None = None) -> FewShotClassifier:
    """A Prototypical Network over a ResNet-12, its widths in the proportions of the paper, which begins at 64."""
    widths = (width, 5 * width // 2, 5 * width, 10 * width)
    return PrototypicalNetwork(ResNet12(widths, block=block))


def prototypical_maps(width: int = 16, metric: str = "local_distance") -> FewShotClassifier:
    """A Prototypical Network over the maps of a narrow ResNet-12, of 7 × 7 places."""
    widths = (width, 2 * width, 4 * width, 4 * width)
    resnet12 = ResNet12(widths, unit=True, pools=2, mean=False)
    return PrototypicalNetwork(resnet12, _metric(metric))


def matching(scale: float = 10.0) -> FewShotClassifier:
    """A Matching Network over a Conv-4, one network for support and queries."""
    return MatchingNetwork(Conv4(), scale=scale)


def matching_in_context(scale: float = 10.0, steps: int = 5) -> FewShotClassifier:
    """A Matching Network with full context embeddings over a Conv-4."""
    return ContextMatchingNetwork(Conv4(), scale=scale, steps=steps)


def relation(pools: int = 3, hidden: int = 32, criterion: Criterion = "bce") -> FewShotClassifier:
    """A Relation Network over the feature maps of a Conv-4."""
    module = ConvRelation(hidden=hidden)
    return RelationNetwork(Conv4(pools=pools, maps=True), module, criterion=criterion)


def relation_on_vectors(
    hidden: int = 64, criterion: Criterion = "bce", frozen: bool = False
) -> FewShotClassifier:
    """A Relation Network over the flat embeddings of a Conv-4, which may be one that training leaves alone."""
    conv4 = FrozenConv4() if frozen else Conv4()
    return RelationNetwork(conv4, VectorRelation(hidden=hidden), criterion=criterion)


# Episodes that a start is trained for, at most, where settings are only being chosen.
SHORT_START = 1000


@dataclass(frozen=True)
class Recipe:
    """All that decides a training run, but the seed.

    Attributes:
        dataset: a name for :func:`fslib.data.load`.
        fit: settings of :func:`fslib.training.fit`.
        build: a function of this module that makes the network, not yet trained.
        network: settings of ``build``.
        start: the recipe, on the same classes, with whose trained feature extractor this training starts.
        loss: a function of :mod:`fslib.objectives` or a class of :mod:`fslib.losses` to train with; default, the
            method's own.
        loss_settings: of that loss; a text is the name of a metric.
        warp: how strongly to warp the training images: the bounds of :func:`fslib.augmentation.random_warp` times this.
        train: the training split of the final run.
        tasks: way and shot of each evaluation on 10,000 episodes from all classes.
        within_alphabets: of Omniglot, whether to train on the background alphabets, rotations as classes, and to
            measure by 2,000 episodes of :func:`fslib.episodes.within_groups` on upright characters of others.
        views: over how many warped copies of each picture to average its embedding (:class:`fslib.augmentation.Views`)
            when the network is measured; 0 for the picture alone. Each number gives records of its own.
        recall: whether to measure recall@1 too.
        members: how many networks to train, from seeds of their own, and to measure as one
            :class:`fslib.backbones.Ensemble`.
        keep: whether to commit the weights of the final run, in half precision, beside the records.
    """

    dataset: str
    fit: dict[str, Any]
    build: Callable[..., FewShotClassifier] = prototypical
    network: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    loss: str | None = None
    loss_settings: dict[str, Any] = field(default_factory=dict)
    warp: float = 0.0
    train: str = "train"
    tasks: tuple[tuple[int, int], ...] = ((5, 1), (5, 5), (20, 1), (20, 5))
    within_alphabets: bool = False
    views: tuple[int, ...] = (0,)
    recall: bool = False
    members: int = 1
    keep: bool = False

    def load(self, split: str, rotations: bool = True) -> data.ImageSet:
        """The images of a split; for episodes within alphabets, with or without the rotations."""
        if self.within_alphabets:
            return data.load(self.dataset, split, protocol="lake", rotations=rotations)
        return data.load(self.dataset, split)

    @property
    def settings(self) -> dict[str, Any]:
        """All that can be set, by name."""
        warp = {"warp": self.warp} if self.warp else {}
        return self.fit | self.network | self.loss_settings | warp

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with other settings.

        Raises:
            ValueError: if it has no such setting, or the value is not of the kind of the recipe's.
        """
        if unknown := [key for key in changes if key not in self.settings]:
            raise ValueError(
                f"The recipe has no setting {unknown[0]}; it has {', '.join(self.settings)}."
            )
        changes = {k: _of_kind(k, value, self.settings[k]) for k, value in changes.items()}

        def set_in(part: dict[str, Any]) -> dict[str, Any]:
            return {key: changes.get(key, value) for key, value in part.items()}

        return replace(
            self,
            fit=set_in(self.fit),
            network=set_in(self.network),
            loss_settings=set_in(self.loss_settings),
            warp=changes.get("warp", self.warp),
        )

    def objective(self, classes: int) -> Objective | None:
        """What training lowers, where it is not the method's own loss."""
        if self.loss is None:
            return None
        if hasattr(objectives, self.loss):
            return functools.partial(getattr(objectives, self.loss), **self.loss_settings)
        loss = getattr(losses, self.loss)
        weights = [classes, 64] if "classes" in inspect.signature(loss).parameters else []
        settings = {
            key: _metric(value) if isinstance(value, str) else value
            for key, value in self.loss_settings.items()
        }
        return loss(*weights, **settings)


_OMNIGLOT = dict(way=60, shot=1, query=5, episodes=4000, learning_rate=3e-3)
_GLYPHS = dict(way=20, shot=1, query=5, episodes=400, learning_rate=3e-3)
_FINAL: dict[str, Any] = dict(train="train+validation", keep=True)
# The loss that did best in chapter 4.
_SUPCON: dict[str, Any] = dict(
    network=dict(unit=True, pools=4),
    loss="SupConLoss",
    loss_settings=dict(temperature=0.05),
)
# What the results page calls the recipe: that loss, gentle warps in training, and views of each picture.
_RECIPE: dict[str, Any] = dict(
    network=dict(unit=True, pools=4),
    loss="SupConLoss",
    loss_settings=dict(temperature=0.03),
    warp=0.5,
    views=(0, 16),
)

RECIPES = {
    "omniglot/prototypical": Recipe("omniglot", _OMNIGLOT, **_FINAL),
    "omniglot/prototypical-warped": Recipe(
        "omniglot", _OMNIGLOT, train="train+validation", warp=1.0
    ),
    "omniglot/supcon": Recipe("omniglot", _OMNIGLOT, **_SUPCON),
    "omniglot/supcon-warped": Recipe("omniglot", _OMNIGLOT, warp=1.0, **_SUPCON),
    "omniglot/recipe": Recipe("omniglot", _OMNIGLOT | dict(episodes=6000), **_RECIPE, **_FINAL),
    "omniglot/within-alphabet": Recipe(
        "omniglot",
        _OMNIGLOT | dict(episodes=3000),
        **_RECIPE | dict(network=dict(unit=True, pools=3)),
        **_FINAL,
        tasks=(),
        within_alphabets=True,
    ),
    "omniglot/matching": Recipe("omniglot", _OMNIGLOT, matching, dict(scale=30.0), **_FINAL),
    # Over an embedding that stays as it is: trained together on so few episodes, both were the worse for it.
    "omniglot/relation": Recipe(
        "omniglot",
        _OMNIGLOT | dict(episodes=2500),
        relation_on_vectors,
        dict(hidden=256, frozen=True),
        start="omniglot/prototypical",
        train="train+validation",
    ),
    # A smaller one for the drawing pad, where all methods share one embedding.
    "omniglot/relation-frozen": Recipe(
        "omniglot",
        _OMNIGLOT | dict(episodes=1500),
        relation_on_vectors,
        dict(hidden=64, frozen=True),
        start="omniglot/prototypical",
        **_FINAL,
    ),
    "glyphs/prototypical": Recipe("glyphs", _GLYPHS),
    "glyphs/prototypical-5way": Recipe("glyphs", _GLYPHS | dict(way=5)),
    "glyphs/prototypical-60way": Recipe("glyphs", _GLYPHS | dict(way=60)),
    "glyphs/prototypical-unsquared": Recipe("glyphs", _GLYPHS, network=dict(metric="euclidean")),
    "glyphs/prototypical-tempered": Recipe("glyphs", _GLYPHS, network=dict(temperature=16.0)),
    "glyphs/matching": Recipe("glyphs", _GLYPHS, matching, dict(scale=30.0)),
    "glyphs/matching-in-context": Recipe("glyphs", _GLYPHS, matching_in_context, dict(scale=30.0)),
    "glyphs/relation": Recipe("glyphs", _GLYPHS, relation, dict(pools=3)),
    "glyphs/relation-on-vectors": Recipe("glyphs", _GLYPHS, relation_on_vectors, dict(hidden=64)),
}
# Trials within an alphabet, compared place by place, and what is left when no place may move.
RECIPES |= {
    f"omniglot/within-alphabet-{name}": Recipe(
        "omniglot",
        dict(way=30, shot=1, query=3, episodes=7000, learning_rate=2e-3, whole_groups=True),
        prototypical_maps,
        dict(width=16, metric=f"{metric}_distance"),
        loss="SupConLoss",
        loss_settings=dict(temperature=0.03, similarity=f"{metric}_similarity"),
        warp=_RECIPE["warp"],
        train="train+validation",
        tasks=(),
        within_alphabets=True,
        views=_RECIPE["views"],
    )
    for name, metric in (("local", "local"), ("in-place", "cosine"))
}
RECIPES["omniglot/within-alphabet-ensemble"] = replace(
    RECIPES["omniglot/within-alphabet-local"], members=4
)
# Attention blocks in two backbones, for chapter 5. Without a block, a Conv-4 is glyphs/prototypical, or -tempered.
RECIPES |= {
    f"glyphs/conv4-{block}{suffix}": Recipe("glyphs", _GLYPHS, network=dict(block=block, **scale))
    for block in attention.BLOCKS
    for suffix, scale in (("", {}), ("-tempered", dict(temperature=16.0)))
}
RECIPES |= {
    f"glyphs/resnet12-{block or 'plain'}": Recipe(
        "glyphs", _GLYPHS, prototypical_resnet12, dict(width=16, block=block)
    )
    for block in (None, *attention.BLOCKS)
}
# The losses of chapter 4: all see the same batches, 20 classes with 6 pictures each.
_BATCHES = _GLYPHS | dict(episodes=1000)
RECIPES |= {
    f"glyphs/loss-{name}": Recipe(
        "glyphs",
        _BATCHES,
        network=dict(unit=loss not in (None, "n_pair")),
        loss=loss,
        loss_settings=settings,
        recall=True,
    )
    for name, loss, settings in (
        ("prototypical", None, {}),
        ("contrastive", "contrastive", dict(margin=1.0)),
        ("triplet-all", "triplet_all", dict(margin=0.1)),
        ("triplet-hard", "triplet_hard", dict(margin=0.2)),
        ("triplet-semi-hard", "triplet_semi_hard", dict(margin=0.1)),
        ("n-pair", "n_pair", dict(penalty=0.001)),
        ("normalized-softmax", "NormalizedSoftmaxLoss", dict(scale=10.0)),
        ("cosface", "CosFaceLoss", dict(margin=0.3, scale=15.0)),
        ("arcface", "ArcFaceLoss", dict(margin=0.3, scale=15.0)),
        ("supcon", "SupConLoss", dict(temperature=0.03)),
    )
}
# The recipe for the results page, beside glyphs/loss-supcon, which has neither warps nor views.
RECIPES |= {
    "glyphs/recipe": Recipe("glyphs", _BATCHES, **_RECIPE),
    # The same scale: on unit vectors the squared distance is 2 − 2 · cosine.
    "glyphs/recipe-prototypical-loss": Recipe(
        "glyphs",
        _BATCHES,
        network=dict(unit=True, temperature=0.06),
        warp=_RECIPE["warp"],
        views=_RECIPE["views"],
    ),
}
# Pretraining, for chapter 5: a thousand batches for a classifier, or fewer and then episodes.
# A thousand episodes alone are glyphs/loss-prototypical.
_COSINE = dict(metric="cosine_distance", temperature=0.1)
RECIPES |= {
    f"glyphs/classifier{suffix}": Recipe(
        "glyphs", _BATCHES | dict(episodes=episodes), network=_COSINE, loss="SoftmaxLoss"
    )
    for suffix, episodes in (("", 1000), ("-short", 600))
}
RECIPES["glyphs/classifier-then-episodes"] = Recipe(
    "glyphs", _GLYPHS | dict(learning_rate=1e-3), network=_COSINE, start="glyphs/classifier-short"
)


def _of_kind(name: str, value: Any, usual: Any) -> Any:
    """The value of a setting, if it is of the kind that the setting usually has."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(usual, bool):
        fits, wanted = value in (True, False), "true or false"
    elif isinstance(usual, int):
        fits, wanted = whole and value >= 1, "a whole number, 1 or more"
    elif isinstance(usual, float):
        fits = (whole or isinstance(value, float)) and 0 <= value < math.inf
        wanted = "a number, 0 or more"
    else:
        fits, wanted = value is None or isinstance(value, str), "a name"
    if not fits:
        raise ValueError(f"The setting {name} must be {wanted}, but is {value}.")
    return type(usual)(value) if isinstance(usual, bool | float) else value


def _recipe(name: str) -> Recipe:
    """The recipe of that name."""
    if name not in RECIPES:
        near = difflib.get_close_matches(str(name), RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else "python -m fslib.book.experiments lists them."
        raise ValueError(f"There is no recipe {name!r}; {hint}")
    return RECIPES[name]


def run(
    name: str,
    seed: int = 0,
    validate: bool = False,
    changes: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
) -> list[ledger.Record]:
    """Train by a recipe, evaluate on its episodes, and write the records.

    Args:
        name: of the recipe.
        seed: of the initial weights, the training episodes and the augmentation.
        validate: train on the training classes and measure on the validation classes, to choose a recipe.
        changes: other settings than the recipe's, only with ``validate``.
        runs: folder for checkpoints.

    Returns:
        The records, as they are in the ledger.

    Raises:
        ValueError: if there is no such recipe or setting, a checkpoint or a start belongs to another training, or
            the ledger is damaged.
        OSError: if records or checkpoints cannot be written, which is seen before the training.
    """
    changes = changes or {}
    if changes and not validate:
        raise ValueError("The settings are part of the recipe; they may differ only with validate.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"The seed must be a whole number from 0 to 2³² − 1, but is {seed}.")
    recipe = _recipe(name).changed(changes)
    # In one order and of one kind, whatever the order and the spelling in which they were given.
    order = [*recipe.network, *recipe.loss_settings, "warp", *recipe.fit]
    changes = {key: recipe.settings.get(key, 0.0) for key in order if key in changes}
    label = name
    if validate:
        recipe = replace(recipe, train="train")
        parts = [f"{k}{_spelled(v)}" for k, v in changes.items() if k != "episodes"]
        label = "-".join([name, "validation", str(recipe.fit["episodes"]), *parts])
    _check_before_training(recipe, name, Path(runs))
    circumstances = ledger.circumstances(default_device())  # the code that runs is that of now
    # Of two members, those of seed 0 are 0 and 1, those of seed 1 are 2 and 3.
    seeds = [recipe.members * seed + i for i in range(recipe.members)]
    try:
        trained = [_train(recipe, label, each, validate, Path(runs)) for each in seeds]
    except (ValueError, RuntimeError) as error:
        if not changes:
            raise
        raise ValueError(f"With {_listed(changes)}: {error}") from error
    models, histories, starts = zip(*trained)
    model = models[0]
    if recipe.members > 1:
        model.feature_extractor = Ensemble([member.feature_extractor for member in models])
    if recipe.keep and not validate:
        storage.save(model, ledger.folder() / f"{name}-seed{seed}.safetensors", torch.float16)
    split = "validation" if validate else "test"
    common = {
        "command": _command(name, seed, validate, changes),
        "method": name.split("/")[1],
        "dataset": recipe.dataset,
        "split": split + ", within alphabets" * recipe.within_alphabets,
        "seeds": seeds,
        "train_split": recipe.train,
        **{f"train_{key}": value for key, value in recipe.settings.items()},
        **({"train_start": recipe.start} if recipe.start else {}),
        **({"train_start_weights": ", ".join(starts)} if recipe.start else {}),
        **({"train_members": recipe.members} if recipe.members > 1 else {}),
        "train_augmented": recipe.warp > 0,
        "train_seconds": round(sum(history.seconds for history in histories), 1),
        "precision": ", ".join(sorted({history.precision for history in histories})),
        **circumstances,
    }
    images = recipe.load(split, rotations=False)
    return list(_measure(model, recipe, images, label, seed, common))


def _check_before_training(recipe: Recipe, name: str, runs: Path) -> None:
    """Raise if the network or the loss cannot be built, or nothing can be written, before hours are spent."""
    try:
        recipe.build(**recipe.network)
        recipe.objective(classes=2)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError) as error:
        settings = _listed(recipe.network | recipe.loss_settings)
        raise ValueError(f"The recipe cannot be built with {settings}: {error}") from error
    dataset = name.split("/")[0]
    ledger.writable_folder(dataset)
    ledger.find()  # which reads all records: one that is damaged is better seen now
    try:
        (runs / dataset).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=runs / dataset).close()
    except OSError as error:
        raise OSError(
            f"Checkpoints cannot be written to {runs / dataset}: {error.strerror or error}."
        ) from error


def _train(
    recipe: Recipe, label: str, seed: int, validate: bool, runs: Path
) -> tuple[FewShotClassifier, History, str]:
    """A model trained by a recipe, or taken from its checkpoint; its history; a digest of the weights it started from.

    The digest stands in the name of the checkpoint too: from other weights, it is another training.
    """
    torch.manual_seed(seed)
    model, images = recipe.build(**recipe.network), recipe.load(recipe.train)
    objective = recipe.objective(len(images.class_names))
    parts, start = [label, f"seed{seed}"], ""
    if recipe.start:
        network = _embedding(recipe.start, recipe.train, seed, validate, runs)
        try:
            model.feature_extractor.load_state_dict(network.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"{label} cannot start with the network of {recipe.start}, which is another one."
            ) from error
        start = _digest(network)
        parts.append(f"from-{start}")
    history = fit(
        model,
        images,
        **recipe.fit,
        objective=objective,
        augment=_warp(recipe.warp) if recipe.warp else None,
        seed=seed,
        checkpoint=runs / f"{'-'.join(parts)}.pt",
    )
    return model, history, start


def _digest(network: nn.Module) -> str:
    """The first digits of a hash of all weights."""
    digest = hashlib.sha256()
    for name, weights in network.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _warp(strength: float) -> Augment:
    """Random warps whose bounds are that many times the usual ones."""
    usual = inspect.signature(random_warp).parameters
    bounds = ("rotation", "scale", "shear", "shift")
    return functools.partial(
        random_warp, **{name: strength * usual[name].default for name in bounds}
    )


def _embedding(name: str, split: str, seed: int, validate: bool, runs: Path) -> nn.Module:
    """The feature extractor that another recipe trains: its kept weights, its checkpoint, or trained now."""
    recipe = _recipe(name)
    final = recipe.keep and not validate and recipe.train == split
    kept = ledger.folder() / f"{name}-seed{seed}.safetensors"
    if final and kept.exists():
        _check_kept(kept, name, seed)
        return storage.load(kept).feature_extractor
    recipe, label = replace(recipe, train=split), name
    if validate:
        recipe = recipe.changed({"episodes": min(SHORT_START, recipe.fit["episodes"])})
        label = f"{name}-validation-{recipe.fit['episodes']}"
    network = _train(recipe, label, seed, validate, runs)[0].feature_extractor
    # In half precision, as they are kept: whether the file is there or not makes no difference.
    return network.half().float() if final else network


def _check_kept(weights: Path, name: str, seed: int) -> None:
    """Raise if the records beside kept weights tell of another training than the recipe does now."""
    recipe, method = _recipe(name), name.split("/")[1]
    now = {"train_split": recipe.train, "train_augmented": recipe.warp > 0}
    now |= {f"train_{key}": value for key, value in recipe.settings.items()}
    for record in ledger.find(dataset=recipe.dataset, method=method, seeds=[seed]):
        if record["split"].startswith("validation"):
            continue
        for key, value in now.items():
            if record.get(key) != value:
                raise ValueError(
                    f"{weights} was trained with {key} {record.get(key)}, which is {value} in the recipe {name} now; "
                    "run that recipe again, or delete the file."
                )


def _measure(
    model: FewShotClassifier,
    recipe: Recipe,
    images: data.ImageSet,
    label: str,
    seed: int,
    common: ledger.Record,
) -> Iterator[ledger.Record]:
    """Evaluate a trained model, and write and give the records."""
    start = time.perf_counter()
    for task, settings, result in _results(model, recipe, images):
        record = {
            "id": f"{label}-{task}-seed{seed}",
            **settings,
            "mean": round(result.mean, 6),
            "ci95": round(result.ci95, 6),
            "seconds": round(time.perf_counter() - start, 1),
            **common,
        }
        record["id"] = _known_id(record) or record["id"]
        ledger.write(record)
        print(f"{label}, {common['split']}, {task}: {result}", flush=True)
        yield record


def _known_id(record: ledger.Record) -> str | None:
    """What the ledger calls this measurement, if it is there under another name: so none is there twice."""
    same = ("dataset", "method", "split", "seeds")
    for known in ledger.find(**{key: record[key] for key in same}):
        if ledger.difference(known | {"precision": None}, record | {"precision": None}) is None:
            return known["id"]
    return None


def _results(
    model: FewShotClassifier, recipe: Recipe, images: data.ImageSet
) -> Iterator[tuple[str, ledger.Record, Accuracy]]:
    """Each task of a recipe by name, with its settings and what it came to, one after the other."""
    network = model.feature_extractor
    for copies in recipe.views:
        model.feature_extractor = Views(network, copies) if copies else network
        for task, settings, accuracy in _on_each_task(model, recipe, images):
            if recipe.views == (0,):
                yield task, settings, accuracy
            else:
                yield f"{task}-views{copies}", settings | {"views": copies}, accuracy


def _on_each_task(
    model: FewShotClassifier, recipe: Recipe, images: data.ImageSet
) -> Iterator[tuple[str, ledger.Record, Accuracy]]:
    embeddings = embed_all(model, images)
    for way, shot in recipe.tasks:
        settings: dict[str, Any] = dict(way=way, shot=shot, query=15, episodes=10_000)
        accuracy = evaluate(model, images, **settings, seed=0, embeddings=embeddings)
        yield f"{way}way-{shot}shot", settings | {"metric": "accuracy"}, accuracy
    if recipe.within_alphabets:
        trials = within_groups(images, way=20, episodes=2000)
        settings = dict(way=20, shot=1, query=1)
        accuracy = evaluate(model, images, **settings, episodes=trials, embeddings=embeddings)
        settings |= dict(episodes=len(trials), metric="accuracy")
        yield "20way-1shot", settings, accuracy
    if recipe.recall:
        none = dict.fromkeys(("way", "shot", "query", "episodes"))
        yield "recall@1", none | {"metric": "recall@1"}, recall_at_1(embeddings, images.labels)


def _command(name: str, seed: int, validate: bool, changes: Mapping[str, Any]) -> str:
    parts = ["python", "-m", "fslib.book.experiments", name, "--seed", str(seed)]
    sets = [f"{key}={_spelled(value)}" for key, value in changes.items()]
    return shlex.join(parts + ["--validate"] * validate + ["--set", *sets] * bool(sets))


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_spelled(value)}" for key, value in settings.items())


def _spelled(value: Any) -> str:
    """The value of a setting as it stands in a command and in an id: 1 for 1.0, and 0 for False."""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).lower() if value is None else str(value).removesuffix(".0")


def _setting(text: str) -> tuple[str, Any]:
    """``margin=0.5`` as a pair; the value may be a number, true, false, none, or a name."""
    key, _, value = (part.strip() for part in text.partition("="))
    if not key or not value:
        raise argparse.ArgumentTypeError(
            f"a setting is name=number or name=word, but this is {text!r}"
        )
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return key, words[value.lower()]
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            pass
    return key, value


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fslib.book.experiments", description="Train and measure by recipe."
    )
    parser.add_argument("recipe", nargs="?", help="leave it out for a list")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--validate", action="store_true", help="train on train, measure on validation classes"
    )
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        type=_setting,
        default=[],
        metavar="NAME=VALUE",
        help="another setting, as in --set episodes=1000 margin=0.2; only with --validate",
    )
    chosen = parser.parse_args(arguments)
    if chosen.recipe is None:
        for name, recipe in RECIPES.items():
            print(name, recipe.settings)
        return
    changes = dict(chosen.set)
    if len(changes) < len(chosen.set):
        parser.error("argument --set: a setting is given twice")
    try:
        run(chosen.recipe, chosen.seed, chosen.validate, changes)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error


if __name__ == "__main__":
    main()
