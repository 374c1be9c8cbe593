"""Today's package computes what it computed before: first and last losses, scores and drawn indices, as recorded.

Everything is in float64, on one thread, over weights and pictures that NumPy draws, so the numbers are the same on
every processor and under every torch. A number that a mended fault changes is recorded again, and the commit says why:

    python -m tests.test_replay
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fslib import evaluation, losses, metrics, mining, objectives
from fslib.augmentation import random_warp
from fslib.backbones import Conv4, ResNet12
from fslib.data import ImageSet
from fslib.episodes import EpisodeSampler, within_groups
from fslib.methods import (
    ContextMatchingNetwork,
    ConvRelation,
    CosineClassifier,
    LogisticRegression,
    MatchingNetwork,
    PrototypicalNetwork,
    RelationNetwork,
    VectorRelation,
)
from fslib.training import fit

STORED = Path(__file__).with_name("replay.json")
CLASSES, EACH, DIM = 12, 10, 8


class Double(nn.Sequential):
    """A network in float64, which pictures enter in float32."""

    def __init__(self, *layers: nn.Module):
        super().__init__(*layers)
        self.double()

    def forward(self, images):
        return super().forward(images.double())


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


def filled(module: nn.Module) -> nn.Module:
    """The module with weights that NumPy drew, in float64."""
    module.double()
    with torch.no_grad():
        for number, weight in enumerate(module.parameters()):
            width = max(1, weight[0].numel()) if weight.ndim > 1 else 4
            if weight.ndim:
                weight.copy_(drawn(100 + number, *weight.shape) / width**0.5)
                if weight.ndim == 1:
                    weight.add_(0.5)
    return module


def pictures() -> ImageSet:
    """Classes of blotches: every picture is its class's, with noise."""
    random = np.random.RandomState(0)
    of_class = random.randint(0, 256, (CLASSES, 1, 7, 7)).repeat(4, -1).repeat(4, -2)
    noise = random.randint(-60, 61, (CLASSES, EACH, 28, 28))
    images = (of_class + noise).clip(0, 255).astype(np.uint8).reshape(-1, 1, 28, 28)
    return ImageSet(
        "blotches",
        torch.from_numpy(images),
        torch.arange(CLASSES).repeat_interleave(EACH),
        [f"class {c}" for c in range(CLASSES)],
        ["left"] * 6 + ["right"] * 6,
        torch.arange(EACH).repeat(CLASSES),
    )


def network(**options) -> nn.Module:
    return Double(Conv4(DIM, **options))


def sequence(dim: int) -> nn.Module:
    """A relation module of a reader's own."""
    return nn.Sequential(nn.Linear(2 * dim, 6), nn.Tanh(), nn.Linear(6, 1), nn.Sigmoid())


METHODS = {
    "prototypical": lambda: PrototypicalNetwork(network()),
    "prototypical, Euclidean": lambda: PrototypicalNetwork(network(), metrics.euclidean),
    "prototypical, cosine": lambda: PrototypicalNetwork(network(), metrics.cosine_distance, 0.1),
    "prototypical, Mahalanobis": lambda: PrototypicalNetwork(network(), metrics.Mahalanobis(DIM, 4)),
    "prototypical, ResNet-12": lambda: PrototypicalNetwork(Double(ResNet12((4, 6, 8, 8)))),
    "matching": lambda: MatchingNetwork(network()),
    "matching, two networks": lambda: MatchingNetwork(network(), network()),
    "relation, mean": lambda: RelationNetwork(network(), VectorRelation(DIM, 6)),
    "relation, sum, entropy": lambda: RelationNetwork(network(), VectorRelation(DIM, 6), "sum", "bce"),
    "relation, score mean": lambda: RelationNetwork(network(), VectorRelation(DIM, 6), "score mean"),
    "relation, score max": lambda: RelationNetwork(network(), VectorRelation(DIM, 6), "score max", "bce"),
    "relation, maps": lambda: RelationNetwork(
        network(pools=3, pooling="none"), ConvRelation(DIM, 6), criterion="bce"
    ),
    "relation, own module": lambda: RelationNetwork(network(), sequence(DIM), criterion="bce"),
}  # fmt: skip
OBJECTIVES = {
    "SupCon": lambda: losses.SupConLoss(0.1),
    "ArcFace": lambda: losses.ArcFaceLoss(CLASSES, DIM),
    "CosFace": lambda: losses.CosFaceLoss(CLASSES, DIM),
    "normalized softmax": lambda: losses.NormalizedSoftmaxLoss(CLASSES, DIM),
    "softmax": lambda: losses.SoftmaxLoss(CLASSES, DIM),
    "contrastive": lambda: objectives.contrastive,
    "triplet, all": lambda: objectives.triplet_all,
    "triplet, hard": lambda: objectives.triplet_hard,
    "triplet, semi-hard": lambda: objectives.triplet_semi_hard,
    "n-pair": lambda: objectives.n_pair,
}
BATCH = dict(way=4, shot=2, query=3, episodes=3, seed=5, progress=False, device="cpu", bfloat16=False)


