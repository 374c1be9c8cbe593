"""Feature-wise linear modulation by the task (Perez et al., *FiLM*, 2018; Oreshkin et al., *TADAM*, 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import whole
from fslib.methods.base import FewShotClassifier, check_above_zero, check_images
from fslib.methods.prototypical import prototypes
from fslib.metrics import full_precision, squared_euclidean


class FiLMNetwork(FewShotClassifier):
    """Let the support set say which feature maps matter, then compare with the prototypes.

    FiLM multiplies each channel of feature maps by a factor and adds a shift, γ ⊙ h + β (Perez et al., 2018). Here both
    come from the task, as in TADAM (Oreshkin et al., 2018): γ = 1 + γ₀ ⊙ f(c̄) and β = β₀ ⊙ g(c̄), where c̄ is the mean of
    the prototypes and f, g are a small network. γ₀ and β₀ start at zero, so that training starts from the plain
    network, and what they grow to says how much the task is used.

    TADAM modulates every block, so that an image is embedded anew in each episode. Here the maps of the last block are
    the embedding, which knows no task, and only what comes after it does: modulation, ReLU, 2 × 2 max-pooling,
    prototypes, distances. With γ = 1 and β = 0 this is the Prototypical Network over a Conv-4, bit by bit.

    Args:
        feature_extractor: any module from images to feature maps, (n, ...) → (n, c, h, w) with h, w ≥ 2 and nothing
            below zero, as ``Conv4(pools=3, pooling="none")`` gives them.
        channels: c.
        hidden: width of the hidden layer from c̄ to γ and β.
        temperature: τ, by which scores are divided.

    Example:
        >>> import torch
        >>> model = FiLMNetwork(torch.nn.Identity(), channels=8).eval()
        >>> model(torch.rand(3, 8, 3, 3), ["a", "b", "c"], torch.rand(5, 8, 3, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self, feature_extractor: nn.Module, channels: int = 64, hidden: int = 64, temperature: float = 1.0
    ):
        super().__init__(feature_extractor)
        check_above_zero("temperature", temperature)
        self.channels, self.hidden = whole("channels", channels), whole("hidden", hidden)
        self.temperature = temperature
        self.generator = nn.Sequential(
            nn.Linear(self.channels, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 2 * self.channels)
        )
        self.gamma = nn.Parameter(torch.zeros(self.channels))
        self.beta = nn.Parameter(torch.zeros(self.channels))

    def embed(self, images: Tensor) -> Tensor:
        """Feature maps of images, (n, ...) → (n, c, h, w)."""
        check_images(images)
        maps = self.feature_extractor(self._here(images))
        if maps.ndim != 4 or maps.shape[1] != self.channels or min(maps.shape[2:]) < 2:
            raise ValueError(
                f"FiLMNetwork modulates feature maps (n, {self.channels}, h, w) of 2 × 2 locations or more, as "
                f'Conv4(pools=3, pooling="none") gives them, but got {tuple(maps.shape)}.'
            )
        return maps

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Minus the squared distance of each query to each prototype after modulation, (..., m, classes)."""
        support, labels, query = self._ready(support, support_labels, query, axes=3)
        with full_precision(support):
            support, query = (x.to(self.gamma.dtype) for x in (support, query))
            gamma, beta = self.modulation(support, labels)
            support, query = _modulated(support, gamma, beta), _modulated(query, gamma, beta)
            return -squared_euclidean(query, prototypes(support, labels)) / self.temperature

    def modulation(self, support: Tensor, support_labels: Tensor) -> tuple[Tensor, Tensor]:
        """γ and β of each episode, (..., c) each, from maps (..., n, c, h, w)."""
        task = prototypes(support.mean((-2, -1)), support_labels).mean(-2)
        factors, shifts = self.generator(task).chunk(2, -1)
        return 1 + self.gamma * factors, self.beta * shifts

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time."""
        return super().memory_per_episode(way, shot, query, dim) + 2 * way * (shot + query) * dim


def _modulated(maps: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Embeddings of modulated maps, (..., n, c, h, w) → (..., n, d), by γ and β, (..., c)."""
    gamma, beta = (x[..., None, :, None, None] for x in (gamma, beta))
    maps = (gamma * maps + beta).relu()
    pooled = F.max_pool2d(maps.flatten(0, -4), 2)
    return pooled.flatten(1).unflatten(0, maps.shape[:-3])
