"""Networks that embed images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Conv4(nn.Sequential):
    """Four blocks of 3 × 3 convolution, batch norm, ReLU and 2 × 2 max-pooling; then flatten.

    The standard small network of few-shot learning, from Vinyals et al. (2016, section 4.1.1). Each block halves the
    picture, so 28 × 28 becomes 1 × 1 and the embedding has ``channels`` numbers.

    Args:
        channels: of every block.
        in_channels: of the images.
        unit: scale every embedding to length one, so that embeddings lie on a sphere.

    Shape:
        images (n, in_channels, h, w) with h, w ≥ 16 → embeddings (n, channels · ⌊h/16⌋ · ⌊w/16⌋).
    """

    def __init__(self, channels: int = 64, in_channels: int = 1, unit: bool = False):
        super().__init__(
            conv_block(in_channels, channels),
            conv_block(channels, channels),
            conv_block(channels, channels),
            conv_block(channels, channels),
            nn.Flatten(),
        )
        self.config = dict(channels=channels, in_channels=in_channels, unit=unit)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        channels = self.config["in_channels"]
        if images.ndim != 4 or images.shape[1] != channels or min(images.shape[2:]) < 16:
            raise ValueError(
                f"Conv4 takes images of shape (n, {channels}, height, width), 16 pixels a side or more, "
                f"but got {tuple(images.shape)}."
            )
        embeddings = super().forward(images)
        return F.normalize(embeddings.float(), dim=-1) if self.config["unit"] else embeddings


def conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """One block of :class:`Conv4`: (n, in, h, w) → (n, out, ⌊h/2⌋, ⌊w/2⌋)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
