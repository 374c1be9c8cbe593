"""Random warps: the same character, written by another hand."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_warp(
    images: Tensor,
    rotation: float = 14.0,
    scale: float = 0.15,
    shear: float = 0.2,
    shift: float = 0.1,
    elastic: float = 0.0,
    size: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Send each image through its own random affine map and, on top, a smooth random displacement.

    The affine parameters are drawn uniformly between minus and plus the stated bounds. The displacement field is
    bicubic through a 5 × 5 grid of normal draws, in the spirit of Simard et al. (2003).

    Args:
        images: (n, c, h, w), ink = 1, paper = 0.
        rotation: in degrees.
        scale: relative, along each axis apart.
        shear: tangent of the angle.
        shift: in fractions of the picture.
        elastic: standard deviation of the displacement, in half-widths of the picture.
        size: side of the result; that of the images if None.
        generator: for repeatable draws, on the device of the images.

    Returns:
        Warped images, (n, c, size, size).
    """
    n, side = len(images), size or images.shape[-1]

    def uniform(bound: float, *shape: int) -> Tensor:
        return bound * (2 * torch.rand(n, *shape, generator=generator, device=images.device) - 1)

    angle, tangent = uniform(math.radians(rotation)), uniform(shear)
    stretch, move = 1 + uniform(scale, 2, 1), 2 * uniform(shift, 2, 1)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack(
        [torch.stack([cos, tangent * cos - sin], 1), torch.stack([sin, tangent * sin + cos], 1)], 1
    )
    grid = F.affine_grid(
        torch.cat([turn / stretch, move], 2), [n, 1, side, side], align_corners=False
    )
    if elastic:
        knots = elastic * torch.randn(n, 2, 5, 5, generator=generator, device=images.device)
        field = F.interpolate(knots, size=(side, side), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