def scores_of(model) -> list:
    """Scores of one episode, in evaluation mode."""
    data = pictures()
    episode = EpisodeSampler(data, way=4, shot=2, query=2, seed=9)[0]
    with torch.no_grad():
        scores = model.eval()(
            data.inputs(episode.support), episode.support_labels, data.inputs(episode.query)
        )
    return scores.tolist()


def trained(model, **options) -> dict:
    history = fit(filled(model), pictures(), **BATCH, **options)
    return {"losses": [history.loss[0], history.loss[-1]], "scores": scores_of(model)}


def of_objective(objective, **options) -> dict:
    if isinstance(objective, nn.Module):
        filled(objective)
    return trained(PrototypicalNetwork(network()), step=objective, **options)


def in_context() -> dict:
    """Full context embeddings are computed in float32, so only nearly the same everywhere."""
    model = filled(ContextMatchingNetwork(nn.Identity(), dim=DIM, steps=3)).float().eval()
    support, query = drawn(1, 6, DIM).float(), drawn(2, 5, DIM).float()
    with torch.no_grad():
        return {"nearly": model(support, torch.tensor([5, 5, 2, 2, 9, 9]), query).tolist()}


def compared(model) -> dict:
    """Scores of stacked episodes of vectors, some with unequal classes."""
    support, query = drawn(3, 2, 7, DIM), drawn(4, 2, 5, DIM)
    labels = torch.tensor([3, 1, 1, 1, 2, 3, 2])
    return {"scores": filled(model).compare(support, labels, query).tolist()}


def of_tuples(loss, count: int, same: bool = False) -> dict:
    """Loss and gradient on pairs or triplets of vectors."""
    parts = [drawn(20 + i, 9, DIM).requires_grad_() for i in range(count)]
    also = [torch.tensor([True, False, True] * 3)] if same else []
    value = loss(*parts, *also)
    return {"losses": value.item(), "gradient": torch.autograd.grad(value, parts)[0].tolist()}


def pairwise(metric) -> dict:
    x, y = drawn(30, 2, 3, 36), drawn(31, 4, 36)
    return {"distances": metric(x, y).tolist()}


def mined(miner) -> dict:
    labels = torch.tensor([0, 1, 0, 2, 1, 1, 3, 0, 2, 2])
    x = drawn(40, 10, 4)
    return {"indices": [part.tolist() for part in miner(torch.cdist(x, x), labels)]}


def episodes_of(stack) -> dict:
    return {"indices": [part.tolist() for part in (stack.classes, stack.support, stack.query)]}


def unequal() -> torch.Tensor:
    """Labels of classes of 6 to 120 examples, in mixed order."""
    labels = np.repeat([1, 4, 7, 10, 13, 16], [6, 9, 40, 7, 120, 25])
    return torch.from_numpy(np.random.RandomState(3).permutation(labels))


def measured() -> dict:
    data = pictures()
    space = drawn(50, CLASSES, 1, 6) + drawn(51, CLASSES, EACH, 6)
    space = space.reshape(-1, 6)
    task = dict(way=4, shot=2, query=5, episodes=25, seed=3, embeddings=space)
    accuracy = evaluation.evaluate(PrototypicalNetwork(nn.Identity()), data, **task)
    recall = evaluation.recall_at_1(space, data.labels)
    return {"accuracies": accuracy.per_episode.tolist(), "recall": recall.mean}


