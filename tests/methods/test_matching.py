"""Matching Networks are a vote weighed by attention; full context embeddings follow the paper's recursion."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fslib import metrics
from fslib.methods import ContextMatchingNetwork, MatchingNetwork
from tests.test_metrics import Largest

LABELS = torch.tensor([7, -2, 7, 300, -2, 7])


def episode(*leading, dim=8, queries=5):
    torch.manual_seed(0)
    draw = lambda n: torch.randn(*leading, n, dim, dtype=torch.float64)  # noqa: E731
    return draw(len(LABELS)), draw(queries)


def naive(support, labels, query, scale):
    """Equation 1 of the paper, query by query and example by example: probabilities."""
    probabilities = torch.zeros(len(query), len(labels.unique()), dtype=torch.float64)
    for m, q in enumerate(query):
        cosines = [(q @ x / q.norm() / x.norm()).item() for x in support]
        weights = np.exp(scale * np.array(cosines))
        for weight, label in zip(weights / weights.sum(), labels):
            probabilities[m, sorted(set(labels.tolist())).index(label)] += weight
    return probabilities


@pytest.mark.parametrize("scale", [1.0, 10.0, 64.0])
def test_probabilities_equal_a_naive_loop_and_sum_to_one(scale):
    support, query = episode()
    model = MatchingNetwork(nn.Identity(), scale=scale).double()
    probabilities = model(support, LABELS, query).exp()
    torch.testing.assert_close(probabilities, naive(support, LABELS, query, scale), rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(5, dtype=torch.float64))


def test_cross_entropy_of_the_scores_is_the_log_likelihood():
    support, query = episode()
    model = MatchingNetwork(nn.Identity()).double()
    scores, targets = model(support, LABELS, query), torch.tensor([0, 1, 2, 0, 1])
    expected = -naive(support, LABELS, query, 10)[torch.arange(5), targets].log().mean()
    torch.testing.assert_close(F.cross_entropy(scores, targets), expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("shared", [True, False], ids=["shared labels", "labels of each episode"])
def test_a_batch_of_episodes_equals_a_loop_over_them(shared):
    support, query = episode(2, 3)
    labels = LABELS
    if not shared:
        labels = torch.stack([LABELS[torch.randperm(6)] for _ in range(6)]).reshape(2, 3, 6)
    scores = MatchingNetwork(nn.Identity()).double().compare(support, labels, query)
    for i, j in np.ndindex(2, 3):
        expected = naive(support[i, j], labels if shared else labels[i, j], query[i, j], 10)
        torch.testing.assert_close(scores[i, j].exp(), expected, rtol=1e-6, atol=1e-10)


def test_attention_is_that_of_scaled_dot_products():
    support, query = (F.normalize(x, dim=1) for x in episode())
    model = MatchingNetwork(nn.Identity(), scale=7.0).double()
    values = torch.randn(6, 3, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(query, support, values, scale=7.0)
    torch.testing.assert_close(model.log_attention(support, query).exp() @ values, expected, rtol=1e-6, atol=1e-8)


def test_with_a_large_scale_it_is_the_nearest_neighbour():
    support, query = episode(queries=100)
    model = MatchingNetwork(nn.Identity(), scale=1e4).double()
    nearest = metrics.cosine_similarity(query, support).argmax(1)
    assert torch.equal(LABELS.unique()[model(support, LABELS, query).argmax(1)], LABELS[nearest])


def test_scale_is_learned_and_stays_above_zero():
    support, query = episode()
    model = MatchingNetwork(nn.Identity()).double()
    F.cross_entropy(model(support, LABELS, query), torch.zeros(5, dtype=torch.long)).backward()
    assert model.log_scale.grad.abs() > 0
    with pytest.raises(ValueError, match="scale must be above zero"):
        MatchingNetwork(nn.Identity(), scale=0)


def test_query_and_support_may_have_networks_of_their_own():
    torch.manual_seed(0)
    support, query = episode()
    g, f = nn.Linear(8, 4).double(), nn.Linear(8, 4).double()
    model = MatchingNetwork(g, query_extractor=f).double()
    torch.testing.assert_close(
        model(support, LABELS, query).exp(), naive(g(support), LABELS, f(query), 10), rtol=1e-6, atol=1e-10
    )


def test_networks_that_embed_to_two_shapes_are_refused():
    model = MatchingNetwork(nn.Linear(8, 4), query_extractor=nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"embedded to the same shape, but are \(4,\) and \(3,\)"):
        model(torch.randn(6, 8), LABELS, torch.randn(4, 8))


# Full context embeddings -----------------------------------------------------------------------------------------


def lstm_step(cell, x, hidden, memory):
    """One step of an LSTM cell, written out (Hochreiter and Schmidhuber, 1997, with a forget gate)."""
    gates = cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ hidden + cell.bias_hh
    i, f, g, o = gates.chunk(4)
    memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    return o.sigmoid() * memory.tanh(), memory


def test_queries_in_context_follow_appendix_a():
    torch.manual_seed(0)
    support, query = torch.randn(6, 8), torch.randn(3, 8)
    model = ContextMatchingNetwork(nn.Identity(), dim=8, steps=3)
    in_support, in_query = model.in_context(support, query)
    for x, found in zip(query, in_query):
        hidden, memory, read = torch.zeros(8), torch.zeros(8), torch.zeros(8)
        for _ in range(3):
            hidden, memory = lstm_step(model.of_query, torch.cat([x, read]), hidden, memory)
            hidden = hidden + x
            read = (in_support @ hidden).softmax(0) @ in_support
        torch.testing.assert_close(found, hidden, rtol=1e-4, atol=1e-5)


def test_support_in_context_is_itself_plus_both_directions():
    torch.manual_seed(0)
    support, query = torch.randn(6, 8), torch.randn(3, 8)
    model = ContextMatchingNetwork(nn.Identity(), dim=8)
    states = model.of_support(support)[0]
    expected = support + states[:, :8] + states[:, 8:]
    torch.testing.assert_close(model.in_context(support, query)[0], expected)


def test_context_of_a_batch_of_episodes_equals_a_loop_over_them():
    torch.manual_seed(0)
    support, query = torch.randn(2, 3, 6, 8), torch.randn(2, 3, 5, 8)
    model = ContextMatchingNetwork(nn.Identity(), dim=8, steps=2)
    scores = model.compare(support, LABELS, query)
    for i, j in np.ndindex(2, 3):
        torch.testing.assert_close(
            scores[i, j], model.compare(support[i, j], LABELS, query[i, j]), rtol=1e-4, atol=1e-5
        )


def test_only_with_context_does_the_order_of_the_support_matter():
    torch.manual_seed(0)
    support, query = torch.randn(6, 8), torch.randn(4, 8)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    for model, matters in ((MatchingNetwork(nn.Identity()), False), (ContextMatchingNetwork(nn.Identity(), 8), True)):
        scores, again = model(support, LABELS, query), model(support[order], LABELS[order], query)
        assert torch.allclose(scores, again, atol=1e-6) is not matters


def test_queries_do_not_see_each_other_even_in_context():
    torch.manual_seed(0)
    support, query = torch.randn(6, 8), torch.randn(4, 8)
    model = ContextMatchingNetwork(nn.Identity(), 8)
    alone = torch.cat([model(support, LABELS, one) for one in query.split(1)])
    torch.testing.assert_close(model(support, LABELS, query), alone, rtol=1e-4, atol=1e-5)


def test_another_dimension_is_refused():
    with pytest.raises(ValueError, match="built for embeddings of 64 numbers, not 8"):
        ContextMatchingNetwork(nn.Identity())(torch.randn(6, 8), LABELS, torch.randn(4, 8))


def test_many_classes_take_memory_for_examples_and_not_for_classes_times_examples():
    labels, support, query = torch.arange(60).repeat_interleave(2), torch.randn(120, 4), torch.randn(50, 4)
    with Largest() as largest:
        MatchingNetwork(nn.Identity()).compare(support, labels, query)
    assert largest.numbers <= 120 * 60  # the members; attention of each class by itself is 50 * 60 * 120


@pytest.mark.parametrize("scale", [10.0, 1e4])
def test_a_class_that_gets_hardly_a_vote_keeps_its_score_and_gradient(scale):
    torch.manual_seed(0)
    model = MatchingNetwork(nn.Identity(), scale=scale)
    support, query = (torch.randn(2, n, 8, requires_grad=True) for n in (6, 5))
    weights = torch.randn(2, 5, 3)
    attention = model.log_attention(support, query)
    of_class = LABELS == LABELS.unique()[:, None]
    expected = attention[..., None, :].masked_fill(~of_class, -torch.inf).logsumexp(-1)
    found = model.compare(support, LABELS, query)
    assert found.isfinite().all() and (scale == 10 or found.min() < -1000)
    torch.testing.assert_close(found, expected)
    inputs = support, query
    slopes = [torch.autograd.grad((weights * x).sum(), inputs, retain_graph=True) for x in (found, expected)]
    for ours, theirs in zip(*slopes):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * scale)
