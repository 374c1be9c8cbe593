"""Losses equal pytorch-metric-learning (PML), torch's own and plain loops, in value and gradient."""

import functools
import math
import subprocess
import sys
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners, reducers
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.regularizers import LpRegularizer

from fslib import losses, metrics, mining
from tests.pretend_gpu import MISSING, pretend_gpu

MARGIN = 1.0
SCALE = 30.0
TEMPERATURE = 0.2
CLASSES = 7
# PML normalises unless told not to, and averages only what is above zero.
RAW = {"distance": LpDistance(normalize_embeddings=False)}
DOT = {"distance": DotProductSimilarity(normalize_embeddings=False)}
REDUCERS = {
    "mean": reducers.MeanReducer(),
    "nonzero": reducers.AvgNonZeroReducer(),
    "sum": reducers.SumReducer(),
}
each_seed = pytest.mark.parametrize("seed", range(3))


def batch(seed, n=16, dim=3):
    """Vectors and labels of a few classes, one of which has a single member."""
    torch.manual_seed(seed)
    labels = torch.cat([torch.randint(CLASSES - 1, (n - 1,)), torch.tensor([CLASSES - 1])])
    return torch.randn(n, dim, dtype=torch.float64), labels[torch.randperm(n)]


def with_gradients(loss, *inputs):
    """The value, and the gradient for each input; several values are summed with weights 1, 2, 3, …"""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    value = loss(*inputs)
    weights = torch.arange(1, 1 + value.numel()).reshape(value.shape).to(value)
    return value.detach(), *torch.autograd.grad(value, inputs, weights)


