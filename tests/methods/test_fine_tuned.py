"""The layers tuned to a support set are those of a copy and an optimiser, for each episode alone."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fslib.backbones import Conv4, ResNet12
from fslib.evaluation import evaluate
from fslib.methods import CosineClassifier, FineTunedNetwork, LogisticRegression

LABELS = torch.tensor([4, 9, 4, 1, 9, 1, 4])
each_form = pytest.mark.parametrize("tuned", ["layers", "residual"])


def network(layers=1):
    """With statistics and weights of batch norm that are not those of a new one."""
    torch.manual_seed(0)
    conv = Conv4(6)
    conv.train()(torch.rand(20, 1, 28, 28))
    return conv.eval()


def images(n, seed):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


class Residual(nn.Module):
    """x + A x at each location, by a loop over them."""

    def __init__(self, channels):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(channels, channels))

    def forward(self, maps):
        columns = [
            torch.stack([maps[:, :, i, j] + maps[:, :, i, j] @ self.matrix.T for j in range(maps.shape[3])], 2)
            for i in range(maps.shape[2])
        ]
        return torch.stack(columns, 2)


def naive(maps, labels, query, tail, tuned, rate=0.1, steps=5, scale=4.0):
    """One episode, by modules and an optimiser."""
    tail, residual = copy.deepcopy(tail).eval(), Residual(maps.shape[1])

    def embedded(x):
        return F.normalize(tail(residual(x)).flatten(1), dim=1)

    classes = labels.unique()
    with torch.no_grad():
        means = [embedded(maps)[labels == c].mean(0) for c in classes]
    classifier = nn.Parameter(F.normalize(torch.stack(means), dim=1))
    of_layers = list(tail.parameters()) if tuned == "layers" else list(residual.parameters())
    descent = torch.optim.SGD([classifier, *of_layers], rate)
    targets = torch.searchsorted(classes, labels)
    for _ in range(steps):
        descent.zero_grad()
        F.cross_entropy(scale * embedded(maps) @ F.normalize(classifier, dim=1).T, targets).backward()
        descent.step()
    return (scale * embedded(query) @ F.normalize(classifier, dim=1).T).detach()


@each_form
@pytest.mark.parametrize("layers", [1, 2])
def test_scores_are_those_of_a_copy_and_an_optimiser(tuned, layers):
    model = FineTunedNetwork(network(), layers, tuned, learning_rate=0.1, steps=5, scale=4.0).eval()
    support, query = model.embed(images(14, 0)).unflatten(0, (2, 7)), model.embed(images(10, 1)).unflatten(0, (2, 5))
    scores = model.compare(support, LABELS, query)
    for i in range(2):
        expected = naive(support[i].detach(), LABELS, query[i].detach(), model.tail, tuned)
        torch.testing.assert_close(scores[i], expected, rtol=1e-4, atol=1e-4)
    without = FineTunedNetwork(network(), layers, tuned, steps=0, scale=4.0).eval()
    assert not torch.allclose(scores, without.compare(support, LABELS, query), atol=1e-2)


@each_form
@pytest.mark.parametrize("make", [network, lambda: ResNet12((4, 4, 4, 4)).eval()], ids=["Conv-4", "ResNet-12"])
def test_with_no_step_it_is_the_cosine_to_the_mean_directions(tuned, make):
    episode = images(7, 0), LABELS, images(5, 1)
    model, plain = FineTunedNetwork(make(), 2, tuned, steps=0), CosineClassifier(make(), steps=0)
    plain.feature_extractor.load_state_dict(model.feature_extractor.state_dict())
    torch.testing.assert_close(model.eval()(*episode), plain.eval()(*episode), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_is_embedded_once_and_the_tail_are_the_network():
    conv = network()
    for layers in (1, 2, 3, 4):
        model = FineTunedNetwork(conv, layers).eval()
        torch.testing.assert_close(model.tail(model.embed(images(3, 0))), conv(images(3, 0)))
    assert torch.equal(model.embed(images(3, 0)), images(3, 0))  # all four are tuned


@each_form
def test_it_fits_the_support_set_the_better_the_longer(tiny, tuned):
    support, costs = tiny.inputs(range(0, 48, 4)), []  # three of each of four classes
    labels = torch.arange(4).repeat_interleave(3)
    for steps in (0, 2, 10, 40):
        model = FineTunedNetwork(network(), 1, tuned, learning_rate=0.001, steps=steps).eval()
        costs.append(F.cross_entropy(model(support, labels, support), labels).item())
    assert costs == sorted(costs, reverse=True) and costs[-1] < costs[0] - 0.001


@each_form
def test_neither_weights_nor_statistics_of_the_network_change(tuned):
    model = FineTunedNetwork(network(), 2, tuned, steps=3)
    model.train()
    before, support = copy.deepcopy(model.state_dict()), model.eval().embed(images(7, 0))
    model.train().compare(support, LABELS, support)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


@each_form
def test_it_is_measured_as_other_methods_are(tiny, tuned):
    accuracy = evaluate(FineTunedNetwork(network(), 1, tuned), tiny, way=4, shot=2, query=3, episodes=10)
    assert 0.25 < accuracy.mean <= 1 and not accuracy.transductive


def test_vectors_may_enter_the_layers():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 5))
    for tuned in ("layers", "residual"):
        model = FineTunedNetwork(layers, 1, tuned, steps=4).eval()
        assert model.embed(images(7, 0)).shape == (7, 8)
        assert model(images(7, 0), LABELS, images(5, 1)).shape == (5, 3)


@pytest.mark.parametrize(
    "build, says",
    [
        (lambda: FineTunedNetwork(Conv4(8), tuned="bias"), "tuned must be \"layers\" or \"residual\", but is 'bias'"),
        (lambda: FineTunedNetwork(Conv4(8), layers=5), "layers is 5, but Conv4 has 4 blocks with weights"),
        (lambda: FineTunedNetwork(Conv4(8), layers=0), "layers must be a whole number"),
        (lambda: FineTunedNetwork(Conv4(8), steps=-1), "steps must be a whole number"),
        (lambda: FineTunedNetwork(Conv4(8), learning_rate=0), "learning_rate must be above zero"),
        (lambda: FineTunedNetwork(Conv4(8), scale=math.nan), "scale must be above zero"),
        (lambda: FineTunedNetwork(nn.Linear(3, 2)), "an nn.Sequential of blocks, .* but this is a Linear"),
        (lambda: FineTunedNetwork(LogisticRegression(Conv4(8))), "but this is a LogisticRegression"),
    ],
)
def test_what_makes_no_sense_is_said(build, says):
    with pytest.raises(ValueError, match=says):
        build()
