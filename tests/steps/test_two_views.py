"""Two views of a picture are drawn apart and told by the picture alone, as other libraries tell them."""

import pytest
import torch
from pytorch_metric_learning import losses as pml
from torch import nn

from fslib import losses
from fslib.augmentation import random_warp
from fslib.training import TwoViews, fit
from tests.steps.test_plain import SHORT, drawn, network

TEMPERATURE = 0.3


def noisy(images):
    return images + 0.1 * torch.randn_like(images)


def seen_by(step, model, batch):
    """The loss of a step, and what it compared."""
    compared = []
    handle = step.head.register_forward_hook(lambda module, given, result: compared.append(result))
    torch.manual_seed(7)
    loss = step.step(model, batch)
    handle.remove()
    return loss, *compared[0].chunk(2)


@pytest.mark.parametrize("head", [None, nn.Linear(8, 5)])
def test_it_is_simclr_as_another_library_has_it_with_its_gradient(tiny, head):
    model = network()
    loss, first, second = seen_by(TwoViews(noisy, losses.NTXentLoss(TEMPERATURE), head), model, drawn(tiny))
    oracle = pml.SelfSupervisedLoss(pml.NTXentLoss(TEMPERATURE))(first, second)
    torch.testing.assert_close(loss, oracle)
    slopes = [torch.autograd.grad(each, [*model.parameters()], retain_graph=True) for each in (loss, oracle)]
    for mine, other in zip(*slopes):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
        assert mine.abs().sum() > 0


def test_it_is_the_end_of_the_labels_of_supcon(tiny):
    """SupCon over two views, with the number of its picture for the label of each."""
    loss, *views = seen_by(TwoViews(noisy, losses.NTXentLoss(TEMPERATURE)), network(), drawn(tiny))
    assert loss == losses.SupConLoss(TEMPERATURE)(torch.cat(views), torch.arange(len(views[0])).repeat(2))


def test_labels_are_not_looked_at(tiny):
    found = []
    for change in (lambda labels: labels, lambda labels: labels.flip(0) * 3 + 1):
        batch = drawn(tiny)
        batch.labels = change(batch.labels)
        found.append(seen_by(TwoViews(noisy), network(), batch)[0])
    assert found[0] == found[1]


def test_each_picture_has_two_views_of_its_own(tiny):
    identity = nn.Sequential(nn.Flatten())
    model, batch = type(network())(identity), drawn(tiny)
    plain = batch.images.flatten(1)
    _, first, second = seen_by(TwoViews(noisy), model, batch)
    for view in (first, second):
        assert (torch.cdist(view, plain).argmin(1) == torch.arange(len(plain))).all()
    assert (first - second).abs().amax(1).min() > 0.1
    assert torch.equal(batch.images.flatten(1), plain) and torch.equal(batch.embeddings, first)


def test_both_views_share_one_batch_of_the_network(tiny):
    model = network()
    model.feature_extractor.append(nn.BatchNorm1d(8))
    seen_by(TwoViews(noisy), model, drawn(tiny))
    assert model.feature_extractor[-1].num_batches_tracked == 1


def test_it_trains_the_network_and_the_head_without_labels(tiny):
    model = network()  # which seeds the head too
    head = nn.Linear(8, 6)
    before = [weight.clone() for weight in (*model.parameters(), *head.parameters())]
    task = SHORT | {"way": 8, "query": 5, "episodes": 60}
    history = fit(model, tiny, TwoViews(random_warp, losses.NTXentLoss(TEMPERATURE), head), **task)
    assert sum(history.loss[-10:]) < 0.95 * sum(history.loss[:10]) and len(history.accuracy) == 60
    after = (*model.parameters(), *head.parameters())
    moved = [not torch.equal(now, was) for now, was in zip(after, before)]
    assert all(moved[:-1])  # the bias of the head goes by what its weight does


@pytest.mark.parametrize(
    "build, says",
    [
        (lambda: TwoViews("warp"), "An augmentation is called with images, but this is 'warp'"),
        (lambda: TwoViews(noisy, 0.1), "A loss of two views is called with the embeddings of both, but this is 0.1"),
        (lambda: TwoViews(noisy, head=torch.relu), "A head is a module from embeddings"),
        (lambda: losses.NTXentLoss(0), "temperature must be above zero"),
        (lambda: losses.NTXentLoss(-0.5), "temperature must be above zero"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()


def test_views_of_two_shapes_are_refused(tiny):
    sizes = iter((28, 20))
    step = TwoViews(lambda images: images[..., : next(sizes)])
    with pytest.raises(ValueError, match=r"Two views are pictures of one shape, but .* gave .*28.* and .*20"):
        step.step(network(), drawn(tiny))
