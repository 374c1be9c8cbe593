"""Aligned adds to a step what it says, sees no label of the target, and leaves the statistics to the source."""

import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from fslib import losses
from fslib.augmentation import thickened
from fslib.backbones import Conv4
from fslib.domains import Adversary, adabn, coral, mmd
from fslib.evaluation import embed_all
from fslib.methods import PrototypicalNetwork
from fslib.training import Aligned, Augmented, Distilled, Mixed, fit
from tests.steps.test_plain import SHORT, drawn, network
from tests.test_training import assert_same_state, interrupted

ALIGNMENTS = {
    "CORAL": lambda: coral,
    "MMD": lambda: mmd,
    "MMD, one width": lambda: partial(mmd, widths=[1.0]),
    "adversary": lambda: Adversary(8, hidden=8, ramp=6),
}
each_alignment = pytest.mark.parametrize("name", ALIGNMENTS)


def conv(seed=0):
    torch.manual_seed(seed)
    return PrototypicalNetwork(Conv4(8))


@pytest.fixture(scope="module")
def bold(tiny):
    """The target: thicker, and paler."""
    ink = thickened(tiny.inputs(), torch.ones(len(tiny))) * 0.6
    return replace(tiny, name="Bold", images=(255 * (1 - ink)).round().to(torch.uint8))


def made(name, step=None, target=None, **options):
    torch.manual_seed(1)
    return Aligned(step, target, ALIGNMENTS[name](), **options)


@each_alignment
@pytest.mark.parametrize("step", [None, losses.SupConLoss()], ids=["episodic", "on the batch"])
def test_the_loss_is_the_step_s_own_and_the_alignment_in_its_weight(tiny, bold, name, step):
    model, aligned, batch = network(), made(name, step, bold, weight=0.7), drawn(tiny)
    own = aligned.wrapped.step(model, drawn(tiny))
    torch.manual_seed(5)
    found = aligned.step(model, batch)
    torch.manual_seed(5)
    chosen = torch.randperm(len(bold))[: len(batch.images)]
    expected = made(name, step, bold).alignment(model.embed(batch.images), model.embed(bold.inputs(chosen)))
    torch.testing.assert_close(found, own + 0.7 * expected)


@each_alignment
def test_with_no_weight_training_is_that_of_the_step_bit_by_bit(tiny, bold, name):
    """Statistics of batch norm too, which pictures of the target would move."""
    plain, aligned = conv(), conv()
    expected = fit(plain, tiny, losses.SupConLoss(), **SHORT)
    found = fit(aligned, tiny, made(name, losses.SupConLoss(), bold, weight=0.0), **SHORT)
    assert found.loss == expected.loss
    assert all(torch.equal(tensor, aligned.state_dict()[key]) for key, tensor in plain.state_dict().items())


def test_an_adversary_of_no_strength_leaves_the_embeddings_as_they_are(tiny, bold):
    plain, aligned = conv(), conv()
    fit(plain, tiny, **SHORT)
    adversary = Adversary(8, strength=0.0)
    before = copy.deepcopy(adversary.discriminator.state_dict())
    fit(aligned, tiny, Aligned(None, bold, adversary), **SHORT)
    assert all(torch.equal(tensor, aligned.state_dict()[key]) for key, tensor in plain.state_dict().items())
    assert not torch.equal(adversary.discriminator.state_dict()["0.weight"], before["0.weight"])


