"""An objective is a loss on the pairs or triplets that its name says."""

import math

import numpy as np
import pytest
import torch

from fslib import losses, mining, objectives
from fslib.metrics import euclidean
from tests.pretend_gpu import MISSING, pretend_gpu

LABELS = torch.tensor([4, 4, 1, 7, 1, 4, 9, 7, 1])  # 9 has one member


@pytest.fixture(params=range(3))
def embeddings(request):
    torch.manual_seed(request.param)
    return torch.randn(9, 5, requires_grad=True)


def test_contrastive_gives_both_kinds_the_same_weight(embeddings):
    kinds = {True: [], False: []}
    for i in range(9):
        for j in range(i):
            d = (embeddings[i] - embeddings[j]).norm()
            same = bool(LABELS[i] == LABELS[j])
            kinds[same].append(d**2 if same else max(0 * d, 2.0 - d) ** 2)
    naive = sum(torch.stack(costs).mean() for costs in kinds.values()) / 2
    torch.testing.assert_close(objectives.contrastive(embeddings, LABELS, margin=2.0), naive)


@pytest.mark.parametrize(
    "objective, mine",
    [
        (objectives.triplet_hard, mining.batch_hard),
        (objectives.triplet_semi_hard, mining.semi_hard_nearest),
    ],
)
def test_triplets_are_mined_by_the_distance_they_are_judged_by(embeddings, objective, mine):
    a, p, n = mine(euclidean(embeddings, embeddings), LABELS)
    naive = losses.TripletLoss(0.7)(embeddings[a], embeddings[p], embeddings[n])
    torch.testing.assert_close(objective(embeddings, LABELS, margin=0.7), naive)


def test_all_triplets_are_averaged_over_those_that_cost_something(embeddings):
    a, p, n = mining.all_triplets(LABELS)
    naive = losses.TripletLoss(0.7, reduction="nonzero")(
        embeddings[a], embeddings[p], embeddings[n]
    )
    torch.testing.assert_close(objectives.triplet_all(embeddings, LABELS, margin=0.7), naive)


def test_n_pair_takes_the_first_two_of_each_class_that_has_two(embeddings):
    naive = losses.NPairLoss(0.1)(embeddings[[2, 0, 3]], embeddings[[4, 1, 7]])  # classes 1, 4, 7
    torch.testing.assert_close(objectives.n_pair(embeddings, LABELS, penalty=0.1), naive)


@pytest.mark.parametrize(
    "labels", [torch.zeros(9, dtype=torch.long), torch.arange(9)], ids=["one class", "no pair"]
)
@pytest.mark.parametrize(
    "name", ["contrastive", "triplet_all", "triplet_hard", "triplet_semi_hard", "n_pair"]
)
def test_a_batch_without_comparisons_has_a_finite_gradient(embeddings, name, labels):
    loss = getattr(objectives, name)(embeddings, labels)
    loss.backward()
    assert loss.isfinite() and embeddings.grad.isfinite().all()


@pytest.mark.parametrize("labels", [LABELS[:8], LABELS.float(), LABELS[:, None]])
@pytest.mark.parametrize(
    "name", ["contrastive", "triplet_all", "triplet_hard", "triplet_semi_hard", "n_pair"]
)
def test_each_embedding_has_an_integer_label(embeddings, name, labels):
    with pytest.raises(ValueError, match="labels"):
        getattr(objectives, name)(embeddings, labels)


NAMES = ["contrastive", "triplet_all", "triplet_hard", "triplet_semi_hard", "n_pair"]
each_objective = pytest.mark.parametrize("name", NAMES)


