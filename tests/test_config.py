"""What decides a run is put into words that tell any two apart, and are the same in every process."""

import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from fslib import losses, metrics, objectives
from fslib.augmentation import Views, random_warp
from fslib.backbones import Conv4, FrozenConv4
from fslib.config import described, differences
from fslib.methods import MatchingNetwork, PrototypicalNetwork


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
    "unit embeddings": (Conv4(8), Conv4(8, unit=True)),
    "class of a network": (Conv4(8), FrozenConv4(8)),
    "fixed maps": (Views(Conv4(8), seed=0), Views(Conv4(8), seed=1)),
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


def test_weights_that_training_changes_decide_nothing():
    first, second = Conv4(8), Conv4(8)
    second.train()(torch.rand(2, 1, 28, 28))
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
