"""Mixtures equal those of torchvision on the same draws."""

import math

import pytest
import torch
from torchvision.transforms import v2

from fslib.augmentation import cutmix, kept_share, mixup, random_box

CLASSES = 5


def pictures(n=6, height=8, width=12):
    return torch.rand(n, 2, height, width, generator=torch.Generator().manual_seed(0))


def before(n):
    """The partners that torchvision chooses: of each picture the one before."""
    return torch.arange(n).roll(1)


def soft(labels, partner, share):
    rows = torch.nn.functional.one_hot(labels, CLASSES).float()
    return share * rows + (1 - share) * rows[partner]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 1.0])
def test_mixup_is_torchvision_s(monkeypatch, share):
    images, labels = pictures(), torch.arange(6) % CLASSES
    theirs = v2.MixUp(num_classes=CLASSES)
    monkeypatch.setattr(theirs._dist, "sample", lambda shape: torch.tensor(share, dtype=torch.float64))
    mixed, targets = theirs(images, labels)
    torch.testing.assert_close(mixup(images, before(6), share), mixed, rtol=0, atol=1e-7)
    torch.testing.assert_close(soft(labels, before(6), share), targets, rtol=0, atol=1e-7)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9, 1.0])
def test_cutmix_is_torchvision_s(monkeypatch, share, seed):
    images, labels = pictures(), torch.arange(6) % CLASSES
    theirs = v2.CutMix(num_classes=CLASSES)
    monkeypatch.setattr(theirs._dist, "sample", lambda shape: torch.tensor(share, dtype=torch.float64))
    torch.manual_seed(seed)
    box = random_box(images, share)
    torch.manual_seed(seed)
    mixed, targets = theirs(images, labels)
    assert torch.equal(cutmix(images, before(6), box), mixed)
    torch.testing.assert_close(soft(labels, before(6), kept_share(images, box)), targets)


def test_a_box_has_the_area_that_was_asked_for_until_it_is_clipped():
    images = torch.zeros(1, 1, 40, 60)
    torch.manual_seed(0)
    for share in (0.1, 0.5, 0.9):
        half = 0.5 * math.sqrt(1 - share)
        largest = 4 * int(half * 40) * int(half * 60) / 2400
        boxes = [random_box(images, share) for _ in range(300)]
        kept = torch.tensor([kept_share(images, box) for box in boxes])
        assert kept.min() == pytest.approx(1 - largest) and kept.max() > 1 - largest / 2
        assert max(b for _, _, b, _ in boxes) == 40 and min(left for _, left, _, _ in boxes) == 0
    assert kept_share(images, random_box(images, 1.0)) == 1.0


def test_pictures_are_left_as_they_were():
    images = pictures()
    kept = images.clone()
    mixup(images, before(6), 0.5)
    cutmix(images, before(6), (0, 0, 4, 4))
    assert torch.equal(images, kept)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_the_type_is_kept(kind):
    images = pictures().to(kind)
    assert mixup(images, before(6), 0.3).dtype == cutmix(images, before(6), (0, 0, 4, 4)).dtype == kind


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: mixup(pictures().byte(), before(6), 0.5), "Mixing takes network input, .* but this is Tensor of"),
        (lambda: mixup(pictures(), before(5), 0.5), "Each of the 6 pictures has one partner"),
        (lambda: cutmix(pictures(), torch.rand(6), (0, 0, 1, 1)), "its position in the batch, as torch.randperm gives"),
        (lambda: mixup(pictures(), before(6), 1.5), "between 0 and 1, but is 1.5"),
        (lambda: random_box(pictures(), math.nan), "between 0 and 1, but is nan"),
        (lambda: cutmix(pictures(), before(6), (0, 0, 9, 4)), r"within 8 × 12 pixels, but is \(0, 0, 9, 4\)"),
        (lambda: kept_share(pictures(), (3, 0, 2, 4)), "A box is top, left, bottom and right"),
    ],
)
def test_what_cannot_be_mixed_is_said(call, says):
    with pytest.raises(ValueError, match=says):
        call()
