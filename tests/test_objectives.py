"""An objective is a loss on the pairs or triplets that its name says."""

import pytest
import torch

from fslib import losses, mining, objectives
from fslib.metrics import euclidean

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
