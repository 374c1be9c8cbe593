"""Turns and mirrors are exact, form a group, and act on each picture apart."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from fslib.augmentation import mirrored, random_mirror, random_turn, turned


def pictures(n=6, side=7, kind=torch.float32):
    return (255 * torch.rand(n, 2, side, side, generator=generator())).to(kind)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
def test_four_quarters_and_two_mirrors_are_none(kind):
    images = pictures(kind=kind)
    once, again = images, mirrored(images)
    for _ in range(4):
        once = turned(once, 1)
    assert torch.equal(once, images) and torch.equal(mirrored(again), images)
    assert not torch.equal(turned(images, 1), images) and not torch.equal(again, images)
    assert once.dtype == again.dtype == kind


@pytest.mark.parametrize("quarters", range(-5, 6))
def test_turns_are_those_of_numpy_and_torchvision_against_the_clock(quarters):
    images = pictures()
    found = turned(images, quarters)
    assert np.array_equal(found.numpy(), np.rot90(images.numpy(), quarters, (2, 3)))
    torch.testing.assert_close(found, v2.rotate(images, 90.0 * quarters))
    assert torch.equal(turned(images, torch.full((6,), quarters)), found)


def test_a_mirror_is_torchvision_s_and_turns_it_is_turned_the_other_way():
    images = pictures()
    assert torch.equal(mirrored(images), v2.horizontal_flip(images))
    assert torch.equal(turned(mirrored(images), 2), v2.vertical_flip(images))
    assert torch.equal(mirrored(turned(images, 1)), turned(mirrored(images), -1))


def test_each_picture_has_its_own_turn_and_mirror():
    images, quarters = pictures(), torch.tensor([0, 3, -1, 2, 5, 1])
    which = torch.tensor([True, False, False, True, True, False])
    for i, (image, found, flipped) in enumerate(zip(images, turned(images, quarters), mirrored(images, which))):
        assert torch.equal(found, turned(image[None], quarters[i].item())[0])
        assert torch.equal(flipped, mirrored(image[None])[0] if which[i] else image)


def test_pictures_that_are_not_square_can_be_turned_and_mirrored_alike():
    images = torch.rand(3, 1, 4, 6)
    assert turned(images, 1).shape == (3, 1, 6, 4) and mirrored(images).shape == images.shape


@pytest.mark.parametrize("change, kinds", [(random_turn, 4), (random_mirror, 2)])
def test_random_ones_are_evenly_spread_and_repeat_themselves(change, kinds):
    picture = pictures(1)
    found = change(picture.expand(4000, -1, -1, -1), generator=generator(3))
    counts = found.unique(dim=0, return_counts=True)[1]
    assert len(counts) == kinds and (counts - 4000 / kinds).abs().max() < 200
    assert torch.equal(found, change(picture.expand(4000, -1, -1, -1), generator=generator(3)))
    torch.manual_seed(5)
    first = change(pictures())
    torch.manual_seed(5)
    assert torch.equal(first, change(pictures()))
    assert change(picture[:0]).shape == (0, 2, 7, 7)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: turned(torch.rand(7, 7), 1), r"a tensor \(n, c, h, w\), but this is \(7, 7\)"),
        (lambda: mirrored(np.zeros((2, 1, 7, 7))), r"a tensor \(n, c, h, w\), but this is ndarray"),
        (lambda: random_mirror(None), "a tensor .* but this is NoneType"),
        (lambda: turned(pictures(), 0.5), "quarters must be a whole number"),
        (lambda: turned(pictures(), torch.tensor([1, 2])), r"one for each of the 6 pictures, but has shape \(2,\)"),
        (lambda: turned(pictures(), torch.rand(6)), "whole numbers of quarters, but these are torch.float32"),
        (lambda: turned(torch.rand(2, 1, 4, 6), torch.tensor([0, 1])), r"Only square pictures .* these are \(4, 6\)"),
        (lambda: mirrored(pictures(), torch.tensor([1, 0, 0, 0, 0, 0])), "boolean, one a picture, but this is torch"),
        (lambda: mirrored(pictures(), torch.tensor([True])), "one for each of the 6 pictures"),
    ],
)
def test_what_cannot_be_turned_is_said(call, says):
    with pytest.raises(ValueError, match=says):
        call()
