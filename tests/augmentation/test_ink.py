"""Strokes grow and shrink as morphology has it, and by parts of a pixel in between."""

import math
from itertools import pairwise

import pytest
import torch

from fslib.augmentation import inverted, random_thickness, thickened


def pictures(n=4, side=9):
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))


def by_loops(image, pixels):
    """The most, or for negative pixels the least, ink within so many pixels; outside is paper."""
    side, reach, choose = image.shape[-1], abs(pixels), max if pixels > 0 else min
    found = torch.empty_like(image)
    for y in range(side):
        for x in range(side):
            near = [
                image[0, v, u].item() if 0 <= v < side and 0 <= u < side else 0.0
                for v in range(y - reach, y + reach + 1) for u in range(x - reach, x + reach + 1)
            ]  # fmt: skip
            found[0, y, x] = choose(near)
    return found


@pytest.mark.parametrize("pixels", [-2, -1, 0, 1, 2])
def test_whole_pixels_are_dilation_and_erosion(pixels):
    images = pictures()
    for image, found in zip(images, thickened(images, pixels)):
        torch.testing.assert_close(found, by_loops(image, pixels), rtol=0, atol=1e-6)


@pytest.mark.parametrize("by", [0.25, 1.75, -0.5, -1.25])
def test_parts_of_a_pixel_blend_two_pictures(by):
    images = pictures()
    below, above = (thickened(images, math.copysign(f(abs(by)), by)) for f in (math.floor, math.ceil))
    part = abs(by) % 1
    torch.testing.assert_close(thickened(images, by), (1 - part) * below + part * above)


def test_each_picture_grows_by_its_own():
    images, by = pictures(), torch.tensor([0.0, 2.5, -0.75, 1.0])
    for image, amount, found in zip(images, by, thickened(images, by)):
        torch.testing.assert_close(found, thickened(image[None], amount.item())[0])


def test_the_more_the_thicker_and_ink_stays_between_paper_and_ink():
    images = pictures()
    grown = [thickened(images, by) for by in (-2, -1.3, -0.2, 0, 0.4, 1, 1.9)]
    for thin, thick in pairwise(grown):
        assert (thick >= thin).all() and (thick != thin).any()
    assert torch.equal(grown[3], images) and min(g.min() for g in grown) >= 0 and max(g.max() for g in grown) <= 1


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_the_type_is_kept(kind):
    assert thickened(pictures().to(kind), 0.5).dtype == random_thickness(pictures().to(kind)).dtype == kind


def test_random_thickness_is_drawn_for_each_picture_within_its_bound():
    line = torch.zeros(500, 1, 9, 9)
    line[..., 4] = 1
    grown = random_thickness(line, most=1.0, generator=torch.Generator().manual_seed(1))
    widths = grown[:, 0, 4].sum(1)
    assert 0 <= widths.min() < 0.05 and 2.95 < widths.max() <= 3 and len(widths.unique()) > 490
    assert torch.equal(grown, random_thickness(line, most=1.0, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(random_thickness(line, most=0), line)


def test_inverted_twice_is_the_picture():
    images = (255 * pictures()).to(torch.uint8)
    assert torch.equal(inverted(inverted(images)), images) and torch.equal(inverted(images), ~images)
    torch.testing.assert_close(inverted(pictures()) + pictures(), torch.ones(4, 1, 9, 9))


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: thickened(pictures().byte(), 1), "Thickening takes network input, .* but this is Tensor of torch"),
        (lambda: thickened(pictures(), math.nan), "grow by pixels, no more than the picture has, but by is nan"),
        (lambda: thickened(pictures(), 10), "no more than the picture has, but by is 10"),
        (lambda: thickened(pictures(), torch.ones(3)), r"one for each of the 4 pictures, but has shape \(3,\)"),
        (lambda: random_thickness(pictures(), -1), "most is a bound, finite and at least 0"),
        (lambda: random_thickness([[0.0]]), "Thickening takes network input"),
        (lambda: inverted(torch.tensor([1, 0])), "network input, floats, or pictures, uint8, but this is torch.int64"),
        (lambda: inverted(None), "but this is NoneType"),
    ],
)
def test_what_has_no_ink_is_said(call, says):
    with pytest.raises(ValueError, match=says):
        call()
