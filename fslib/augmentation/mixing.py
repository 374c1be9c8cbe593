"""Mixtures of two pictures: MixUp blends them, CutMix pastes a box of one into the other.

>>> images = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
>>> partner = torch.tensor([1, 0])     # of each picture, the one it is mixed with
>>> mixup(images, partner, share=0.75)[0]
tensor([[[0.2500, 0.2500],
         [0.2500, 0.2500]]])
>>> box = (0, 0, 1, 2)     # the upper half
>>> cutmix(images, partner, box)[0], kept_share(images, box)
(tensor([[[1., 1.],
         [0., 0.]]]), 0.5)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fslib.augmentation.warps import check_images
from fslib.devices import upload

Box = tuple[int, int, int, int]


def mixup(images: Tensor, partner: Tensor, share: float) -> Tensor:
    """Blend each picture with its partner: λxᵢ + (1 − λ)xⱼ (Zhang et al., *mixup*, 2018).

    Args:
        images: (n, c, h, w).
        partner: j of each picture i, positions in the batch, (n,).
        share: λ, of the picture itself, 0 … 1.

    Returns:
        Mixtures, (n, c, h, w), whose labels are those of i with weight λ and those of j with weight 1 − λ.
    """
    _check(images, partner)
    _check_share(share)
    return share * images + (1 - share) * images[upload(partner, images.device)]


def cutmix(images: Tensor, partner: Tensor, box: Box) -> Tensor:
    """Paste into each picture a box of its partner (Yun et al., *CutMix*, 2019).

    Args:
        images: (n, c, h, w).
        partner: j of each picture i, positions in the batch, (n,).
        box: top, left, bottom and right in pixels, bottom and right not included; see :func:`random_box`.

    Returns:
        Mixtures, (n, c, h, w), whose labels are those of i with weight :func:`kept_share` and those of j with the rest.
    """
    _check(images, partner)
    top, left, bottom, right = _inside(box, images)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[upload(partner, images.device), :, top:bottom, left:right]
    return mixed


def random_box(images: Tensor, share: float) -> Box:
    """A box for :func:`cutmix`: of the shape of the picture, of a part 1 − λ of its area, its middle anywhere.

    What lies outside of the picture is cut off, so that less is pasted: λ is then what :func:`kept_share` tells.

    Args:
        images: (n, c, h, w); one box for all.
        share: λ, 0 … 1.
    """
    _check_share(share)
    ends = []
    for side in (images.shape[-1], images.shape[-2]):
        middle, half = int(torch.randint(side, ())), int(0.5 * math.sqrt(1 - share) * side)
        ends.append((max(0, middle - half), min(side, middle + half)))
    (left, right), (top, bottom) = ends
    return top, left, bottom, right


def kept_share(images: Tensor, box: Box) -> float:
    """The part of a picture's area that lies outside of the box."""
    top, left, bottom, right = _inside(box, images)
    return 1 - (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])


def _inside(box: Box, images: Tensor) -> Box:
    top, left, bottom, right = box
    height, width = images.shape[-2:]
    if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):
        raise ValueError(
            f"A box is top, left, bottom and right within {height} × {width} pixels, but is {tuple(box)}."
        )
    return box


def _check_share(share: Any) -> None:
    if not 0 <= share <= 1:  # so that NaN is refused too
        raise ValueError(f"The share of the picture itself is between 0 and 1, but is {share}.")


def _check(images: Any, partner: Any) -> None:
    check_images(images, "Mixing takes")
    if not isinstance(partner, Tensor) or partner.shape != (len(images),) or partner.is_floating_point():
        raise ValueError(
            f"Each of the {len(images)} pictures has one partner, its position in the batch, as torch.randperm gives "
            f"them, but this is {partner!r}."
        )
