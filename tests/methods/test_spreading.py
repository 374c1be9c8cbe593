"""Labels spread as in scikit-learn, along paths; and what spreads is said to be transductive."""

import numpy as np
import pytest
import torch
from sklearn import semi_supervised
from torch import nn

from fslib import evaluation
from fslib.evaluation import evaluate
from fslib.methods import LabelSpreading, PrototypicalNetwork
from tests.test_evaluation import PeakMemory

LABELS = torch.tensor([4, 9, 4, 1, 9, 1, 4])


def points(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("alpha, temperature", [(0.5, 1.0), (0.99, 3.0), (0.2, 0.4)])
def test_shares_are_those_of_scikit_learn(alpha, temperature):
    support, query = points(len(LABELS), 3), points(12, 3, seed=1)
    oracle = semi_supervised.LabelSpreading(gamma=1 / temperature, alpha=alpha, tol=1e-14, max_iter=5000)
    oracle.fit(torch.cat([support, query]).numpy(), np.concatenate([LABELS.numpy(), np.full(12, -1)]))
    scores = LabelSpreading(nn.Identity(), alpha, temperature).compare(support, LABELS, query)
    expected = torch.from_numpy(oracle.label_distributions_[len(LABELS) :])
    torch.testing.assert_close(scores.exp(), expected, rtol=1e-8, atol=1e-8)


def test_it_is_the_sum_over_paths_of_any_length():
    """Y + α S Y + α² S² Y + …, and the gradient of that."""
    support, query = points(len(LABELS), 3).requires_grad_(), points(5, 3, seed=1).requires_grad_()
    found = LabelSpreading(nn.Identity(), alpha=0.6).compare(support, LABELS, query)
    x = torch.cat([support, query])
    weights = torch.stack([
        torch.stack([(-(a - b).square().sum()).exp() * (i != j) for j, b in enumerate(x)]) for i, a in enumerate(x)
    ])  # fmt: skip
    degree = weights.sum(1)
    steps = weights / (degree[:, None] * degree).sqrt()
    reached = term = nn.functional.pad((LABELS[:, None] == LABELS.unique()).double(), (0, 0, 0, 5))
    for _ in range(200):
        term = 0.6 * steps @ term
        reached = reached + term
    expected = (reached / reached.sum(1, keepdim=True))[len(LABELS) :].log()
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(each.sum(0)[0], (support, query)) for each in (found, expected)]
    for mine, other in zip(*slopes):
        torch.testing.assert_close(mine, other)


def test_it_follows_two_moons_where_prototypes_cut_across():
    angle = torch.linspace(0, torch.pi, 30, dtype=torch.float64)
    moon = torch.stack([angle.cos(), angle.sin()], 1)
    moons = torch.cat([moon, torch.tensor([1.0, 0.5]) - moon])
    truth = torch.arange(2).repeat_interleave(30)
    support = moons[[15, 45]]
    spread, plain = (
        (model.compare(support, torch.arange(2), moons).argmax(1) == truth).double().mean()
        for model in (LabelSpreading(nn.Identity(), temperature=0.02, alpha=0.99), PrototypicalNetwork(nn.Identity()))
    )
    assert spread == 1 > plain


def test_a_query_far_from_everything_has_scores_all_the_same():
    scores = LabelSpreading(nn.Identity()).compare(points(7, 3).float(), LABELS, torch.full((1, 3), 1e4))
    assert scores.isfinite().all() and scores.max() == scores.min()


def test_results_say_that_it_is_transductive(tiny):
    model = LabelSpreading(nn.Sequential(nn.Flatten(), nn.Linear(784, 4)))
    result = evaluate(model, tiny, way=3, query=2, episodes=20)
    assert result.transductive and str(result).endswith("(20 episodes, transductive)")


@torch.no_grad()
@pytest.mark.parametrize("way, query", [(5, 15), (20, 5)])
def test_memory_is_what_an_evaluation_counts_on(way, query):
    model = LabelSpreading(nn.Identity())
    chunk = evaluation._chunk(model, way, 1, query, 64)
    support, queries = torch.randn(chunk, way, 64), torch.randn(chunk, way * query, 64)
    with PeakMemory() as memory:
        model.compare(support, torch.arange(way), queries)
    assert memory.peak < 1.1 * evaluation.CHUNK_BYTES


@pytest.mark.parametrize("options", [dict(alpha=0), dict(alpha=1.0), dict(alpha=float("nan")), dict(temperature=0)])
def test_a_setting_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=r"above (0|zero)"):
        LabelSpreading(nn.Identity(), **options)
