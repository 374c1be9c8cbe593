"""Mixtures have two labels, with the weights of their pictures, and partners are of any class."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fslib import augmentation, losses, objectives
from fslib.backbones import Conv4
from fslib.episodes import Episode, EpisodeSampler
from fslib.methods import PrototypicalNetwork, RelationNetwork, VectorRelation
from fslib.training import Augmented, Batch, Distilled, Mixed, OnBatch, fit
from tests.steps.test_plain import SHORT, drawn, network

each_how = pytest.mark.parametrize("how", ["mixup", "cutmix"])


@pytest.fixture
def draws(monkeypatch):
    """What a step drew: partner and share, noted on their way into the pure functions."""
    noted = {}
    for name in ("mixup", "cutmix"):
        real = getattr(augmentation, name)

        def note(images, partner, how, real=real, name=name):
            noted["partner"] = partner
            noted["share"] = how if name == "mixup" else augmentation.kept_share(images, how)
            noted["mixed"] = real(images, partner, how)
            return noted["mixed"]

        monkeypatch.setattr(augmentation, name, note)
    return noted


@each_how
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_for_a_softmax_loss_it_is_the_cross_entropy_of_soft_labels(tiny, draws, how, seed, smoothing):
    model, loss = network(), losses.SoftmaxLoss(8, 8, label_smoothing=smoothing)
    torch.manual_seed(seed)
    batch = drawn(tiny)
    found = Mixed(loss, how).step(model, batch)
    assert torch.equal(batch.images, draws["mixed"]) and len(draws["partner"]) == len(batch.images)
    rows, share = F.one_hot(batch.labels, 8).float(), draws["share"]
    soft = share * rows + (1 - share) * rows[draws["partner"]]
    scores = model.embed(draws["mixed"]) @ loss.weight.T
    torch.testing.assert_close(found, F.cross_entropy(scores, soft, label_smoothing=smoothing))


@each_how
@pytest.mark.parametrize("seed", range(3))
def test_in_episodes_the_queries_are_mixed_among_themselves(tiny, draws, how, seed):
    model = network()
    torch.manual_seed(seed)
    batch, plain = drawn(tiny), drawn(tiny)
    support, queries = len(plain.episode.support), len(plain.episode.query)
    found = Mixed(how=how).step(model, batch)
    assert torch.equal(batch.images[:support], plain.images[:support])
    assert torch.equal(batch.images[support:], draws["mixed"]) and len(draws["partner"]) == queries
    rows, share = F.one_hot(plain.episode.query_labels, 4).float(), draws["share"]
    soft = share * rows + (1 - share) * rows[draws["partner"]]
    scores = model(plain.images[:support], plain.episode.support_labels, draws["mixed"])
    torch.testing.assert_close(found, F.cross_entropy(scores, soft))
    torch.testing.assert_close(batch.scores, scores)


@pytest.mark.parametrize("kind", [losses.NormalizedSoftmaxLoss, losses.CosFaceLoss, losses.ArcFaceLoss])
def test_losses_with_margins_are_weighed_by_the_shares(tiny, draws, kind):
    model, loss = network(), kind(8, 8)
    batch = drawn(tiny)
    found = Mixed(OnBatch(loss)).step(model, batch)
    embeddings, share = model.embed(draws["mixed"]), draws["share"]
    both = [loss(embeddings, labels) for labels in (batch.labels, batch.labels[draws["partner"]])]
    torch.testing.assert_close(found, share * both[0] + (1 - share) * both[1])


def test_partners_are_of_any_class_though_a_batch_is_sorted_by_class(tiny, draws):
    sampler, different, model = EpisodeSampler(tiny, 4, 1, 11, seed=0), [], network()
    for i in range(60):
        at = torch.cat([sampler[i].support, sampler[i].query])
        for step, labels in ((Mixed(losses.SoftmaxLoss(8, 8)), tiny.labels[at]), (Mixed(), sampler[i].query_labels)):
            step.step(model, Batch(tiny.inputs(at), tiny.labels[at], sampler[i]))
            different.append((labels != labels[draws["partner"]]).float().mean())
    assert abs(torch.stack(different).mean() - 3 / 4) < 0.02


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_those_of_the_beta_distribution(tiny, draws, alpha):
    torch.manual_seed(0)
    step, shares = Mixed(losses.SoftmaxLoss(8, 784), alpha=alpha), []
    for _ in range(600):
        step.step(PrototypicalNetwork(nn.Flatten()), drawn(tiny))
        shares.append(draws["share"])
    shares = torch.tensor(shares)
    assert abs(shares.mean() - 0.5) < 0.06 and abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.02


@each_how
@pytest.mark.parametrize("make", [lambda: None, lambda: losses.SoftmaxLoss(8, 8)])
def test_it_trains_and_repeats_itself(tiny, tmp_path, how, make):
    def run(**options):
        model = network()
        torch.manual_seed(1)
        return fit(model, tiny, Mixed(make(), how), **SHORT | {"episodes": 60} | options)

    first, again = run(checkpoint=tmp_path / "run.pt"), run()
    assert first.loss == again.loss and sum(first.loss[-15:]) < sum(first.loss[:15])
    with pytest.raises(ValueError, match=r"step\.alpha was 1\.0 and is now 0\.2"):
        fit(network(), tiny, Mixed(make(), how, 0.2), **SHORT | {"episodes": 60}, checkpoint=tmp_path / "run.pt")


def test_a_network_that_compares_is_trained_on_mixtures(tiny):
    model = RelationNetwork(Conv4(8), VectorRelation(8))
    assert len(fit(model, tiny, Mixed(), **SHORT).loss) == 6


@pytest.mark.parametrize(
    "step, name",
    [
        (losses.SupConLoss(), "SupConLoss"), (losses.TripletLoss(), "TripletLoss"), (losses.NTXentLoss(), "NTXentLoss"),
        (losses.ContrastiveLoss(), "ContrastiveLoss"), (objectives.triplet_all, "triplet_all"),
        (OnBatch(losses.NPairLoss()), "NPairLoss"),
        (Augmented(None, torch.relu), "Augmented"), (Distilled(None, network()), "Distilled"),
    ],
)  # fmt: skip
def test_what_compares_pictures_has_no_use_for_mixtures(step, name):
    with pytest.raises(ValueError, match=f"A mixture has two labels, .*own loss on its queries; {name} is neither"):
        Mixed(step)


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(how="cutout"), "how must be \"mixup\" or \"cutmix\", but is 'cutout'"),
        (dict(alpha=0), "The alpha must be above zero"),
        (dict(alpha=math.nan), "The alpha must be above zero"),
    ],
)
def test_settings_make_sense(options, says):
    with pytest.raises(ValueError, match=says):
        Mixed(**options)


def test_one_picture_has_no_partner(tiny):
    one = Episode(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]))
    batch = Batch(tiny.inputs([0, 1]), tiny.labels[:2], one)
    with pytest.raises(ValueError, match="A mixture is of two pictures, but there is 1 to mix"):
        Mixed().step(network(), batch)
