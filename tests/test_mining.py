"""Mined pairs and triplets are those of pytorch-metric-learning (PML), or of a plain search."""

import math
import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from pytorch_metric_learning.utils import loss_and_miner_utils as pml

from fslib import metrics, mining
from tests.pretend_gpu import MISSING, pretend_gpu

MARGIN = 0.5
RAW = {"distance": LpDistance(normalize_embeddings=False)}  # PML normalises unless told not to
LABELS = {
    "few classes": lambda: torch.randint(3, (14,)),
    "five classes": lambda: torch.randint(5, (14,)),
    "many classes": lambda: torch.randint(9, (14,)),
    "mostly single members": lambda: torch.randint(40, (14,)),
    "negative names": lambda: torch.randint(-(2**62), -(2**62) + 4, (14,)),
    "one class": lambda: torch.full((6,), 3),
    "all distinct": lambda: torch.randperm(6),
    "one pair": lambda: torch.tensor([0, 1, 1, 2]),
    "one example": lambda: torch.tensor([5]),
    "no example": lambda: torch.zeros(0, dtype=torch.long),
}
MINERS = {
    "all_triplets": lambda distances, labels: mining.all_triplets(labels),
    "batch_hard": mining.batch_hard,
    "semi_hard_band": lambda *both: mining.semi_hard_band(*both, MARGIN),
    "semi_hard_nearest": mining.semi_hard_nearest,
    "semi_hard_nearest or farthest": lambda *both: mining.semi_hard_nearest(*both, "farthest"),
}
each_miner = pytest.mark.parametrize("miner", MINERS.values(), ids=MINERS)


@pytest.fixture(params=LABELS)
def batch(request):
    """Vectors and their labels."""
    torch.manual_seed(1)
    labels = LABELS[request.param]()
    return torch.randn(len(labels), 3, dtype=torch.float64), labels


def rows(*positions):
    """Positions as a set of tuples, after a look that none comes twice."""
    tuples = [*zip(*(part.tolist() for part in positions), strict=True)]
    assert len(set(tuples)) == len(tuples)
    return set(tuples)


def search(labels):
    """All triplets, anchor by anchor and positive by positive."""
    for a, p, n in permutations(range(len(labels)), 3):
        if labels[a] == labels[p] and labels[a] != labels[n]:
            yield a, p, n


def nearest_beyond(distances, labels, otherwise):
    """FaceNet's choice, for each pair of anchor and positive."""
    chosen, negatives = set(), {}
    for a, p, n in search(labels):
        negatives.setdefault((a, p), []).append(n)
    for (a, p), others in negatives.items():
        beyond = [n for n in others if distances[a, n] > distances[a, p]]
        if beyond:
            chosen.add((a, p, min(beyond, key=lambda n: distances[a, n])))
        elif otherwise == "farthest":
            chosen.add((a, p, max(others, key=lambda n: distances[a, n])))
    return chosen


def test_all_pairs_are_those_of_pml_each_once(batch):
    _, labels = batch
    first, second, same = mining.all_pairs(labels)
    assert (first < second).all() and same.dtype == torch.bool
    a1, p, a2, n = pml.get_all_pairs_indices(labels)
    assert rows(first[same], second[same]) == {(i, j) for i, j in rows(a1, p) if i < j}
    assert rows(first[~same], second[~same]) == {(i, j) for i, j in rows(a2, n) if i < j}


def test_all_triplets_are_those_of_pml(batch):
    _, labels = batch
    ours = rows(*mining.all_triplets(labels))
    assert ours == rows(*pml.get_all_triplets_indices(labels)) == {*search(labels)}


def test_batch_hard_is_that_of_pml(batch):
    x, labels = batch
    ours = rows(*mining.batch_hard(metrics.euclidean(x, x), labels))
    if len(x):  # PML takes no empty batch
        assert ours == rows(*BatchHardMiner(**RAW)(x, labels))
    assert len(ours) == len({a for a, _, _ in search(labels)})


def test_semi_hard_band_is_that_of_pml(batch):
    x, labels = batch
    distances = metrics.euclidean(x, x)
    ours = rows(*mining.semi_hard_band(distances, labels, MARGIN))
    assert ours == rows(*TripletMarginMiner(MARGIN, type_of_triplets="semihard", **RAW)(x, labels))
    gap = {(a, p, n): distances[a, n] - distances[a, p] for a, p, n in search(labels)}
    assert ours == {triplet for triplet in gap if 0 < gap[triplet] <= MARGIN}


@pytest.mark.parametrize("otherwise", ["drop", "farthest"])
def test_semi_hard_nearest_is_a_search(batch, otherwise):
    x, labels = batch
    distances = metrics.euclidean(x, x)
    ours = mining.semi_hard_nearest(distances, labels, otherwise)
    assert rows(*ours) == nearest_beyond(distances, labels, otherwise)