def assert_agree(ours, *theirs, at):
    """Each of several functions has our value and our gradients."""
    for other in theirs:
        for a, b in zip(with_gradients(ours, *at), with_gradients(other, *at), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def of(module, weight):
    """A module with that class weight, as a function."""
    weights = {"weight" if hasattr(module, "weight") else "W": weight}
    return lambda *inputs: torch.func.functional_call(module, weights, inputs)


# Plain loops, which follow the formulas -----------------------------------------------------------


def distance(a, b):
    return squared_distance(a, b).sqrt()


def squared_distance(a, b):
    return (a - b) @ (a - b)


def cosine(a, b):
    return (a @ b) / (a @ a).sqrt() / (b @ b).sqrt()


def inner(x, y):
    return x @ y.mT


def average(costs):
    return sum(costs) / len(costs)


def reduced(costs, reduction):
    costs = costs[costs > 0] if reduction == "nonzero" else costs
    return {"none": costs, "sum": costs.sum()}.get(reduction, costs.mean())


def loop_pairs(x, labels, metric=distance):
    """Costs of all pairs."""
    costs = []
    for i, j in combinations(range(len(x)), 2):
        apart = metric(x[i], x[j])
        costs.append(apart**2 if labels[i] == labels[j] else (MARGIN - apart).clamp(min=0) ** 2)
    return torch.stack(costs)


def loop_triplets(x, labels, metric=distance):
    """Costs of all triplets."""
    costs = []
    for a, p, n in permutations(range(len(x)), 3):
        if labels[a] == labels[p] and labels[a] != labels[n]:
            costs.append((metric(x[a], x[p]) - metric(x[a], x[n]) + MARGIN).clamp(min=0))
    return torch.stack(costs)


def loop_n_pair(anchor, positive, penalty=0):
    costs, norms = [], [v @ v for v in [*anchor, *positive]]
    for i, a in enumerate(anchor):
        others = [torch.exp(a @ p - a @ positive[i]) for j, p in enumerate(positive) if j != i]
        costs.append(torch.log(1 + sum(others)))
    return average(costs) + penalty * average(norms)


def loop_angular(x, labels, weight, move):
    """Minus the logarithm of the softmax, the angle of the right class moved."""
    costs = []
    for vector, label in zip(x, labels.tolist()):
        scores = [SCALE * cosine(vector, row) for row in weight]
        scores[label] = SCALE * move(torch.acos(scores[label] / SCALE))
        costs.append(torch.log(sum(torch.exp(score) for score in scores)) - scores[label])
    return average(costs)


def loop_supcon(x, labels):
    rows, n = [], range(len(x))
    for i in n:
        likeness = [torch.exp(cosine(x[i], x[a]) / TEMPERATURE) for a in n]
        everybody = sum(likeness[a] for a in n if a != i)
        own = [-torch.log(likeness[p] / everybody) for p in n if p != i and labels[p] == labels[i]]
        rows += [average(own)] if own else []
    return average(rows)


# Pairs and triplets -------------------------------------------------------------------------------


def contrastive(x, labels, reduction="mean"):
    first, second, same = mining.all_pairs(labels)
    return losses.contrastive(metrics.euclidean(x, x)[first, second], same, MARGIN, reduction)


def contrastive_module(x, labels, reduction="mean"):
    first, second, same = mining.all_pairs(labels)
    return losses.ContrastiveLoss(MARGIN, reduction=reduction)(x[first], x[second], same)


def triplet(x, labels, reduction="mean", mined=None):
    distances = metrics.euclidean(x, x)
    a, p, n = mined(distances, labels) if mined else mining.all_triplets(labels)
    return losses.triplet(distances[a, p], distances[a, n], MARGIN, reduction)


def triplet_module(x, labels, reduction="mean"):
    a, p, n = mining.all_triplets(labels)
    return losses.TripletLoss(MARGIN, reduction=reduction)(x[a], x[p], x[n])


def triplet_all(x, labels, reduction="mean"):
    return losses.triplet_all(metrics.euclidean(x, x), labels, MARGIN, reduction)


def pml_contrastive(x, labels, reduction):
    """PML's is not squared, counts each pair twice, and adds two means: only its parts compare."""
    parts = pml.ContrastiveLoss(neg_margin=MARGIN, **RAW, reducer=reducers.DoNothingReducer())(
        x, labels
    )
    costs = torch.cat([part["losses"] for part in parts.values()]).square()
    return reduced(costs, reduction) / (2 if reduction == "sum" else 1)


def pml_triplet(x, labels, reduction):
    return pml.TripletMarginLoss(MARGIN, **RAW, reducer=REDUCERS[reduction])(x, labels)


def loop_contrastive(x, labels, reduction):
    return reduced(loop_pairs(x, labels), reduction)


def loop_triplet(x, labels, reduction):
    return reduced(loop_triplets(x, labels), reduction)


@each_seed
@pytest.mark.parametrize("reduction", ["mean", "nonzero", "sum"])
@pytest.mark.parametrize(
    "ours, theirs",
    [
        (contrastive, (pml_contrastive, loop_contrastive)),
        (contrastive_module, (pml_contrastive, loop_contrastive)),
        (triplet, (pml_triplet, loop_triplet)),
        (triplet_module, (pml_triplet, loop_triplet)),
        (triplet_all, (pml_triplet, loop_triplet)),
    ],
)
def test_pairs_and_triplets_of_a_batch(seed, reduction, ours, theirs):
    x, labels = batch(seed)
    functions = [lambda x, f=f: f(x, labels, reduction) for f in (ours, *theirs)]
    assert_agree(*functions, at=[x])


@each_seed
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_contrastive_is_torchs_hinge_embedding_loss_squared(seed, reduction):
    x, labels = batch(seed)
    same = (labels[:, None] == labels).flatten()
    hinge = torch.nn.HingeEmbeddingLoss(margin=MARGIN, reduction="none")
    assert_agree(
        lambda d: losses.contrastive(d, same, MARGIN, reduction),
        lambda d: reduced(hinge(d, 2 * same.long() - 1).square(), reduction),
        at=[metrics.euclidean(x, x).flatten()],
    )


@each_seed
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_triplet_is_torchs(seed, reduction):
    x, labels = batch(seed)
    assert_agree(
        losses.TripletLoss(MARGIN, reduction=reduction),
        torch.nn.TripletMarginLoss(MARGIN, eps=0.0, reduction=reduction),
        torch.nn.TripletMarginWithDistanceLoss(
            distance_function=lambda a, b: (a - b).norm(dim=1), margin=MARGIN, reduction=reduction
        ),
        at=x[torch.stack(mining.all_triplets(labels))],
    )


@each_seed
@pytest.mark.parametrize("reduction", ["mean", "nonzero", "sum", "none"])
def test_modules_take_another_metric(seed, reduction):
    x, labels = batch(seed)
    first, second, same = mining.all_pairs(labels)
    a, p, n = mining.all_triplets(labels)
    squared = {"margin": MARGIN, "metric": metrics.squared_euclidean, "reduction": reduction}
    assert_agree(
        lambda x: losses.ContrastiveLoss(**squared)(x[first], x[second], same),
        lambda x: reduced(loop_pairs(x, labels, squared_distance), reduction),
        at=[x],
    )
    assert_agree(
        lambda x: losses.TripletLoss(**squared)(x[a], x[p], x[n]),
        lambda x: reduced(loop_triplets(x, labels, squared_distance), reduction),
        at=[x],
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("reduction", ["mean", "nonzero", "sum"])
@pytest.mark.parametrize("margin", [0.0, 0.25, 100.0])
def test_triplet_all_is_triplet_over_the_list(seed, reduction, margin):
    """Any matrix will do, symmetric or not; every other one is full of ties.

    Where a cost is exactly zero, its slope may be that of either side, and versions of torch differ: a margin beside
    the steps of the distances leaves equal distances, but no such cost.
    """
    _, labels = batch(seed)
    a, p, n = mining.all_triplets(labels)
    distances = torch.randn(16, 16, dtype=torch.float64)
    distances = (4 * distances).round() / 4 if seed % 2 else distances
    at_ties = [
        losses.triplet_all(distances, labels, margin, reduction),
        losses.triplet(distances[a, p], distances[a, n], margin, reduction),
    ]
    torch.testing.assert_close(*at_ties, rtol=0, atol=1e-10)
    margin = margin + 0.01
    assert_agree(
        lambda d: losses.triplet_all(d, labels, margin, reduction),
        lambda d: losses.triplet(d[a, p], d[a, n], margin, reduction),
        at=[distances],
    )


@pytest.mark.parametrize("offset", [0, 10, 1000])
def test_triplet_all_keeps_its_digits_when_all_are_far_apart(offset):
    """Few triplets cost something, by little: running sums of large distances would drown them."""
    torch.manual_seed(0)
    labels = torch.arange(32).repeat(8)
    distances = offset + 0.1 * torch.rand(256, 256) + 0.15 * (labels[:, None] != labels)
    a, p, n = mining.all_triplets(labels)
    exact = losses.triplet(distances.double()[a, p], distances.double()[a, n], 0.1)
    value = losses.triplet_all(distances, labels, 0.1)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)


@each_seed
@pytest.mark.parametrize(
    "mined, miner",
    [
        (mining.batch_hard, miners.BatchHardMiner(**RAW)),
        (
            lambda distances, labels: mining.semi_hard_band(distances, labels, MARGIN),
            miners.TripletMarginMiner(MARGIN, type_of_triplets="semihard", **RAW),
        ),
    ],
    ids=["batch hard", "semi-hard band"],
)
def test_triplet_of_mined_triplets(seed, mined, miner):
    x, labels = batch(seed)
    theirs = pml.TripletMarginLoss(MARGIN, **RAW, reducer=reducers.MeanReducer())
    assert_agree(
        lambda x: triplet(x, labels, mined=mined),
        lambda x: theirs(x, labels, miner(x, labels)),
        at=[x],
    )


@each_seed
def test_n_pair(seed):
    places = torch.arange(8)
    assert_agree(
        losses.NPairLoss(),
        lambda a, p: losses.n_pair(a @ p.T),
        loop_n_pair,
        lambda a, p: F.cross_entropy(a @ p.T, places),
        lambda a, p: pml.NPairsLoss(**DOT)(torch.cat([a, p]), places.repeat(2)),
        at=batch(seed)[0].split(8),
    )


@each_seed
def test_penalty_of_n_pair_is_the_mean_squared_norm(seed):
    squared_norm = {
        "embedding_regularizer": LpRegularizer(p=2, power=2),
        "embedding_reg_weight": 0.3,
    }
    theirs = pml.NPairsLoss(**DOT, **squared_norm)
    assert_agree(
        losses.NPairLoss(penalty=0.3),
        lambda a, p: loop_n_pair(a, p, 0.3),
        lambda a, p: theirs(torch.cat([a, p]), torch.arange(8).repeat(2)),
        at=batch(seed)[0].split(8),
    )


# The linear classifier ----------------------------------------------------------------------------


def test_softmax_is_the_cross_entropy_of_a_linear_layer():
    torch.manual_seed(0)
    loss = losses.SoftmaxLoss(CLASSES, 3).double()
    embeddings, labels = torch.randn(20, 3, dtype=torch.double), torch.randint(CLASSES, (20,))
    costs = []
    for x, label in zip(embeddings, labels):
        scores = torch.stack([loss.weight[k] @ x for k in range(CLASSES)])
        costs.append(scores.exp().sum().log() - scores[label])
    torch.testing.assert_close(loss(embeddings, labels), torch.stack(costs).mean())


@pytest.mark.parametrize(
    "shape, labels, says",
    [
        ((4, 5), [0, 1, 2, 0], r"shape \(n, 3\), but got \(4, 5\)"),
        ((2, 3), [0, CLASSES], "label"),
        ((2, 3), [0.0, 1.0], "integer"),
    ],
)
def test_softmax_says_what_it_takes(shape, labels, says):
    with pytest.raises(ValueError, match=says):
        losses.SoftmaxLoss(CLASSES, 3)(torch.randn(shape), torch.tensor(labels))


# The angular family -------------------------------------------------------------------------------


def guarded(angle, margin=0.5):
    if angle <= math.pi - margin:
        return torch.cos(angle + margin)
    return torch.cos(angle) - margin * math.sin(margin)


@pytest.mark.parametrize("seed", range(6))  # the right class is now and then beyond ArcFace's guard
@pytest.mark.parametrize(
    "ours, theirs, move",
    [
        (
            losses.NormalizedSoftmaxLoss(CLASSES, 3, SCALE),
            pml.NormalizedSoftmaxLoss(CLASSES, 3, temperature=1 / SCALE),
            torch.cos,
        ),
        (
            losses.CosFaceLoss(CLASSES, 3, 0.35, SCALE),
            pml.CosFaceLoss(CLASSES, 3, margin=0.35, scale=SCALE),
            lambda angle: torch.cos(angle) - 0.35,
        ),
        (
            losses.ArcFaceLoss(CLASSES, 3, 0.5, SCALE),
            pml.ArcFaceLoss(CLASSES, 3, margin=math.degrees(0.5), scale=SCALE),
            guarded,
        ),
    ],
    ids=["normalized softmax", "cosface", "arcface"],
)
def test_angular_loss(seed, ours, theirs, move):
    x, labels = batch(seed)
    assert_agree(
        lambda x, w: of(ours, w)(x, labels),
        lambda x, w: of(theirs, w.T)(x, labels),
        lambda x, w: loop_angular(x, labels, w, move),
        at=[x, torch.randn(CLASSES, 3, dtype=torch.float64)],
    )


@each_seed
def test_without_a_margin_it_is_a_cross_entropy(seed):
    x, labels = batch(seed)
    assert_agree(
        lambda x, w: losses.normalized_softmax(metrics.cosine_similarity(x, w), labels, SCALE),
        lambda x, w: losses.arcface(metrics.cosine_similarity(x, w), labels, 0.0, SCALE),
        lambda x, w: losses.cosface(metrics.cosine_similarity(x, w), labels, 0.0, SCALE),
        lambda x, w: F.cross_entropy(SCALE * F.normalize(x) @ F.normalize(w).T, labels),
        at=[x, torch.randn(CLASSES, 3, dtype=torch.float64)],
    )


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.0, 1.5])
def test_arcface_punishes_a_worse_angle_more(margin):
    cosines = torch.linspace(0, math.pi, 301, dtype=torch.float64).cos()
    rows = torch.stack([cosines, torch.zeros(301)], 1)
    costs = [losses.arcface(row[None], torch.tensor([0]), margin, 1.0) for row in rows]
    assert (torch.stack(costs).diff() > 0).all()


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.0, 1.5])
def test_arcface_beyond_the_guard_is_that_of_pml(margin):
    angles = math.pi - margin * torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    labels = torch.zeros(9, dtype=torch.long)
    ours = losses.ArcFaceLoss(2, 2, margin, SCALE)
    theirs = pml.ArcFaceLoss(2, 2, margin=math.degrees(margin), scale=SCALE)
    assert_agree(
        lambda x, w: of(ours, w)(x, labels),
        lambda x, w: of(theirs, w.T)(x, labels),
        at=[torch.stack([angles.cos(), angles.sin()], 1), torch.eye(2, dtype=torch.float64)],
    )


