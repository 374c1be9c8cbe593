"""The map fitted to a support set is that of a loop over episodes, and one shot teaches it nothing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fslib.methods import PreClassifierAlignment, PrototypicalNetwork
from fslib.metrics import cosine_distance
from tests.methods.test_baselines import episodes

UNEQUAL = torch.tensor([4, 4, 1, 4, 9, 1, 4, 4, 1, 1, 1, 4])  # of 9 there is one


def naive(support, labels, query, form="full", lr=0.1, steps=40, scale=10.0, leave_one_out=False):
    """One episode, one example at a time."""
    d, classes = support.shape[1], labels.unique()
    start = torch.eye(d) if form == "full" else torch.ones(d)
    a = start.to(support.dtype)

    def mapped(x):
        return x @ a.T if form == "full" else x * a

    for _ in range(steps):
        a = a.detach().requires_grad_()
        x = mapped(support)
        costs = []
        for i, label in enumerate(labels):
            if (labels == label).sum() == 1:
                continue
            means = []
            for c in classes:
                members = labels == c
                if leave_one_out and c == label:
                    members = members & (torch.arange(len(labels)) != i)
                means.append(x[members].mean(0))
            logits = scale * F.cosine_similarity(x[i][None], torch.stack(means), dim=1)
            costs.append(F.cross_entropy(logits[None], (classes == label).nonzero()[0]))
        if costs:
            a = a - lr * torch.autograd.grad(torch.stack(costs).mean(), a)[0]
    a = a.detach()
    means = torch.stack([mapped(support)[labels == c].mean(0) for c in classes])
    return scale * F.normalize(mapped(query), dim=1) @ F.normalize(means, dim=1).T


@pytest.mark.parametrize("form", ["full", "diagonal"])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_scores_are_those_of_a_loop_with_autograd(form, leave_one_out):
    support, labels, query = (part.double() if part.ndim > 1 else part for part in episodes(4, 3, count=3, dim=6))
    options = dict(steps=7, scale=5.0, leave_one_out=leave_one_out)
    scores = PreClassifierAlignment(nn.Identity(), form, 0.7, **options).compare(support, labels, query)
    for i in range(3):
        expected = naive(support[i], labels, query[i], form, 0.7, **options)
        torch.testing.assert_close(scores[i], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_classes_may_be_of_any_size_and_one_example_teaches_nothing(leave_one_out):
    support, _, query = (part[0].double() if part.ndim > 1 else part for part in episodes(3, 4, dim=6))
    model = PreClassifierAlignment(nn.Identity(), steps=5, leave_one_out=leave_one_out)
    expected = naive(support, UNEQUAL, query, steps=5, leave_one_out=leave_one_out)
    torch.testing.assert_close(model(support, UNEQUAL, query), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["full", "diagonal"])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_with_one_shot_it_is_the_prototypical_network(form, leave_one_out):
    support, labels, query = episodes(5, 1)
    model = PreClassifierAlignment(nn.Identity(), form, 10.0, scale=4.0, leave_one_out=leave_one_out)
    plain = PrototypicalNetwork(nn.Identity(), cosine_distance).compare(support, labels, query)
    torch.testing.assert_close(model.compare(support, labels, query), 4 * (1 + plain))
    without = PreClassifierAlignment(nn.Identity(), form, steps=0, scale=4.0)
    assert torch.equal(model.compare(support, labels, query), without.compare(support, labels, query))


def test_it_fits_the_support_set_the_better_the_longer():
    support, labels, _ = episodes()
    losses = []
    for steps in (0, 1, 10, 100):
        scores = PreClassifierAlignment(nn.Identity(), steps=steps).compare(support, labels, support)
        losses.append(F.cross_entropy(scores.flatten(0, 1), labels.repeat(4)))
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


@pytest.mark.parametrize("form", ["full", "diagonal"])
def test_episodes_and_queries_do_not_see_each_other(form):
    support, labels, query = episodes()
    model = PreClassifierAlignment(nn.Identity(), form, 1.0)
    scores = model.compare(support, labels, query)
    order = torch.randperm(query.shape[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.compare(support, labels, query[:, order]), scores[:, order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.compare(support, labels, query[:, :1]), scores[:, :1], rtol=1e-4, atol=1e-4)
    for i in range(len(support)):
        alone = model.compare(support[i], labels, query[i])
        torch.testing.assert_close(alone, scores[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1e-10, 1e10])
def test_the_size_of_embeddings_does_not_matter(size):
    support, labels, query = episodes()
    model = PreClassifierAlignment(nn.Identity(), steps=5)
    expected = model.compare(support, labels, query)
    torch.testing.assert_close(model.compare(size * support, labels, size * query), expected, rtol=1e-3, atol=1e-3)


def test_it_fits_where_no_gradient_is_wanted_and_gives_none():
    support, labels, query = episodes()
    model = PreClassifierAlignment(nn.Identity(), steps=5)
    expected = model.compare(support, labels, query)
    with torch.inference_mode():
        inside = [part.clone() for part in (support, query)]
        assert torch.equal(model.compare(inside[0], labels, inside[1]), expected)
    assert not model.compare(support.requires_grad_(), labels, query).requires_grad
    assert support.grad is None


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(form="low rank"), 'form must be "full" or "diagonal"'),
        (dict(learning_rate=0), "learning_rate must be above zero"),
        (dict(scale=float("inf")), "scale must be above zero"),
        (dict(steps=-1), "steps must be a whole number"),
        (dict(steps=1.5), "steps must be a whole number"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        PreClassifierAlignment(nn.Identity(), **options)
