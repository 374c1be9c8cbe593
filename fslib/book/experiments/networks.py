"""Networks and settings that recipes of several chapters share."""

from __future__ import annotations

from typing import Any

from fslib import metrics, storage
from fslib.backbones import Conv4, FrozenConv4, ResNet12
from fslib.methods import FewShotClassifier, PrototypicalNetwork, RelationNetwork, VectorRelation
from fslib.methods.relation import Criterion

# Settings of `fslib.training.fit`.
OMNIGLOT: dict[str, Any] = dict(way=60, shot=1, query=5, episodes=4000, learning_rate=3e-3)
GLYPHS: dict[str, Any] = dict(way=20, shot=1, query=5, episodes=400, learning_rate=3e-3)
# For losses of whole batches: 20 classes with 6 pictures each.
BATCHES = GLYPHS | dict(episodes=1000)


def metric_by_name(name: str | None) -> metrics.Metric:
    """A metric of :mod:`fslib.metrics`."""
    if name not in storage.METRICS:
        raise ValueError(f"There is no metric {name}; there are {', '.join(storage.METRICS)}.")
    return storage.METRICS[name]


def prototypical_conv4(
    metric: str = "squared_euclidean",
    temperature: float = 1.0,
    normalize: bool = False,
    pools: int = 4,
    block: str | None = None,
) -> FewShotClassifier:
    """A Prototypical Network over a Conv-4."""
    conv4 = Conv4(normalize=normalize, pools=pools, block=block)
    return PrototypicalNetwork(conv4, metric_by_name(metric), temperature)


def prototypical_resnet12(width: int = 16, block: str | None = None) -> FewShotClassifier:
    """A Prototypical Network over a ResNet-12, its widths in the proportions of the paper, which begins at 64."""
    widths = (width, 5 * width // 2, 5 * width, 10 * width)
    return PrototypicalNetwork(ResNet12(widths, block=block))


def relation_on_vectors(hidden: int, frozen: bool = False, criterion: Criterion = "bce") -> FewShotClassifier:
    """A Relation Network over the flat embeddings of a Conv-4, which may be one that training leaves alone."""
    conv4 = FrozenConv4() if frozen else Conv4()
    return RelationNetwork(conv4, VectorRelation(hidden=hidden), criterion=criterion)