# All against all ----------------------------------------------------------------------------------


@each_seed
def test_supcon_with_large_and_single_classes(seed):
    x, labels = batch(seed)
    assert labels.bincount().max() > 2 and labels.bincount().min() <= 1
    assert_agree(
        lambda x: losses.SupConLoss(TEMPERATURE)(x, labels),
        lambda x: losses.supcon(metrics.cosine_similarity(x, x), labels, TEMPERATURE),
        lambda x: pml.SupConLoss(TEMPERATURE)(x, labels),
        lambda x: loop_supcon(x, labels),
        at=[x],
    )


@each_seed
def test_nt_xent(seed):
    def cross_entropy(x, y):
        views = F.normalize(torch.cat([x, y]))
        scores = (views @ views.T / TEMPERATURE).fill_diagonal_(-torch.inf)
        return F.cross_entropy(scores, torch.arange(16).roll(8))

    assert_agree(
        losses.NTXentLoss(TEMPERATURE),
        cross_entropy,
        lambda x, y: loop_supcon(torch.cat([x, y]), torch.arange(8).repeat(2)),
        pml.SelfSupervisedLoss(pml.NTXentLoss(TEMPERATURE)),
        at=batch(seed)[0].split(8),
    )


def test_other_similarities_may_be_given():
    x, labels = batch(0)
    dots = x @ x.T
    assert losses.SupConLoss(0.2, inner)(x, labels) == losses.supcon(dots, labels, 0.2)
    assert losses.NTXentLoss(0.2, inner)(*x.split(8)) == losses.nt_xent(dots, 0.2)