def listed(embeddings, labels, name, setting):
    """The same by lists of pairs and triplets, which a GPU would have to be waited for."""
    distances = euclidean(embeddings, embeddings)
    if name == "contrastive":
        first, second, same = mining.all_pairs(labels)
        costs = losses.contrastive(distances[first, second], same, setting, "none")
        return 0.5 * sum(part.sum() / max(1, len(part)) for part in (costs[same], costs[~same]))
    if name == "n_pair":
        order = labels.argsort(stable=True)
        first = labels[order].diff(prepend=labels[order][:1] - 1) != 0
        anchor = (first[:-1] & ~first[1:]).nonzero().flatten()
        return losses.NPairLoss(setting)(embeddings[order[anchor]], embeddings[order[anchor + 1]])
    if name == "triplet_all":
        a, p, n = mining.all_triplets(labels)
        return losses.triplet(distances[a, p], distances[a, n], setting, "nonzero")
    mine = {"triplet_hard": mining.batch_hard, "triplet_semi_hard": mining.semi_hard_nearest}[name]
    a, p, n = mine(distances, labels)
    return losses.triplet(distances[a, p], distances[a, n], setting)


@pytest.mark.parametrize("seed", range(8))
@each_objective
def test_an_objective_is_its_loss_over_a_list(name, seed):
    torch.manual_seed(seed)
    n = [0, 1, 2, 5, 12, 30, 30, 30][seed]
    labels = torch.randint(-3, [1, 1, 9, 9, 3, 3, 9, 100][seed], (n,))
    x = torch.randn(n, 4, dtype=torch.float64, requires_grad=True)
    values = [getattr(objectives, name)(x, labels, 0.3), listed(x, labels, name, 0.3)]
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(value, x)[0] for value in values]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)


@each_objective
def test_labels_are_taken_as_people_have_them(embeddings, name):
    right = getattr(objectives, name)(embeddings, LABELS)
    names = [f"class {c:02}" for c in LABELS.tolist()]
    for labels in (LABELS.tolist(), LABELS.numpy().astype(np.uint8), LABELS.short(), names, np.array(names)):
        assert getattr(objectives, name)(embeddings, labels) == right


@each_objective
def test_embeddings_of_any_type(embeddings, name):
    for dtype in (torch.float16, torch.bfloat16, torch.int64):
        x = (3 * embeddings).detach().to(dtype)
        value = getattr(objectives, name)(x, LABELS)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, getattr(objectives, name)(x.float(), LABELS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = getattr(objectives, name)(embeddings, LABELS)
    torch.testing.assert_close(cast, getattr(objectives, name)(embeddings, LABELS))


@each_objective
def test_what_is_no_number_is_not_hidden(embeddings, name):
    for row in (0, 2):
        x = embeddings.detach().clone()
        x[row, 1] = torch.nan
        assert getattr(objectives, name)(x, LABELS).isnan()


@pytest.mark.parametrize("setting", [-0.1, math.nan, math.inf])
@each_objective
def test_settings_are_finite_and_not_negative(embeddings, name, setting):
    with pytest.raises(ValueError, match=f"must be finite and not negative, but is {setting}"):
        getattr(objectives, name)(embeddings, LABELS, setting)


@each_objective
def test_embeddings_are_a_tensor(embeddings, name):
    with pytest.raises(TypeError, match="tensor"):
        getattr(objectives, name)(embeddings.tolist(), LABELS)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("there, other", [(True, True), (True, False), (False, True)])
@each_objective
def test_embeddings_and_labels_may_lie_anywhere_and_no_step_waits(embeddings, name, there, other):
    objective = getattr(objectives, name)
    right = objective(embeddings, LABELS)
    (slope,) = torch.autograd.grad(right, embeddings)
    with pretend_gpu(float64=False) as gpu:
        x = embeddings.detach()
        x = (x.cuda() if there else x.clone()).requires_grad_()
        labels = LABELS.cuda() if other else LABELS
        before = len(gpu.waits)
        value = objective(x, labels)
        value.backward()
        assert value.is_cuda == there and (not there or gpu.waits[before:] == [])
        value, gradient = value.detach().cpu(), x.grad.cpu()
    torch.testing.assert_close(value, right.detach())
    torch.testing.assert_close(gradient, slope)
