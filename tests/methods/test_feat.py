"""FEAT is a function of the set of prototypes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fslib.methods import FEAT
from fslib.methods.prototypical import prototypes
from tests.methods.test_baselines import episodes


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FEAT(nn.Identity(), dim=16, temperature=2.0).eval()


def naive(model, prototypes):
    """Attention of each prototype to each, one at a time."""
    queries, keys, values = model.qkv.weight.split(16)
    adapted = []
    for p in prototypes:
        weights = torch.stack([(queries @ p) @ (keys @ other) / 4 for other in prototypes]).softmax(0)
        read = sum(w * (values @ other) for w, other in zip(weights, prototypes))
        moved = p + model.proj.weight @ read + model.proj.bias
        adapted.append((moved - moved.mean()) / (moved.var(correction=0) + 1e-5).sqrt())
    return torch.stack(adapted)


@torch.no_grad()
def test_scores_are_distances_to_prototypes_that_have_attended_to_each_other(model):
    support, labels, query = episodes()
    scores = model.compare(support, labels, query)
    for i in range(len(support)):
        adapted = naive(model, prototypes(support[i], labels))
        expected = -torch.stack([(query[i] - p).square().sum(1) for p in adapted], 1) / 2
        torch.testing.assert_close(scores[i], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_order_of_the_classes_plays_no_part(model):
    p, order = torch.randn(3, 7, 16), torch.randperm(7)
    torch.testing.assert_close(model.adapt(p[:, order]), model.adapt(p)[:, order])
    assert not torch.allclose(model.adapt(p[:, :6]), model.adapt(p)[:, :6], atol=1e-3)  # but who else is there does


@torch.no_grad()
def test_queries_do_not_see_each_other(model):
    support, labels, query = episodes()
    scores, order = model.compare(support, labels, query), torch.randperm(query.shape[1])
    torch.testing.assert_close(model.compare(support, labels, query[:, order]), scores[:, order])
    torch.testing.assert_close(model.compare(support, labels, query[:, :1]), scores[:, :1])


def test_every_weight_is_trained_and_dropout_acts_in_training_alone(model):
    support, labels, query = episodes()
    assert torch.equal(model.compare(support, labels, query), model.compare(support, labels, query))
    model.train()
    scores = model.compare(support, labels, query)
    assert not torch.equal(scores, model.compare(support, labels, query))
    model.loss(scores, torch.arange(5).repeat_interleave(6)).backward()
    assert all(weight.grad.abs().max() > 0 for weight in model.parameters())


def test_scores_are_in_full_precision_under_autocast(model):
    support, labels, query = (part.bfloat16() if part.ndim > 1 else part for part in episodes())
    expected = model.compare(support.float(), labels, query.float())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model.compare(support, labels, query), expected)


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(dim=0), "dim must be a whole number"),
        (dict(temperature=0), "temperature must be above zero"),
        (dict(dropout=1), "dropout must be at least zero and below one"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        FEAT(nn.Identity(), **options)


def test_embeddings_of_another_dimension_are_refused(model):
    with pytest.raises(ValueError, match="embeddings of 16 numbers, not 15"):
        model(F.pad(torch.rand(4, 14), (0, 1)), [0, 0, 1, 1], torch.rand(2, 15))
