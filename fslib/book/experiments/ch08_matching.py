"""Chapter 8: Matching Networks, alone and in the context of the episode."""

from __future__ import annotations

from typing import Any

from fslib.backbones import Conv4
from fslib.book.experiments.measures import on_tasks
from fslib.book.experiments.networks import GLYPHS, OMNIGLOT
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan
from fslib.methods import ContextMatchingNetwork, MatchingNetwork


@recipe("omniglot/matching", scale=30.0, **OMNIGLOT)
def matching(run: Plan, scale: float, **fit: Any) -> None:
    """A Matching Network over a Conv-4, one network for support and queries."""
    model = MatchingNetwork(Conv4(), scale=scale)
    run.train(model, "train+validation", **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)


@recipe("glyphs/matching", scale=30.0, **GLYPHS)
def on_glyphs(run: Plan, scale: float, **fit: Any) -> None:
    """The same on the small data set."""
    model = MatchingNetwork(Conv4(), scale=scale)
    run.train(model, "train", **fit)
    run.measure(model, on_tasks)


@recipe("glyphs/matching-in-context", scale=30.0, **GLYPHS)
def in_context(run: Plan, scale: float, **fit: Any) -> None:
    """A Matching Network with full context embeddings."""
    model = ContextMatchingNetwork(Conv4(), scale=scale, steps=5)
    run.train(model, "train", **fit)
    run.measure(model, on_tasks)