# Every loss, from vectors and labels --------------------------------------------------------------


def in_two_views(loss):
    """A loss of two sides, on the two halves of a batch."""
    return lambda x, labels: loss(x[: len(x) // 2], x[len(x) // 2 : len(x) // 2 * 2])


def angular(module, **options):
    """With rows of the identity as class weights, so that cosines of exactly 1 and −1 are in reach."""
    loss = module(CLASSES, 8, **options)
    return lambda x, labels: of(loss, torch.eye(CLASSES, 8).to(x.dtype))(x, labels)


NOT_NORMALISED = {
    "contrastive": contrastive,
    "ContrastiveLoss": contrastive_module,
    "triplet": triplet,
    "TripletLoss": triplet_module,
    "triplet_all": triplet_all,
    "NPairLoss": in_two_views(losses.NPairLoss()),
    "NPairLoss with penalty": in_two_views(losses.NPairLoss(0.1)),
    "SoftmaxLoss": angular(losses.SoftmaxLoss),
}
COSINE = {
    "NormalizedSoftmaxLoss": angular(losses.NormalizedSoftmaxLoss, scale=64.0),
    "CosFaceLoss": angular(losses.CosFaceLoss, scale=64.0),
    "ArcFaceLoss": angular(losses.ArcFaceLoss, scale=64.0),
    "SupConLoss": losses.SupConLoss(),
    "NTXentLoss": in_two_views(losses.NTXentLoss()),
}
ALL = NOT_NORMALISED | COSINE
each_loss = pytest.mark.parametrize("loss", ALL.values(), ids=ALL)


@each_loss
def test_gradient_is_the_slope(loss):
    x, labels = batch(1, n=8, dim=8)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), x.requires_grad_())


@pytest.mark.parametrize("name", ALL)
def test_only_the_cosine_family_does_not_see_the_length(name):
    x, labels = batch(0, dim=8)
    x = x / 4  # so that pairs of two classes cost something
    apart = (ALL[name](3 * x, labels) - ALL[name](x, labels)).abs()
    assert apart < 1e-10 if name in COSINE else apart > 1e-2


@pytest.mark.parametrize("x", [torch.ones(16, 8), torch.zeros(16, 8)], ids=["one point", "zeros"])
@each_loss
def test_gradient_is_finite_when_all_points_coincide(loss, x):
    _, labels = batch(0)
    value, gradient = with_gradients(lambda x: loss(x, labels), x)
    assert value.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", [*COSINE])
def test_gradient_is_finite_at_cosines_of_one_and_minus_one(name, sign):
    labels = torch.arange(CLASSES).repeat(2)
    x = torch.eye(CLASSES, 8).repeat(2, 1) * torch.tensor([1] * CLASSES + [sign] * CLASSES)[:, None]
    value, gradient = with_gradients(lambda x: COSINE[name](x, labels), sign * x)
    assert value.isfinite() and gradient.isfinite().all()


def test_arcface_at_the_ends_of_the_half_circle():
    cosines = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1 + 1e-7, 0.0]])
    value, gradient = with_gradients(lambda c: losses.arcface(c, torch.tensor([0, 0, 0])), cosines)
    assert value.isfinite() and gradient.isfinite().all() and gradient[1, 0] < 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each_loss
def test_half_precision_costs_no_digits(loss, dtype):
    x, labels = batch(0, dim=8)
    x = (100 * x).to(dtype)  # squares of these overflow float16
    half, full = (with_gradients(lambda x: loss(x, labels), z) for z in (x, x.float()))
    assert half[0].dtype == torch.float32 and half[1].isfinite().all()
    torch.testing.assert_close(half[0], full[0])
    # autograd adds up the gradient of x in the precision of x
    close = 4 * torch.finfo(dtype).eps * full[1].abs().max().item()
    torch.testing.assert_close(half[1].float(), full[1], rtol=0, atol=close)


