"""The queue is that of a naive loop, the slow copy that of torch, and a killed training goes on with both.

Each of the usual mistakes of bookkeeping is planted, and the naive loop finds it.
"""

import copy
import itertools
from collections import deque

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fslib.backbones import Conv4
from fslib.episodes import EpisodeSampler
from fslib.methods import PrototypicalNetwork
from fslib.training import Batch, MoCo, fit
from fslib.training.steps.momentum import SlowCopy
from tests.steps.test_plain import SHORT, drawn
from tests.test_training import assert_same_state, interrupted

TEMPERATURE, DIM = 0.2, 8


def network(seed=0):
    """With batch norm, whose statistics must follow too."""
    torch.manual_seed(seed)
    return PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Linear(16, DIM)))


def noisy(images):
    return images + 0.1 * torch.randn_like(images)


def batches(tiny, count):
    """Batches of twelve pictures; of 96, so that some come again while the queue remembers them."""
    sampler = EpisodeSampler(tiny, 4, 1, 2, seed=3)
    for episode in itertools.islice(sampler, count):
        at = torch.cat([episode.support, episode.query])
        yield Batch(tiny.inputs(at), tiny.labels[at], episode), at.tolist()


def naive_loss(queries, keys, pictures, queue):
    """One query at a time, one key at a time."""
    losses = []
    for q, k, picture in zip(queries, keys, pictures):
        others = [(q @ old / TEMPERATURE).exp() for known, old in queue if known != picture]
        own = (q @ k / TEMPERATURE).exp()
        losses.append(-(own / (own + sum(others))).log())
    return sum(losses) / len(losses)


def check_bookkeeping(kind, tiny, length=31, momentum=0.8):
    """Run a step over batches beside a loop that keeps its own queue and its own slow copy; raise where they part."""
    model = network()
    step = kind(model, noisy, DIM, length, momentum, TEMPERATURE).train()
    queue = deque(maxlen=length)
    slow = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(momentum))
    slow.update_parameters(model)  # the first call copies
    descent = torch.optim.SGD(model.parameters(), 0.5)
    model.train()
    for number, (batch, pictures) in enumerate(batches(tiny, 9)):
        torch.manual_seed(number)
        views = noisy(batch.images), noisy(batch.images)
        if number:
            slow.update_parameters(model)
        slow.module.train()
        order, keys = torch.randperm(12), torch.empty(12, DIM)
        for group in (order[:6], order[6:]):
            with torch.no_grad():
                keys[group] = F.normalize(slow.module.embed(views[1][group]))
        twin = copy.deepcopy(model)  # for the step moves the statistics of the model itself
        expected = naive_loss(F.normalize(twin.embed(views[0])), keys, pictures, queue)
        expected.backward()
        torch.manual_seed(number)
        loss = step.step(model, batch)
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
        descent.zero_grad()
        loss.backward()
        for mine, other in zip(model.parameters(), twin.parameters()):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5)
        queue.extend(zip(pictures, keys))
        kept = sorted((p, *key.tolist()) for p, key in zip(step.pictures.tolist(), step.queue) if p >= 0)
        torch.testing.assert_close(torch.tensor(kept), torch.tensor(sorted((p, *key.tolist()) for p, key in queue)))
        descent.step()


@pytest.mark.parametrize("length", [12, 31, 36, 500])
def test_loss_gradient_queue_and_slow_copy_are_those_of_a_naive_loop(tiny, length):
    check_bookkeeping(MoCo, tiny, length)


# The usual mistakes -------------------------------------------------------------------------------------------------


class EnqueuesBeforeTheLoss(MoCo):
    """So that every query meets its own key among the negatives, too."""

    def loss(self, queries, keys, pictures):
        super().enqueue(keys, -2 - pictures)  # not known for its own
        self.pictures = torch.where(self.pictures < -1, 10_000 - self.pictures, self.pictures)
        return super().loss(queries, keys, pictures)

    def enqueue(self, keys, pictures):
        self.pictures = torch.where(self.pictures > 10_000, self.pictures - 10_002, self.pictures)


class KeysOfAnyLength(MoCo):
    def keys(self, batch, images):
        return 2 * super().keys(batch, images)


class StartsAnewAtTheEnd(MoCo):
    """As where the pointer goes back to zero if a batch does not fit."""

    def enqueue(self, keys, pictures):
        room = len(self.queue) - int(self.written) % len(self.queue)
        super().enqueue(keys[:room], pictures[:room])


class SamePictureAmongNegatives(MoCo):
    def loss(self, queries, keys, pictures):
        return super().loss(queries, keys, pictures + 100_000)


class StatisticsOfTheBeginning(MoCo):
    """Keys in evaluation mode, with running statistics that nothing has moved."""

    def keys(self, batch, images):
        self.slow_model.eval()
        return super().keys(batch, images)


class KeysOutOfOrder(MoCo):
    def keys(self, batch, images):
        return super().keys(batch, images).roll(1, 0)


class WeightsStay(MoCo):
    def step(self, model, batch):
        self.slow_model.momentum = 1.0
        return super().step(model, batch)


