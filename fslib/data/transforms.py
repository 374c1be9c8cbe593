"""The one way from a picture to network input, and so to what every method sees."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from fslib.config import whole

SIDE = 28
LARGEST = 100_000_000  # pixels of a picture that is read; in memory each takes some ten bytes
WHITE = 250  # a picture whose median is no darker lies on white paper
FRAME = 0.6  # of its frame, a drawing takes at least so much
IMAGENET_GREY = (124, 116, 104)  # the mean colour of ImageNet's photographs


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
        images = opened(images)
    if isinstance(images, Image.Image):
        images = grey(images)
    pictures = _planes(images)
    if pictures.shape[-2:] != (SIDE, SIDE):
        flat = pictures.reshape(-1, *pictures.shape[-2:]).cpu().numpy()
        small = torch.from_numpy(shrink(flat)).to(pictures.device)
        pictures = small.reshape(*pictures.shape[:-2], SIDE, SIDE)
    return 1 - pictures.float() / 255


def drawing(picture: Image.Image) -> Tensor:
    """Network input of one drawing, made on a screen, scanned or photographed: of :func:`on_white`.

    The strongest ink is made 1, lest thin lines fade when they are shrunk.

    Args:
        picture: a Pillow image of any mode and size.

    Returns:
        Float32, (1, 28, 28), ink = 1.
    """
    ink = to_input(on_white(picture))
    return ink / ink.max().clamp(min=1 / 255)


def photograph(picture: Image.Image, side: int = 224) -> Tensor:
    """Network input of one photograph: its colours as they are, the whole of it, and its proportions.

    Args:
        picture: a Pillow image of any mode and size; grey becomes colours, what is transparent becomes white.
        side: of the square in whose middle it lies, on the mean colour of ImageNet.

    Returns:
        Float32, (3, side, side), black = 0, white = 1; what a :class:`fslib.backbones.Pretrained` of photographs takes.
    """
    size = (whole("side", side), side)
    return _channels(ImageOps.pad(_colours(picture), size, Image.Resampling.BICUBIC, IMAGENET_GREY))


def on_white(picture: Image.Image) -> np.ndarray:
    """A drawing as dark ink on white paper, close to its frame.

    Paper that is not white, as in a photograph of it, is taken to be what the median of a large neighbourhood is, so
    shadows go with it. What differs from it by more than its grain is ink, the strongest of it black, be it dark on
    light or light on dark. Then the frame closes in until the ink takes six tenths of it, with the ink in its middle.

    Args:
        picture: one drawing and nothing else. A Pillow image of any mode and size.

    Returns:
        Greys, uint8 (h, w), at most 256 pixels a side; a blank sheet is white.
    """
    greys = _within(Image.fromarray(grey(picture)), 256)
    ink = np.asarray(_paper(greys), np.float32) - np.asarray(greys, np.float32)
    if (ink**3).sum() < 0:  # the rarer greys are the lighter ones
        ink = -ink
    grain, black = 3 * float(np.median(abs(ink))), float(np.quantile(ink, 0.999))
    if black < grain + 8:
        return np.full(ink.shape, 255, np.uint8)
    return _framed(np.rint(255 * (1 - ((ink - grain) / (black - grain)).clip(0, 1))).astype(np.uint8))


def _paper(greys: Image.Image) -> Image.Image:
    """What a picture would be without its ink."""
    small = _within(greys, 32)
    if np.median(np.asarray(small)) >= WHITE:
        return Image.new("L", greys.size, "white")
    paper = small.filter(ImageFilter.MedianFilter(15)).filter(ImageFilter.GaussianBlur(1))
    return paper.resize(greys.size, Image.Resampling.BICUBIC)


def _framed(greys: np.ndarray) -> np.ndarray:
    """The square around what is darker than the middle, which it fills to :data:`FRAME` unless it was larger before."""
    rows, columns = np.nonzero(greys < 128)
    if not len(rows):
        return greys
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    side = round(min(max(height, width) / FRAME, max(greys.shape)))
    left, top = int(columns.min()) - (side - width) // 2, int(rows.min()) - (side - height) // 2
    square = Image.new("L", (side, side), "white")
    square.paste(Image.fromarray(greys), (-left, -top))
    return np.asarray(square)


def _within(picture: Image.Image, most: int) -> Image.Image:
    """A picture of at most so many pixels a side, each the mean of those that it covers."""
    scale = min(1, most / max(picture.size))
    width, height = (max(1, round(scale * length)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


def _channels(picture: Image.Image) -> Tensor:
    """The colours of a picture, (h, w, 3), as channels from 0 to 1, (3, h, w)."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _colours(picture: Image.Image) -> Image.Image:
    """A Pillow image of any mode as RGB, upright, on white."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return Image.fromarray(grey(picture)).convert("RGB")
    return _on_paper(ImageOps.exif_transpose(picture)).convert("RGB")


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
        greys = np.array([grey(Image.fromarray(each)) for each in flat], np.uint8)
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


def opened(path: str | os.PathLike, least: int | None = None) -> Image.Image:
    """The picture in a file, wholly read; of one that moves, the first frame.

    Args:
        path: of the file.
        least: a large JPEG need not be read finer than so many pixels a side, which takes a tenth of the time.

    Raises:
        OSError: if the file is missing, is no picture, is damaged or too large; the message names it.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise OSError(f"{os.fspath(path)} is not a file.")
    try:
        with warnings.catch_warnings():  # of its size, of which a sentence of ours tells
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
        with picture:
            if least:
                picture.draft(None, (least, least))
            pixels = picture.width * picture.height
            if pixels <= LARGEST:
                picture.load()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no picture {os.fspath(path)}.") from error
    except Image.DecompressionBombError:
        pixels = LARGEST + 1
    except Exception as error:  # Pillow raises many kinds
        raise _unreadable(path, error) from error
    if pixels > LARGEST:
        raise OSError(f"{os.fspath(path)} has more than {LARGEST // 10**6} million pixels; shrink it first.")
    return picture


def grey(picture: Image.Image) -> np.ndarray:
    """The greys of a Pillow image, uint8 (h, w): upright, on white paper."""
    name = getattr(picture, "filename", "") or "A picture"
    try:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
            values = np.asarray(upright).astype(np.float64)
        else:
            return np.array(_on_paper(upright).convert("L"))
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


def _on_paper(picture: Image.Image) -> Image.Image:
    """A picture as RGBA; what is transparent is paper, not ink."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))


def _unreadable(name: str | os.PathLike, error: Exception) -> OSError:
    return OSError(f"{os.fspath(name)} is not a picture that can be read ({error}).")
