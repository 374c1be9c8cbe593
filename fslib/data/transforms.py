"""The one way from a picture to network input, and so to what every method sees."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

SIDE = 28


def to_input(images: Any) -> Tensor:
    """Turn pictures, dark ink on white paper, into network input: 28 × 28, ink = 1, paper = 0.

    A picture that is not square gets paper on both sides. Larger ones are shrunk by Pillow's antialiased bilinear
    filter. There is no other normalisation. Training, evaluation and your own images all come through here, so they
    cannot disagree.

    Args:
        images: one picture or many:

            * the path of a file, or a Pillow image of any mode. A photograph is turned upright, colours become grey,
              what is transparent is paper. Mode ``I`` holds greys up to 255 or up to 65,535, mode ``F`` up to 1 or up
              to 255, whichever the brightest pixel tells; modes ``I;16`` hold greys up to 65,535.
            * uint8, (h, w), or (..., h, w) with any axes before, each plane turned by itself.
            * uint8 with colours last, (..., h, w, 1), (..., h, w, 3) or (..., h, w, 4), which become one channel of
              grey. With three axes or more, a last one of 1, 3 or 4 is always read as colours.
            * a list of these, of any sizes.

    Returns:
        Float32 of shape (1, 28, 28) for one picture without a channel axis, (n, 1, 28, 28) for a list of them, else
        (..., 28, 28), on the device of the images. Those of another size than 28 × 28 pass through the CPU.

    Raises:
        ValueError: if these are not pictures, with what to write instead.
        OSError: if a file is missing or cannot be read; the message names it.
    """
    if isinstance(images, (list, tuple)):
        return _stacked(images)
    if isinstance(images, (str, os.PathLike)):
        images = _read(images)
    if isinstance(images, Image.Image):
        images = _grey(images)
    pictures = _planes(images)
    if pictures.shape[-2:] != (SIDE, SIDE):
        flat = pictures.reshape(-1, *pictures.shape[-2:]).cpu().numpy()
        small = torch.from_numpy(shrink(flat)).to(pictures.device)
        pictures = small.reshape(*pictures.shape[:-2], SIDE, SIDE)
    return 1 - pictures.float() / 255


def shrink(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Shrink uint8 pictures, each (h, w), to (n, 28, 28) by Pillow's antialiased bilinear filter.

    Those that are not square lie in the middle of a square of paper, which keeps their proportions. What would be
    thinner than one pixel of the result is drawn as thick as one.
    """
    small = [_shrunk(picture) for picture in pictures]
    return np.stack(small) if small else np.empty((0, SIDE, SIDE), np.uint8)


def _shrunk(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape
    if height == width:
        return _resized(picture, SIDE, SIDE)
    if height > width:
        return _shrunk(picture.T).T
    # First along, then across: so a strip of any length is laid on little paper.
    strip = _resized(picture, height, SIDE)
    side = min(width, SIDE * height)
    top = (side - height) // 2
    paper = np.full((side, SIDE), 255, np.uint8)
    paper[top : top + height] = strip
    return _resized(paper, SIDE, SIDE)


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _stacked(pictures: Sequence[Any]) -> Tensor:
    """Network input of each picture of a list, stacked."""
    inputs = []
    for number, picture in enumerate(pictures):
        try:
            inputs.append(to_input(picture))
        except ValueError as error:
            raise ValueError(f"Of a list of pictures, number {number}: {error}") from error
    if len({each.shape for each in inputs}) != 1:
        shapes = ", ".join(sorted({str(tuple(each.shape)) for each in inputs})) or "nothing"
        raise ValueError(
            f"A list must hold pictures, as many axes and channels in each, but this one holds {shapes}."
        )
    return torch.stack([each.to(inputs[0].device) for each in inputs])


def _planes(images: Any) -> Tensor:
    """Pictures in an array or a tensor as planes of grey, uint8 (..., h, w), of three axes at least."""
    array, kind = as_array(images)
    if kind != "uint8" or array.ndim < 2 or not all(array.shape[-2:]):
        hints = {
            "bool": "255 * pictures",
            "uint16": "pictures // 257",
            "float": "(255 * pictures).round()",
        }
        hint = next((hints[start] for start in hints if kind.startswith(start)), None)
        advice = f" Make uint8 of {hint}, if white is 255 then." if hint else ""
        raise ValueError(
            "Pictures must be uint8, dark ink on white paper, with height and width as the last axes, or Pillow "
            f"images, paths, or a list of these, but these are {kind} of shape {tuple(array.shape)}.{advice}"
        )
    pictures = tensor_of(array)
    if pictures.ndim == 2:
        return pictures[None]
    return _without_colours(pictures) if pictures.shape[-1] in (1, 3, 4) else pictures


def _without_colours(pictures: Tensor) -> Tensor:
    """Colours last, (..., h, w, c), made one channel of grey, (..., 1, h, w)."""
    *leading, height, width, channels = pictures.shape
    if channels > 1:
        flat = pictures.reshape(-1, height, width, channels).cpu().numpy()
        greys = np.array([_grey(Image.fromarray(each)) for each in flat], np.uint8)
        pictures = torch.from_numpy(greys).to(pictures.device)
    return pictures.reshape(*leading, 1, height, width)


def as_array(values: Any) -> tuple[np.ndarray | Tensor, str]:
    """Values as an array, unless they are a tensor, and the name of their type."""
    if isinstance(values, Tensor):
        return values, str(values.dtype).removeprefix("torch.")
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal length
        array = np.empty(len(values), dtype=object)
    return array, array.dtype.name


def tensor_of(array: Any) -> Tensor:
    """A tensor of an array, copied only where PyTorch could not share its memory."""
    if isinstance(array, Tensor):
        return array
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _read(path: str | os.PathLike) -> np.ndarray:
    """The greys of a picture in a file; see :func:`_grey`."""
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise OSError(f"{os.fspath(path)} is not a file.")
    try:
        picture = Image.open(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no picture {os.fspath(path)}.") from error
    except Exception as error:  # Pillow raises many kinds
        raise _unreadable(path, error) from error
    with picture:
        return _grey(picture)


def _grey(picture: Image.Image) -> np.ndarray:
    """The greys of a Pillow image, uint8 (h, w): upright, on white paper."""
    name = getattr(picture, "filename", "") or "A picture"
    try:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
            values = np.asarray(upright).astype(np.float64)
        else:
            paper = Image.new(
                "RGBA", upright.size, "white"
            )  # what is transparent is paper, not ink
            return np.array(Image.alpha_composite(paper, upright.convert("RGBA")).convert("L"))
    except Exception as error:  # Pillow raises many kinds, and few name the file
        raise _unreadable(name, error) from error
    below, above = {"F": (1, 255), "I": (255, 65_535)}.get(upright.mode, (65_535, 65_535))
    white = below if values.max(initial=0) <= below else above
    if not ((values >= 0) & (values <= white)).all():  # nor NaN
        raise ValueError(
            f"{name} has greys from {values.min():g} to {values.max():g}, but in mode {upright.mode} black is 0 and "
            f"white at most {above:,}; convert it to mode L."
        )
    return np.rint(values * (255 / white)).astype(np.uint8)


def _unreadable(name: str | os.PathLike, error: Exception) -> OSError:
    return OSError(f"{os.fspath(name)} is not a picture that can be read ({error}).")
