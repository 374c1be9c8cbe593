"""Each picture is a class, and is told by its own copies alone."""

import pytest
import torch
from torch import nn

from fslib.augmentation import random_warp
from fslib.methods import PrototypicalNetwork
from fslib.training import ProtoTransfer, fit
from tests.steps.test_plain import SHORT, drawn, network


def noisy(images):
    return images + 0.1 * torch.randn_like(images)


@pytest.mark.parametrize("queries", [1, 3])
def test_the_loss_is_that_of_copies_among_pictures_one_at_a_time(tiny, queries):
    model, batch = network(), drawn(tiny)
    torch.manual_seed(0)
    copies = [noisy(batch.images) for _ in range(queries)]
    pictures, costs = model.embed(batch.images), []
    for i in range(len(pictures)):
        for copy in copies:
            scores = -(model.embed(copy[i : i + 1]) - pictures).square().sum(1)
            costs.append(scores.logsumexp(0) - scores[i])
    torch.manual_seed(0)
    loss = ProtoTransfer(noisy, queries).step(model, batch)
    torch.testing.assert_close(loss, sum(costs) / len(costs))
    right = (batch.scores.argmax(1) == batch.episode.query_labels).float().mean()
    assert right > 0.8 and batch.scores.shape == (12 * queries, 12)  # a linear network sees through a little noise


def test_labels_are_not_looked_at(tiny):
    found = []
    for change in (0, 5):
        batch = drawn(tiny)
        batch.labels = batch.labels + change
        torch.manual_seed(0)
        found.append(ProtoTransfer(noisy).step(network(), batch))
    assert found[0] == found[1]


def test_all_pictures_share_one_batch_of_the_network(tiny):
    model = PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8)))
    ProtoTransfer(noisy).step(model, drawn(tiny))
    assert model.feature_extractor[-1].num_batches_tracked == 1


def test_it_trains(tiny):
    history = fit(network(), tiny, ProtoTransfer(random_warp), **SHORT | {"episodes": 60, "way": 8})
    assert sum(history.loss[-10:]) < sum(history.loss[:10])
    assert sum(history.accuracy[-10:]) > sum(history.accuracy[:10])


@pytest.mark.parametrize("build", [lambda: ProtoTransfer(3), lambda: ProtoTransfer(noisy, queries=0)])
def test_a_setting_that_makes_no_sense_is_refused(build):
    with pytest.raises(ValueError, match=r"An augmentation is called with images|queries must be a whole number"):
        build()
