"""A set of labelled images, and the one way from a picture to network input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SIDE = 28


@dataclass(frozen=True, repr=False)
class ImageSet(torch.utils.data.Dataset):
    """Images of some classes, held in memory.

    Attributes:
        name: of the data set and the split.
        images: uint8, dark ink on white paper, (n, 1, 28, 28).
        labels: class of each image, 0 … classes − 1, (n,).
        class_names: one name a class.
        class_groups: the writing system each class belongs to.
        domains: who or what made each image (the drawer, the face of the font), (n,).
    """

    name: str
    images: Tensor
    labels: Tensor
    class_names: Sequence[str]
    class_groups: Sequence[str] = field(default=())
    domains: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image as network input, (1, 28, 28), and its label."""
        return self.inputs([index])[0], int(self.labels[index])

    def inputs(self, indices: Any = slice(None)) -> Tensor:
        """Network input for some examples, float32, (…, 1, 28, 28); see :func:`to_input`."""
        return to_input(self.images[indices])

    @property
    def digest(self) -> str:
        """First 16 digits of the SHA-256 of images and labels. Other data, or another order, has another digest."""
        digest = hashlib.sha256(f"{tuple(self.images.shape)}".encode())
        for part in (self.images, self.labels):
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def select(self, classes: Sequence[int]) -> ImageSet:
        """The same data set with only some classes, renumbered in the order given."""
        number = torch.full((len(self.class_names),), -1)
        number[list(classes)] = torch.arange(len(classes))
        kept = number[self.labels] >= 0
        return ImageSet(
            f"{self.name}, {len(classes)} classes",
            self.images[kept],
            number[self.labels][kept],
            [self.class_names[c] for c in classes],
            [self.class_groups[c] for c in classes] if self.class_groups else (),
            None if self.domains is None else self.domains[kept],
        )

    def __repr__(self) -> str:
        return f"{self.name}: {len(self):,} images of {len(self.class_names):,} classes"


def check_disjoint(*sets: ImageSet) -> None:
    """Raise if two sets share a class; a class seen in training says nothing about new classes."""
    for i, first in enumerate(sets):
        for second in sets[i + 1 :]:
            shared = set(first.class_names) & set(second.class_names)
            if shared:
                raise ValueError(
                    f"{first.name} and {second.name} share {len(shared)} classes, {min(shared)} among them; "
                    "training and evaluation need different classes."
                )


def to_input(images: Any) -> Tensor:
    """Turn pictures, dark ink on white paper, into network input: 28 × 28, ink = 1, paper = 0.

    Larger pictures are shrunk by Pillow's antialiased bilinear filter. There is no other normalisation. Training,
    evaluation and your own images all come through here, so they cannot disagree.

    Args:
        images: a Pillow image, or uint8 of shape (h, w), (..., 28, 28) or (..., h, w).

    Returns:
        float32, (1, 28, 28) for one picture without a channel axis, else (..., 28, 28).
    """
    if isinstance(images, Image.Image):
        paper = Image.new("RGBA", images.size, "white")  # what is transparent is paper, not ink
        images = np.array(Image.alpha_composite(paper, images.convert("RGBA")).convert("L"))
    pictures = torch.as_tensor(images)
    if pictures.dtype != torch.uint8 or pictures.ndim < 2:
        raise ValueError(
            "Pictures must be uint8, dark ink on white paper, with height and width as the last axes, "
            f"but are {pictures.dtype} of shape {tuple(pictures.shape)}."
        )
    if pictures.ndim == 2:
        pictures = pictures[None]
    if pictures.shape[-2:] != (SIDE, SIDE):
        flat = pictures.reshape(-1, *pictures.shape[-2:]).cpu().numpy()
        pictures = torch.from_numpy(shrink(flat)).reshape(*pictures.shape[:-2], SIDE, SIDE)
    return 1 - pictures.float() / 255


def shrink(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Shrink uint8 pictures, each (h, w), to (n, 28, 28) by Pillow's antialiased bilinear filter."""
    small = [Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for p in pictures]
    return np.stack([np.asarray(p) for p in small])
