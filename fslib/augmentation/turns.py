"""Turns by quarters of a circle and mirrors: exact, because no pixel is computed anew.

Whether they leave a character what it is, is another question. A mirror makes q of p, and half a turn makes d of p.
:func:`fslib.data.glyphs.look_alikes` lists such pairs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fslib.config import whole
from fslib.devices import upload

_ACROSS, _DOWN = -1, -2


def turned(images: Tensor, quarters: int | Tensor) -> Tensor:
    """Turn pictures by so many quarters of a circle, against the clock.

    Args:
        images: (n, c, h, w), of any type; square, if each has its own turn.
        quarters: of all pictures, or of each, (n,). Four are none, and −1 is a quarter with the clock.

    Returns:
        Pictures of the same type, (n, c, h, w); of an odd number of quarters for all, (n, c, w, h).

    Example:
        >>> picture = torch.tensor([[[[1, 2], [3, 4]]]])
        >>> turned(picture, 1)
        tensor([[[[2, 4],
                  [1, 3]]]])
        >>> turned(torch.cat([picture, picture]), torch.tensor([0, 2]))[1]
        tensor([[[4, 3],
                 [2, 1]]])
    """
    _check_images(images)
    if not isinstance(quarters, Tensor):
        return images.rot90(whole("quarters", quarters, least=-(2**31)), (_DOWN, _ACROSS))
    _check_one_each("quarters", quarters, images)
    if quarters.is_floating_point() or quarters.dtype == torch.bool:
        raise ValueError(f"Turns are whole numbers of quarters, but these are {quarters.dtype}.")
    if images.shape[_DOWN] != images.shape[_ACROSS]:
        raise ValueError(
            f"Only square pictures keep their shape in any turn, but these are {tuple(images.shape[-2:])}."
        )
    four = torch.stack([images.rot90(k, (_DOWN, _ACROSS)) for k in range(4)])
    return four[upload(quarters, images.device) % 4, torch.arange(len(images), device=images.device)]


def mirrored(images: Tensor, which: Tensor | None = None) -> Tensor:
    """Mirror pictures, left to right. Top to bottom is this with half a turn.

    Args:
        images: (n, c, h, w), of any type.
        which: of the pictures, boolean (n,); default, all.

    Example:
        >>> mirrored(torch.tensor([[[[1, 2], [3, 4]]]]))
        tensor([[[[2, 1],
                  [4, 3]]]])
    """
    _check_images(images)
    if which is None:
        return images.flip(_ACROSS)
    _check_one_each("which", which, images)
    if which.dtype != torch.bool:
        raise ValueError(f"Which pictures to mirror is boolean, one a picture, but this is {which.dtype}.")
    return torch.where(upload(which, images.device)[:, None, None, None], images.flip(_ACROSS), images)


def random_turn(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Turn each picture by a number of quarters of its own: 0, 1, 2 or 3, all as likely.

    Args:
        images: (n, c, h, h).
        generator: for repeatable draws, made on its device; default, the generator of the device of the images.
    """
    _check_images(images)
    device = images.device if generator is None else generator.device
    return turned(images, torch.randint(4, (len(images),), generator=generator, device=device))


def random_mirror(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mirror each picture, left to right, with probability ½.

    Args:
        images: (n, c, h, w).
        generator: as of :func:`random_turn`.
    """
    _check_images(images)
    device = images.device if generator is None else generator.device
    return mirrored(images, torch.rand(len(images), generator=generator, device=device) < 0.5)


def _check_images(images: Any) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4:
        what = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"Pictures are a tensor (n, c, h, w), but this is {what}.")


def _check_one_each(name: str, values: Tensor, images: Tensor) -> None:
    if values.shape != (len(images),):
        raise ValueError(
            f"{name} is one for each of the {len(images)} pictures, but has shape {tuple(values.shape)}."
        )