class KeysWithGradient(MoCo):
    """The network itself makes the keys, and the gradient goes through them."""

    def step(self, model, batch):
        self.own = model
        return super().step(model, batch)

    @torch.enable_grad()
    def keys(self, batch, images):
        return F.normalize(self.own.embed(images))

    def enqueue(self, keys, pictures):
        super().enqueue(keys.detach(), pictures)


MISTAKES = [
    EnqueuesBeforeTheLoss, KeysOfAnyLength, StartsAnewAtTheEnd, SamePictureAmongNegatives, StatisticsOfTheBeginning,
    KeysOutOfOrder, WeightsStay, KeysWithGradient,
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(tiny, mistake):
    with pytest.raises(AssertionError):
        check_bookkeeping(mistake, tiny)


# The slow copy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_weights_follow_and_statistics_are_their_own(momentum):
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    slow = SlowCopy(module, momentum)
    before = {name: value.clone() for name, value in slow.module.state_dict().items()}
    module(torch.randn(9, 3))
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(1)
    slow.follow(module)
    weights = dict(module.named_parameters())
    for name, value in slow.module.state_dict().items():
        expected = before[name]
        if name in weights:
            expected = momentum * before[name] + (1 - momentum) * weights[name].detach()
        torch.testing.assert_close(value, expected)


def test_the_slow_copy_is_never_trained(tiny):
    model = network()
    step = MoCo(model, noisy, DIM, 24, momentum=1.0)
    before = {name: weight.clone() for name, weight in step.slow_model.named_parameters()}
    fit(model, tiny, step, **SHORT)
    assert all(torch.equal(weight, before[name]) for name, weight in step.slow_model.named_parameters())
    assert all(weight.grad is None for weight in step.slow_model.parameters())
    assert not torch.equal(model.feature_extractor[1].weight, before["module.feature_extractor.1.weight"])


# In a training ----------------------------------------------------------------------------------------------------


def moco(model, **options):
    torch.manual_seed(1)
    options = {"queue": 20, "head": nn.Linear(DIM, 5), "dim": 5} | options
    return MoCo(model, noisy, **options)


def test_it_trains_without_labels(tiny):
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4(8))
    step = MoCo(model, noisy, 8, 96, momentum=0.9)
    history = fit(model, tiny, step, **SHORT | {"way": 8, "episodes": 60, "learning_rate": 1e-2})
    full = slice(10, None)  # before, the queue grows, and the loss with it
    losses = torch.tensor(history.loss)[full]
    assert losses[-10:].mean() < losses[:10].mean()


def test_the_first_batch_has_nobody_to_be_told_from(tiny):
    model = network()
    assert moco(model).step(model, drawn(tiny)) == 0


@pytest.mark.parametrize("stop", [10, 17, 27])
def test_killed_and_resumed_it_ends_as_if_it_had_gone_through(tiny, tmp_path, monkeypatch, stop):
    task = SHORT | {"episodes": 12, "save_every": 3, "checkpoint": tmp_path / "run.pt"}
    whole = network()
    through = moco(whole)
    history = fit(whole, tiny, through, **task | {"checkpoint": None})
    model = network()
    with interrupted(monkeypatch, stop):  # three batches are embedded in each step
        fit(model, tiny, moco(model), **task)
    model = network(seed=5)  # weights and queue come from the file
    resumed = moco(model)
    assert fit(model, tiny, resumed, **task).loss == history.loss
    assert_same_state(model, whole)
    assert_same_state(resumed, through)
    assert resumed.written == 12 * 9 and (resumed.pictures >= 0).all()


@pytest.mark.parametrize(
    "change, says", [(dict(momentum=0.5), "momentum was 0.99 and is now 0.5"), (dict(queue=40), "step.queue was")]
)
def test_another_queue_or_momentum_is_another_training(tiny, tmp_path, change, says):
    task = SHORT | {"checkpoint": tmp_path / "run.pt"}
    model = network()
    fit(model, tiny, moco(model), **task)
    model = network()
    with pytest.raises(ValueError, match=says):
        fit(model, tiny, moco(model, **change), **task)


# What makes no sense --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(momentum=-0.1), "momentum is a share of the old, 0 … 1, but is -0.1"),
        (dict(momentum=1.01), "momentum is a share of the old, 0 … 1, but is 1.01"),
        (dict(momentum=float("nan")), "momentum is a share of the old"),
        (dict(temperature=0), "temperature must be above zero and finite, but is 0"),
        (dict(temperature=-1.0), "temperature must be above zero"),
        (dict(queue=0), "queue must be a whole number, at least 1"),
        (dict(groups=0), "groups must be a whole number, at least 1"),
        (dict(dim=0), "dim must be a whole number, at least 1"),
        (dict(head=torch.relu), "A head is a module"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        moco(network(), **options)


def test_what_does_not_go_together_is_refused(tiny):
    model = network()
    with pytest.raises(ValueError, match=r"A queue of 11 keys is shorter than a batch of 12, .* give queue=12 or more"):
        moco(model, queue=11).step(model, drawn(tiny))
    with pytest.raises(ValueError, match="holds keys of 5 numbers, but 8 are compared; give dim=8"):
        moco(model, head=None).step(model, drawn(tiny))
    with pytest.raises(ValueError, match=r"copies the method that is trained, of fslib\.methods, but got a Linear"):
        moco(nn.Linear(3, 2))
