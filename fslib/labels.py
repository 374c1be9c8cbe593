"""Labels as people have them, made into the integers that everything else works with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_labels(labels: Any, axes: int | None = 1, names: bool = True) -> Tensor:
    """Labels as a tensor of int64, on the device they were on.

    Args:
        labels: integers of any kind, in a tensor, an array or a list; or names, which are numbered in sorted order.
        axes: how many there must be; ``None`` for any number but none.
        names: whether names are taken. Where a number means a class of the data set, and not only which labels are
            equal, numbering the names of one batch would be wrong.

    Returns:
        The labels, int64, of the same shape.

    Raises:
        ValueError: on anything else, with what to write instead.
    """
    if not isinstance(labels, Tensor):
        labels = _from_outside(labels, names)
    if labels.layout != torch.strided:
        raise ValueError(f"Labels must be dense, but are {labels.layout}; labels.to_dense() is.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(
            f"Labels must be integers, but are {labels.dtype}; convert them with labels.long()."
        )
    if labels.ndim == 0 or (axes is not None and labels.ndim != axes):
        shape = "(n,)" if axes == 1 else "(..., n)"
        raise ValueError(
            f"Labels are one integer an example, of shape {shape}, but have shape {tuple(labels.shape)}; "
            "of one-hot rows, labels.argmax(-1) makes them."
        )
    return labels.long()


def _from_outside(labels: Any, names: bool) -> Tensor:
    """A tensor of an array, a list or a list of names."""
    if isinstance(labels, (list, tuple)) and any(isinstance(label, Tensor) for label in labels):
        labels = [_plain(label) if isinstance(label, Tensor) else label for label in labels]
    if np.ma.is_masked(labels):
        raise ValueError(
            "Labels must be known, but some are masked; leave those examples out, by ~labels.mask."
        )
    array = _array(labels)
    if array.dtype.kind in "USO":
        _check_alike(_array(labels, object))
        array = _array(array.tolist())  # integers, too, may have been kept as objects
    if array.dtype.kind in "US":
        if not names:
            raise ValueError(
                "These labels are names, but integers are wanted here, the same in every batch: number all names "
                "once, with {name: number for number, name in enumerate(sorted(set(names)))}."
            )
        return torch.from_numpy(np.unique(array, return_inverse=True)[1].reshape(array.shape))
    if array.size == 0 and array.dtype != object:
        array = array.astype(np.int64)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            "Labels are a tensor, an array or a list of integers, or of names, one an example, "
            f"but these are {type(labels).__name__} of {array.dtype}."
        )
    if array.dtype.kind in "iu":  # torch has few operations on unsigned ones, and none on another order of bytes
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"Labels are integers of 64 bits at most, but one is {array.max()}.")
        array = array.astype(np.int64)
    elif array.dtype.kind == "f":
        if np.isnan(array).any():
            raise ValueError("Labels must be known, but one is nan; leave its example out.")
        array = array.astype(np.float64)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _plain(label: Tensor) -> Any:
    return label.item() if label.numel() == 1 else label.detach().to_dense().tolist()


def _array(labels: Any, dtype: type | None = None) -> np.ndarray:
    try:
        return np.asarray(labels, dtype)
    except ValueError:  # rows of unequal length
        return np.array(None)


def _check_alike(labels: np.ndarray) -> None:
    """Raise if what is no name stands among names; NumPy would take it for its text."""
    texts = [
        next((kind for kind in (str, bytes) if isinstance(each, kind)), None)
        for each in labels.flat
    ]
    name = next(filter(None, texts), None)
    odd = [each for each, text in zip(labels.flat, texts) if text is not name]
    if name and odd:
        raise ValueError(
            f"Labels must be all names or all integers, but {odd[0]!r} is among names."
        )
