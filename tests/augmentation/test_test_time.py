"""Test-time augmentation is the mean over maps drawn once, of each picture alone."""

import math

import pytest
import torch
from torch import nn

import fslib
from fslib.augmentation import TestTimeAugmentation, random_warp
from fslib.backbones import Conv4
from fslib.methods import PrototypicalNetwork
from tests.augmentation.test_warps import NONSENSE, STILL, blobs, generator


def test_test_time_augmentation_that_do_not_move_change_nothing():
    images = torch.rand(4, 3, 28, 28)
    embeddings = TestTimeAugmentation(nn.Flatten(), copies=3, **STILL)(images)
    torch.testing.assert_close(embeddings, images.flatten(1), rtol=0, atol=1e-5)


def test_test_time_augmentation_are_the_mean_over_maps_drawn_once():
    images = blobs(5) + torch.rand(5, 1, 28, 28)
    views = TestTimeAugmentation(nn.Flatten(), copies=2, seed=4)
    bounds = {name: views.config[name] for name in STILL}
    draws = generator(4)
    # One draw of two maps is one warp of two pictures; every picture goes through both.
    for image, embedding in zip(images, views(images)):
        copies = random_warp(image.expand(2, -1, -1, -1), **bounds, generator=draws.manual_seed(4))
        torch.testing.assert_close(embedding, torch.cat([image[None], copies]).mean(0).flatten())


def test_a_view_depends_on_its_picture_alone():
    images = torch.rand(6, 1, 28, 28)
    views = TestTimeAugmentation(Conv4(channels=4)).eval()
    with torch.no_grad():
        torch.testing.assert_close(views(images)[3:4], views(images[3:4]))


@pytest.mark.parametrize("wrong", [0, -1, 2.0, math.nan, "3", None])
def test_test_time_augmentation_need_a_copy(wrong):
    with pytest.raises(ValueError, match="copies must be a whole number, at least 1"):
        TestTimeAugmentation(nn.Flatten(), copies=wrong)


@pytest.mark.parametrize("wrong", [-1, 2**63, 1.0, None])
def test_a_seed_of_test_time_augmentation_is_a_whole_number(wrong):
    with pytest.raises(ValueError, match="seed must be a whole number, at least 0"):
        TestTimeAugmentation(nn.Flatten(), seed=wrong)


@pytest.mark.parametrize("bound", NONSENSE)
def test_bounds_of_test_time_augmentation_make_sense(bound):
    with pytest.raises(ValueError, match=f"{min(bound)} is a bound, .* but is"):
        TestTimeAugmentation(nn.Flatten(), **bound)


def test_test_time_augmentation_keep_the_type_of_the_images():
    assert TestTimeAugmentation(nn.Flatten(), copies=2)(torch.rand(3, 1, 28, 28).double()).dtype == torch.float64


def test_test_time_augmentation_are_saved_with_their_network(tmp_path):
    torch.manual_seed(0)
    model = PrototypicalNetwork(TestTimeAugmentation(Conv4(channels=4), copies=3, seed=2)).eval()
    fslib.save(model, tmp_path / "views.safetensors")
    again = fslib.load(tmp_path / "views.safetensors")
    images = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(again.embed(images), model.embed(images))


def test_a_name_is_no_network():
    with pytest.raises(ValueError, match=r"Test-time augmentation is of a module .* but got 'a'"):
        TestTimeAugmentation("a")
