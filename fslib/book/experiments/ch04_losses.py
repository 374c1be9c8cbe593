"""The losses of chapter 4: all see the same batches, 20 classes with 6 pictures each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fslib import losses, objectives
from fslib.book.experiments.measures import on_tasks_and_recall
from fslib.book.experiments.networks import BATCHES, prototypical_conv4
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan
from fslib.training import Objective


@recipe("glyphs/loss-prototypical", unit=False, **BATCHES)
def own_loss(run: Plan, unit: bool, **fit: Any) -> None:
    """A Prototypical Network's own loss, on the queries of episodes."""
    _train_with(None, run, unit, fit)


@recipe("glyphs/loss-contrastive", unit=True, margin=1.0, **BATCHES)
def contrastive(run: Plan, unit: bool, margin: float, **fit: Any) -> None:
    """All pairs of a batch."""
    _train_with(lambda _: functools.partial(objectives.contrastive, margin=margin), run, unit, fit)


@recipe("glyphs/loss-triplet-all", unit=True, margin=0.1, **BATCHES)
def triplet_all(run: Plan, unit: bool, margin: float, **fit: Any) -> None:
    """All triplets of a batch."""
    _train_with(lambda _: functools.partial(objectives.triplet_all, margin=margin), run, unit, fit)


@recipe("glyphs/loss-triplet-hard", unit=True, margin=0.2, **BATCHES)
def triplet_hard(run: Plan, unit: bool, margin: float, **fit: Any) -> None:
    """The hardest triplet of each anchor."""
    _train_with(lambda _: functools.partial(objectives.triplet_hard, margin=margin), run, unit, fit)


@recipe("glyphs/loss-triplet-semi-hard", unit=True, margin=0.1, **BATCHES)
def triplet_semi_hard(run: Plan, unit: bool, margin: float, **fit: Any) -> None:
    """Triplets whose negative is farther than the positive, but not by the margin."""
    mined = functools.partial(objectives.triplet_semi_hard, margin=margin)
    _train_with(lambda _: mined, run, unit, fit)


@recipe("glyphs/loss-n-pair", unit=False, penalty=0.001, **BATCHES)
def n_pair(run: Plan, unit: bool, penalty: float, **fit: Any) -> None:
    """Every other positive a negative."""
    _train_with(lambda _: functools.partial(objectives.n_pair, penalty=penalty), run, unit, fit)


@recipe("glyphs/loss-normalized-softmax", unit=True, scale=10.0, **BATCHES)
def normalized_softmax(run: Plan, unit: bool, scale: float, **fit: Any) -> None:
    """A classifier of all training classes, by angles."""
    _train_with(lambda n: losses.NormalizedSoftmaxLoss(n, 64, scale=scale), run, unit, fit)


@recipe("glyphs/loss-cosface", unit=True, margin=0.3, scale=15.0, **BATCHES)
def cosface(run: Plan, unit: bool, margin: float, scale: float, **fit: Any) -> None:
    """The same with a margin in the cosine."""
    _train_with(lambda n: losses.CosFaceLoss(n, 64, margin=margin, scale=scale), run, unit, fit)


@recipe("glyphs/loss-arcface", unit=True, margin=0.3, scale=15.0, **BATCHES)
def arcface(run: Plan, unit: bool, margin: float, scale: float, **fit: Any) -> None:
    """The same with a margin in the angle."""
    _train_with(lambda n: losses.ArcFaceLoss(n, 64, margin=margin, scale=scale), run, unit, fit)


@recipe("glyphs/loss-supcon", unit=True, temperature=0.03, **BATCHES)
def supcon(run: Plan, unit: bool, temperature: float, **fit: Any) -> None:
    """The supervised contrastive loss."""
    _train_with(lambda _: losses.SupConLoss(temperature=temperature), run, unit, fit, kept=(0,))


def _train_with(
    objective: Callable[[int], Objective] | None,
    run: Plan,
    unit: bool,
    fit: dict[str, Any],
    kept: Sequence[int] = (),
) -> None:
    model = prototypical_conv4(normalize=unit)
    run.train(model, "train", objective=objective, **fit)
    run.save_weights(model, seeds=kept)
    run.measure(model, on_tasks_and_recall)
