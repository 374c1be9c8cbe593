"""What decides a run is put into words that tell any two apart, and are the same in every process."""

import functools
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

from fslib import losses, metrics, objectives
from fslib.augmentation import TestTimeAugmentation, random_warp
from fslib.backbones import Conv4, FrozenConv4
from fslib.config import described, differences
from fslib.data import ImageSet
from fslib.methods import ContextMatchingNetwork, MatchingNetwork, PrototypicalNetwork


def scaled(factor):
    return lambda images: factor * images


def plus_one(images):
    return images + 1


def plus_two(images):
    return images + 2


OFFSET = 1.0


def uses_a_global(images):
    return images + OFFSET


class Mine(nn.Module):
    """A network of a reader's own, with a setting that is no argument."""

    def __init__(self, power):
        super().__init__()
        self.layer, self.power = nn.Linear(3, 2), power

    def forward(self, images):
        return self.layer(images) ** self.power


class Callable:
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, images):
        return self.strength * images


def own_loss(margin, **changes):
    """A loss of a reader's own, in a class made anew, whose method sees the margin from outside."""

    class Loss(nn.Module):
        limit = changes.get("limit", 1.0)

        def forward(self, embeddings, labels, power=changes.get("power", 1)):  # noqa: B008
            return (embeddings**power).mean().clamp_max(self.limit) * margin + OFFSET

    return Loss()


@dataclass(slots=True)
class Slotted:
    strength: float


def hooked(factor):
    module = nn.Linear(3, 2)
    module.register_forward_hook(lambda module, inputs, output: factor * output)
    return module


class Padded(ImageSet):
    border = 0

    def inputs(self, indices=slice(None)):
        return super().inputs(indices) + self.border


def padded(border):
    data = Padded("d", torch.zeros(2, 1, 28, 28, dtype=torch.uint8), [0, 1], ["a", "b"])
    object.__setattr__(data, "border", border)
    return data


def wrapped(factor):
    @functools.wraps(losses.supcon)
    def loss(embeddings, labels):
        return factor * embeddings.mean()

    return loss


def without_bias():
    return nn.Linear(3, 2, bias=False)


def frozen():
    model = nn.Linear(3, 2)
    model.weight.requires_grad = False
    return model


