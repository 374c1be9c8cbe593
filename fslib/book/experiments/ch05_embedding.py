"""Chapter 5: attention blocks in two backbones, and pretraining by classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fslib import attention, losses
from fslib.book.experiments.measures import on_tasks
from fslib.book.experiments.networks import (
    BATCHES,
    GLYPHS,
    prototypical_conv4,
    prototypical_resnet12,
)
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan


def conv4(run: Plan, block: str | None, temperature: float = 1.0, **fit: Any) -> None:
    """A Conv-4 with an attention block; without one, it is glyphs/prototypical, or -tempered."""
    kept = (0,) if block == "cbam" and temperature == 1 else ()  # the one that chapter 5 looks into
    model = prototypical_conv4(block=block, temperature=temperature)
    run.train(model, "train", **fit)
    run.save_weights(model, seeds=kept)
    run.measure(model, on_tasks)


def resnet12(run: Plan, width: int, block: str | None, **fit: Any) -> None:
    """A ResNet-12, with an attention block or without."""
    model = prototypical_resnet12(width, block)
    run.train(model, "train", **fit)
    run.measure(model, on_tasks)


for block in attention.BLOCKS:
    recipe(f"glyphs/conv4-{block}", block=block, **GLYPHS)(conv4)
    recipe(f"glyphs/conv4-{block}-tempered", block=block, temperature=16.0, **GLYPHS)(conv4)
    recipe(f"glyphs/resnet12-{block}", width=16, block=block, **GLYPHS)(resnet12)
recipe("glyphs/resnet12-plain", width=16, block=None, **GLYPHS)(resnet12)

# Pretraining: a thousand batches for a classifier, or fewer and then episodes. A thousand episodes alone are
# glyphs/loss-prototypical.
COSINE: dict[str, Any] = dict(metric="cosine_distance", temperature=0.1)


@recipe("glyphs/classifier", **COSINE, **BATCHES)
def classifier(run: Plan, metric: str, temperature: float, **fit: Any) -> None:
    """A classifier of all training classes, whose embedding is then compared by cosines."""
    _classifier(run, metric, temperature, fit, kept=(0,))


@recipe("glyphs/classifier-short", **COSINE, **BATCHES | dict(episodes=600))
def short_classifier(run: Plan, metric: str, temperature: float, **fit: Any) -> None:
    """The same, trained for less long: the next one goes on from it."""
    _classifier(run, metric, temperature, fit)


@recipe("glyphs/classifier-then-episodes", **COSINE, **GLYPHS | dict(learning_rate=1e-3))
def classifier_then_episodes(run: Plan, metric: str, temperature: float, **fit: Any) -> None:
    """The embedding of the shorter classifier, trained on by episodes."""
    model = prototypical_conv4(metric, temperature)
    run.train(model, "train", init_from="glyphs/classifier-short", **fit)
    run.measure(model, on_tasks)


def _classifier(
    run: Plan, metric: str, temperature: float, fit: dict[str, Any], kept: Sequence[int] = ()
) -> None:
    model = prototypical_conv4(metric, temperature)
    run.train(model, "train", objective=lambda classes: losses.SoftmaxLoss(classes, 64), **fit)
    run.save_weights(model, seeds=kept)
    run.measure(model, on_tasks)
