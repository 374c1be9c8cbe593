"""Subspaces are those of least squares, one-shot subspaces are prototypes, and the gradient is defined everywhere."""

import pytest
import torch
from torch import nn

from fslib import evaluation
from fslib.methods import PrototypicalNetwork, SubspaceNetwork
from tests.methods.test_baselines import episodes
from tests.test_evaluation import PeakMemory

MODEL = SubspaceNetwork(nn.Identity())


def residuals(support, labels, query):
    """Squared residual of each query from the flat of each class, by least squares, one at a time."""
    scores = torch.empty(len(query), len(labels.unique()), dtype=query.dtype)
    for k, c in enumerate(labels.unique()):
        members = support[labels == c]
        spread = (members - members.mean(0))[1:].mT  # any one follows from the others
        for i, q in enumerate(query - members.mean(0)):
            along = spread @ torch.linalg.lstsq(spread, q[:, None], driver="gelsd").solution
            scores[i, k] = -(q - along[:, 0]).square().sum()
    return scores


@pytest.mark.parametrize("way, shot", [(2, 2), (5, 5), (3, 9)])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_scores_are_residuals_of_least_squares(way, shot, dtype, tolerance):
    support, labels, query = episodes(way, shot)
    scores = MODEL.compare(support.to(dtype), labels, query.to(dtype))
    for i in range(len(support)):
        expected = residuals(support[i].double(), labels, query[i].double())
        torch.testing.assert_close(scores[i].double(), expected, rtol=tolerance, atol=tolerance)


def test_classes_may_be_of_any_size():
    support, _, query = (part[0].double() if part.ndim > 1 else part for part in episodes(3, 4))
    labels = torch.tensor([4, 4, 1, 4, 9, 1, 4, 4, 9, 1, 1, 4])
    torch.testing.assert_close(MODEL.compare(support, labels, query), residuals(support, labels, query))
    alone = labels.clone()
    alone[4] = 7  # then 7 and 9 have one example each
    torch.testing.assert_close(MODEL.compare(support, alone, query), residuals(support, alone, query))


def test_with_one_shot_it_is_the_prototypical_network():
    support, labels, query = episodes(5, 1)
    expected = PrototypicalNetwork(nn.Identity(), temperature=0.5).compare(support, labels, query)
    assert torch.equal(SubspaceNetwork(nn.Identity(), temperature=0.5).compare(support, labels, query), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_lies_in_a_subspace_is_no_distance_away(dtype):
    support, labels, _ = episodes(4, 5)
    mixed = torch.rand(4, 4, 3, 5, dtype=dtype)
    weights = mixed / mixed.sum(-1, keepdim=True)  # they sum to one, as in a flat
    query = (weights @ support.to(dtype).unflatten(1, (4, 5))).flatten(1, 2)
    scores = MODEL.compare(support.to(dtype), labels, query)
    own = scores.gather(-1, torch.arange(4).repeat_interleave(3).expand(4, 12)[..., None])
    assert own.abs().max() < (1e-9 if dtype == torch.float64 else 1e-3)
    torch.testing.assert_close(own, scores.max(-1, keepdim=True).values)


def test_directions_of_a_class_can_be_moved_along_for_nothing():
    support, labels, query = (part[0].double() if part.ndim > 1 else part for part in episodes(2, 3))
    moved = query + 7 * (support[1] - support[0])
    torch.testing.assert_close(MODEL.compare(support, labels, moved)[:, 0], MODEL.compare(support, labels, query)[:, 0])


def degenerate(kind):
    support = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if kind == "equal singular values":
        support = torch.eye(6, 8, dtype=torch.float64)
    if kind == "one example repeated":
        support[1:3] = support[0]
    if kind == "on a line":
        support[2] = 2 * support[1] - support[0]
    return support


@pytest.mark.parametrize("kind", ["ordinary", "equal singular values", "one example repeated", "on a line"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_is_finite_whatever_the_support_set(kind, dtype):
    support = degenerate(kind).to(dtype).requires_grad_()
    query = torch.randn(5, 8, dtype=dtype, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    MODEL.loss(MODEL.compare(support, labels, query), torch.tensor([0, 1, 0, 1, 0])).backward()
    assert support.grad.isfinite().all() and query.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["ordinary", "equal singular values"])
def test_the_gradient_is_that_of_finite_differences(kind):
    support = degenerate(kind).requires_grad_()
    query = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda s, q: MODEL.compare(s, labels, q), (support, query))


def test_a_class_that_spans_the_whole_space_is_refused():
    with pytest.raises(ValueError, match="5 examples of a class span all 4 dimensions"):
        MODEL(torch.rand(10, 4), torch.arange(2).repeat(5), torch.rand(3, 4))
    with pytest.raises(ValueError, match="temperature must be above zero"):
        SubspaceNetwork(nn.Identity(), temperature=0)


def test_embeddings_in_bfloat16_are_compared_in_full_precision():
    support, labels, query = (part[0].bfloat16() if part.ndim > 1 else part for part in episodes(5, 3))
    expected = MODEL.compare(support.float(), labels, query.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(MODEL.compare(support, labels, query), expected)


@torch.no_grad()
@pytest.mark.parametrize("way, shot", [(20, 1), (5, 5)])
def test_memory_does_not_grow_by_the_dimension_of_each_pair(way, shot):
    support, labels, query = episodes(way, shot, count=evaluation._chunk(MODEL, way, shot, 6, 64), dim=64)
    with PeakMemory() as memory:
        MODEL.compare(support, labels, query)
    assert memory.peak < 1.1 * evaluation.CHUNK_BYTES
