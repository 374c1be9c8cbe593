"""AdaBN normalises by the target, exactly, and leaves no trace."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fslib.backbones import Conv4, FrozenConv4, ResNet12
from fslib.domains import adabn
from fslib.evaluation import embed_all, evaluate
from fslib.methods import FineTunedNetwork, PrototypicalNetwork, RelationNetwork, VectorRelation
from fslib.testing import check_method

preprocessing = pytest.importorskip("sklearn.preprocessing")


def trained(network):
    """With statistics that are not those of a new network, and scales and shifts too."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return network.eval()


def networks():
    torch.manual_seed(0)
    return {
        "Conv-4": trained(Conv4(4)),
        "frozen": trained(FrozenConv4(4)),
        "ResNet-12": trained(ResNet12((4, 4, 4, 4))),
        "a method": trained(PrototypicalNetwork(Conv4(4))),
        "vectors": trained(nn.Sequential(nn.Flatten(), nn.Linear(784, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5))),
    }


each_network = pytest.mark.parametrize("name", networks())


def embed(network, images):
    return getattr(network, "embed", network)(images)


@each_network
@torch.no_grad()
def test_statistics_are_those_of_scikit_learn_over_all_activations_together(tiny, name):
    """Pooled, however the pictures fall into batches whose means differ; and exact in each layer."""
    network, seen = networks()[name], {}
    by_class = tiny.inputs() + tiny.labels[:, None, None, None] / 4  # one class after the other, so batches differ
    with adabn(network, by_class, batch=13):
        layers = [layer for layer in network.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]
        for layer in layers:
            layer.register_forward_pre_hook(lambda layer, inputs: seen.update({layer: inputs[0]}))
        embed(network, by_class)
        for layer in layers:
            rows = seen[layer].transpose(0, 1).flatten(1).mT.double().numpy()
            scaler = preprocessing.StandardScaler().fit(rows)
            np.testing.assert_allclose(layer.running_mean, scaler.mean_, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(layer.running_var, scaler.var_, rtol=1e-4, atol=1e-6)


def mean_of_batch_means(network, images):
    """The mistake: a running mean, by PyTorch's momentum=None, takes the mean of the variances within batches."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.reset_running_stats()
            layer.momentum = None
    network.train()
    for part in images.split(8):
        network(part)
    return network.eval()


@torch.no_grad()
def test_a_mean_over_batches_would_be_found():
    network, images = trained(nn.Sequential(nn.BatchNorm1d(1))), torch.arange(32.0)[:, None]
    with adabn(network, images, batch=8):
        assert network[0].running_var.item() == pytest.approx(images.var(correction=0).item())
    wrong = mean_of_batch_means(network, images)[0].running_var.item()
    assert wrong < 0.1 * images.var(correction=0).item()


@torch.no_grad()
def test_it_is_what_batch_norm_in_training_makes_of_all_pictures_at_once(tiny):
    network = networks()["Conv-4"]
    expected = copy.deepcopy(network).train()(tiny.inputs())
    with adabn(network, tiny, batch=32):
        torch.testing.assert_close(network(tiny.inputs()), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_moves_and_scales_all_pictures_alike_is_undone(tiny):
    network, paler = networks()["vectors"], 0.3 * tiny.inputs() + 0.2
    assert not torch.allclose(network(paler), network(tiny.inputs()), atol=0.1)
    with adabn(network, tiny):
        expected = network(tiny.inputs())
    with adabn(network, paler):
        torch.testing.assert_close(network(paler), expected, rtol=1e-2, atol=1e-2)


@each_network
def test_nothing_is_left_of_it_whatever_happens(tiny, name):
    network = networks()[name]
    network.train()
    before, modes = copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]

    def assert_as_before():
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        assert modes == [m.training for m in network.modules()]
        assert not any(m._forward_pre_hooks for m in network.modules())

    with adabn(network, tiny):
        assert [m.training for m in network.modules()] == modes
        changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed and all(name.endswith(("running_mean", "running_var")) for name in changed)
    assert_as_before()
    with pytest.raises(KeyboardInterrupt), adabn(network, tiny):
        raise KeyboardInterrupt
    assert_as_before()
    with pytest.raises((RuntimeError, ValueError)), adabn(network, torch.rand(4, 3, 5, 5)):
        pass
    assert_as_before()


def test_labels_are_not_looked_at_and_a_method_is_measured_as_ever(tiny):
    model = networks()["a method"]
    with adabn(model, tiny):
        expected = evaluate(model, tiny, way=4, query=3, episodes=20)
        check_method(model)  # inductive, too
    other = replace(tiny, labels=tiny.labels.roll(5))
    with adabn(model, other):
        assert torch.equal(evaluate(model, tiny, way=4, query=3, episodes=20).per_episode, expected.per_episode)


class Peeking(PrototypicalNetwork):
    """The mistake: statistics of the very pictures that are asked about, queries among them, and nobody is told."""

    def embed(self, images):
        with adabn(self.feature_extractor, images):
            return super().embed(images)


def test_statistics_of_the_queries_would_be_found():
    with pytest.raises(AssertionError, match="a query is answered as if it were alone"):
        check_method(Peeking(networks()["Conv-4"]))


def test_batch_norm_that_embedding_does_not_pass_is_left_alone(tiny):
    model = trained(RelationNetwork(Conv4(4), VectorRelation(4)))
    before = copy.deepcopy(model.relation_module.state_dict())
    with adabn(model, tiny):
        assert all(torch.equal(before[name], t) for name, t in model.relation_module.state_dict().items())
        assert embed_all(model, tiny).isfinite().all()


def test_of_layers_that_come_after_the_network_is_given(tiny):
    model = FineTunedNetwork(networks()["Conv-4"], layers=1, steps=1)
    before = copy.deepcopy(model.state_dict())
    with adabn(model.feature_extractor, tiny):
        last = model.feature_extractor[3][1].running_mean
        assert not torch.equal(last, before["feature_extractor.3.1.running_mean"])
        assert evaluate(model, tiny, way=3, query=2, episodes=4).mean > 0


BATCH_NORM_THAT_IS_NONE = [
    nn.Flatten(),
    nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784, track_running_stats=False)),
    PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.LayerNorm(784))),
]


@pytest.mark.parametrize("network", BATCH_NORM_THAT_IS_NONE, ids=lambda network: type(network).__name__)
def test_a_network_without_batch_norm_is_refused(tiny, network):
    with pytest.raises(ValueError, match=rf"statistics of batch norm, but {type(network).__name__} embeds without any"):
        with adabn(network, tiny):
            pass


TARGETS = [
    (lambda tiny: [1, 2], r"an ImageSet, as fslib\.data\.load gives, or network input, \(n, \.\.\.\), but this is"),
    (lambda tiny: torch.rand(0, 1, 28, 28), "two pictures or more, but the target holds 0"),
    (lambda tiny: torch.rand(1, 1, 28, 28), "two pictures or more, but the target holds 1"),
    (lambda tiny: replace(tiny, images=tiny.images[:0], labels=[], domains=None), "but Tiny holds 0"),
    (lambda tiny: tiny.select([3]), r"All pictures of Tiny, 1 classes are of one class, .* alone, target\.inputs"),
]


@pytest.mark.parametrize("target, says", TARGETS, ids=[says[:20] for _, says in TARGETS])
def test_what_is_no_domain_is_refused(tiny, target, says):
    with pytest.raises(ValueError, match=says):
        with adabn(Conv4(4), target(tiny)):
            pass


@torch.no_grad()
def test_of_one_class_that_nobody_knows_to_be_one_it_is_taken_as_a_domain(tiny):
    network = networks()["Conv-4"]
    with adabn(network, tiny.select([3]).inputs()):
        assert network(tiny.inputs()).isfinite().all()