@each_loss
def test_autocast_costs_no_digits(loss):
    x, labels = batch(0, dim=8)

    def under_autocast(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss(x, labels)

    cast = with_gradients(under_autocast, x.float())
    torch.testing.assert_close(cast, with_gradients(lambda x: loss(x, labels), x.float()))


# The squares of these numbers, and sums of 128 times two of them, overflow float16.
LARGE = torch.tensor([[256.0, -256.0], [-256.0, 256.0]])
ALIKE = torch.tensor([0, 0])
FUNCTIONS = {
    "contrastive": lambda v: losses.contrastive(v, torch.eye(2) > 0, 400.0),
    "triplet": lambda v: losses.triplet(128 * v[0], 128 * v[1]),
    "triplet_all": lambda v: losses.triplet_all(v, torch.tensor([0, 1])),
    "n_pair": losses.n_pair,
    "normalized_softmax": lambda v: losses.normalized_softmax(v / 256, ALIKE, scale=64.0),
    "cosface": lambda v: losses.cosface(v / 256, ALIKE, scale=64.0),
    "arcface": lambda v: losses.arcface(v / 256, ALIKE, scale=64.0),
    "supcon": lambda v: losses.supcon(v / 256, ALIKE, temperature=1 / 64),
    "nt_xent": lambda v: losses.nt_xent(v / 256, temperature=1 / 64),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_compute_half_precision_in_float32(name, dtype):
    half = with_gradients(FUNCTIONS[name], LARGE.to(dtype))
    full = with_gradients(FUNCTIONS[name], LARGE.to(dtype).float())
    assert half[0].dtype == torch.float32 and half[1].isfinite().all()
    torch.testing.assert_close(half[0], full[0])
    torch.testing.assert_close(half[1].float(), full[1], rtol=torch.finfo(dtype).eps, atol=1e-6)


# Nothing to learn from ----------------------------------------------------------------------------


def assert_costs_nothing(loss, x):
    value, gradient = with_gradients(loss, x)
    assert value == 0 and gradient.shape == x.shape and (gradient == 0).all()


@pytest.mark.parametrize("labels", [[0] * 6, [*range(6)], [0], []], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "nonzero", "sum"])
@pytest.mark.parametrize("loss", [triplet, triplet_module, triplet_all])
def test_no_triplet_costs_nothing(loss, reduction, labels):
    labels = torch.tensor(labels, dtype=torch.long)
    assert_costs_nothing(lambda x: loss(x, labels, reduction), torch.randn(len(labels), 4))


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("reduction", ["mean", "nonzero", "sum"])
@pytest.mark.parametrize("loss", [contrastive, contrastive_module])
def test_no_pair_costs_nothing(loss, reduction, n):
    labels = torch.zeros(n, dtype=torch.long)
    assert_costs_nothing(lambda x: loss(x, labels, reduction), torch.randn(n, 4))


@each_loss
def test_empty_batch_costs_nothing(loss):
    assert_costs_nothing(lambda x: loss(x, torch.zeros(0, dtype=torch.long)), torch.zeros(0, 8))


@pytest.mark.parametrize("loss", [losses.triplet, losses.contrastive])
def test_mean_over_those_that_cost_something_where_none_does(loss):
    if loss is losses.triplet:
        assert_costs_nothing(lambda d: loss(d, d + 2, reduction="nonzero"), torch.rand(3))
    else:
        apart = torch.zeros(3, dtype=torch.bool)
        assert_costs_nothing(lambda d: loss(d, apart, reduction="nonzero"), torch.full((3,), 9.0))


def test_all_triplets_may_cost_nothing():
    labels = torch.tensor([0, 0, 1, 1])
    apart = 9.0 * (labels[:, None] != labels)
    assert_costs_nothing(lambda d: losses.triplet_all(d, labels, reduction="nonzero"), apart)


@pytest.mark.parametrize("n", [1, 5])
def test_supcon_without_two_of_a_class_costs_nothing(n):
    assert_costs_nothing(lambda s: losses.supcon(s, torch.arange(n)), torch.randn(n, n))


def test_a_single_picture_is_told_from_no_other():
    assert_costs_nothing(losses.nt_xent, torch.randn(2, 2))
    assert_costs_nothing(losses.n_pair, torch.randn(1, 1))


@pytest.mark.parametrize("kind", [losses.SoftmaxLoss, losses.NormalizedSoftmaxLoss])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_torch_s_own_and_spreads_over_all_classes(kind, smoothing):
    x, y = batch(0)
    loss = kind(CLASSES, 3, label_smoothing=smoothing).double()

    def scores(x, weight):
        if kind is losses.SoftmaxLoss:
            return x @ weight.T
        return SCALE * F.normalize(x) @ F.normalize(weight).T

    def torch_s_own(x, weight):
        return F.cross_entropy(scores(x, weight), y, label_smoothing=smoothing)

    def soft_targets(x, weight):
        targets = (1 - smoothing) * F.one_hot(y, CLASSES).double() + smoothing / CLASSES
        return -(targets * scores(x, weight).log_softmax(1)).sum(1).mean()

    def ours(x, weight):
        return of(loss, weight)(x, y)

    assert_agree(ours, torch_s_own, soft_targets, at=(x, loss.weight))
    assert loss(x[:0], y[:0]) == 0


@pytest.mark.parametrize("kind", [losses.SoftmaxLoss, losses.NormalizedSoftmaxLoss])
@pytest.mark.parametrize("wrong", [-0.1, 1.0, math.nan, "0.1", None])
def test_label_smoothing_is_a_part(kind, wrong):
    with pytest.raises(ValueError, match="label_smoothing is the part of a label that is spread, from 0 to below 1"):
        kind(CLASSES, 3, label_smoothing=wrong)


@pytest.mark.parametrize("loss", [losses.normalized_softmax, losses.cosface, losses.arcface])
def test_a_single_class_is_told_from_no_other(loss):
    assert_costs_nothing(lambda c: loss(c, torch.zeros(4, dtype=torch.long)), torch.rand(4, 1))


def test_supcon_of_one_class_spreads_evenly():
    """Everybody is a positive, so the loss is least, log(n − 1), when all are alike."""
    labels = torch.zeros(6, dtype=torch.long)
    value, gradient = with_gradients(lambda x: losses.SupConLoss()(x, labels), torch.ones(6, 3))
    torch.testing.assert_close(value, torch.tensor(math.log(5)))
    assert gradient.abs().max() < 1e-6
    assert losses.SupConLoss()(torch.randn(6, 3), labels) > math.log(5)


# Bad input ----------------------------------------------------------------------------------------

FOUR = torch.rand(4)
SAME = torch.tensor([True, False, True, False])
SQUARE = torch.rand(4, 4)
LABELS = torch.tensor([0, 1, 2, 0])
ANGULAR_FUNCTIONS = [losses.normalized_softmax, losses.cosface, losses.arcface]


@pytest.mark.parametrize(
    "call",
    [
        lambda margin: losses.contrastive(FOUR, SAME, margin),
        lambda margin: losses.triplet(FOUR, FOUR, margin),
        lambda margin: losses.triplet_all(SQUARE, LABELS, margin),
        lambda margin: losses.cosface(SQUARE, LABELS, margin),
        lambda margin: losses.arcface(SQUARE, LABELS, margin),
        losses.ContrastiveLoss,
        losses.TripletLoss,
        lambda margin: losses.CosFaceLoss(4, 3, margin),
        lambda margin: losses.ArcFaceLoss(4, 3, margin),
    ],
)
def test_negative_margin_is_refused(call):
    call(0.0)
    for margin in (-0.1, math.nan, math.inf, "0.1", None):
        with pytest.raises(ValueError, match=f"margin must be finite and not negative, but is {margin}"):
            call(margin)


@pytest.mark.parametrize(
    "call",
    [
        lambda margin: losses.arcface(SQUARE, LABELS, margin),
        lambda margin: losses.ArcFaceLoss(4, 3, margin),
    ],
)
def test_a_margin_in_degrees_is_refused(call):
    call(math.pi)
    with pytest.raises(ValueError, match=r"in radians, at most π, but is 28\.6; math\.radians"):
        call(28.6)


def test_a_list_is_refused():
    with pytest.raises(TypeError, match=r"contrastive takes tensors; torch\.tensor makes one"):
        losses.contrastive([1.0, 2.0], [True, False])
    for call in (
        lambda: losses.supcon(SQUARE.tolist(), [0, 1, 2, 0]),
        lambda: losses.nt_xent(SQUARE.tolist()),
        lambda: losses.n_pair(SQUARE.numpy()),
        lambda: losses.triplet(FOUR, FOUR.tolist()),
        lambda: losses.TripletLoss()(SQUARE, SQUARE.tolist(), SQUARE),
        lambda: losses.NPairLoss()(SQUARE.tolist(), SQUARE),
        lambda: losses.NTXentLoss()(SQUARE, SQUARE.tolist()),
        lambda: losses.ArcFaceLoss(4, 4)(SQUARE.tolist(), LABELS),
        lambda: losses.SoftmaxLoss(4, 4)(SQUARE.tolist(), LABELS),
    ):
        with pytest.raises(TypeError, match="tensor"):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda reduction: losses.contrastive(FOUR, SAME, reduction=reduction),
        lambda reduction: losses.triplet(FOUR, FOUR, reduction=reduction),
        lambda reduction: losses.triplet_all(SQUARE, LABELS, reduction=reduction),
    ],
)
def test_unknown_reduction_is_refused(call):
    with pytest.raises(ValueError, match=r'must be "mean", "nonzero".* but is \'average\''):
        call("average")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: losses.triplet_all(SQUARE, LABELS, reduction="none"), "must be .* but is 'none'"),
        (lambda: losses.NPairLoss(-1), "The penalty must be finite and not negative, but is -1"),
        (lambda: losses.NPairLoss(math.nan), "The penalty must be finite and not negative, but is nan"),
        (lambda: losses.TripletLoss(reduction="average"), "reduction must be .* but is 'average'"),
        (lambda: losses.ContrastiveLoss(reduction="average"), "reduction must be .* but is 'average'"),
        (lambda: losses.ArcFaceLoss(0, 4), "number of classes must be a whole number, at least 1, but is 0"),
        (lambda: losses.SoftmaxLoss(4, 2.5), r"dimension must be a whole number, at least 1, but is 2\.5"),
        (lambda: losses.triplet(FOUR, FOUR[:3]), r"has two distances, but got \(4,\) and \(3,\)"),
        (lambda: losses.nt_xent(torch.rand(3, 3)), "has two views, but there are 3 rows"),
        (lambda: losses.n_pair(FOUR), r"as many anchors as positives, but .* shape \(4,\)"),
        (lambda: losses.n_pair(SQUARE[:3]), r"as many anchors as positives, but .* shape \(3, 4\)"),
    ],
)
def test_what_makes_no_sense_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("same", [SAME.long(), SAME.float(), SAME[:3], SAME[:, None]])
def test_pairs_need_a_boolean_each(same):
    message = r"same must be boolean, True for a pair of one class, of the shape \(4,\)"
    with pytest.raises(ValueError, match=message):
        losses.contrastive(FOUR, same)
    with pytest.raises(ValueError, match=message):
        losses.ContrastiveLoss()(SQUARE, SQUARE, same)