@each_alignment
def test_labels_of_the_target_play_no_part(tiny, bold, name):
    def losses_with(target):
        return fit(conv(), tiny, made(name, None, target), **SHORT).loss

    expected = losses_with(bold)
    assert losses_with(replace(bold, labels=bold.labels.roll(7))) == expected
    torch.testing.assert_close(losses_with(bold.inputs()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["CORAL", "MMD"])
def test_training_brings_the_domains_together(tiny, bold, name):
    measure, settings = ALIGNMENTS[name](), SHORT | {"way": 4, "query": 4, "episodes": 60}

    def apart(weight):
        torch.manual_seed(0)
        model = PrototypicalNetwork(Conv4(8, normalize=True))
        fit(model, tiny, made(name, None, bold, weight=weight), **settings)
        source = embed_all(model, tiny)
        with adabn(model, bold):
            return measure(source, embed_all(model, bold))

    assert apart(1000.0 if name == "CORAL" else 3.0) < 0.5 * apart(0.0)


@each_alignment
def test_a_run_that_is_interrupted_comes_to_the_same_weights(tiny, bold, name, tmp_path, monkeypatch):
    settings = SHORT | {"episodes": 8, "save_every": 2}
    (straight, expected), (model, step) = (conv(), made(name, None, bold)), (conv(), made(name, None, bold))
    losses_of_all = fit(straight, tiny, expected, **settings).loss
    settings["checkpoint"] = tmp_path / "run.pt"
    with interrupted(monkeypatch, 10):  # each step embeds twice
        fit(conv(), tiny, made(name, None, bold), **settings)
    assert fit(model, tiny, step, **settings).loss == losses_of_all
    assert_same_state(model, straight)
    assert_same_state(step, expected)


def test_a_checkpoint_is_refused_to_another_target_or_alignment(tiny, bold, tmp_path):
    settings = SHORT | {"checkpoint": tmp_path / "run.pt"}
    fit(conv(), tiny, Aligned(None, bold, coral), **settings)
    for other, says in [
        (Aligned(None, tiny, coral), r"step\.target\.digest was"),
        (Aligned(None, bold, mmd), r"step\.alignment was coral and is now mmd"),
        (Aligned(None, bold, coral, weight=2.0), r"step\.weight was 1\.0 and is now 2\.0"),
        (Aligned(None, bold, Adversary(8)), r"step\.alignment"),
    ]:
        with pytest.raises(ValueError, match=says):
            fit(conv(), tiny, other, **settings)


@each_alignment
def test_it_goes_with_other_steps_within_and_around(tiny, bold, name):
    for step in (
        made(name, Mixed(losses.SoftmaxLoss(8, 8)), bold),
        Distilled(made(name, losses.SupConLoss(), bold), conv(1)),
        Augmented(made(name, None, bold), torch.relu),
    ):
        assert all(math.isfinite(loss) for loss in fit(conv(), tiny, step, **SHORT).loss)


def test_of_a_small_target_all_pictures_are_seen(tiny, bold):
    seen = []

    def alignment(source, target):
        seen.append((len(source), len(target)))
        return coral(source, target)

    step = Aligned(None, bold.inputs()[:5], alignment)
    step.step(network(), drawn(tiny))
    assert seen == [(12, 5)]


def test_embeddings_in_bfloat16_are_aligned_in_float32(tiny, bold):
    batch = replace(drawn(tiny), bfloat16=True)
    assert made("MMD", None, bold).step(conv(), batch).dtype == torch.float32


@pytest.mark.parametrize(
    "build, says",
    [
        (lambda bold: Aligned(None, bold, coral, weight=-0.5), "The weight of an alignment is a number, 0 or more"),
        (lambda bold: Aligned(None, bold, coral, weight=math.nan), "0 or more, but is nan"),
        (lambda bold: Aligned(None, bold, "coral"), r"as fslib\.domains\.coral is, but this is a str"),
        (lambda bold: Aligned(None, bold.select([2]), coral), "are of one class, so their statistics"),
        (lambda bold: Aligned(None, bold.inputs()[:0], coral), "but the target holds 0"),
        (lambda bold: Aligned(None, "digits", coral), "A target domain is an ImageSet, .* but this is a str"),
    ],
)
def test_what_makes_no_sense_is_said(bold, build, says):
    with pytest.raises(ValueError, match=says):
        build(bold)


def test_what_an_alignment_cannot_take_is_said(tiny, bold):
    step = Aligned(None, bold, Adversary(5))
    with pytest.raises(ValueError, match="discriminator is for embeddings of 5 numbers, but these have 8"):
        step.step(network(), drawn(tiny))
    with pytest.raises(ValueError, match="Conv4 takes images of shape"):
        Aligned(None, torch.rand(6, 3, 28, 28), coral).step(conv(), drawn(tiny))


class Joint(Aligned):
    """The mistake: pictures of the target go through batch norm as if they were of the source."""

    def step(self, model, batch):
        own = self.wrapped.step(model, batch)
        model.embed(self.target.inputs(range(8)))
        return own


def test_a_target_that_moves_the_statistics_would_be_found(tiny, bold):
    plain, joint = conv(), conv()
    fit(plain, tiny, **SHORT)
    fit(joint, tiny, Joint(None, bold, coral, weight=0.0), **SHORT)
    name = next(name for name, _ in plain.named_buffers() if name.endswith("running_mean"))
    assert not torch.allclose(plain.get_buffer(name), joint.get_buffer(name))
