"""The batches of a training, by number: batch i depends on the seed and on i alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fslib.data import ImageSet
from fslib.devices import upload
from fslib.episodes import EpisodeSampler
from fslib.training.steps import Batch

Augment = Callable[..., Tensor]


class Batches:
    """Episodes as batches of images on a device.

    Args:
        data: the images; what ``data.inputs`` makes of them is what the model sees.
        sampler: of the episodes.
        augment: called on every batch as ``augment(images, generator=generator)``, or without the generator if it
            takes none.
        device: on which to hold the images, and to make the batches.
        bfloat16: whether networks run in bfloat16.
    """

    def __init__(
        self,
        data: ImageSet,
        sampler: EpisodeSampler,
        augment: Augment | None,
        device: torch.device,
        bfloat16: bool,
    ):
        self.labels, self.images = data.labels, data.to(device)
        self.sampler, self.augment, self.device, self.bfloat16 = sampler, augment, device, bfloat16
        self.draws = augment is not None and _takes_generator(augment)

    def __getitem__(self, i: int) -> Batch:
        """Batch number ``i``."""
        episode = self.sampler[i]
        drawn = torch.cat([episode.support, episode.query])
        images = self.images.inputs(upload(drawn, self.device))
        if self.augment is not None:
            options = {"generator": self._generator(i)} if self.draws else {}
            images = self._checked(self.augment(images, **options), len(drawn))
        return Batch(images, self.labels[drawn], episode, self.bfloat16)

    def _generator(self, i: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed((self.sampler.seed * 1_000_003 + i) % 2**63)

    def _checked(self, images: Any, count: int) -> Tensor:
        if isinstance(images, Tensor) and len(images) == count and images.is_floating_point():
            return images
        what = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"An augmentation gives as many images as it gets, here {count}, as floats, but {self.augment} gave {what}."
        )


def _takes_generator(augment: Augment) -> bool:
    """Whether a function has an argument ``generator``; the transforms of torchvision have none."""
    if not callable(augment):
        raise ValueError(f"An augmentation is called with images, but this is {augment!r}.")
    try:
        call = augment.forward if isinstance(augment, nn.Module) else augment
        parameters = inspect.signature(call).parameters
    except ValueError:  # a function built into PyTorch
        return False
    return "generator" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