@pytest.mark.parametrize("batch", ["five classes"], indirect=True)
def test_a_batch_holds_what_there_is_to_get_wrong(batch):
    """A class of one, a class of many, and pairs with and without a negative beyond the positive."""
    x, labels = batch
    assert {1, 4} <= {*labels.bincount().tolist()}
    dropped, kept = (
        len(mining.semi_hard_nearest(metrics.euclidean(x, x), labels, otherwise)[0])
        for otherwise in ("drop", "farthest")
    )
    assert 0 < dropped < kept


@each_miner
def test_parts_of_a_triplet(batch, miner):
    x, labels = batch
    a, p, n = miner(metrics.euclidean(x, x), labels)
    assert (labels[a] == labels[p]).all() and (a != p).all() and (labels[a] != labels[n]).all()
    assert a.dtype == p.dtype == n.dtype == torch.long


@each_miner
def test_distances_need_not_be_symmetric(miner):
    """Row i is what anchor i sees, and where all rows are equal there is no wrong axis to look along."""
    torch.manual_seed(0)
    labels = torch.tensor([0, 0, 1, 1, 2, 0])
    distances = torch.rand(6, 6)
    for anchor, row in enumerate(distances):
        alone = rows(*miner(row.expand(6, 6), labels))
        ours = rows(*miner(distances, labels))
        assert {t for t in ours if t[0] == anchor} == {t for t in alone if t[0] == anchor}


def written(digits):
    return {tuple(map(int, triplet)) for triplet in digits.split()}


def test_of_equally_far_ones_the_first_is_taken():
    labels, equal = torch.tensor([0, 0, 0, 1, 1]), torch.ones(5, 5)
    ours = rows(*mining.batch_hard(equal, labels))
    assert ours == written("013 103 203 340 430")
    assert ours == rows(*BatchHardMiner(**RAW)(torch.ones(5, 2), labels))
    farther = equal + (labels[:, None] != labels)
    ours = rows(*mining.semi_hard_nearest(farther, labels))
    assert ours == written("013 023 103 123 203 213 340 430")


def test_a_negative_as_far_as_the_positive_is_not_beyond():
    labels, equal = torch.tensor([0, 0, 1]), torch.ones(3, 3)
    assert rows(*mining.semi_hard_band(equal, labels, MARGIN)) == set()
    assert rows(*mining.semi_hard_nearest(equal, labels)) == set()
    assert rows(*mining.semi_hard_nearest(equal, labels, "farthest")) == written("012 102")


def test_the_far_end_of_the_band_belongs_to_it():
    distances = torch.tensor([[0.0, 1.0, 1.5], [1.0, 0.0, 1.75], [1.5, 1.75, 0.0]])
    ours = rows(*mining.semi_hard_band(distances, torch.tensor([0, 0, 1]), 0.5))
    assert ours == written("012")


@each_miner
def test_no_gradient_flows_through_the_choice(miner):
    torch.manual_seed(0)
    x = torch.randn(9, 3, requires_grad=True)
    chosen = miner(metrics.euclidean(x, x), torch.arange(9) % 3)
    assert len(chosen[0]) and not any(part.requires_grad for part in chosen)


@pytest.mark.parametrize("labels", [torch.rand(4), torch.zeros(4, 1).long(), torch.tensor(1)])
@each_miner
def test_labels_are_integers_in_a_row(miner, labels):
    with pytest.raises(ValueError, match=r"^Labels (must be|are one) integer"):
        miner(torch.rand(4, 4), labels)
    with pytest.raises(ValueError, match=r"^Labels (must be|are one) integer"):
        mining.all_pairs(labels)


@pytest.mark.parametrize("shape", [(4, 3), (3, 3), (4,), (1, 4, 4)])
@pytest.mark.parametrize("name", [*MINERS][1:])
def test_distances_are_a_square(name, shape):
    with pytest.raises(ValueError, match=r"4 labels need distances of shape \(4, 4\)") as raised:
        MINERS[name](torch.rand(shape), torch.arange(4))
    assert str(raised.value).endswith(f"but got {shape}.")


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_negative_margin_is_refused(margin):
    with pytest.raises(ValueError, match=f"must be finite and not negative, but is {margin}"):
        mining.semi_hard_band(torch.rand(2, 2), torch.arange(2), margin)


def test_unknown_way_out_is_refused():
    with pytest.raises(ValueError, match='must be "drop" or "farthest", but is \'nearest\''):
        mining.semi_hard_nearest(torch.rand(2, 2), torch.arange(2), "nearest")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
@each_miner
def test_labels_may_be_integers_of_any_width(miner, dtype):
    torch.manual_seed(0)
    distances, labels = torch.rand(8, 8), torch.arange(8) % 3
    assert rows(*miner(distances, labels.to(dtype))) == rows(*miner(distances, labels))


