"""Baselines against scikit-learn and a naive loop, one episode at a time."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression as Oracle
from torch import nn

import fslib
from fslib.backbones import Conv4
from fslib.methods import CosineClassifier, LogisticRegression
from fslib.methods.base import one_hot

BASELINES = [LogisticRegression, CosineClassifier]


def episodes(way=5, shot=3, count=4, dim=16, seed=0):
    """Embeddings of some episodes, classes apart but not far: support, its labels, queries."""
    random = torch.Generator().manual_seed(seed)
    centers = torch.randn(count, way, dim, generator=random)

    def draw(each):
        return centers.repeat_interleave(each, 1) + torch.randn(count, way * each, dim, generator=random)

    return draw(shot), torch.arange(way).repeat_interleave(shot), draw(6)


@pytest.fixture(params=BASELINES)
def model(request):
    return request.param(nn.Identity())


@pytest.mark.parametrize("way, shot", [(2, 1), (5, 1), (5, 5), (20, 3)])
@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_logistic_regression_is_that_of_scikit_learn(way, shot, C):
    support, labels, query = episodes(way, shot)
    scores = LogisticRegression(nn.Identity(), C=C, steps=200)(support[0], labels, query[0])
    x, q = (F.normalize(part[0], dim=-1).double().numpy() for part in (support, query))
    # Of two classes scikit-learn penalises the difference of the weights alone, which is half as much.
    oracle = Oracle(C=2 * C if way == 2 else C, tol=1e-10, max_iter=10_000).fit(x, labels.numpy())
    expected = torch.from_numpy(oracle.predict_proba(q)).float()
    torch.testing.assert_close(scores.softmax(-1), expected, rtol=0, atol=1e-3)
    assert torch.equal(scores.argmax(-1), expected.argmax(-1))


def test_logistic_regression_ends_where_the_gradient_is_nothing():
    support, labels, _ = episodes(way=5, shot=5)
    support = support.double()
    baseline = LogisticRegression(nn.Identity())
    examples = F.normalize(support, dim=-1)
    examples = examples - examples.mean(-2, keepdim=True)
    targets = one_hot(labels).double()
    weights, intercept = baseline._fit(examples, targets)
    w = (examples.mT @ weights).requires_grad_()
    b = intercept.clone().requires_grad_()
    loss = -((examples @ w + b).log_softmax(-1) * targets).sum() + w.square().sum() / 2 / baseline.C
    loss.backward()
    assert w.grad.abs().max() < 1e-4 and b.grad.abs().max() < 1e-4


def test_cosine_classifier_is_a_loop_over_episodes_with_autograd():
    support, labels, query = episodes()
    scores = CosineClassifier(nn.Identity(), scale=7.0, steps=20)(support[0], labels, query[0])
    x = F.normalize(support[0], dim=-1)
    w = F.normalize(torch.stack([x[labels == k].mean(0) for k in range(5)]), dim=-1)
    for _ in range(20):
        w.requires_grad_()
        loss = F.cross_entropy(7.0 * x @ F.normalize(w, dim=-1).T, labels)
        (gradient,) = torch.autograd.grad(loss, w)
        w = F.normalize(w.detach() - gradient / 7.0, dim=-1)
    torch.testing.assert_close(scores, 7.0 * F.normalize(query[0], dim=-1) @ w.T, rtol=1e-4, atol=1e-4)


def test_cosine_classifier_lowers_its_loss():
    support, labels, _ = episodes()
    losses = [
        F.cross_entropy(CosineClassifier(nn.Identity(), steps=steps)(support[0], labels, support[0]), labels)
        for steps in (0, 1, 10, 100)
    ]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


@torch.inference_mode()
def test_a_stack_is_answered_as_one_episode_at_a_time(model):
    support, labels, query = episodes()
    scores = model.compare(support, labels, query)
    for i in range(len(support)):
        torch.testing.assert_close(scores[i], model.compare(support[i], labels, query[i]), rtol=1e-4, atol=1e-4)


def test_labels_are_names_and_order_does_not_matter(model):
    support, labels, query = episodes()
    expected = model(support[0], labels, query[0])
    names = torch.tensor([30, 7, 19, 2, 11])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    scores = model(support[0][order], names[labels][order], query[0])
    torch.testing.assert_close(scores, expected[:, names.argsort()], rtol=1e-4, atol=1e-4)


def test_labels_may_differ_from_episode_to_episode(model):
    support, labels, query = episodes(count=2)
    turned = torch.stack([labels, (labels + 1) % 5])
    scores = model.compare(support, turned, query)
    torch.testing.assert_close(scores[1], model.compare(support[1], turned[1], query[1]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_saved_and_loaded_it_answers_the_same(tmp_path):
    for build, options in ((LogisticRegression, dict(C=0.5)), (CosineClassifier, dict(scale=4.0))):
        model = build(Conv4(channels=4), steps=7, **options).eval()
        fslib.save(model, tmp_path / "model.safetensors")
        loaded = fslib.load(tmp_path / "model.safetensors")
        task = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 0, 1]), torch.rand(3, 1, 28, 28)
        assert torch.equal(loaded(*task), model(*task))


@pytest.mark.parametrize(
    "build, options",
    [
        (LogisticRegression, dict(C=0)),
        (CosineClassifier, dict(scale=-1)),
        (CosineClassifier, dict(scale=float("inf"))),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(build, options):
    with pytest.raises(ValueError, match="must be above zero"):
        build(nn.Identity(), **options)


def test_labels_must_be_one_an_example(model):
    with pytest.raises(ValueError, match="one label for each of the 6"):
        model(torch.rand(6, 4), torch.arange(4), torch.rand(2, 4))


def test_no_gradient_goes_into_the_fit(model):
    support, labels, query = episodes()
    assert not model(support[0].requires_grad_(), labels, query[0]).requires_grad


def test_embeddings_in_bfloat16_are_fitted_in_full_precision(model):
    support, labels, query = (part[0].bfloat16() if part.ndim > 1 else part for part in episodes())
    expected = model(support.float(), labels, query.float())
    torch.testing.assert_close(model(support, labels, query).float(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e-13, 1e25])
def test_the_size_of_embeddings_does_not_matter(model, size):
    support, labels, query = (part[0] if part.ndim > 1 else part for part in episodes())
    scores = model(size * support, labels, size * query)
    torch.testing.assert_close(scores, model(support, labels, query), rtol=1e-3, atol=1e-3)
