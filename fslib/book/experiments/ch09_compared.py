"""Chapters 9 and 10: three methods, each tuned on validation classes, and trained five times.

Of each, the learning rate and one setting of its own were chosen: the temperature, the scale, the loss.
"""

from __future__ import annotations

from typing import Any

from fslib.backbones import Conv4
from fslib.book.experiments.measures import on_tasks, within_scripts
from fslib.book.experiments.networks import GLYPHS, prototypical_conv4, relation_on_vectors
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan
from fslib.methods import FewShotClassifier, MatchingNetwork
from fslib.methods.relation import Criterion


@recipe("glyphs/prototypical-tuned", temperature=16.0, **GLYPHS)
def prototypical(run: Plan, temperature: float, **fit: Any) -> None:
    """A Prototypical Network."""
    _compared(run, prototypical_conv4(temperature=temperature), fit)


@recipe("glyphs/matching-tuned", scale=30.0, **GLYPHS | dict(learning_rate=0.01))
def matching(run: Plan, scale: float, **fit: Any) -> None:
    """A Matching Network."""
    _compared(run, MatchingNetwork(Conv4(), scale=scale), fit)


@recipe("glyphs/relation-tuned", criterion="cross-entropy", **GLYPHS)
def relation(run: Plan, criterion: Criterion, **fit: Any) -> None:
    """A Relation Network over vectors, that all three may compare the same kind of thing."""
    _compared(run, relation_on_vectors(hidden=64, criterion=criterion), fit)


def _compared(run: Plan, model: FewShotClassifier, fit: dict[str, Any]) -> None:
    run.train(model, "train", **fit)
    run.save_weights(model, seeds=(0, 1))
    run.measure(model, on_tasks)
    run.measure(model, within_scripts, how="within scripts")
