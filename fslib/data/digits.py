"""Digits: 1,797 handwritten digits of eight by eight pixels, which come with scikit-learn (Alpaydin and Kaynak, 1998).

They are the test part of the *Optical Recognition of Handwritten Digits* of the UCI repository, by 13 people who wrote
nothing of its training part. Ten classes are too few to train on; they are a domain to carry a network over to.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch

from fslib.config import whole
from fslib.data.image_set import ImageSet
from fslib.data.transforms import shrink


def load(splits: Sequence[str], margin: int = 2) -> ImageSet:
    """Load the digits at 28 × 28, dark ink on white paper.

    Args:
        splits: ``"test"``, for all classes are for testing.
        margin: pixels of paper around the eight of a picture. With two of them a digit takes two thirds of its frame,
            as characters of Glyphs do; with none it fills the frame, as scikit-learn has it.

    Returns:
        Images (1797, 1, 28, 28), 174 to 183 of each class; nothing is told of the writers.

    Raises:
        ValueError: if another split is asked for.
        ImportError: if scikit-learn is not installed.
    """
    if set(splits) != {"test"}:
        raise ValueError(
            f"All ten digits are for testing, so there is no split {'+'.join(splits)!r} of them; "
            'load("digits") gives them.'
        )
    try:
        from sklearn.datasets import load_digits  # slow to import, and nothing else here needs it
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn, which is not installed; pip install scikit-learn brings them."
        ) from error
    found = load_digits()
    paper = 255 - np.rint(found.images * (255 / 16)).astype(np.uint8)  # there, ink is up to 16
    sides = (whole("margin", margin, least=0),) * 2
    framed = np.pad(paper, ((0, 0), sides, sides), constant_values=255)
    return ImageSet(
        name="Digits test",
        images=torch.from_numpy(shrink(framed))[:, None],
        labels=found.target,
        class_names=[unicodedata.name(digit) for digit in "0123456789"],
        class_groups=["Digits"] * 10,
    )
