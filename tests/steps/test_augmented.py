"""An augmentation acts on the part that was asked for, and on nothing else."""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from fslib import augmentation, losses
from fslib.augmentation import mirrored, random_warp
from fslib.methods import PrototypicalNetwork
from fslib.training import Augmented, Batch, Episodic, fit
from tests.steps.test_plain import SHORT, drawn, network


class Seeing:
    """A step that notes what it is given."""

    def step(self, model, batch):
        self.images = batch.images
        return Episodic().step(model, batch)


@pytest.mark.parametrize("but", [(), "first two"])
@pytest.mark.parametrize("of", ["support", "queries", "both"])
def test_only_what_was_asked_for_is_augmented(tiny, of, but):
    seen, batch, plain = Seeing(), drawn(tiny), drawn(tiny)
    but = plain.episode.classes[:2].tolist() if but else ()
    Augmented(seen, mirrored, of, but).step(network(), batch)
    support = len(plain.episode.support)
    for i, (now, was) in enumerate(zip(seen.images, plain.images)):
        side = "support" if i < support else "queries"
        chosen = of in (side, "both") and plain.labels[i] not in but
        assert torch.equal(now, mirrored(was[None])[0] if chosen else was)


def test_it_is_given_the_chosen_pictures_alone(tiny):
    shapes = []

    def note(images):
        shapes.append(len(images))
        return images

    Augmented(None, note, "support").step(network(), drawn(tiny))
    Augmented(None, note, but=drawn(tiny).episode.classes.tolist()).step(network(), drawn(tiny))  # is not called
    assert shapes == [4]


@pytest.mark.parametrize(
    "augment",
    [random_warp, partial(random_warp, elastic=0.05), augmentation.random_mirror, augmentation.random_turn,
     augmentation.random_thickness, v2.RandomAffine(10), lambda images, generator: images + torch.rand_like(images)],
)  # fmt: skip
def test_draws_come_from_the_seed_of_the_training_and_go_on_where_they_stopped(tiny, tmp_path, augment):
    def run(seed, **options):
        return fit(network(), tiny, Augmented(None, augment, "queries"), **SHORT, seed=seed, **options).loss

    torch.rand(3)
    first = run(5, checkpoint=tmp_path / "run.pt")
    assert first == run(5) and first == run(5, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"step\.of was queries and is now support"):
        fit(network(), tiny, Augmented(None, augment, "support"), **SHORT, seed=5, checkpoint=tmp_path / "run.pt")


def test_with_all_pictures_it_is_what_fit_does(tiny):
    plain = fit(network(), tiny, augment=mirrored, **SHORT)
    assert fit(network(), tiny, Augmented(None, mirrored), **SHORT).loss == plain.loss


def test_a_new_class_has_its_own_weight_and_is_alike_on_both_sides(tiny):
    more = tiny.with_new_classes({"mirrored": mirrored})
    with pytest.raises(ValueError, match="SoftmaxLoss is for 8 classes, but Tiny has 16"):
        fit(network(), more, losses.SoftmaxLoss(8, 8), **SHORT)
    history = fit(network(), more, losses.SoftmaxLoss(16, 8), **SHORT | {"episodes": 80})
    assert sum(history.loss[-20:]) < sum(history.loss[:20])


def test_losses_are_wrapped_too_and_their_weights_trained(tiny):
    loss = losses.ArcFaceLoss(8, 8)
    before = loss.weight.detach().clone()
    fit(network(), tiny, Augmented(loss, mirrored, "support"), **SHORT)
    assert not torch.equal(loss.weight, before)


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(augment="mirror"), "An augmentation is called with images, but this is 'mirror'"),
        (dict(of="query"), "of=\"support\", \"queries\" or \"both\", not 'query'"),
        (dict(but=["p"]), "These labels are names, but integers are wanted here"),
    ],
)
def test_settings_make_sense(options, says):
    with pytest.raises(ValueError, match=says):
        Augmented(None, **{"augment": mirrored} | options)


@pytest.mark.parametrize(
    "augment, says",
    [
        (lambda images: images[1:], "gives as many images as it gets, here 4, as floats"),
        (lambda images: images.byte(), "as floats, but .* gave torch.uint8"),
        (lambda images: None, "gave NoneType"),
        (lambda images: images[..., 1:], r"keeps the shape of its pictures, \(1, 28, 28\), but .* gave \(1, 28, 27\)"),
    ],
)
def test_what_is_no_augmentation_of_a_part_is_said(tiny, augment, says):
    with pytest.raises(ValueError, match=says):
        Augmented(None, augment, "support").step(network(), drawn(tiny))


def test_a_network_in_half_precision_gets_its_own_type(tiny):
    batch = drawn(tiny)
    batch = Batch(batch.images.bfloat16(), batch.labels, batch.episode)
    seen = Seeing()
    model = PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(784, 8))).bfloat16()
    Augmented(seen, lambda images: images.float()).step(model, batch)
    assert seen.images.dtype == torch.bfloat16
