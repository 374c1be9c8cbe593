"""Test-time augmentation: several looks at a picture, and the mean of what a network makes of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.augmentation.warps import affine_maps, check_bounds, check_images, sample
from fslib.config import Configured, whole


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
        check_bounds(rotation=rotation, scale=scale, shear=shear, shift=shift)
        self.feature_extractor = feature_extractor
        self.copies, self.rotation, self.scale = copies, rotation, scale
        self.shear, self.shift, self.seed = shear, shift, seed
        generator = torch.Generator().manual_seed(seed)
        maps = affine_maps(copies, rotation, scale, shear, shift, generator)
        self.register_buffer("maps", maps, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        check_images(images)
        images = images.to(self.maps.device)
        embeddings = self.feature_extractor(images)
        for each in self.maps:
            maps = each.to(images.dtype).expand(len(images), -1, -1)
            grid = F.affine_grid(maps, list(images.shape), align_corners=False)
            embeddings = embeddings + self.feature_extractor(sample(images, grid))
        return embeddings / (1 + len(self.maps))
