"""What all methods share: embed, then compare."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FewShotClassifier(nn.Module):
    """Embed images without knowing the task; compare queries with a support set.

    A method is a subclass that writes :meth:`compare`. Because :meth:`embed` knows no task, an evaluation embeds
    every image once and compares thousands of episodes in a few tensor operations.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
    """

    def __init__(self, feature_extractor: nn.Module):
        super().__init__()
        self.feature_extractor = feature_extractor

    @property
    def config(self) -> dict[str, Any]:
        """What it was built with, by the names of its arguments, so that :func:`fslib.save` can build it again."""
        return dict(feature_extractor=self.feature_extractor)

    def embed(self, images: Tensor) -> Tensor:
        """Embed images, (n, ...) → (n, d), each on its own."""
        return self.feature_extractor(images)

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Score embedded queries against an embedded support set, for any number of leading episode axes.

        Args:
            support: (..., n, d)
            support_labels: (n,) where all episodes share them, else (..., n); any distinct integers.
            query: (..., m, d)

        Returns:
            Scores, higher is closer, shape (..., m, classes), columns in the order of the sorted labels.
        """
        raise NotImplementedError

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of scores (..., m, classes) against target columns (m,) or (..., m): cross-entropy."""
        targets = targets.expand(scores.shape[:-1])
        return F.cross_entropy(scores.flatten(0, -2), targets.flatten())

    def workspace(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time.

        An evaluation compares as many episodes at once as fit into its memory by this count. Here it is gathered
        embeddings of ``dim`` numbers, their copies, and scores.
        """
        return 3 * way * (shot + query) * dim + 4 * way * query * way

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Embed both sets of images in one batch, then compare.

        One batch matters in training: batch norm sees the whole episode instead of a handful of support images.

        Args:
            support: images (n, ...)
            support_labels: (n,), any distinct integers
            query: images (m, ...)

        Returns:
            Scores (m, classes), columns in the order of the sorted distinct labels.

        Raises:
            ValueError: on images that do not match, labels that are not one integer an image, or embeddings
                that are not finite.
        """
        if support.shape[1:] != query.shape[1:]:
            raise ValueError(
                f"Support and query images must have the same shape, "
                f"but are {tuple(support.shape[1:])} and {tuple(query.shape[1:])}."
            )
        check_labels(support_labels, len(support))
        embeddings = check_finite(self.embed(torch.cat([support, query])))
        return self.compare(embeddings[: len(support)], support_labels, embeddings[len(support) :])


def class_positions(labels: Tensor) -> Tensor:
    """Position of each label among the sorted distinct labels of its episode: [7, 3, 7] → [1, 0, 1].

    Args:
        labels: integers, (..., n). Every episode must hold the same number of distinct labels.

    Returns:
        Positions 0 … classes − 1, shape (..., n).
    """
    ordered, order = labels.sort(-1)
    steps = (ordered.diff(dim=-1) != 0).cumsum(-1)
    ranks = F.pad(steps, (1, 0))
    if ranks.ndim > 1 and (ranks[..., -1] != ranks[..., -1].flatten()[0]).any():
        raise ValueError(
            "Every episode of a batch must have the same number of classes, but they differ."
        )
    return torch.zeros_like(ranks).scatter(-1, order, ranks)


def members(labels: Tensor) -> Tensor:
    """Which class each example is of, as ones and zeros: labels (..., n) → (..., n, classes), in float32."""
    return F.one_hot(class_positions(labels)).float()


def check_labels(labels: Tensor, examples: int) -> None:
    """Raise unless ``labels`` holds one integer for each of ``examples`` support examples."""
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise ValueError(
            f"Labels must be integers, but are {labels.dtype}; convert them with labels.long()."
        )
    if labels.ndim == 0 or labels.shape[-1] != examples:
        raise ValueError(
            f"There must be one label for each of the {examples} support examples, "
            f"but the labels have shape {tuple(labels.shape)}."
        )


def check_finite(embeddings: Tensor) -> Tensor:
    """Raise if an embedding, a row of (n, d), holds NaN or infinity; else give the embeddings back."""
    broken = (~embeddings.isfinite()).flatten(1).any(1).sum().item()
    if broken:
        raise ValueError(
            f"{broken} of {len(embeddings)} embeddings hold NaN or infinity: "
            "look for NaN in the images, or train with a lower learning rate."
        )
    return embeddings
