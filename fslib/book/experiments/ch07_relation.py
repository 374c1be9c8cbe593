"""Chapter 7: Relation Networks, which learn to compare."""

from __future__ import annotations

from typing import Any

from fslib.backbones import Conv4
from fslib.book.experiments.measures import on_tasks
from fslib.book.experiments.networks import (
    GLYPHS,
    OMNIGLOT,
    prototypical_conv4,
    relation_on_vectors,
)
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan
from fslib.methods import ConvRelation, RelationNetwork
from fslib.methods.relation import Criterion


@recipe("glyphs/relation", pools=3, **GLYPHS)
def relation(run: Plan, pools: int, **fit: Any) -> None:
    """A Relation Network over the feature maps of a Conv-4."""
    module = ConvRelation(hidden=32)  # before the Conv-4: in this order, a seed gives the weights of the record
    model = RelationNetwork(Conv4(pools=pools, pooling="none"), module, criterion="bce")
    run.train(model, "train", **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)


@recipe("glyphs/relation-on-vectors", hidden=64, **GLYPHS)
def on_vectors(run: Plan, hidden: int, **fit: Any) -> None:
    """The same over flat embeddings, for comparison."""
    model = relation_on_vectors(hidden)
    run.train(model, "train", **fit)
    run.measure(model, on_tasks)


@recipe("glyphs/relation-cross-entropy", criterion="cross-entropy", warp=0.0, pools=3, **GLYPHS)
# As long as the comparison takes to be learned.
@recipe("glyphs/relation-long", criterion="cross-entropy", warp=1.0, pools=3, **GLYPHS | dict(episodes=6000))
def over_classes(run: Plan, criterion: Criterion, warp: float, pools: int, **fit: Any) -> None:
    """A Relation Network over feature maps, whose scores are compared with one another."""
    module = ConvRelation(hidden=32)
    model = RelationNetwork(Conv4(pools=pools, pooling="none"), module, criterion=criterion)
    run.train(model, "train", warp=warp, **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)


@recipe("glyphs/prototypical-long", temperature=16.0, warp=1.0, **GLYPHS | dict(episodes=6000))
def beside_it(run: Plan, temperature: float, warp: float, **fit: Any) -> None:
    """A Prototypical Network that saw as many images, warped alike."""
    model = prototypical_conv4(temperature=temperature)
    run.train(model, "train", warp=warp, **fit)
    run.measure(model, on_tasks)


# Over an embedding that stays as it is: trained together on so few episodes, both were the worse for it.
FROZEN: dict[str, Any] = dict(frozen=True, **OMNIGLOT)


@recipe("omniglot/relation", hidden=256, **FROZEN | dict(episodes=2500))
def frozen(run: Plan, hidden: int, frozen: bool, **fit: Any) -> None:
    """A relation module over the embedding of a trained Prototypical Network."""
    model = relation_on_vectors(hidden, frozen)
    run.train(model, "train+validation", init_from="omniglot/prototypical", **fit)
    run.measure(model, on_tasks)


@recipe("omniglot/relation-frozen", hidden=64, **FROZEN | dict(episodes=1500))
def frozen_and_kept(run: Plan, hidden: int, frozen: bool, **fit: Any) -> None:
    """A smaller one for the drawing pad, where all methods share one embedding."""
    model = relation_on_vectors(hidden, frozen)
    run.train(model, "train+validation", init_from="omniglot/prototypical", **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)
