"""What is around a recipe: seeds, splits, checkpoints, kept weights and records, the same for all of them.

A recipe calls ``train``, ``save_weights`` and ``measure`` of what it is given. A :class:`Plan` notes what these would
do, a :class:`Training` trains and no more, for who wants the network, and a :class:`Run` does everything.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fslib import data, storage
from fslib.augmentation import random_warp
from fslib.book import ledger
from fslib.book.experiments.measures import Measure
from fslib.book.experiments.registry import Recipe, find, listed, spelled
from fslib.config import described, weights_digest
from fslib.data import ImageSet
from fslib.devices import default_device
from fslib.evaluation import embed_all
from fslib.files import atomic_write
from fslib.methods import FewShotClassifier
from fslib.training import Augment, History, Loss, Step, fit

# Episodes that a start is trained for, at most, where settings are only being chosen.
SHORT_START = 1000

Load = Callable[[str], ImageSet]


@dataclass
class Trained:
    """What one training was: all that records say of it beside the settings of the recipe."""

    seed: int
    split: str
    augmented: bool
    init_from: str | None = None
    start_weights: str = ""
    history: History = field(default_factory=History)


class Plan:
    """What a recipe would do: networks and losses are built, so that it is seen whether they can be, and no more.

    Args:
        recipe: what is to be done.
        seed: of the initial weights, the training episodes and the augmentation.
        split: classes to train on, instead of those that the recipe asks for.
    """

    def __init__(self, recipe: Recipe, seed: int, split: str | None = None):
        self.recipe = recipe
        self.seed = seed
        self.split = split
        self.trained: list[Trained] = []
        self.models: list[FewShotClassifier] = []
        self.teachers: list[tuple[str, int | None]] = []
        self.saves_weights = False

    def carry_out(self) -> None:
        """Do what the recipe says."""
        torch.manual_seed(self.seed)
        self.recipe.function(self, **self.recipe.settings)

    def members(self, number: int) -> Iterator[int]:
        """Seeds for networks that are measured as one, each set when its turn comes: of seed 1 of two, 2 and 3."""
        for seed in range(number * self.seed, number * (self.seed + 1)):
            torch.manual_seed(seed)
            yield seed

    def network(self, name: str, seed: int | None = None) -> nn.Module:
        """The network that another recipe trained from a seed, to teach the one trained here, or to be measured itself.

        Args:
            name: of the other recipe.
            seed: default, that of this run, so that each of several runs has a network of its own.
        """
        self.teachers.append((name, seed))
        return _planned(find(name), self.seed if seed is None else seed).models[-1].feature_extractor

    def embedded(self, model: FewShotClassifier, split: str, load: Load | None = None) -> Tensor:
        """What a trained model makes of each image that is trained on, (images, d); loaded as for :meth:`train`."""
        return torch.zeros(1, 1)

    def train(
        self,
        model: FewShotClassifier,
        split: str,
        *,
        load: Load | None = None,
        objective: Callable[[int], Step | Loss] | None = None,
        warp: float = 0.0,
        augment: Augment | None = None,
        init_from: str | None = None,
        seed: int | None = None,
        **fit: Any,
    ) -> None:
        """Train a model, or take its weights from the checkpoint.

        Args:
            model: just built; the seed was set before.
            split: the classes to train on; where settings are being chosen, always ``"train"``.
            load: gives the images of a split; default, those of the data set that the recipe's name begins with.
            objective: what to lower, where it is not the method's own loss: given how many classes there are.
            warp: how strongly to warp the images: the bounds of :func:`fslib.augmentation.random_warp` times this.
            augment: another augmentation of all images, in place of warps.
            init_from: the recipe with whose trained feature extractor to start.
            seed: one of :meth:`members`; default, that of the run.
            fit: settings of :func:`fslib.training.fit`.
        """
        if objective is not None:
            with torch.random.fork_rng(devices=[]):
                objective(2)
        seed = self.seed if seed is None else seed
        augmented = warp > 0 or augment is not None
        self.trained.append(Trained(seed, self.split or split, augmented, init_from))
        self.models.append(model)

    def save_weights(self, model: FewShotClassifier, seeds: Sequence[int] = (0,)) -> None:
        """Keep the weights of a final run, in half precision, beside its records; what is measured later are these.

        Args:
            model: a trained one.
            seeds: of the runs whose weights a page or a chapter loads. Of others none are kept.
        """
        self.saves_weights = self.seed in seeds

    def measure(
        self, model: FewShotClassifier, measure: Measure, load: Load | None = None, how: str = ""
    ) -> None:
        """Measure on classes that were not trained on, and enter a record for each result.

        Args:
            model: a trained one.
            measure: one of those in ``measures``, or of the recipe's own.
            load: as for :meth:`train`.
            how: what the records say behind the split, if it is another task than the usual.
        """

    def says(self) -> ledger.Record:
        """What records say of what was trained."""
        says: ledger.Record = {
            "seeds": [each.seed for each in self.trained] or [self.seed],
            **{f"train_{key}": value for key, value in self.recipe.settings.items()},
        }
        if self.teachers:
            says["train_taught_by"] = ", ".join(
                name if seed is None else f"{name} seed {seed}" for name, seed in self.teachers
            )
        if not self.trained:
            return says | {"precision": "float32"}  # in which all is measured
        last = self.trained[-1]
        says["train_split"] = last.split
        says["train_augmented"] = last.augmented
        if last.init_from:
            says["train_start"] = last.init_from
            says["train_start_weights"] = ", ".join(each.start_weights for each in self.trained)
        if len(self.trained) > 1:
            says["train_members"] = len(self.trained)
        histories = [each.history for each in self.trained]
        says["train_seconds"] = round(sum(history.seconds for history in histories), 1)
        says["precision"] = ", ".join(sorted({history.precision for history in histories}))
        return says


class Training(Plan):
    """Trains as the recipe says, and neither measures nor keeps anything.

    Args:
        recipe: as for :class:`Plan`, and ``seed``, ``split`` too.
        label: of the checkpoints.
        validate: whether settings are being chosen, for which a shorter training of those will do.
        runs: folder for checkpoints.
    """

    def __init__(
        self, recipe: Recipe, seed: int, split: str | None, label: str, validate: bool, runs: Path
    ):
        super().__init__(recipe, seed, split)
        self.label = label
        self.validate = validate
        self.runs = runs

    def network(self, name: str, seed: int | None = None) -> nn.Module:
        """The network that another recipe trained; see :meth:`Plan.network`."""
        self.teachers.append((name, seed))
        seed = self.seed if seed is None else seed
        split = self.split or _planned(find(name), seed).trained[-1].split
        return _network(name, split, seed, self.validate, self.runs)

    def embedded(self, model: FewShotClassifier, split: str, load: Load | None = None) -> Tensor:
        """What a trained model makes of each image, once for all its students; see :meth:`Plan.embedded`."""
        images = (load or self.load)(self.split or split)
        teacher = described("teacher", model) | {"weights": weights_digest(model), "images": images.digest}
        name = hashlib.sha256(repr(teacher).encode()).hexdigest()[:12]
        kept = self.runs / self.recipe.dataset / f"embedded-{name}.pt"
        if not kept.exists():
            print(f"{self.label}: asking the teacher of {len(images):,} images", flush=True)
            with atomic_write(kept) as path:
                torch.save(embed_all(model, images).cpu(), path)
        return torch.load(kept, weights_only=True)

    def train(
        self,
        model: FewShotClassifier,
        split: str,
        *,
        load: Load | None = None,
        objective: Callable[[int], Step | Loss] | None = None,
        warp: float = 0.0,
        augment: Augment | None = None,
        init_from: str | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        """Train a model; see :meth:`Plan.train`."""
        super().train(
            model, split, objective=objective, warp=warp, augment=augment, init_from=init_from, seed=seed
        )
        first, now = self.trained[0], self.trained[-1]
        if now is not first:  # a processor is asked anew after a stop, and if it is busy, it may answer otherwise
            settings["bfloat16"] = first.history.precision == "bfloat16"
        images = (load or self.load)(now.split)
        loss = objective(len(images.class_names)) if objective else None
        parts = [self.label, f"seed{now.seed}"]
        if init_from:  # from other weights, it is another training
            now.start_weights = self._init_from(model, init_from, now)
            parts.append(f"from-{now.start_weights}")
        print(f"{self.label}, seed {now.seed}: training on {now.split}", flush=True)
        now.history = fit(
            model,
            images,
            **settings,
            step=loss,
            augment=warps(warp) if warp else augment,
            seed=now.seed,
            checkpoint=self.runs / f"{'-'.join(parts)}.pt",
        )

    def record_id(self, task: str) -> str:
        """What a record of a task is called."""
        return f"{self.label}-{task}-seed{self.seed}"

    def load(self, split: str) -> ImageSet:
        """The images of a split of the recipe's data set."""
        return data.load(self.recipe.dataset, split)

    def _init_from(self, model: FewShotClassifier, name: str, now: Trained) -> str:
        """Give a model the feature extractor of another recipe; returns a digest of its weights."""
        network = _network(name, now.split, now.seed, self.validate, self.runs)
        try:
            model.feature_extractor.load_state_dict(network.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"{self.label} cannot start with the network of {name}, which is another one."
            ) from error
        return weights_digest(network)