@pytest.mark.parametrize("loss", [losses.triplet_all, losses.supcon])
@pytest.mark.parametrize("labels", [LABELS[:3], LABELS[:, None], LABELS.float()])
def test_a_batch_has_an_integer_label_each(loss, labels):
    with pytest.raises(ValueError, match="labels"):
        loss(SQUARE, labels)


@pytest.mark.parametrize("loss", [losses.triplet_all, losses.supcon])
@pytest.mark.parametrize("shape", [(4, 3), (4,), (1, 4, 4)])
def test_labels_need_a_square_matrix(loss, shape):
    with pytest.raises(ValueError, match="n integer labels"):
        loss(torch.rand(shape), LABELS)


@pytest.mark.parametrize("x, y", [((4, 3), (3, 3)), ((4, 3), (4, 2))])
@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: losses.ContrastiveLoss()(x, y, SAME),
        lambda x, y: losses.TripletLoss()(x, y, x),
        lambda x, y: losses.TripletLoss()(x, x, y),
        losses.NPairLoss(),
        losses.NTXentLoss(),
    ],
)
def test_both_sides_have_one_shape(loss, x, y):
    with pytest.raises(ValueError, match="one shape") as raised:
        loss(torch.rand(x), torch.rand(y))
    assert str(raised.value).endswith(f"{x} and {y}.")


@pytest.mark.parametrize("loss", ANGULAR_FUNCTIONS)
@pytest.mark.parametrize("labels", [[0, 1, 2, 4], [-1, 0, 1, 2]])
def test_labels_outside_the_classes_are_refused(loss, labels):
    limits = f"{min(labels)} and {max(labels)}"
    with pytest.raises(ValueError, match=f"between 0 and 3, for there are 4 .* between {limits}"):
        loss(SQUARE, torch.tensor(labels))


@pytest.mark.parametrize("loss", ANGULAR_FUNCTIONS)
@pytest.mark.parametrize("labels", [LABELS.float(), LABELS[:3], LABELS[:, None], SAME])
def test_embeddings_need_an_integer_label_each(loss, labels):
    with pytest.raises(ValueError, match=r"4 embeddings need 4 integer labels|^Labels (must be|are one) integer"):
        loss(SQUARE, labels)


