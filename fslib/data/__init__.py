"""Data sets for few-shot learning: images grouped into classes, split by class."""

from __future__ import annotations

import difflib
from typing import Any

from fslib.data import digits, glyphs, omniglot
from fslib.data.alphabets import from_alphabets
from fslib.data.image_set import ImageSet, check_disjoint, halves
from fslib.data.pictures import from_folder
from fslib.data.transforms import drawing, on_white, photograph, to_input

__all__ = [
    "ImageSet", "check_disjoint", "drawing", "from_alphabets", "from_folder", "halves", "load", "on_white",
    "photograph", "to_input",
]  # fmt: skip

_LOADERS = {"glyphs": glyphs.load, "omniglot": omniglot.load, "digits": digits.load}
SPLITS = ("train", "validation", "test")


def load(name: str, split: str | None = None, **options: Any) -> ImageSet:
    """Load one split of a data set.

    ``glyphs`` is made on this machine from the fonts that come with Matplotlib and needs no network.
    ``omniglot`` is read from ``$FSLIB_DATA/omniglot`` or downloaded there. ``digits`` come with scikit-learn.

    Args:
        name: ``"glyphs"``, ``"omniglot"`` or ``"digits"``.
        split: ``"train"``, ``"validation"``, ``"test"``, or several joined by ``+``, as in ``"train+validation"``.
            No class is in two of them. Default, ``"train"``; of ``digits``, which are for testing alone, ``"test"``.
        options: passed on to :func:`fslib.data.omniglot.load`: ``protocol`` and ``rotations``; and to
            :func:`fslib.data.digits.load`: ``margin``.

    Raises:
        ValueError: on an unknown name or split.
        FileNotFoundError, OSError: if the data is neither here nor to be had, or is damaged.
        ImportError: if it comes with a package that is not installed.

    Example:
        >>> test = load("glyphs", "test")
        >>> test.images.dtype, test.images.shape[1:]
        (torch.uint8, torch.Size([1, 28, 28]))
    """
    if not isinstance(name, str):
        raise ValueError(f"A data set has a name, {' or '.join(_LOADERS)}, but this is {name!r}.")
    if name not in _LOADERS:
        raise ValueError(f"There is no data set {name!r}{_did_you_mean(name, _LOADERS)}")
    if split is None:
        split = "test" if name == "digits" else "train"
    if not isinstance(split, str):
        raise ValueError(f"A split is a name, or several joined by '+', but this is {split!r}.")
    parts = split.split("+")
    for part in parts:
        if part not in SPLITS:
            raise ValueError(f"There is no split {part!r}{_did_you_mean(part, SPLITS)}")
    return _LOADERS[name](parts, **options)


def _did_you_mean(word: str, known) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}."
