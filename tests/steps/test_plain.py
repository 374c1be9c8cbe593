"""Steps lower what they say, on every loss of the package, and a new technique is a step and nothing else."""

import pytest
import torch
from torch import nn

from fslib import losses, metrics, mining, objectives
from fslib.episodes import EpisodeSampler
from fslib.methods import PrototypicalNetwork
from fslib.training import Batch, Episodic, OnBatch, fit

SHORT = dict(way=3, shot=1, query=2, episodes=6, progress=False, device="cpu", bfloat16=False)


def network():
    torch.manual_seed(0)
    return PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))


def drawn(tiny):
    """The batch of an episode."""
    episode = EpisodeSampler(tiny, 4, 1, 2, seed=3)[0]
    at = torch.cat([episode.support, episode.query])
    return Batch(tiny.inputs(at), tiny.labels[at], episode)


@pytest.fixture
def batch(tiny):
    return drawn(tiny)


LOSSES = {
    "contrastive": lambda: losses.ContrastiveLoss(1.0),
    "triplet": lambda: losses.TripletLoss(0.5),
    "triplet, semi-hard": lambda: OnBatch(losses.TripletLoss(0.5), mining="semi-hard"),
    "n-pair": lambda: losses.NPairLoss(),
    "NT-Xent": lambda: losses.NTXentLoss(),
    "softmax": lambda: losses.SoftmaxLoss(8, 8),
    "normalized softmax": lambda: losses.NormalizedSoftmaxLoss(8, 8),
    "CosFace": lambda: losses.CosFaceLoss(8, 8),
    "ArcFace": lambda: losses.ArcFaceLoss(8, 8),
    "SupCon": lambda: losses.SupConLoss(),
    "function": lambda: objectives.triplet_all,
    "episodic": Episodic,
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_a_step_that_trains(tiny, name):
    torch.manual_seed(0)
    model, step = network(), LOSSES[name]()
    history = fit(model, tiny, step, **SHORT | {"episodes": 40})
    assert len(history.accuracy) == 40 and sum(history.loss[-10:]) < sum(history.loss[:10])


def test_the_default_is_the_method_s_own_loss(tiny):
    first, second = network(), network()
    assert fit(first, tiny, **SHORT).loss == fit(second, tiny, Episodic(), **SHORT).loss


def test_pairs_and_triplets_are_those_of_the_batch(batch):
    model = network()
    x, y = model.embed(batch.images), batch.labels
    first, second, same = mining.all_pairs(y)
    contrastive = losses.ContrastiveLoss(2.0)
    expected = contrastive(x[first], x[second], same)
    torch.testing.assert_close(OnBatch(contrastive).step(model, batch), expected)
    for how, mine in (("hard", mining.batch_hard), ("semi-hard", mining.semi_hard_nearest)):
        for metric in (metrics.euclidean, metrics.cosine_distance):
            for reduction in ("mean", "nonzero", "sum"):
                loss = losses.TripletLoss(0.7, metric, reduction)
                a, p, n = mine(metric(x, x), y)
                expected = loss(x[a], x[p], x[n])
                torch.testing.assert_close(OnBatch(loss, how).step(model, batch), expected)
    anchor = torch.tensor([[i for i, label in enumerate(y) if label == c][:2] for c in y.unique()])
    for loss in (losses.NPairLoss(0.1), losses.NTXentLoss()):
        torch.testing.assert_close(OnBatch(loss).step(model, batch), loss(x[anchor[:, 0]], x[anchor[:, 1]]))


@pytest.mark.parametrize("how", ["hard", "semi-hard"])
def test_what_is_no_number_is_not_hidden_by_mining(batch, how):
    model = network()
    nn.init.constant_(model.feature_extractor[1].bias, torch.nan)
    assert OnBatch(losses.TripletLoss(), how).step(model, batch).isnan()


def test_weights_of_a_step_are_trained(tiny):
    step = OnBatch(losses.ArcFaceLoss(8, 8))
    before = step.loss.weight.detach().clone()
    fit(network(), tiny, step, **SHORT)
    assert not torch.equal(step.loss.weight, before)


def test_a_new_technique_is_a_step_and_nothing_else(tiny, tmp_path):
    """Consistency of two views, with a head of its own: what no loss of embeddings and labels could say."""

    class Consistency(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 4)

        def step(self, model, batch):
            noisy = batch.images + 0.1 * torch.randn_like(batch.images)
            one, other = (self.head(model.embed(images)) for images in (batch.images, noisy))
            return (one - other).square().mean()

    step, model = Consistency(), network()
    history = fit(model, tiny, step, **SHORT, checkpoint=tmp_path / "run.pt")
    again = fit(network(), tiny, Consistency(), **SHORT, checkpoint=tmp_path / "run.pt")
    assert history.loss == again.loss and not step.training and history.loss[-1] < history.loss[0]


def test_optimiser_and_schedule_can_be_given(tiny):
    seen = []

    def constant(optimizer, steps):
        seen.append((type(optimizer).__name__, steps, optimizer.defaults["lr"]))
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=steps)

    model = network()
    before = model.feature_extractor[1].weight.detach().clone()
    fit(model, tiny, **SHORT, optimizer=torch.optim.SGD, schedule=constant, learning_rate=0.1)
    assert seen == [("SGD", 6, 0.1)] and not torch.equal(model.feature_extractor[1].weight, before)


def test_another_optimiser_is_another_training(tiny, tmp_path):
    fit(network(), tiny, **SHORT, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match="optimizer was None and is now SGD"):
        fit(network(), tiny, **SHORT, checkpoint=tmp_path / "run.pt", optimizer=torch.optim.SGD)


def test_the_former_name_works_and_says_so(tiny):
    with pytest.warns(FutureWarning, match="objective= has become step="):
        former = fit(network(), tiny, objective=objectives.triplet_all, **SHORT)
    assert former.loss == fit(network(), tiny, objectives.triplet_all, **SHORT).loss
    with pytest.raises(ValueError, match="give one of them"):
        fit(network(), tiny, Episodic(), objective=objectives.triplet_all, **SHORT)


@pytest.mark.parametrize("options", [dict(mining="soft"), dict(mining=None)])
def test_unknown_mining_is_refused(options):
    with pytest.raises(ValueError, match='mining must be "hard" or "semi-hard"'):
        OnBatch(losses.TripletLoss(), **options)
