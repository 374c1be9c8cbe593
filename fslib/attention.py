"""Blocks that let a network weigh its own features: drop-in modules, (n, c, h, w) → (n, c, h, w).

:class:`SqueezeExcitation` weighs channels, :class:`CBAM` channels and then locations, and :class:`SelfAttention` lets
every location of a picture attend to every other. :class:`fslib.backbones.Conv4` and :class:`fslib.backbones.ResNet12`
put one into each of their blocks when asked by its name in :data:`BLOCKS`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Weigh each channel by a number between 0 and 1 that the whole picture decides.

    σ(W₂ ReLU(W₁ z)), z the mean of each channel (Hu, Shen and Sun, 2018, equations 2 and 3).

    Args:
        channels: c.
        reduction: how many times narrower the hidden layer is.
    """

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        self.channel_mlp = _narrow(channels, reduction)

    def forward(self, maps: Tensor) -> Tensor:
        """Weigh the channels of feature maps."""
        return maps * self.channel_mlp(maps.mean((2, 3), keepdim=True)).sigmoid()


class CBAM(nn.Module):
    """Weigh each channel, then each location (Woo et al., *Convolutional Block Attention Module*, 2018).

    The weight of a channel is σ(W z_mean + W z_max), W two layers that both summaries share (equation 2). The weight
    of a location is the sigmoid of a convolution over the mean and the maximum across channels (equation 3).

    Args:
        channels: c.
        reduction: how many times narrower the hidden layer for the channels is.
        kernel: side of the convolution over locations.
    """

    def __init__(self, channels: int, reduction: int = 8, kernel: int = 7):
        super().__init__()
        self.channel_mlp = _narrow(channels, reduction)
        self.spatial = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Weigh the channels, then the locations of feature maps."""
        mean, greatest = maps.mean((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        maps = maps * (self.channel_mlp(mean) + self.channel_mlp(greatest)).sigmoid()
        across = torch.cat([maps.mean(1, keepdim=True), maps.amax(1, keepdim=True)], 1)
        return maps * self.spatial(across).sigmoid()


class SelfAttention(nn.Module):
    """Self-attention over the locations of a picture: to each is added what it reads from all of them.

    x + γ · W softmax(QKᵀ/√d) V, with one query, key and value for each location (Vaswani et al., 2017, equation 1; on
    feature maps: Zhang et al., *SAGAN*, 2019). γ starts at zero, so that the block starts by doing nothing.

    Args:
        channels: c.
        reduction: how many times narrower than the maps queries, keys and values are.
    """

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        self.dim = max(1, channels // reduction)
        self.qkv = nn.Conv2d(channels, 3 * self.dim, 1)
        self.proj = nn.Conv2d(self.dim, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """Let all locations of feature maps attend to all."""
        queries, keys, values = (
            self.qkv(maps).flatten(2).mT.split(self.dim, -1)
        )  # (n, h·w, dim) each
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return maps + self.gamma * self.proj(attended.mT.unflatten(2, maps.shape[2:]))


#: Blocks by the name a backbone takes.
BLOCKS = {"se": SqueezeExcitation, "cbam": CBAM, "self": SelfAttention}


def block(name: str | None, channels: int) -> nn.Module:
    """The block of that name in :data:`BLOCKS`; for ``None``, one that does nothing."""
    if name is None:
        return nn.Identity()
    if name not in BLOCKS:
        raise ValueError(
            f"There is no attention block {name!r}; there are {', '.join(map(repr, BLOCKS))}."
        )
    return BLOCKS[name](channels)


def _narrow(channels: int, reduction: int) -> nn.Sequential:
    """Two layers over channels, the hidden one narrower."""
    hidden = max(1, channels // reduction)
    return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
