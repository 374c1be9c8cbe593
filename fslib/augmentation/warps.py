"""Random warps, as if another writer had drawn the character, and random crops."""

from __future__ import annotations

import math
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.config import whole
from fslib.devices import upload


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
        generator: for repeatable draws. They are made on its device, and then moved to that of the images; default, the
            generator of that device.

    Returns:
        Warped images, (n, c, size, size), or (n, c, h, w) if ``size`` is None.

    Raises:
        ValueError: if the images are no tensor of floats of that shape, or a bound or the generator makes no sense.
    """
    shape, device = _asked(images, size, generator)
    check_bounds(rotation=rotation, scale=scale, shear=shear, shift=shift, elastic=elastic)
    if not (n := len(images)):
        return images.new_empty(0, images.shape[1], *shape)
    maps = affine_maps(n, rotation, scale, shear, shift, generator, device)
    grid = _grid(maps, images, shape)
    if elastic:
        knots = elastic * torch.randn(n, 2, 5, 5, generator=generator, device=device)
        knots = upload(knots, images.device)
        field = F.interpolate(knots, size=shape, mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    return _looked_up(images, grid)


def random_crop(
    images: Tensor,
    least: float = 0.6,
    size: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cut a random part out of each image, of the same proportions, and enlarge it to the whole.

    Its share of the area is uniform from ``least`` to 1, and its place uniform among those inside the image: the random
    resized crop of Szegedy et al. (2015, section 6), but for the proportions, which theirs varies too.

    Args:
        images: (n, c, h, w), network input.
        least: share of the area that is kept at least, above 0 and at most 1.
        size: side of the result; that of the images if None.
        generator: as for :func:`random_warp`.

    Returns:
        The enlarged parts, (n, c, size, size), or (n, c, h, w) if ``size`` is None.

    Raises:
        ValueError: as :func:`random_warp` does, or if ``least`` is no such share.
    """
    shape, device = _asked(images, size, generator)
    if not isinstance(least, Real) or not 0 < least <= 1:
        raise ValueError(f"least is a share of the area, above 0 and at most 1, but is {least}.")
    if not (n := len(images)):
        return images.new_empty(0, images.shape[1], *shape)
    draws = torch.rand(n, 3, 1, generator=generator, device=device)
    side = (1 - (1 - least) * draws[:, :1]).sqrt()
    place = (1 - side) * (2 * draws[:, 1:] - 1)  # of the part's middle, in half-widths
    maps = torch.cat([side * torch.eye(2, device=device), place], 2)
    return _looked_up(images, _grid(maps, images, shape))


def check_images(images: Tensor, who: str = "Warps take") -> None:
    """Raise unless these are network input."""
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        of = f" of {images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else ""
        raise ValueError(
            f"{who} network input, a tensor of floats of shape (n, c, h, w), as to_input gives it, "
            f"but this is {type(images).__name__}{of}."
        )


def _asked(
    images: Tensor, size: int | None, generator: torch.Generator | None
) -> tuple[torch.Size, torch.device]:
    """Height and width of the result, and the device to draw on; raises if what is asked makes no sense."""
    check_images(images)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"The generator is one of PyTorch's, as torch.Generator().manual_seed(3), but is {generator!r}."
        )
    shape = images.shape[-2:] if size is None else torch.Size(2 * [whole("size", size)])
    return shape, images.device if generator is None else generator.device


def _grid(maps: Tensor, images: Tensor, shape: torch.Size) -> Tensor:
    """Where each pixel of the result looks, (n, height, width, 2), after affine maps (n, 2, 3)."""
    return F.affine_grid(upload(maps, images.device), [len(images), 1, *shape], align_corners=False)


def _looked_up(images: Tensor, grid: Tensor) -> Tensor:
    """The images there, sampled in single precision at least, as few devices do in half."""
    exact = torch.promote_types(images.dtype, torch.float32)
    return sample(images.to(exact), grid.to(exact)).to(images.dtype)


def affine_maps(
    n: int,
    rotation: float,
    scale: float,
    shear: float,
    shift: float,
    generator: torch.Generator | None,
    device: torch.device | None = None,
) -> Tensor:
    """Random affine maps, (n, 2, 3), within the bounds that :func:`random_warp` states."""

    def uniform(bound: float, *shape: int) -> Tensor:
        return bound * (2 * torch.rand(n, *shape, generator=generator, device=device) - 1)

    angle, tangent = uniform(math.radians(rotation)), uniform(shear)
    stretch, move = 1 + uniform(scale, 2, 1), 2 * uniform(shift, 2, 1)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack(
        [torch.stack([cos, tangent * cos - sin], 1), torch.stack([sin, tangent * sin + cos], 1)], 1
    )
    return torch.cat([turn / stretch, move], 2)


def check_bounds(**bounds: float) -> None:
    """Raise unless these are bounds of warps."""
    for name, bound in bounds.items():
        limit = 1 if name == "scale" else math.inf
        if not isinstance(bound, Real) or not 0 <= bound < limit:  # so that NaN is refused too
            raise ValueError(
                f"{name} is a bound, finite and at least 0 (of scale below 1), but is {bound}."
            )


def sample(images: Tensor, grid: Tensor) -> Tensor:
    """The images (n, c, h, w) at the places of a grid, (n, height, width, 2); outside is paper."""
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