class Run(Training):
    """Trains, keeps the weights and enters the records: all that a recipe says.

    Args:
        recipe: with its settings changed already.
        seed: as for :class:`Plan`.
        validate: train on the training classes and measure on the validation classes, to choose a recipe.
        changes: the settings that are not the recipe's own.
        runs: folder for checkpoints.
    """

    def __init__(
        self, recipe: Recipe, seed: int, validate: bool, changes: Mapping[str, Any], runs: Path
    ):
        label = _label(recipe, changes) if validate else recipe.name
        super().__init__(recipe, seed, "train" if validate else None, label, validate, runs)
        self.command = _command(recipe.name, seed, validate, changes)
        self.circumstances = ledger.circumstances(default_device())  # the code that runs is that of now
        self.records: list[ledger.Record] = []

    def save_weights(self, model: FewShotClassifier, seeds: Sequence[int] = (0,)) -> None:
        """Keep the weights; see :meth:`Plan.save_weights`."""
        super().save_weights(model, seeds)
        if self.saves_weights and not self.validate:
            kept = kept_weights(self.recipe.name, self.seed)
            storage.save(model, kept, torch.float16)
            model.load_state_dict(storage.load(kept).state_dict())

    def measure(
        self, model: FewShotClassifier, measure: Measure, load: Load | None = None, how: str = ""
    ) -> None:
        """Measure, and enter the records; see :meth:`Plan.measure`."""
        split = "validation" if self.validate else "test"
        images = (load or self.load)(split)
        split = f"{split}, {how}" if how else split
        start = time.perf_counter()
        for task, settings, result in measure(model, images):
            record = {
                "id": self.record_id(task),
                **settings,
                "mean": round(result.mean, 6),
                "ci95": round(result.ci95, 6),
                "seconds": round(time.perf_counter() - start, 1),
                "command": self.command,
                "method": self.recipe.method,
                "dataset": self.recipe.dataset,
                "split": split,
                **self.says(),
                **self.circumstances,
            }
            record["id"] = _known_id(record) or record["id"]
            ledger.write(record)
            self.records.append(record)
            print(f"{self.label}, {split}, {task}: {result}", flush=True)


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
    recipe = find(name).changed(changes)
    # In one order and of one kind, whatever the order and the spelling in which they were given.
    changes = {key: value for key, value in recipe.settings.items() if key in changes}
    _check_before_training(recipe, changes, Path(runs))
    carried_out = Run(recipe, seed, validate, changes, Path(runs))
    try:
        carried_out.carry_out()
    except (ValueError, RuntimeError) as error:
        if not changes:
            raise
        raise ValueError(f"With {listed(changes)}: {error}") from error
    return carried_out.records


