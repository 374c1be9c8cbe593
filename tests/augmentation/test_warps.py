"""Warps stay within their bounds and repeat themselves."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2.functional import resized_crop

from fslib.augmentation import random_crop, random_warp
from fslib.augmentation.warps import affine_maps

STILL = dict(rotation=0, scale=0, shear=0, shift=0)


def blobs(n=200, side=28, width=2.0, height=2.0):
    """Pictures of one soft spot in the middle, (n, 1, side, side)."""
    place = torch.arange(side) - (side - 1) / 2
    spot = torch.exp(-((place / height) ** 2)[:, None] - (place / width) ** 2)
    return spot.expand(n, 1, side, side)


def moments(images):
    """Centre of the ink (n, 2) in pixels, across then down, and its covariance (n, 2, 2)."""
    down, across = torch.meshgrid(*[torch.arange(side) for side in images.shape[-2:]], indexing="ij")
    places = torch.stack([across, down], -1).flatten(0, 1).float()
    ink = images.flatten(1) / images.flatten(1).sum(1, keepdim=True)
    center = ink @ places
    away = places - center[:, None]
    return center, torch.einsum("np,npi,npj->nij", ink, away, away)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_without_bounds_nothing_moves():
    images = torch.rand(4, 3, 28, 28)
    torch.testing.assert_close(random_warp(images, **STILL), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("elastic", [0, 0.1])
def test_size_is_as_asked(elastic):
    images = torch.rand(3, 2, 32, 32)
    assert random_warp(images, elastic=elastic).shape == (3, 2, 32, 32)
    assert random_warp(images, elastic=elastic, size=28).shape == (3, 2, 28, 28)


def test_generator_decides_the_warp():
    images = blobs(5) + torch.rand(5, 1, 28, 28)
    first, again, other = (random_warp(images, elastic=0.1, generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_generator_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    random_warp(blobs(5), elastic=0.1, generator=generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_has_its_own_warp():
    warped = random_warp(blobs(10), generator=generator())
    assert len(warped.unique(dim=0)) == 10


@pytest.mark.parametrize("bound", [0.05, 0.1, 0.2])
def test_shift_is_a_fraction_of_the_picture(bound):
    warped = random_warp(blobs(), **STILL | {"shift": bound}, generator=generator())
    moved = (moments(warped)[0] - 13.5).abs() / 28
    assert 0.95 * bound < moved.max() <= bound + 1e-3


@pytest.mark.parametrize("bound", [5, 14, 30])
def test_rotation_is_in_degrees(bound):
    warped = random_warp(blobs(width=6, height=1), **STILL | {"rotation": bound}, generator=generator())
    _, spread = moments(warped)
    angle = 0.5 * torch.atan2(2 * spread[:, 0, 1], spread[:, 0, 0] - spread[:, 1, 1])
    assert 0.95 * bound < math.degrees(angle.abs().max()) < 1.03 * bound


@pytest.mark.parametrize("bound", [0.1, 0.3])
def test_scale_is_relative_and_apart_for_each_axis(bound):
    images = blobs(width=4, height=4)
    _, spread = moments(random_warp(images, **STILL | {"scale": bound}, generator=generator()))
    _, before = moments(images)
    width, height = ((spread[:, i, i] / before[:, i, i]).sqrt() for i in (0, 1))
    for side in (width, height):
        assert 1 - bound - 0.03 < side.min() < 1 - 0.8 * bound
        assert 1 + 0.8 * bound < side.max() < 1 + bound + 0.03
    assert (width / height - 1).abs().max() > bound


def test_no_warp_mirrors_a_picture_which_could_make_another_character_of_it():
    assert (affine_maps(2000, 14, 0.15, 0.2, 0.1, generator())[:, :, :2].det() > 0).all()


def test_ink_is_kept_on_average():
    images = blobs(400)
    ink = random_warp(images, elastic=0.03, generator=generator()).sum((1, 2, 3)) / images.sum((1, 2, 3))
    assert abs(ink.mean() - 1) < 0.05
    assert ink.min() > 0.5 and ink.max() < 2


def test_paper_comes_in_from_outside():
    warped = random_warp(torch.ones(50, 1, 28, 28), **STILL | {"shift": 0.3}, generator=generator())
    assert warped.min() == 0 and warped.max() <= 1 + 1e-6


def test_a_picture_that_is_not_square_keeps_its_shape():
    images = torch.rand(3, 2, 20, 36)
    torch.testing.assert_close(random_warp(images, **STILL), images, rtol=0, atol=1e-5)
    assert random_warp(images, elastic=0.1).shape == images.shape
    assert random_warp(images, size=28).shape == (3, 2, 28, 28)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_warps_keep_the_type_of_the_images(kind):
    images = blobs(3)
    warped = random_warp(images.to(kind), elastic=0.1, generator=generator())
    assert warped.dtype == kind
    expected = random_warp(images, elastic=0.1, generator=generator())
    torch.testing.assert_close(warped.float(), expected, rtol=0, atol=1e-5 if kind == torch.float64 else 0.1)


@pytest.mark.parametrize("size", [None, 20])
def test_no_images_are_no_images_warped(size):
    assert random_warp(torch.rand(0, 1, 28, 28), elastic=0.1, size=size).shape == (0, 1, size or 28, size or 28)


@pytest.mark.parametrize(
    "wrong", [torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.rand(1, 28, 28), torch.rand(28, 28)]
)
def test_what_is_no_network_input_is_not_warped(wrong):
    with pytest.raises(ValueError, match=r"floats of shape \(n, c, h, w\), as to_input gives it, but this is"):
        random_warp(wrong)


NONSENSE = [
    dict(rotation=math.nan), dict(scale=1.0), dict(shift=-0.1), dict(shear=math.inf),
    dict(rotation="5"), dict(scale=None),
]  # fmt: skip


@pytest.mark.parametrize("bound", [*NONSENSE, dict(elastic=math.nan), dict(elastic=-1)])
def test_bounds_of_warps_make_sense(bound):
    with pytest.raises(ValueError, match=f"{min(bound)} is a bound, .* but is"):
        random_warp(blobs(2), **bound)


def test_bounds_may_be_numbers_of_any_kind():
    usual = random_warp(blobs(2), 5, 0.5, generator=generator())
    assert torch.equal(random_warp(blobs(2), np.int32(5), np.float32(0.5), generator=generator()), usual)


@pytest.mark.parametrize("size", [0, -1, 28.0, "28"])
def test_a_size_is_a_whole_number(size):
    with pytest.raises(ValueError, match="size must be a whole number, at least 1"):
        random_warp(blobs(2), size=size)


def test_draws_are_made_where_the_generator_is(monkeypatch):
    # Only the shapes can be seen on this device; that mixing them is refused, the device tests show.
    images = torch.rand(2, 1, 28, 28, device="meta")
    assert random_warp(images, elastic=0.1, generator=generator()).device.type == "meta"


@pytest.mark.parametrize("images", [np.zeros((2, 1, 28, 28)), None, [[0.0]], torch.zeros(2, 1, 28, 28).byte()])
def test_only_network_input_is_warped(images):
    with pytest.raises(ValueError, match=f"Warps take network input, .* but this is {type(images).__name__}"):
        random_warp(images)


def test_a_number_is_no_generator():
    with pytest.raises(ValueError, match=r"The generator is one of PyTorch's, .* but is 3"):
        random_warp(torch.zeros(2, 1, 28, 28), generator=3)


# Crops -------------------------------------------------------------------------------------------


def test_a_crop_of_all_is_the_image():
    images = torch.rand(4, 3, 28, 20)
    torch.testing.assert_close(random_crop(images, 1), images, rtol=0, atol=1e-5)


def test_crops_are_parts_of_the_image():
    """Each shows places inside the image, the same share along both axes; all shares and places come up."""
    down, across = torch.meshgrid(2 * [(torch.arange(400) + 0.5) / 400], indexing="ij")
    images = torch.stack([across, down]).expand(500, 2, 400, 400)
    crops = random_crop(images, 0.25, size=2, generator=generator())  # which looks at a quarter and at three
    across, down = crops[:, 0].mean(1), crops[:, 1].mean(2)
    side = 2 * (across[:, 1] - across[:, 0])
    torch.testing.assert_close(side, 2 * (down[:, 1] - down[:, 0]), rtol=0, atol=1e-3)
    area = side.square().sort().values
    torch.testing.assert_close(area, torch.linspace(0.25, 1, 500), rtol=0, atol=0.06)
    for middle in (across.mean(1), down.mean(1)):
        where = ((middle - side / 2) / (1 - side))[side < 0.95].sort().values
        torch.testing.assert_close(where, torch.linspace(0, 1, len(where)), rtol=0, atol=0.1)


def test_a_crop_is_that_of_torchvision():
    """Cut where ours is cut, to whole pixels, and enlarged by the library."""
    images = F.interpolate(torch.rand(6, 1, 4, 4, generator=generator(1)), size=256, mode="bilinear")
    ours = random_crop(images, 0.25, generator=generator(3))
    for image, crop, (share, x, y) in zip(images, ours, torch.rand(6, 3, generator=generator(3)).tolist()):
        side = 256 * (1 - 0.75 * share) ** 0.5
        left, top = ((256 - side) * p for p in (x, y))
        theirs = resized_crop(image, round(top), round(left), round(side), round(side), [256, 256], antialias=False)
        torch.testing.assert_close(crop, theirs, rtol=0, atol=0.03)


@pytest.mark.parametrize("least", [0, -0.5, 1.5, math.nan, "half"])
def test_a_share_is_above_0_and_at_most_1(least):
    with pytest.raises(
        ValueError, match="least is a share of the area, above 0 and at most 1, but is"
    ):
        random_crop(torch.rand(2, 1, 8, 8), least)


def test_no_images_make_no_crops():
    assert random_crop(torch.rand(0, 3, 8, 8), size=5).shape == (0, 3, 5, 5)
    with pytest.raises(ValueError, match="The generator is one of PyTorch's"):
        random_crop(torch.rand(2, 1, 8, 8), generator=3)
