"""The comparison of Simple CNAPS, class by class and query by query."""

import pytest
import torch
from torch import nn

from fslib.methods import MahalanobisClassifier, PrototypicalNetwork
from tests.methods.test_baselines import episodes

LABELS = torch.tensor([4, 4, 1, 4, 9, 1, 4, 4, 1, 1, 1, 4])  # of 9 there is one


def naive(support, labels, query, beta=1.0):
    task = torch.cov(support.mT, correction=1)
    scores = torch.empty(len(query), len(labels.unique()), dtype=support.dtype)
    for k, c in enumerate(labels.unique()):
        members = support[labels == c]
        n = len(members)
        own = torch.cov(members.mT, correction=1) if n > 1 else torch.zeros_like(task)
        precision = (n / (n + 1) * own + task / (n + 1) + beta * torch.eye(len(task), dtype=task.dtype)).inverse()
        for i, q in enumerate(query):
            scores[i, k] = -(q - members.mean(0)) @ precision @ (q - members.mean(0))
    return scores


@pytest.mark.parametrize("way, shot", [(2, 2), (5, 5), (5, 1), (3, 20)])
@pytest.mark.parametrize("beta", [0.01, 1.0])
def test_scores_are_those_of_a_loop_over_episodes_and_classes(way, shot, beta):
    support, labels, query = (part.double() if part.ndim > 1 else part for part in episodes(way, shot))
    scores = MahalanobisClassifier(nn.Identity(), beta).compare(support, labels, query)
    for i in range(len(support)):
        torch.testing.assert_close(scores[i], naive(support[i], labels, query[i], beta))


def test_classes_may_be_of_any_size_and_one_example_has_its_own_branch():
    support, _, query = (part[0].double() if part.ndim > 1 else part for part in episodes(3, 4))
    scores = MahalanobisClassifier(nn.Identity())(support, LABELS, query)
    torch.testing.assert_close(scores, naive(support, LABELS, query))
    assert scores.isfinite().all()


def test_labels_may_differ_from_episode_to_episode():
    support, _, query = (part.double() if part.ndim > 1 else part for part in episodes(3, 4))
    turned = torch.stack([torch.roll(LABELS, i) for i in range(4)])
    scores = MahalanobisClassifier(nn.Identity()).compare(support, turned, query)
    for i in range(4):
        torch.testing.assert_close(scores[i], naive(support[i], turned[i], query[i]))


def test_a_large_beta_leaves_the_euclidean_distance():
    support, labels, query = (part[0].double() if part.ndim > 1 else part for part in episodes())
    scores = 1e9 * MahalanobisClassifier(nn.Identity(), 1e9)(support, labels, query)
    torch.testing.assert_close(scores, PrototypicalNetwork(nn.Identity())(support, labels, query), rtol=1e-6, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences():
    support, query = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (6, 2))
    labels, model = torch.tensor([0, 0, 0, 1, 1, 2]), MahalanobisClassifier(nn.Identity(), 0.5)
    assert torch.autograd.gradcheck(lambda s, q: model.compare(s, labels, q), (support, query))


def test_a_single_example_is_refused():
    with pytest.raises(ValueError, match="A single example has no covariance"):
        MahalanobisClassifier(nn.Identity())(torch.rand(1, 4), [0], torch.rand(3, 4))
    for beta in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="beta must be above zero"):
            MahalanobisClassifier(nn.Identity(), beta)


def test_embeddings_in_bfloat16_are_compared_in_full_precision():
    support, labels, query = (part[0].bfloat16() if part.ndim > 1 else part for part in episodes(5, 3))
    model = MahalanobisClassifier(nn.Identity())
    expected = model.compare(support.float(), labels, query.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.compare(support, labels, query), expected)
