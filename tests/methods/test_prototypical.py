"""Prototypical Networks are what their equations say, for any labels and any batch of episodes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestCentroid
from torch import nn

from fslib import metrics
from fslib.backbones import Conv4
from fslib.methods import FewShotClassifier, PrototypicalNetwork, prototypes
from fslib.methods.base import relabel

LABELS = torch.tensor([7, -2, 7, 300, -2, 7, 300])  # three, two and two examples


def model(**options) -> PrototypicalNetwork:
    return PrototypicalNetwork(nn.Flatten(), **options)


def episode(*leading, labels=LABELS, queries=6, dim=4):
    torch.manual_seed(0)
    return (
        torch.randn(*leading, len(labels), dim, dtype=torch.float64),
        labels,
        torch.randn(*leading, queries, dim, dtype=torch.float64),
    )


def double_loop(support, labels, query):
    """Equations 1 and 2 of the paper, class by class and query by query."""
    scores = []
    for q in query:
        scores.append([])
        for c in sorted(set(labels.tolist())):
            members = [example for example, label in zip(support, labels) if label == c]
            scores[-1].append(-sum((q - sum(members) / len(members)) ** 2))
    return torch.tensor(scores, dtype=torch.float64)


def assert_same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_scores_equal_a_double_loop():
    support, labels, query = episode()
    assert_same(model()(support, labels, query), double_loop(support, labels, query))


@pytest.mark.parametrize("shared", [True, False], ids=["shared labels", "labels of each episode"])
def test_a_batch_of_episodes_equals_a_loop_over_them(shared):
    support, labels, query = episode(2, 3)
    if not shared:
        labels = torch.stack([labels[torch.randperm(7)] + 10 * i for i in range(6)]).reshape(2, 3, 7)
    scores = model().compare(support, labels, query)
    assert scores.shape == (2, 3, 6, 3)
    for i, j in np.ndindex(2, 3):
        assert_same(scores[i, j], double_loop(support[i, j], labels if shared else labels[i, j], query[i, j]))


@pytest.mark.parametrize(
    "names", [(0, 1, 2), (5, 3, 4), (-9, 0, -1), (2**63 - 1, -(2**63), 12), (10**12, 10**12 + 1, -7)]
)
def test_columns_follow_the_sorted_labels_whatever_they_are(names):
    support, positions, query = episode(labels=torch.tensor([2, 0, 1, 1, 0, 2, 0]))
    labels = torch.tensor(names)[positions]
    assert_same(model()(support, labels, query), double_loop(support, labels, query))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_may_be_integers_of_any_width(dtype):
    support, labels, query = episode(labels=torch.tensor([7, 2, 7, 30, 2]))
    assert_same(model()(support, labels.to(dtype), query), double_loop(support, labels, query))


def test_scores_are_logits_of_the_mapped_labels():
    support, labels, query = episode(dim=64)
    named = LABELS[torch.tensor([3, 0, 1, 1, 3, 0])]
    near = torch.stack([support[labels == c].mean(0) for c in named])
    scores = model()(support, labels, near + 0.1 * query)
    _, targets = torch.cat([labels, named]).unique(return_inverse=True)
    assert F.cross_entropy(scores, targets[len(labels) :]) < 1e-3


def test_predictions_are_those_of_the_nearest_centroid():
    support, labels, query = episode(queries=200)
    predicted = labels.unique()[model()(support, labels, query).argmax(1)]
    assert predicted.tolist() == NearestCentroid().fit(support, labels).predict(query).tolist()


def test_classifier_is_linear():
    support, labels, query = episode()
    centers = prototypes(support, labels)
    gap = model()(support, labels, query) - (2 * query @ centers.T - centers.square().sum(1))
    assert_same(gap, gap[:, :1].expand_as(gap))


def test_order_of_the_support_does_not_matter():
    support, labels, query = episode()
    order = torch.randperm(7)
    assert_same(model()(support[order], labels[order], query), model()(support, labels, query))


def test_permuting_the_labels_permutes_the_columns():
    support, labels, query = episode(labels=torch.tensor([0, 1, 2, 3, 3, 2]))
    renamed = torch.tensor([2, 0, 3, 1])
    assert_same(model()(support, renamed[labels], query)[:, renamed], model()(support, labels, query))


@pytest.mark.parametrize("metric", [metrics.squared_euclidean, metrics.euclidean, metrics.cosine_distance])
def test_gradient_is_finite_when_a_query_is_a_prototype(metric):
    support = torch.randn(3, 4, requires_grad=True)
    scores = model(metric=metric)(support, torch.arange(3), support.detach()[:2])
    F.cross_entropy(scores, torch.tensor([0, 1])).backward()
    assert support.grad.isfinite().all()


def test_in_evaluation_mode_queries_do_not_see_each_other():
    torch.manual_seed(0)
    network = PrototypicalNetwork(Conv4()).eval()
    support, query, labels = torch.rand(5, 1, 28, 28), torch.rand(8, 1, 28, 28), torch.arange(5)
    with torch.no_grad():
        together = network(support, labels, query).softmax(1)
        alone = torch.cat([network(support, labels, one).softmax(1) for one in query.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_autocast_costs_no_digits():
    support, labels, query = episode(dim=64)
    support, query = support.float(), query.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model().compare(support, labels, query)
    torch.testing.assert_close(scores, model().compare(support, labels, query))


def test_bfloat16_embeddings_are_averaged_in_float32():
    support, labels, query = episode(dim=64)
    support, query = support.bfloat16(), query.bfloat16()
    scores = model().compare(support, labels, query)
    torch.testing.assert_close(scores, model().compare(support.float(), labels, query.float()))


def test_loss_is_the_mean_cross_entropy():
    scores, targets = torch.randn(2, 3, 6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    chances = scores.softmax(-1)
    expected = -sum(chances[i, j, m, targets[m]].log() for i, j, m in np.ndindex(2, 3, 6)) / 36
    torch.testing.assert_close(FewShotClassifier(nn.Identity()).loss(scores, targets), expected)


def test_class_positions_are_ranks_among_the_distinct_labels():
    labels = torch.randint(-5, 5, (50, 12))
    labels = labels[[len(row.unique()) == 7 for row in labels]]
    assert len(labels) > 3
    for row, positions in zip(labels, relabel(labels)):
        assert positions.tolist() == [sorted(set(row.tolist())).index(label) for label in row.tolist()]


@pytest.mark.parametrize("shape", [(6,), (8,), (7, 1), ()])
def test_one_label_for_each_support_example(shape):
    support, _, query = episode()
    with pytest.raises(ValueError, match=r"one label for each of the 7 support|one integer an example"):
        model()(support, torch.zeros(shape, dtype=torch.long), query)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bool, torch.complex64])
def test_labels_that_are_no_integers_are_refused(dtype):
    support, labels, query = episode()
    with pytest.raises(ValueError, match=f"Labels must be integers, but are {dtype}"):
        model()(support, labels.to(dtype), query)


def test_images_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"same shape, but are \(1, 28, 28\) and \(1, 32, 32\)"):
        model()(torch.zeros(2, 1, 28, 28), torch.arange(2), torch.zeros(3, 1, 32, 32))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_broken_embeddings_are_counted(value):
    support, labels, query = episode()
    query[[1, 4], 2] = value
    with pytest.raises(ValueError, match="2 of 13 embeddings hold NaN or infinity"):
        model()(support, labels, query)


def test_episodes_of_one_batch_need_the_same_number_of_classes():
    support, _, query = episode(2, labels=torch.zeros(4))
    with pytest.raises(ValueError, match="same number of classes"):
        model().compare(support, torch.tensor([[0, 1, 0, 1], [0, 1, 2, 2]]), query)
