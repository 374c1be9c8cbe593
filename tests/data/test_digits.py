"""Digits are scikit-learn's own, framed as characters of Glyphs are, and all for testing."""

import sys

import pytest
import torch
from torch import nn

from fslib import data
from fslib.evaluation import evaluate
from fslib.methods import PrototypicalNetwork

datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_they_are_scikit_learn_s_with_ink_where_it_has_ink(digits):
    theirs = datasets.load_digits()
    assert digits.images.shape == (1797, 1, 28, 28) and digits.images.dtype == torch.uint8
    assert digits.labels.tolist() == theirs.target.tolist()
    assert digits.class_names[0] == "DIGIT ZERO" and digits.class_names[9] == "DIGIT NINE"
    tight = data.load("digits", margin=0).inputs()[:, 0]
    small = nn.functional.interpolate(torch.from_numpy(theirs.images)[:, None].float() / 16, 28, mode="bilinear")
    torch.testing.assert_close(tight, small[:, 0], atol=0.01, rtol=0)


def test_a_digit_takes_as_much_of_its_frame_as_a_glyph(digits, glyphs):
    """The longer side of what is inked, in the mean."""

    def side(images):
        inked = images.inputs()[:, 0] > 0.2
        return torch.maximum(inked.any(1).sum(1), inked.any(2).sum(1)).float().mean().item()

    assert abs(side(digits) - side(glyphs["test"])) < 2
    assert side(data.load("digits", margin=0)) > 26


@pytest.mark.parametrize("way, shot, expected", [(5, 1, 0.737), (5, 5, 0.899), (10, 1, 0.647), (10, 5, 0.838)])
def test_raw_pixels_reach_what_any_transfer_has_to_beat(digits, way, shot, expected):
    """Measured beforehand on the eight by eight pixels as they are; to be a little smoother helps a little."""
    accuracy = evaluate(PrototypicalNetwork(nn.Flatten()), digits, way=way, shot=shot, episodes=1000)
    assert abs(accuracy.mean - expected) < 0.025


def test_no_picture_is_in_both_halves(digits):
    first, second = ({picture.numpy().tobytes() for picture in half.images} for half in data.halves(digits))
    assert not first & second and len(first | second) > 1790


def test_there_is_no_training_split():
    assert data.load("digits", "test").digest == data.load("digits").digest
    for split in ("train", "validation", "train+test"):
        with pytest.raises(ValueError, match=r"so there is no split '[a-z+]+' of them; load\(\"digits\"\) gives"):
            data.load("digits", split)


def test_what_makes_no_frame_is_said():
    with pytest.raises(ValueError, match="margin must be a whole number"):
        data.load("digits", margin=-1)


def test_without_scikit_learn_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="come with scikit-learn, which is not installed; pip install scikit-learn"):
        data.load("digits")