def cases() -> dict:
    """What is replayed, by name; each gives numbers when it is called."""
    matrix = drawn(32, 36, 36)
    matrix = matrix @ matrix.mT
    warp = dict(augment=random_warp)
    return {
        **{f"fit: {name}": lambda m=make: trained(m()) for name, make in METHODS.items()},
        **{f"fit: {name}": lambda m=make: of_objective(m()) for name, make in OBJECTIVES.items()},
        "fit: whole groups": lambda: of_objective(losses.SupConLoss(0.1), whole_groups=True),
        "fit: warped": lambda: {
            "nearly": trained(PrototypicalNetwork(network()), **warp)["losses"]
        },
        "method: matching in context": in_context,
        "method: logistic regression": lambda: compared(LogisticRegression(nn.Identity())),
        "method: cosine classifier": lambda: compared(CosineClassifier(nn.Identity())),
        "method: prototypical": lambda: compared(PrototypicalNetwork(nn.Identity())),
        "method: matching": lambda: compared(MatchingNetwork(nn.Identity())),
        "loss: contrastive": lambda: of_tuples(losses.ContrastiveLoss(2.0), 2, same=True),
        "loss: triplet": lambda: of_tuples(losses.TripletLoss(0.5), 3),
        "loss: n-pair": lambda: of_tuples(losses.NPairLoss(0.01), 2),
        "loss: NT-Xent": lambda: of_tuples(losses.NTXentLoss(), 2),
        "metric: squared Euclidean": lambda: pairwise(metrics.squared_euclidean),
        "metric: Euclidean": lambda: pairwise(metrics.euclidean),
        "metric: cosine similarity": lambda: pairwise(metrics.cosine_similarity),
        "metric: cosine distance": lambda: pairwise(metrics.cosine_distance),
        "metric: local similarity": lambda: pairwise(lambda x, y: metrics.local_similarity(x, y, 3)),
        "metric: Mahalanobis": lambda: pairwise(lambda x, y: metrics.mahalanobis(x, y, matrix)),
        "mining: all pairs": lambda: mined(lambda d, labels: mining.all_pairs(labels)),
        "mining: all triplets": lambda: mined(lambda d, labels: mining.all_triplets(labels)),
        "mining: hard": lambda: mined(mining.batch_hard),
        "mining: semi-hard, nearest": lambda: mined(mining.semi_hard_nearest),
        "mining: semi-hard, farthest": lambda: mined(
            lambda d, labels: mining.semi_hard_nearest(d, labels, "farthest")
        ),
        "mining: semi-hard, band": lambda: mined(lambda d, labels: mining.semi_hard_band(d, labels, 1.0)),
        "sampler": lambda: episodes_of(EpisodeSampler(pictures(), 5, 2, 4, 50, seed=7)[:3]),
        "sampler, one": lambda: episodes_of(EpisodeSampler(pictures(), 5, 2, 4, 50, seed=7)[41]),
        "sampler, unequal": lambda: episodes_of(EpisodeSampler(unequal(), 5, 1, 4, seed=1)[:4]),
        "sampler, groups": lambda: episodes_of(
            EpisodeSampler(pictures(), 8, 1, 2, seed=2, groups=pictures().class_groups)[:4]
        ),
        "within groups": lambda: episodes_of(within_groups(pictures(), way=4, episodes=6, seed=4)),
        "evaluation": measured,
    }  # fmt: skip


@pytest.mark.parametrize("name", cases())
def test_it_computes_what_it_computed_before(name):
    stored, now = json.loads(STORED.read_text())[name], cases()[name]()
    assert now.keys() == stored.keys()
    for key, numbers in now.items():
        if key == "indices":
            assert numbers == stored[key]
        else:
            tolerance = 1e-4 if key == "nearly" else 1e-6
            np.testing.assert_allclose(numbers, stored[key], rtol=tolerance, atol=tolerance)


def test_every_recorded_number_is_replayed():
    assert json.loads(STORED.read_text()).keys() == cases().keys()


if __name__ == "__main__":
    torch.set_num_threads(1)
    STORED.write_text(json.dumps({name: run() for name, run in cases().items()}) + "\n")
    print(f"{STORED}: {len(cases())} cases")
