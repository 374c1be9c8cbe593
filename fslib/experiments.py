"""Train and measure by recipe, and enter the results in the ledger.

Run as a command::

    python -m fslib.experiments                                   # list the recipes
    python -m fslib.experiments omniglot/prototypical --validate  # how it was chosen
    python -m fslib.experiments omniglot/prototypical             # train + validation classes, tested once

A run saves as it goes and, started again, takes up where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fslib import data, ledger, metrics, storage
from fslib.augmentation import random_warp
from fslib.backbones import Conv4
from fslib.devices import default_device
from fslib.evaluation import evaluate
from fslib.methods import PrototypicalNetwork
from fslib.training import fit


@dataclass(frozen=True)
class Recipe:
    """All that decides a training run, but the seed.

    Attributes:
        dataset: a name for :func:`fslib.data.load`.
        fit: settings of :func:`fslib.training.fit`.
        metric: a distance of :mod:`fslib.metrics`.
        augment: whether to warp the training images with :func:`fslib.augmentation.random_warp`.
        train: the training split of the final run.
        tasks: way and shot of each evaluation.
        keep: whether to commit the weights of the final run, in half precision, beside the records.
    """

    dataset: str
    fit: dict[str, Any]
    metric: str = "squared_euclidean"
    augment: bool = False
    train: str = "train"
    tasks: tuple[tuple[int, int], ...] = ((5, 1), (5, 5), (20, 1), (20, 5))
    keep: bool = False


_OMNIGLOT = dict(way=60, shot=1, query=5, learning_rate=3e-3)
_GLYPHS = dict(way=20, shot=1, query=5, episodes=400, learning_rate=3e-3)

RECIPES = {
    "omniglot/prototypical": Recipe(
        "omniglot", _OMNIGLOT | dict(episodes=4000), train="train+validation", keep=True
    ),
    "omniglot/prototypical-warped": Recipe(
        "omniglot", _OMNIGLOT | dict(episodes=4000), train="train+validation", augment=True
    ),
    "glyphs/prototypical": Recipe("glyphs", _GLYPHS),
    "glyphs/prototypical-5way": Recipe("glyphs", _GLYPHS | dict(way=5)),
    "glyphs/prototypical-60way": Recipe("glyphs", _GLYPHS | dict(way=60)),
    "glyphs/prototypical-unsquared": Recipe("glyphs", _GLYPHS, metric="euclidean"),
}


def run(
    name: str,
    seed: int = 0,
    validate: bool = False,
    episodes: int | None = None,
    runs: str | Path = "runs",
) -> list[ledger.Record]:
    """Train by a recipe, evaluate on 10,000 episodes of each task, and write the records.

    Args:
        name: of the recipe.
        seed: of the initial weights, the training episodes and the augmentation.
        validate: train on the training classes and measure on the validation classes, to choose a recipe.
        episodes: another number of training episodes than the recipe's, only with ``validate``.
        runs: folder for checkpoints.

    Returns:
        The records, as they are in the ledger.
    """
    recipe = RECIPES[name]
    if episodes and not validate:
        raise ValueError(
            "The number of episodes is part of the recipe; it may differ only with validate."
        )
    settings = recipe.fit | ({"episodes": episodes} if episodes else {})
    train, split = ("train", "validation") if validate else (recipe.train, "test")
    label = f"{name}-validation-{settings['episodes']}" if validate else name
    torch.manual_seed(seed)
    model = PrototypicalNetwork(Conv4(), metric=getattr(metrics, recipe.metric))
    history = fit(
        model,
        data.load(recipe.dataset, train),
        **settings,
        augment=random_warp if recipe.augment else None,
        seed=seed,
        checkpoint=Path(runs) / f"{label}-seed{seed}.pt",
    )
    if recipe.keep and not validate:
        storage.save(model, ledger.folder() / f"{name}-seed{seed}.safetensors", torch.float16)
    measured = data.load(recipe.dataset, split)
    records = []
    for way, shot in recipe.tasks:
        start = time.perf_counter()
        accuracy = evaluate(model, measured, way=way, shot=shot, query=15, episodes=10_000, seed=0)
        records.append(
            {
                "id": f"{label}-{way}way-{shot}shot-seed{seed}",
                "command": _command(name, seed, validate, episodes),
                "method": name.split("/")[1],
                "dataset": recipe.dataset,
                "split": split,
                "way": way,
                "shot": shot,
                "query": 15,
                "episodes": 10_000,
                "seeds": [seed],
                "metric": "accuracy",
                "mean": round(accuracy.mean, 6),
                "ci95": round(accuracy.ci95, 6),
                "seconds": round(time.perf_counter() - start, 1),
                "train_split": train,
                **{f"train_{key}": value for key, value in settings.items()},
                "train_augmented": recipe.augment,
                "train_seconds": round(history.seconds, 1),
                **ledger.circumstances(default_device()),
            }
        )
        ledger.write(records[-1])
        print(
            f"{label}, seed {seed}, {way}-way {shot}-shot, {split} classes: {accuracy}", flush=True
        )
    return records


def _command(name: str, seed: int, validate: bool, episodes: int | None) -> str:
    parts = ["python", "-m", "fslib.experiments", name, "--seed", str(seed)]
    return shlex.join(
        parts + ["--validate"] * validate + ["--episodes", str(episodes)] * bool(episodes)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fslib.experiments", description="Train and measure by recipe."
    )
    parser.add_argument("recipe", nargs="?", choices=RECIPES, help="leave it out for a list")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--validate", action="store_true", help="train on train, measure on validation classes"
    )
    parser.add_argument("--episodes", type=int, help="training episodes, only with --validate")
    chosen = parser.parse_args(arguments)
    if chosen.recipe is None:
        for name, recipe in RECIPES.items():
            print(name, recipe.fit, "warped" if recipe.augment else "")
        return
    try:
        run(chosen.recipe, chosen.seed, chosen.validate, chosen.episodes)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error


if __name__ == "__main__":
    main()
