"""Thicker and thinner strokes, and white on black: how pens and data sets differ."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.augmentation.warps import check_bounds, check_images
from fslib.devices import upload


def thickened(images: Tensor, by: float | Tensor) -> Tensor:
    """Let the ink grow by so many pixels on every side, or, if they are negative, shrink.

    To grow by a pixel is to take the most ink in 3 × 3 pixels (the dilation of morphology), and to shrink is to take
    the least (erosion). What is left of a whole number blends the last two pictures. Outside of the picture is paper.

    Args:
        images: (n, c, h, w), ink = 1, paper = 0.
        by: pixels, for all pictures or for each, (n,).

    Example:
        >>> dot = torch.zeros(1, 1, 5, 5).index_fill(3, torch.tensor([2]), 1.0)     # a line down the middle
        >>> thickened(dot, 0.5)[0, 0, 2], thickened(dot, -0.25)[0, 0, 2]
        (tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000]), tensor([0.0000, 0.0000, 0.7500, 0.0000, 0.0000]))
    """
    check_images(images, "Thickening takes")
    amounts = torch.as_tensor(by)
    if amounts.ndim > 1 or (amounts.ndim == 1 and len(amounts) != len(images)):
        raise ValueError(
            f"by is one number, or one for each of the {len(images)} pictures, but has shape {tuple(amounts.shape)}."
        )
    most = amounts.abs().max().item() if amounts.numel() else 0.0
    if not most <= max(images.shape[-2:]):  # nor NaN
        raise ValueError(f"Strokes grow by pixels, no more than the picture has, but by is {by}.")
    return _thickened(images, amounts, math.ceil(most))


def random_thickness(
    images: Tensor, most: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Let the ink of each picture grow or shrink, by a number drawn between minus and plus so many pixels.

    Args:
        images: (n, c, h, w), ink = 1, paper = 0.
        most: pixels on every side, see :func:`thickened`.
        generator: for repeatable draws, made on its device; default, the generator of the device of the images.
    """
    check_images(images, "Thickening takes")
    check_bounds(most=most)
    device = images.device if generator is None else generator.device
    by = most * (2 * torch.rand(len(images), generator=generator, device=device) - 1)
    return _thickened(images, by, math.ceil(most))


def inverted(images: Tensor) -> Tensor:
    """Ink for paper and paper for ink, of network input, in 0 … 1, or of uint8 pictures.

    Example:
        >>> inverted(torch.tensor([0.0, 0.25])), inverted(torch.tensor([255, 0], dtype=torch.uint8))
        (tensor([1.0000, 0.7500]), tensor([  0, 255], dtype=torch.uint8))
    """
    if not isinstance(images, Tensor) or not (images.is_floating_point() or images.dtype == torch.uint8):
        what = getattr(images, "dtype", type(images).__name__)
        raise ValueError(f"What is inverted is network input, floats, or pictures, uint8, but this is {what}.")
    return 255 - images if images.dtype == torch.uint8 else 1 - images


def _thickened(images: Tensor, by: Tensor, steps: int) -> Tensor:
    """:func:`thickened`, a pixel a step, in so many steps as the largest amount needs."""
    by = upload(by, images.device).to(images.dtype).reshape(-1, 1, 1, 1)
    for step in range(steps):
        framed = F.pad(images, [1, 1, 1, 1])
        most, least = (sign * F.max_pool2d(sign * framed, 3, stride=1) for sign in (1, -1))
        thicker, thinner = ((sign * by - step).clamp(0, 1) for sign in (1, -1))
        images = images + thicker * (most - images) + thinner * (least - images)
    return images
