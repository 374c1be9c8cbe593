"""Chapter 8: Matching Networks, alone and in the context of the episode."""

from __future__ import annotations

import copy
from typing import Any

from fslib.backbones import Conv4
from fslib.book.experiments.measures import on_tasks
from fslib.book.experiments.networks import GLYPHS, OMNIGLOT
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan
from fslib.methods import ContextMatchingNetwork, FewShotClassifier, MatchingNetwork


@recipe("omniglot/matching", scale=30.0, **OMNIGLOT)
def matching(run: Plan, scale: float, **fit: Any) -> None:
    """A Matching Network over a Conv-4, one network for support and queries."""
    model = MatchingNetwork(Conv4(), scale=scale)
    run.train(model, "train+validation", **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)


@recipe("glyphs/matching", scale=30.0, **GLYPHS)
@recipe("glyphs/matching-from-1", scale=1.0, **GLYPHS)
def on_glyphs(run: Plan, scale: float, **fit: Any) -> None:
    """The same on the small data set, with a scale that begins well or at 1, for the paper names none."""
    _on_glyphs(run, MatchingNetwork(Conv4(), scale=scale), fit)


@recipe("glyphs/matching-held-at-1", scale=1.0, **GLYPHS)
def held(run: Plan, scale: float, **fit: Any) -> None:
    """With a scale that is not learned."""
    model = MatchingNetwork(Conv4(), scale=scale)
    model.log_scale.requires_grad_(False)
    _on_glyphs(run, model, fit)


@recipe("glyphs/matching-two-networks", scale=30.0, **GLYPHS)
def two_networks(run: Plan, scale: float, **fit: Any) -> None:
    """A network for the support set and one for the queries, which begin alike."""
    network = Conv4()
    _on_glyphs(run, MatchingNetwork(network, query_extractor=copy.deepcopy(network), scale=scale), fit)


@recipe("glyphs/matching-in-context", scale=30.0, **GLYPHS)
def in_context(run: Plan, scale: float, **fit: Any) -> None:
    """A Matching Network with full context embeddings."""
    _on_glyphs(run, ContextMatchingNetwork(Conv4(), scale=scale, steps=5), fit)


def _on_glyphs(run: Plan, model: FewShotClassifier, fit: dict[str, Any]) -> None:
    run.train(model, "train", **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)