@pytest.mark.parametrize("loss", ANGULAR_FUNCTIONS)
def test_cosines_are_a_matrix(loss):
    with pytest.raises(ValueError, match="cosines"):
        loss(FOUR, LABELS)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
@pytest.mark.parametrize("loss", [*ANGULAR_FUNCTIONS, losses.supcon, losses.triplet_all])
def test_labels_may_be_integers_of_any_width(loss, dtype):
    assert loss(SQUARE, LABELS.to(dtype)) == loss(SQUARE, LABELS)


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan, math.inf])
def test_temperature_is_above_zero(temperature):
    for loss in (
        lambda: losses.supcon(SQUARE, LABELS, temperature),
        lambda: losses.nt_xent(SQUARE, temperature),
        lambda: losses.SupConLoss(temperature),
        lambda: losses.NTXentLoss(temperature),
    ):
        with pytest.raises(ValueError, match=f"temperature must be above zero and finite, but is {temperature}"):
            loss()


@pytest.mark.parametrize("scale", [0.0, -30.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "loss",
    [
        *(functools.partial(loss, SQUARE, LABELS) for loss in ANGULAR_FUNCTIONS),
        *(
            functools.partial(loss, 4, 3)
            for loss in (losses.NormalizedSoftmaxLoss, losses.CosFaceLoss, losses.ArcFaceLoss)
        ),
    ],
)
def test_scale_is_above_zero(loss, scale):
    with pytest.raises(ValueError, match=f"scale must be above zero and finite, but is {scale}"):
        loss(scale=scale)


def test_arguments_may_be_named():
    assert losses.contrastive(distances=FOUR, same=SAME) == losses.contrastive(FOUR, SAME)
    assert losses.triplet(positive=FOUR, negative=FOUR) == losses.triplet(FOUR, FOUR)
    assert losses.triplet_all(distances=SQUARE, labels=LABELS) == losses.triplet_all(SQUARE, LABELS)
    assert losses.n_pair(similarities=SQUARE) == losses.n_pair(SQUARE)
    assert losses.supcon(similarities=SQUARE, labels=LABELS) == losses.supcon(SQUARE, LABELS)
    for loss in ANGULAR_FUNCTIONS:
        assert loss(cosines=SQUARE, labels=LABELS) == loss(SQUARE, LABELS)


# Memory -------------------------------------------------------------------------------------------

PEAK = """
import torch
from fslib import losses, metrics

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def step(n):
    x = torch.randn(n, 128, requires_grad=True)
    losses.triplet_all(metrics.euclidean(x, x), torch.arange(n) % 32).backward()

torch.set_num_threads(1)
step(64)  # what the first call of everything allocates
before = peak()
step(512)
print(peak(), peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak")
def test_memory_of_all_triplets_grows_with_the_pairs():
    """A list of the 3.8 million triplets would hold 91 MB, and PML's mask of n³ bytes 134."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    whole, grown = (int(kilobytes) / 1e3 for kilobytes in done.stdout.split())
    assert whole < 1000 and grown < 60


def test_an_infinite_distance_is_a_negative_far_enough():
    torch.manual_seed(0)
    distances, labels = torch.rand(4, 4), torch.tensor([0, 0, 1, 1])
    distances[0, 3] = torch.inf
    a, p, n = mining.all_triplets(labels)
    listed = losses.triplet(distances[a, p], distances[a, n])
    torch.testing.assert_close(losses.triplet_all(distances, labels), listed)


@pytest.mark.parametrize("column", [1, 3], ids=["of a positive", "of a negative"])
def test_a_distance_that_is_not_a_number_is_not_hidden(column):
    distances = torch.rand(4, 4)
    distances[0, column] = torch.nan
    assert losses.triplet_all(distances, torch.tensor([0, 0, 1, 1])).isnan()


# Labels of any kind -------------------------------------------------------------------------------

NUMBERED = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "uint8": lambda numbers: np.array(numbers, dtype=np.uint8),
    "uint16": lambda numbers: np.array(numbers, dtype=np.uint16),
    "int32 tensor": lambda numbers: torch.tensor(numbers, dtype=torch.int32),
    "list of tensors": lambda numbers: [*torch.tensor(numbers)],
}
NAMED = {
    "names": lambda numbers: [f"class {number}" for number in numbers],
    "array of names": lambda numbers: np.array([f"class {number}" for number in numbers]),
}
SEE_EQUALITY = {
    "supcon": lambda labels: losses.supcon(SQUARE, labels),
    "triplet_all": lambda labels: losses.triplet_all(SQUARE, labels),
    "SupConLoss": lambda labels: losses.SupConLoss()(SQUARE, labels),
}
SEE_NUMBERS = {
    "normalized_softmax": lambda labels: losses.normalized_softmax(SQUARE, labels),
    "cosface": lambda labels: losses.cosface(SQUARE, labels),
    "arcface": lambda labels: losses.arcface(SQUARE, labels),
    **{
        loss.__name__: lambda labels, loss=loss: of(loss(4, 4), torch.eye(4))(SQUARE, labels)
        for loss in (losses.SoftmaxLoss, losses.NormalizedSoftmaxLoss, losses.CosFaceLoss, losses.ArcFaceLoss)
    },
}


@pytest.mark.parametrize("kind", NUMBERED)
@pytest.mark.parametrize("name", SEE_EQUALITY | SEE_NUMBERS)
def test_labels_are_taken_as_people_have_them(name, kind):
    loss = (SEE_EQUALITY | SEE_NUMBERS)[name]
    assert loss(NUMBERED[kind](LABELS.tolist())) == loss(LABELS)


@pytest.mark.parametrize("kind", NAMED)
def test_names_will_do_where_only_equality_counts(kind):
    labels = NAMED[kind](LABELS.tolist())
    for loss in SEE_EQUALITY.values():
        assert loss(labels) == loss(LABELS)
    for loss in SEE_NUMBERS.values():
        with pytest.raises(ValueError, match="names, but integers are wanted here, the same in every batch"):
            loss(labels)


