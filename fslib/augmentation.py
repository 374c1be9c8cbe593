"""Random warps, as if another writer had drawn the character, for training and for test-time augmentation."""

from __future__ import annotations

import math
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import Configured, whole
from fslib.deprecation import renamed_in
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
    _check_images(images)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"The generator is one of PyTorch's, as torch.Generator().manual_seed(3), but is {generator!r}."
        )
    _check_bounds(rotation=rotation, scale=scale, shear=shear, shift=shift, elastic=elastic)
    if size is not None:
        size = whole("size", size)
    if not (n := len(images)):
        return images if size is None else images.new_empty(0, images.shape[1], size, size)
    shape = images.shape[-2:] if size is None else torch.Size([size, size])
    device = images.device if generator is None else generator.device
    maps = _affine_maps(n, rotation, scale, shear, shift, generator, device)
    grid = F.affine_grid(upload(maps, images.device), [n, 1, *shape], align_corners=False)
    if elastic:
        knots = elastic * torch.randn(n, 2, 5, 5, generator=generator, device=device)
        knots = upload(knots, images.device)
        field = F.interpolate(knots, size=shape, mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    exact = torch.promote_types(images.dtype, torch.float32)  # few devices sample in half precision
    return _sample(images.to(exact), grid.to(exact)).to(images.dtype)


class TestTimeAugmentation(Configured, nn.Module):
    """Test-time augmentation: the mean of the embeddings of a picture and of warped copies of it.

    What a network makes of a picture depends a little on how it lies in its frame. The mean over copies that lie
    otherwise depends on that less. All pictures go through the same few affine maps, drawn once, so an embedding
    depends on its picture alone, and the comparison stays inductive.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
        copies: warped copies, beside the picture itself; each costs an embedding.
        rotation, scale, shear, shift: bounds of the maps, as in :func:`random_warp`.
        seed: of the maps.

    Raises:
        ValueError: if a bound makes no sense, or copies or seed is not a whole number.

    Shape:
        images (n, c, h, w) → embeddings (n, d).
    """

    maps: Tensor

    def __init__(
        self,
        feature_extractor: nn.Module,
        copies: int = 8,
        rotation: float = 7.0,
        scale: float = 0.075,
        shear: float = 0.1,
        shift: float = 0.05,
        seed: int = 0,
    ):
        super().__init__()
        copies = whole("copies", copies)
        seed = whole("seed", seed, 0, 2**63)
        if not callable(feature_extractor):
            raise ValueError(
                f"Test-time augmentation is of a module from images to embeddings, but got {feature_extractor!r}."
            )
        _check_bounds(rotation=rotation, scale=scale, shear=shear, shift=shift)
        self.feature_extractor = feature_extractor
        self.copies, self.rotation, self.scale = copies, rotation, scale
        self.shear, self.shift, self.seed = shear, shift, seed
        generator = torch.Generator().manual_seed(seed)
        maps = _affine_maps(copies, rotation, scale, shear, shift, generator)
        self.register_buffer("maps", maps, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        _check_images(images)
        images = images.to(self.maps.device)
        embeddings = self.feature_extractor(images)
        for each in self.maps:
            maps = each.to(images.dtype).expand(len(images), -1, -1)
            grid = F.affine_grid(maps, list(images.shape), align_corners=False)
            embeddings = embeddings + self.feature_extractor(_sample(images, grid))
        return embeddings / (1 + len(self.maps))


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        of = f" of {images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else ""
        raise ValueError(
            "Warps take network input, a tensor of floats of shape (n, c, h, w), as to_input gives it, "
            f"but this is {type(images).__name__}{of}."
        )


def _affine_maps(
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


def _check_bounds(**bounds: float) -> None:
    for name, bound in bounds.items():
        limit = 1 if name == "scale" else math.inf
        if not isinstance(bound, Real) or not 0 <= bound < limit:  # so that NaN is refused too
            raise ValueError(
                f"{name} is a bound, finite and at least 0 (of scale below 1), but is {bound}."
            )


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


__getattr__ = renamed_in(__name__, globals(), Views="TestTimeAugmentation")