@each_miner
def test_labels_are_taken_as_people_have_them(miner):
    torch.manual_seed(0)
    distances, labels = torch.rand(8, 8), [2, 0, 1, 1, 0, 2, 0, 3]
    right = rows(*miner(distances, torch.tensor(labels)))
    pairs = mining.all_pairs(torch.tensor(labels))
    for same in (labels, np.array(labels), np.array(labels, dtype=np.uint8), [f"class {c}" for c in labels]):
        assert rows(*miner(distances, same)) == right
        assert all(map(torch.equal, mining.all_pairs(same), pairs))


@pytest.mark.parametrize("name", [*MINERS][1:])
def test_distances_are_a_tensor(name):
    with pytest.raises(TypeError, match=r"Distances are a tensor, as .* gives, but got list"):
        MINERS[name](torch.rand(4, 4).tolist(), torch.arange(4))


def before(distances, labels, otherwise):
    """How :func:`mining.semi_hard_nearest` was written at first, with a row of distances for each positive pair."""
    anchor, positive = ((labels[:, None] == labels) & ~torch.eye(len(labels)).bool()).nonzero(as_tuple=True)
    others = labels[anchor][:, None] != labels
    from_anchor = distances[anchor]
    beyond = others & (from_anchor > from_anchor.gather(1, positive[:, None]))
    negative, keep = from_anchor.where(beyond, torch.inf).argmin(1), beyond.any(1)
    if otherwise == "farthest":
        negative = torch.where(keep, negative, from_anchor.where(others, -torch.inf).argmax(1))
        keep = others.any(1)
    return anchor[keep], positive[keep], negative[keep]


@pytest.mark.parametrize("otherwise", ["drop", "farthest"])
@pytest.mark.parametrize("kind", ["floats", "ties", "integers", "half", "not numbers"])
def test_semi_hard_nearest_chooses_as_a_row_for_each_pair_would(kind, otherwise):
    for seed in range(20):
        torch.manual_seed(seed)
        labels, distances = torch.randint(5, (30,)), 4 * torch.rand(30, 30)
        if kind == "ties":
            distances = distances.round()
        if kind == "integers":
            distances = distances.long()
        if kind == "half":
            distances = distances.half()
        if kind == "not numbers":
            distances[torch.rand(30, 30) < 0.1] = torch.nan
        ours = mining.semi_hard_nearest(distances, labels, otherwise)
        assert all(map(torch.equal, ours, before(distances.float(), labels, otherwise)))


@pytest.mark.parametrize("name", [*MINERS][1:])
def test_infinite_distances_make_no_false_triplets(name):
    for seed in range(20):
        torch.manual_seed(seed)
        labels, distances = torch.randint(4, (9,)), torch.rand(9, 9)
        distances[torch.rand(9, 9) < 0.5] = torch.inf
        a, p, n = MINERS[name](distances, labels)
        assert (labels[a] == labels[p]).all() and (a != p).all() and (labels[a] != labels[n]).all()


def test_semi_hard_mining_needs_memory_for_the_pairs_only():
    """2,048 examples, 64 a class: with a row of distances for each positive pair it was 2.6 GB."""
    labels = torch.arange(8).repeat(64)
    distances = torch.rand(512, 512)
    largest = 0

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **kwargs or {})
            for part in result if isinstance(result, list | tuple) else [result]:
                largest = max(largest, part.numel() if isinstance(part, torch.Tensor) else 0)
            return result

    with Largest():
        mining.semi_hard_nearest(distances, labels)
        mining.semi_hard_nearest(distances, labels, "farthest")
        mining.batch_hard(distances, labels)
        a, _, _ = mining.semi_hard_band(distances, labels, 1e-4)
    assert len(a) < 512**2 and largest <= 2**20  # a row for each pair would be sixteen times as much


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("name", MINERS)
def test_distances_and_labels_may_lie_anywhere(name):
    torch.manual_seed(0)
    distances, labels = torch.rand(12, 12), torch.arange(12) % 5
    right = rows(*MINERS[name](distances, labels))
    with pretend_gpu(float64=False):
        for there, other in [(True, False), (False, True), (True, True)]:
            given = distances.cuda() if there else distances, labels.cuda() if other else labels
            found = MINERS[name](*given)
            on_gpu = other if name == "all_triplets" else there
            assert all(part.is_cuda == on_gpu for part in found)
            assert rows(*(part.cpu() for part in found)) == right


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is told in other units, or not at all")
def test_the_band_takes_memory_for_what_it_finds():
    """In a process of its own, for the peak is the process's."""
    program = """
import resource, torch
from fslib import mining
x = torch.rand(1500, generator=torch.Generator().manual_seed(0))
distances, labels = (x[:, None] - x).abs(), torch.arange(1500) // 128
mining.semi_hard_band(distances[:200, :200], labels[:200], 1e-5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = len(mining.semi_hard_band(distances, labels, 1e-5)[0])
print(found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found, more = map(int, subprocess.check_output([sys.executable, "-c", program]).split())
    assert found > 1000
    assert more < 150_000  # kB
