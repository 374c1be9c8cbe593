"""Distances and similarities between two sets of vectors.

Every function takes ``x`` of shape (..., n, d) and ``y`` of shape (..., m, d) and returns all n·m values at once,
shape (..., n, m). Leading axes broadcast, so a batch of episodes costs one call. No (n, m, d) tensor is built.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Metric = Callable[[Tensor, Tensor], Tensor]


def full_precision(x: Tensor) -> torch.autocast:
    """A context without autocast on the device of ``x``: bfloat16 is too coarse to compare."""
    return torch.autocast(x.device.type, enabled=False)


def _pairwise(metric: Metric) -> Metric:
    """Check shapes, and compute in float32 or better."""

    @functools.wraps(metric)
    def compute(x: Tensor, y: Tensor) -> Tensor:
        if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
            raise ValueError(
                f"{metric.__name__} compares x (..., n, d) with y (..., m, d), "
                f"but got {tuple(x.shape)} and {tuple(y.shape)}."
            )
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        with full_precision(x):
            return metric(x.to(dtype), y.to(dtype))

    return compute


@_pairwise
def squared_euclidean(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance, ‖x − y‖².

    Expanded as ‖x‖² − 2x·y + ‖y‖², so that the work is one matrix product. The expansion loses digits when the
    vectors lie far from the origin, so both sets are first moved by the mean of ``y``; distances do not change.

    Args:
        x: (..., n, d)
        y: (..., m, d)

    Returns:
        Distances, shape (..., n, m), never negative. The gradient is finite everywhere.
    """
    center = y.detach().mean(-2, keepdim=True)
    x, y = x - center, y - center
    norms = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
    return (norms - 2 * x @ y.mT).clamp_min(0)


@_pairwise
def euclidean(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distance, ‖x − y‖.

    The slope of a square root is infinite at zero; here the gradient at zero distance is zero instead, a valid
    subgradient.

    Args:
        x: (..., n, d)
        y: (..., m, d)

    Returns:
        Distances, shape (..., n, m).
    """
    squared = squared_euclidean(x, y)
    apart = squared > 0
    return torch.where(apart, squared, 1.0).sqrt() * apart


@_pairwise
def cosine_similarity(x: Tensor, y: Tensor) -> Tensor:
    """Cosine of the angle between x and y, x·y / (‖x‖‖y‖), from −1 to 1; zero where a vector is zero.

    Args:
        x: (..., n, d)
        y: (..., m, d)

    Returns:
        Similarities, shape (..., n, m).
    """
    return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).mT


@_pairwise
def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """One minus the cosine similarity, from 0 (same direction) to 2 (opposite).

    Args:
        x: (..., n, d)
        y: (..., m, d)

    Returns:
        Distances, shape (..., n, m).
    """
    return 1 - cosine_similarity(x, y)