def test_pairs_may_be_told_in_a_list():
    for same in (SAME.tolist(), SAME.numpy(), tuple(SAME.tolist())):
        assert losses.contrastive(FOUR, same) == losses.contrastive(FOUR, SAME)
        assert losses.ContrastiveLoss()(SQUARE, SQUARE + 1, same) == losses.ContrastiveLoss()(SQUARE, SQUARE + 1, SAME)
    assert losses.contrastive(FOUR[:0], []) == 0
    for same in ([1, 0, 1, 0], ["yes", "no", "yes", "no"], [[True], [False, True]], None):
        with pytest.raises(ValueError, match="same must be boolean"):
            losses.contrastive(FOUR, same)


def test_the_number_of_classes_is_there_to_read():
    for loss in (losses.SoftmaxLoss, losses.NormalizedSoftmaxLoss, losses.CosFaceLoss, losses.ArcFaceLoss):
        assert loss(7, 3).classes == 7 and type(loss(np.int64(7), 3).classes) is int


def test_integers_are_compared_as_numbers():
    x, labels = torch.randint(-3, 4, (8, 8)), torch.arange(8) % 3
    for loss in ALL.values():
        torch.testing.assert_close(loss(x, labels), loss(x.float(), labels))
    for function in (losses.triplet_all, losses.supcon):
        torch.testing.assert_close(function(x, labels), function(x.float(), labels))
    torch.testing.assert_close(losses.contrastive(x[0], labels > 0), losses.contrastive(x[0].float(), labels > 0))
    torch.testing.assert_close(losses.n_pair(x), losses.n_pair(x.float()))


# Kinds of metrics ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [losses.ContrastiveLoss, losses.TripletLoss])
def test_a_similarity_is_no_distance(loss):
    with pytest.raises(ValueError, match=f"{loss.__name__} takes a distance, but cosine_similarity is a similarity"):
        loss(metric=metrics.cosine_similarity)
    with pytest.raises(ValueError, match="local_similarity is a similarity; local_distance is a distance"):
        loss(metric=functools.partial(metrics.local_similarity, max_displacement=2))
    for metric in (metrics.Mahalanobis(3), metrics.cosine_distance, torch.cdist):
        assert loss(metric=metric).metric is metric


@pytest.mark.parametrize("loss", [losses.SupConLoss, losses.NTXentLoss])
def test_a_distance_is_no_similarity(loss):
    for distance in (metrics.euclidean, metrics.Mahalanobis(3), metrics.cosine_distance):
        with pytest.raises(ValueError, match=f"{loss.__name__} takes a similarity, but .* is a distance"):
            loss(similarity=distance)
    assert loss(similarity=inner).similarity is inner


# Devices ------------------------------------------------------------------------------------------

ON_BATCHES = {
    "supcon": lambda x, labels: losses.supcon(x @ x.T, labels),
    "triplet_all": lambda x, labels: losses.triplet_all(metrics.euclidean(x, x), labels),
    "SupConLoss": losses.SupConLoss(),
    "contrastive": lambda x, labels: losses.contrastive(x[:, 0], labels == 0),
    "triplet": lambda x, labels: losses.triplet(x[:, 0], x[:, 1], reduction="nonzero"),
    "NPairLoss": in_two_views(losses.NPairLoss(0.1)),
    "NTXentLoss": in_two_views(losses.NTXentLoss()),
}
WITH_WEIGHTS = [losses.SoftmaxLoss, losses.NormalizedSoftmaxLoss, losses.CosFaceLoss, losses.ArcFaceLoss]


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("labels_there", [True, False])
@pytest.mark.parametrize("embeddings_there", [True, False])
@pytest.mark.parametrize("name", [*ON_BATCHES, *(loss.__name__ for loss in WITH_WEIGHTS)])
def test_embeddings_and_labels_may_lie_anywhere(name, embeddings_there, labels_there):
    x, labels = batch(0, dim=8)
    x = x.float()
    if name in ON_BATCHES:
        module = loss = ON_BATCHES[name]
    else:
        module = loss = getattr(losses, name)(CLASSES, 8)
    true, slope = with_gradients(lambda x: loss(x, labels), x)
    with pretend_gpu(float64=False) as gpu:
        if isinstance(module, torch.nn.Module):
            module.cuda()
        a = (x.cuda() if embeddings_there else x.clone()).requires_grad_()
        b = labels.cuda() if labels_there else labels
        before = len(gpu.waits)
        value = loss(a, b)
        value.backward()
        waits = gpu.waits[before:]
        if embeddings_there:
            assert waits == []
        assert value.is_cuda == (embeddings_there or name not in ON_BATCHES)
        value, gradient = value.detach().cpu(), a.grad.cpu()
        if isinstance(module, torch.nn.Module):
            module.cpu()
    torch.testing.assert_close(value, true)
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("far", [0, 1e4, 1e5, 1e7])
@pytest.mark.parametrize("metric", [metrics.euclidean, metrics.squared_euclidean])
@pytest.mark.parametrize("which", [11, 10, slice(6, 12)])  # without a positive, with one, as many as not
def test_triplet_all_keeps_its_digits_beside_far_examples(far, metric, which):
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1, 2, 3, 3, 4])
    x = 0.2 * torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    x[which] += far
    mine = metric(x, x).requires_grad_()
    exact = mine.detach().double().requires_grad_()
    anchor, positive, negative = mining.all_triplets(labels)
    listed = losses.triplet(exact[anchor, positive], exact[anchor, negative], 0.2, "nonzero")
    value = losses.triplet_all(mine, labels, 0.2, "nonzero")
    torch.testing.assert_close(value.double(), listed, rtol=2e-6, atol=0)
    value.backward()
    listed.backward()
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_the_two_distances_of_triplets_lie_on_one_device():
    with pytest.raises(ValueError, match="must be on one device, but are on cpu and meta"):
        losses.triplet(torch.ones(3), torch.ones(3, device="meta"))