PAIRS = {
    "temperature of a loss": (losses.SupConLoss(0.1), losses.SupConLoss(0.2)),
    "similarity of a loss": (losses.SupConLoss(), losses.SupConLoss(0.1, metrics.local_similarity)),
    "margin": (losses.ArcFaceLoss(3, 2, margin=0.1), losses.ArcFaceLoss(3, 2, margin=0.5)),
    "classes": (losses.ArcFaceLoss(3, 2), losses.ArcFaceLoss(4, 2)),
    "loss": (losses.ArcFaceLoss(3, 2), losses.CosFaceLoss(3, 2)),
    "keyword of a partial": (
        functools.partial(objectives.triplet_all, margin=0.1),
        functools.partial(objectives.triplet_all, margin=0.2),
    ),
    "function of a partial": (
        functools.partial(objectives.triplet_all, margin=0.1),
        functools.partial(objectives.triplet_hard, margin=0.1),
    ),
    "lambdas": (lambda e, y: objectives.triplet_all(e, y), lambda e, y: objectives.contrastive(e, y)),
    "constant in a lambda": (lambda e: e * 2, lambda e: e * 3),
    "closure": (scaled(1.0), scaled(2.0)),
    "function": (plus_one, plus_two),
    "metric": (PrototypicalNetwork(nn.Flatten()), PrototypicalNetwork(nn.Flatten(), metrics.euclidean)),
    "scale of warps": (functools.partial(random_warp, scale=0.1), functools.partial(random_warp, scale=0.2)),
    "unit embeddings": (Conv4(8), Conv4(8, normalize=True)),
    "class of a network": (Conv4(8), FrozenConv4(8)),
    "fixed maps": (TestTimeAugmentation(Conv4(8), seed=0), TestTimeAugmentation(Conv4(8), seed=1)),
    "query network": (MatchingNetwork(nn.Flatten()), MatchingNetwork(nn.Flatten(), nn.Flatten())),
    "own attribute": (Mine(1), Mine(2)),
    "object": (Callable(0.1), Callable(0.2)),
    "bias": (nn.Linear(3, 2), without_bias()),
    "frozen weight": (nn.Linear(3, 2), frozen()),
    "dropout": (nn.Dropout(0.1), nn.Dropout(0.2)),
    "transform": (v2.RandomAffine(10), v2.RandomAffine(20)),
    "composed transforms": (v2.Compose([v2.RandomAffine(10)]), v2.Compose([v2.RandomAffine(20)])),
    "array": (np.array([1.0, 2.0]), np.array([1.0, 3.0])),
    "tensor": (torch.tensor([1]), torch.tensor([1.0])),
    "order": ([1, 2], [2, 1]),
    "nothing": (None, 0),
    "closure of a method": (own_loss(0.1), own_loss(0.2)),
    "default of a method": (own_loss(0.1), own_loss(0.1, power=2)),
    "attribute of a class": (own_loss(0.1), own_loss(0.1, limit=2.0)),
    "class": (type(own_loss(0.1)), type(own_loss(0.2))),
    "slots": (Slotted(0.1), Slotted(0.2)),
    "fraction": (Fraction(1, 2), Fraction(1, 3)),
    "decimal": (Decimal("0.1"), Decimal("0.2")),
    "range": (range(3), range(4)),
    "deque": (deque([1, 2]), deque([1, 3])),
    "path": (Path("a"), Path("b")),
    "interpolation": (
        v2.RandomAffine(10, interpolation=v2.InterpolationMode.NEAREST),
        v2.RandomAffine(10, interpolation=v2.InterpolationMode.BILINEAR),
    ),
    "older transforms": (
        transforms.Compose([transforms.RandomAffine(10)]), transforms.Compose([transforms.RandomAffine(20)])
    ),
    "distribution": (torch.distributions.Normal(0, 0.1), torch.distributions.Normal(0, 0.2)),
    "cached function": (functools.cache(scaled(1.0)), functools.cache(scaled(2.0))),
    "wrapped function": (wrapped(1.0), wrapped(2.0)),
    "hook": (hooked(1.0), hooked(2.0)),
    "bound method": (Callable(0.1).__call__, Callable(0.2).__call__),
    "subclass of data": (padded(0), padded(1)),
    "array of text": (np.array(["a", "b"]), np.array(["a", "c"])),
    "array of objects": (np.array([{"a": 1}]), np.array([{"a": 2}])),
    "sparse tensor": (torch.eye(2).to_sparse(), (2 * torch.eye(2)).to_sparse()),
    "set": ({"a", "b"}, {"a", "c"}),
    "set in a function": (lambda e: e in {"a", "b"}, lambda e: e in {"a", "c"}),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_two_that_differ_are_told_apart(name):
    one, other = (described("it", value) for value in PAIRS[name])
    assert differences(one, other) and differences(other, one)
    assert not differences(one, described("it", PAIRS[name][0]))


def test_a_global_that_a_function_uses_decides_too(monkeypatch):
    before = described("f", uses_a_global)
    monkeypatch.setattr(sys.modules[__name__], "OFFSET", 2.0)
    assert differences(before, described("f", uses_a_global)) == ["f.OFFSET was 1.0 and is now 2.0"]


def test_a_name_that_is_only_an_attribute_decides_nothing(monkeypatch):
    function = lambda embeddings, labels: embeddings.mean()  # noqa: E731
    before = described("f", function)
    monkeypatch.setattr(sys.modules[__name__], "mean", 0.37, raising=False)
    assert not differences(before, described("f", function))


def test_numbers_of_numpy_are_numbers():
    assert described("x", np.float32(0.5)) == described("x", 0.5)
    assert described("x", torch.empty(2, device="meta")) == {"x": "torch.float32 (2,)"}


def test_weights_that_training_changes_decide_nothing():
    for build in (Conv4, lambda: ContextMatchingNetwork(Conv4(8), dim=8)):
        first, second = build(), build()
        second.train()
        (second if build is Conv4 else second.feature_extractor)(torch.rand(2, 1, 28, 28))
        assert not differences(described("net", first), described("net", second))


def test_a_difference_is_named_by_its_path():
    one, other = described("model", PrototypicalNetwork(Conv4(8))), described(
        "model", PrototypicalNetwork(Conv4(8), temperature=2.0)
    )
    assert differences(one, other) == ["model.temperature was 1.0 and is now 2.0"]


def test_what_holds_itself_comes_to_an_end():
    around: list = [1]
    around.append(around)
    assert described("it", around)["it.1"] == "the same as it"


ELSEWHERE = """
from tests.test_config import PAIRS
from fslib.config import described
print(repr({name: sorted(described("it", pair[0]).items()) for name, pair in PAIRS.items()}))
"""


def test_another_process_uses_the_same_words():
    printed = subprocess.check_output([sys.executable, "-c", ELSEWHERE], text=True).strip()
    assert printed == repr({n: sorted(described("it", p[0]).items()) for n, p in PAIRS.items()})
