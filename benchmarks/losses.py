"""How our losses compare in time with pytorch-metric-learning (PML): ratios, each measured side by side.

    python benchmarks/losses.py

A step is the loss of a batch, 256 vectors of 128 numbers in 32 classes of 8, with its mining and its gradient. The
angular losses have 100 classes, NT-Xent takes the batch as 128 pictures in two views. Equal values and gradients are
asserted before anything is timed.
"""

import math
import statistics
import time
from importlib.metadata import version

import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners, reducers
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from ratios import DEVICE, enter

from fslib import losses, metrics, mining
from fslib.book import ledger

CLASSES, MEMBERS, DIM = 32, 8, 128
WEIGHTS = 100
MARGIN = 1.0
ROUNDS, STEPS = 7, 15

PLAIN = {"distance": LpDistance(normalize_embeddings=False)}  # PML normalises unless told not to
MEAN = {"reducer": reducers.MeanReducer()}  # and averages what is above zero


def contrastive(x, labels):
    """Over all pairs."""
    first, second, same = mining.all_pairs(labels)
    return losses.contrastive(metrics.euclidean(x, x)[first, second], same, MARGIN)


def pml_contrastive():
    """PML's distances and margins of all pairs, squared and averaged as ours, which it does not offer."""
    loss = pml.ContrastiveLoss(neg_margin=MARGIN, **PLAIN, reducer=reducers.DoNothingReducer())

    def squared(x, labels):
        parts = loss(x, labels)
        return torch.cat([part["losses"] for part in parts.values()]).square().mean()

    return squared


def triplet(mine):
    """Over mined triplets."""

    def loss(x, labels):
        distances = metrics.euclidean(x, x)
        anchor, positive, negative = mine(distances, labels)
        return losses.triplet(distances[anchor, positive], distances[anchor, negative], MARGIN)

    return loss


def pml_triplet(miner=None):
    """The same, with all triplets for want of a miner."""
    loss = pml.TripletMarginLoss(MARGIN, **PLAIN, **MEAN)
    return lambda x, labels: loss(x, labels, miner and miner(x, labels))


def n_pair(x, labels):
    """The first two of each class, as PML takes them."""
    members = labels.argsort(stable=True).view(CLASSES, MEMBERS)
    return losses.NPairLoss()(x[members[:, 0]], x[members[:, 1]])


def of_views(loss):
    """A loss of two views, on the two halves of the batch."""
    return lambda x, labels: loss(*x.chunk(2))


def angular(ours, theirs):
    """Both, with the same class weights."""
    with torch.no_grad():
        theirs.W.copy_(ours.weight.T)
    return ours.to(DEVICE), theirs.to(DEVICE)


def rivals():
    """Name of a loss → ours and theirs, functions of vectors and labels."""
    torch.manual_seed(0)
    size = WEIGHTS, DIM
    return {
        "contrastive": (contrastive, pml_contrastive()),
        "triplet-all": (
            lambda x, labels: losses.triplet_all(metrics.euclidean(x, x), labels, MARGIN),
            pml_triplet(),
        ),
        "triplet-batch-hard": (
            triplet(mining.batch_hard),
            pml_triplet(miners.BatchHardMiner(**PLAIN)),
        ),
        "triplet-semi-hard": (
            triplet(lambda *both: mining.semi_hard_band(*both, MARGIN)),
            pml_triplet(miners.TripletMarginMiner(MARGIN, type_of_triplets="semihard", **PLAIN)),
        ),
        "n-pair": (
            n_pair,
            pml.NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=False)),
        ),
        "arcface": angular(
            losses.ArcFaceLoss(*size, margin=0.5, scale=30.0),
            pml.ArcFaceLoss(*size, margin=math.degrees(0.5), scale=30.0),
        ),
        "cosface": angular(
            losses.CosFaceLoss(*size, margin=0.35, scale=30.0),
            pml.CosFaceLoss(*size, margin=0.35, scale=30.0),
        ),
        "normalized-softmax": angular(
            losses.NormalizedSoftmaxLoss(*size, scale=30.0),
            pml.NormalizedSoftmaxLoss(*size, temperature=1 / 30.0),
        ),
        "nt-xent": (
            of_views(losses.NTXentLoss(0.5)),
            of_views(pml.SelfSupervisedLoss(pml.NTXentLoss(0.5))),
        ),
        "supcon": (losses.SupConLoss(0.1), pml.SupConLoss(0.1)),
    }


def random_batch(dtype=torch.float32):
    """Vectors that want a gradient, and labels in no order."""
    torch.manual_seed(0)
    labels = torch.arange(CLASSES).repeat(MEMBERS)[torch.randperm(CLASSES * MEMBERS)]
    vectors = torch.randn(len(labels), DIM).to(DEVICE, dtype)
    return vectors.requires_grad_(), labels.to(DEVICE)


def step(loss, x, labels):
    """Forward and backward; reading the value waits for both."""
    x.grad = None
    value = loss(x, labels)
    value.backward()
    return value.item()


def assert_equal(ours, theirs):
    """Both have the same value and gradient in float64, and in float32 the same value."""
    for dtype, close in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        x, labels = random_batch(dtype)
        values, gradients = zip(*((step(loss, x, labels), x.grad) for loss in (ours, theirs)))
        assert math.isclose(*values, rel_tol=close), values
        if dtype == torch.float64:  # in float32 rounding decides which triplets cost something
            torch.testing.assert_close(*gradients, rtol=0, atol=close)


def ratio(ours, theirs, x, labels):
    """Median time of a step of theirs over that of ours, the two taking turns."""
    times = {ours: [], theirs: []}
    for turn in range(STEPS):
        for loss in (ours, theirs) if turn % 2 else (theirs, ours):
            start = time.perf_counter()
            step(loss, x, labels)
            times[loss].append(time.perf_counter() - start)
    return statistics.median(times[theirs]) / statistics.median(times[ours])


def measure(ours, theirs):
    """Ratios of several rounds, after one that warms up."""
    assert_equal(ours, theirs)
    batch = random_batch()
    return [ratio(ours, theirs, *batch) for _ in range(ROUNDS + 1)][1:]


if __name__ == "__main__":
    versions = ledger.circumstances(DEVICE)["versions"]
    for name, pair in rivals().items():
        began = time.perf_counter()
        ratios = measure(*pair)
        enter(
            ratios,
            time.perf_counter() - began,
            id=f"losses/speed-{name}",
            command="python benchmarks/losses.py",
            method=f"speed-{name}",
            dataset="random",
            split="none",
            way=CLASSES,
            shot=MEMBERS,
            query=0,
            episodes=ROUNDS * STEPS,
            precision="float32",
            versions=f"{versions}, pytorch-metric-learning {version('pytorch-metric-learning')}",
        )
