"""Each part of an embedding is trained by its own labels, and by nothing else."""

import pytest
import torch
from torch import nn

import fslib
from fslib import losses, objectives
from fslib.backbones import Conv4, Coordinates
from fslib.episodes import EpisodeSampler
from fslib.methods import PrototypicalNetwork
from fslib.training import Batch, Subspaces, fit

SHORT = dict(way=4, shot=1, query=3, episodes=6, progress=False, device="cpu", bfloat16=False)
LOSS = losses.SupConLoss()


def network():
    torch.manual_seed(0)
    return PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))


def parity(tiny):
    """An attribute of images: of each class, every other one."""
    return tiny.domains % 2


@pytest.fixture
def batch(tiny):
    episode = EpisodeSampler(tiny, 4, 1, 3, seed=3)[0]
    drawn = torch.cat([episode.support, episode.query])
    return Batch(tiny.inputs(drawn), tiny.labels[drawn], episode)


@pytest.mark.parametrize("loss", [LOSS, objectives.triplet_hard, objectives.contrastive])
def test_it_is_the_mean_of_the_losses_of_the_parts(tiny, batch, loss):
    model, drawn = network(), torch.cat([batch.episode.support, batch.episode.query])
    step = Subspaces({"class": (None, 5), "parity": (parity(tiny), 3)}, loss)
    x = model.embed(batch.images)
    expected = (loss(x[:, :5], tiny.labels[drawn]) + loss(x[:, 5:], parity(tiny)[drawn])) / 2
    torch.testing.assert_close(step.step(model, batch), expected)
    assert step.coordinates == {"class": (0, 5), "parity": (5, 8)}


def test_weights_say_how_much_a_part_counts(tiny, batch):
    model, drawn = network(), torch.cat([batch.episode.support, batch.episode.query])
    parts = {"class": (None, 5), "parity": (parity(tiny), 3)}
    x = model.embed(batch.images)
    of_class, of_parity = LOSS(x[:, :5], tiny.labels[drawn]), LOSS(x[:, 5:], parity(tiny)[drawn])
    quarter = Subspaces(parts, LOSS, {"parity": 0.25})
    torch.testing.assert_close(quarter.step(model, batch), (of_class + of_parity / 4) / 1.25)
    alone = Subspaces(parts, LOSS, {"parity": 0})
    torch.testing.assert_close(alone.step(model, batch), of_class)


def test_no_label_pulls_at_the_coordinates_of_another(tiny, batch):
    step = Subspaces({"class": (None, 5), "parity": (parity(tiny), 3)}, LOSS)
    other = Subspaces({"class": (None, 5), "parity": (tiny.domains // 4, 3)}, LOSS)
    gradients = []
    for each in (step, other):
        model = network()
        each.step(model, batch).backward()
        gradients.append(model.feature_extractor[1].weight.grad)
    assert torch.equal(gradients[0][:5], gradients[1][:5]) and not torch.allclose(gradients[0][5:], gradients[1][5:])


def test_labels_may_be_names(tiny, batch):
    named = Subspaces({"class": (None, 5), "parity": (["eo"[p] for p in parity(tiny)], 3)}, LOSS)
    numbered = Subspaces({"class": (None, 5), "parity": (parity(tiny), 3)}, LOSS)
    torch.testing.assert_close(named.step(network(), batch), numbered.step(network(), batch))


def test_it_trains_and_its_labels_decide_the_training(tiny, tmp_path):
    step = Subspaces({"class": (None, 5), "parity": (parity(tiny), 3)}, LOSS)
    history = fit(network(), tiny, step, **SHORT | {"episodes": 40})
    assert sum(history.loss[-10:]) < sum(history.loss[:10])
    fit(network(), tiny, step, **SHORT, checkpoint=tmp_path / "run.pt")
    other = Subspaces({"class": (None, 5), "parity": (tiny.domains // 4, 3)}, LOSS)
    with pytest.raises(ValueError, match="belongs to another training"):
        fit(network(), tiny, other, **SHORT, checkpoint=tmp_path / "run.pt")


@torch.no_grad()
def test_a_part_is_a_network_like_any_other(tmp_path):
    torch.manual_seed(0)
    conv = Conv4(8).eval()
    images = torch.rand(6, 1, 28, 28)
    assert torch.equal(Coordinates(2, 5)(conv(images)), conv(images)[:, 2:5])
    model = PrototypicalNetwork(nn.Sequential(conv, Coordinates(2, 5, normalize=True))).eval()
    assert torch.allclose(model.embed(images), nn.functional.normalize(conv(images)[:, 2:5]))
    fslib.save(model, tmp_path / "model.safetensors")
    loaded = fslib.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.embed(images), model.embed(images))


@pytest.mark.parametrize(
    "build, says",
    [
        (lambda: Subspaces({"one": (None, 8)}, LOSS), "two or more, with names"),
        (lambda: Subspaces([(None, 4), (None, 4)], LOSS), "two or more, with names"),
        (lambda: Subspaces({"a": (None, 4), "b": (None, 4)}, LOSS, {"c": 1}), "for 'c', but the subspaces are a, b"),
        (lambda: Subspaces({"a": (None, 4), "b": (None, 4)}, LOSS, {"b": -1}), "0 or more, but that of b is -1"),
        (lambda: Subspaces({"a": (None, 4), "b": (None, 4)}, LOSS, {"a": 0, "b": 0}), "are 0, so there is nothing"),
        (lambda: Subspaces({"a": (None, 0), "b": (None, 8)}, LOSS), "The dimension of a must be a whole number"),
        (lambda: Subspaces({"a": ([0.5], 4), "b": (None, 4)}, LOSS), "must be integers"),
        (lambda: Subspaces({"a": (None, 4), "b": (None, 4)}, losses.TripletLoss()), "but this is a TripletLoss"),
        (lambda: Subspaces({"a": (None, 4), "b": (None, 4)}, "supcon"), "but this is a str"),
        (lambda: Coordinates(3, 3), "stop must be a whole number, at least 4"),
        (lambda: Coordinates(-1, 3), "start must be a whole number"),
        (lambda: Coordinates(0, 5)(torch.rand(3, 4)), "up to 5 are asked for, but the embedding has 4"),
    ],
)
def test_what_makes_no_parts_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()


def test_parts_that_do_not_fit_the_batch_are_refused(tiny, batch):
    with pytest.raises(ValueError, match=r"Subspaces of 5 \+ 4 coordinates make up embeddings of 9, but these have 8"):
        Subspaces({"a": (None, 5), "b": (None, 4)}, LOSS).step(network(), batch)
    with pytest.raises(ValueError, match="The labels of b are of 2 images, but image"):
        Subspaces({"a": (None, 5), "b": ([0, 1], 3)}, LOSS).step(network(), batch)
