"""The batches of a training, by number: batch i depends on the seed and on i alone."""

from __future__ import annotations

import torch

from fslib.data import ImageSet
from fslib.devices import upload
from fslib.episodes import EpisodeSampler
from fslib.training.steps import Batch
from fslib.training.steps.augmented import Augment, augmented, check_augment


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
        if augment is not None:
            check_augment(augment)

    def __getitem__(self, i: int) -> Batch:
        """Batch number ``i``."""
        episode = self.sampler[i]
        drawn = torch.cat([episode.support, episode.query])
        images = self.images.inputs(upload(drawn, self.device))
        if self.augment is not None:
            images = augmented(images, self.augment, self._generator(i))
        return Batch(images, self.labels[drawn], episode, self.bfloat16)

    def _generator(self, i: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed((self.sampler.seed * 1_000_003 + i) % 2**63)
