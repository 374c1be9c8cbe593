"""Chapter 6: Prototypical Networks, how many ways to train on, and what they measure distance by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fslib.book.experiments.measures import on_tasks
from fslib.book.experiments.networks import GLYPHS, OMNIGLOT, prototypical_conv4
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan


@recipe("omniglot/prototypical", **OMNIGLOT)
def prototypical(run: Plan, **fit: Any) -> None:
    """A Prototypical Network over a Conv-4, as the paper has it."""
    model = prototypical_conv4()
    run.train(model, "train+validation", **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)


@recipe("omniglot/prototypical-warped", warp=1.0, **OMNIGLOT)
def warped(run: Plan, warp: float, **fit: Any) -> None:
    """The same, trained on pictures that are warped."""
    model = prototypical_conv4()
    run.train(model, "train+validation", warp=warp, **fit)
    run.measure(model, on_tasks)


@recipe("glyphs/prototypical", **GLYPHS)
def on_glyphs(run: Plan, **fit: Any) -> None:
    """The same on the small data set."""
    _on_glyphs(run, fit, kept=(0, 1, 2))


@recipe("glyphs/prototypical-tempered", temperature=16.0, **GLYPHS)
# As many pictures as the one before has seen, five classes at a time.
@recipe("glyphs/prototypical-tempered-5way", temperature=16.0, **GLYPHS | dict(way=5, episodes=1600))
def tempered(run: Plan, temperature: float, **fit: Any) -> None:
    """With a temperature."""
    _on_glyphs(run, fit, kept=(0,), temperature=temperature)


@recipe("glyphs/prototypical-5way", **GLYPHS | dict(way=5))
@recipe("glyphs/prototypical-60way", **GLYPHS | dict(way=60))
@recipe("glyphs/prototypical-unsquared", metric="euclidean", **GLYPHS)
def varied(run: Plan, metric: str = "squared_euclidean", **fit: Any) -> None:
    """With other ways in training, or another distance."""
    _on_glyphs(run, fit, metric=metric)


def _on_glyphs(run: Plan, fit: dict[str, Any], kept: Sequence[int] = (), **network: Any) -> None:
    model = prototypical_conv4(**network)
    run.train(model, "train", **fit)
    run.save_weights(model, seeds=kept)
    run.measure(model, on_tasks)