def _check_before_training(recipe: Recipe, changes: Mapping[str, Any], runs: Path) -> None:
    """Raise if the network or the loss cannot be built, or nothing can be written, before hours are spent."""
    try:
        Plan(recipe, seed=0).carry_out()
    except (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError) as error:
        settings = listed(changes or recipe.settings)
        raise ValueError(f"The recipe cannot be built with {settings}: {error}") from error
    ledger.writable_folder(recipe.dataset)
    ledger.find()  # which reads all records: one that is damaged is better seen now
    try:
        (runs / recipe.dataset).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=runs / recipe.dataset).close()
    except OSError as error:
        raise OSError(
            f"Checkpoints cannot be written to {runs / recipe.dataset}: {error.strerror or error}."
        ) from error


def _network(name: str, split: str, seed: int, validate: bool, runs: Path) -> nn.Module:
    """The feature extractor that another recipe trains: its kept weights, its checkpoint, or trained now."""
    recipe = find(name)
    plan = _planned(recipe, seed)
    kept = kept_weights(name, seed)
    # Where the classes are the same, and it is short, the final training is the one for choosing too.
    short = recipe.settings["episodes"] <= SHORT_START
    own = plan.trained[-1].split == split and (short or not validate)
    final = own and plan.saves_weights
    if final and kept.exists():
        check_kept(kept, name, seed)
        return storage.load(kept).feature_extractor
    label = name
    if not own and validate:
        recipe = recipe.changed({"episodes": min(SHORT_START, recipe.settings["episodes"])})
        label = _label(recipe, {})
    training = Training(recipe, seed, split, label, validate, runs)
    training.carry_out()
    network = training.models[-1].feature_extractor
    # In half precision, as they are kept: whether the file is there or not makes no difference.
    return network.half().float() if final else network


def check_kept(weights: Path, name: str, seed: int) -> None:
    """Raise if the records beside kept weights tell of another training than the recipe does now."""
    recipe = find(name)
    says = _planned(recipe, seed).says()
    measured = {"seeds", "train_seconds", "train_start_weights", "precision"}
    now = {key: value for key, value in says.items() if key not in measured}
    for record in ledger.find(dataset=recipe.dataset, method=recipe.method, seeds=says["seeds"]):
        if record["split"].startswith("validation"):
            continue
        for key, value in now.items():
            if record.get(key) != value:
                raise ValueError(
                    f"{weights} was trained with {key} {record.get(key)}, which is {value} in the recipe {name} now; "
                    "run that recipe again, or delete the file."
                )


def _planned(recipe: Recipe, seed: int) -> Plan:
    """What a recipe would do, without a trace in the random numbers."""
    plan = Plan(recipe, seed)
    with torch.random.fork_rng(devices=[]):
        plan.carry_out()
    return plan


def kept_weights(name: str, seed: int) -> Path:
    """The file of the weights that a run of a recipe keeps."""
    return ledger.folder() / f"{name}-seed{seed}.safetensors"


def _label(recipe: Recipe, changes: Mapping[str, Any]) -> str:
    """What a run that chooses settings is called: by its length first, if it trains, then by what it changes."""
    parts = [f"{key}{spelled(value)}" for key, value in changes.items() if key != "episodes"]
    length = [str(recipe.settings["episodes"])] if "episodes" in recipe.settings else []
    return "-".join([recipe.name, "validation", *length, *parts])


def _command(name: str, seed: int, validate: bool, changes: Mapping[str, Any]) -> str:
    parts = ["python", "-m", "fslib.book.experiments", name, "--seed", str(seed)]
    sets = [f"{key}={spelled(value)}" for key, value in changes.items()]
    return shlex.join(parts + ["--validate"] * validate + ["--set", *sets] * bool(sets))


def _known_id(record: ledger.Record) -> str | None:
    """What the ledger calls this measurement, if it is there under another name: so none is there twice."""
    same = ("dataset", "method", "split", "seeds")
    for known in ledger.find(**{key: record[key] for key in same}):
        if ledger.difference(known | {"precision": None}, record | {"precision": None}) is None:
            return known["id"]
    return None


def warps(strength: float) -> Augment:
    """Random warps whose bounds are that many times the usual ones."""
    usual = inspect.signature(random_warp).parameters
    bounds = ("rotation", "scale", "shear", "shift")
    return functools.partial(
        random_warp, **{name: strength * usual[name].default for name in bounds}
    )
