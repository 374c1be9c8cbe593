"""Distances and similarities between two sets of vectors.

Every function takes ``x`` of shape (..., n, d) and ``y`` of shape (..., m, d) and returns all n·m values at once,
shape (..., n, m). Leading axes broadcast, so a batch of episodes costs one call. No (n, m, d) tensor is built.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Metric = Callable[[Tensor, Tensor], Tensor]


def full_precision(x: Tensor) -> torch.autocast:
    """A context without autocast on the device of ``x``: bfloat16 is too coarse to compare."""
    return torch.autocast(x.device.type, enabled=False)


def _pairwise(metric: Metric, name: str = "") -> Metric:
    """Check shapes, and compute in float32 or better."""
    name = name or metric.__name__

    @functools.wraps(metric)
    def compute(x: Tensor, y: Tensor) -> Tensor:
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            raise TypeError(
                f"{name} compares tensors, but got {type(x).__name__} and {type(y).__name__}."
            )
        if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
            raise ValueError(
                f"{name} compares x (..., n, d) with y (..., m, d), "
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
    return _quadratic(x, y).clamp_min(0)


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
    return _root(_quadratic(x, y))


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
    # Half the squared distance of the unit vectors, for 1 − cos loses its digits where the angle is small.
    x, y = F.normalize(x, dim=-1), F.normalize(y, dim=-1)
    zero = (x == 0).all(-1)[..., :, None] | (y == 0).all(-1)[..., None, :]
    return torch.where(zero, 1.0, _quadratic(x, y).clamp_min(0) / 2)


def local_similarity(x: Tensor, y: Tensor, side: int = 7, reach: int = 1) -> Tensor:
    """Cosine similarity of feature maps whose places may move a little.

    A stroke of one drawing lies a little beside the same stroke of another. So each place i of a map is compared with
    the places j of the other around it, and the best counts,

        s(x, y) = ½ Σ_i max_j x_i · y_j + ½ Σ_j max_i x_i · y_j,   i and j at most ``reach`` apart along both axes,

    where x and y have length one as a whole. It follows the image distortion model of Keysers et al. (*Deformation
    Models for Image Recognition*, 2007), with learned features in the place of grey values, and both ways.

    Args:
        x: (..., n, d), each vector c maps of side × side, flattened; so d = c · side².
        y: (..., m, d)
        side: of the maps; 7 of a picture of 28 × 28 that was halved twice. Maps of a multiple of it are not noticed.
        reach: how far a place may move, in places; with 0 it is the cosine similarity.

    Returns:
        Similarities, shape (..., n, m), none below the cosine; and some above one, where a place finds a neighbour that
        answers it more strongly than its like. The zero vector has similarity zero to any other.

    Raises:
        ValueError: if d is not a multiple of side², or side and reach are not whole numbers of at least 1 and 0.
    """
    for name, value, least in (("side", side, 1), ("reach", reach, 0)):
        if not isinstance(value, int) or value < least:
            raise ValueError(
                f"The {name} must be a whole number, at least {least}, but is {value}."
            )
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    near = (place[:, None] - place).abs().amax(-1) <= reach
    around = [neighbours.nonzero().flatten().tolist() for neighbours in near]

    def best(x: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
        """Σ_i max_j x_i · y_j, place by place, x_i (..., n, c) and y_j (..., m, c)."""
        beside = (torch.stack([y[j] for j in places], -3) for places in around)
        found = [(x_i[..., None, :, :] @ y_j.mT).amax(-3) for x_i, y_j in zip(x, beside)]
        return torch.stack(found).sum(0)

    def both_ways(x: Tensor, y: Tensor) -> Tensor:
        if x.shape[-1] % side**2:
            raise ValueError(
                f"Vectors of {x.shape[-1]} numbers are not maps of {side} × {side}, flattened."
            )
        x_at, y_at = (
            F.normalize(part, dim=-1)
            .unflatten(-1, (-1, side**2))
            .movedim(-1, 0)
            .contiguous()
            .unbind()
            for part in (x, y)
        )
        there = best(x_at, y_at)
        # Among themselves, as in a loss, the way back is the same: half the work of a training step's comparison.
        back = there if x is y else best(y_at, x_at)
        return (there + back.mT) / 2

    return _pairwise(both_ways, "local_similarity")(x, y)


def local_distance(x: Tensor, y: Tensor, side: int = 7, reach: int = 1) -> Tensor:
    """One minus :func:`local_similarity`, shape (..., n, m).

    It may fall below zero, and a vector need not be the nearest to itself.
    """
    return 1 - local_similarity(x, y, side, reach)


def mahalanobis(x: Tensor, y: Tensor, matrix: Tensor, squared: bool = False) -> Tensor:
    """Mahalanobis distance with a given matrix M, √((x − y)ᵀ M (x − y)).

    Mahalanobis (1936) takes for M the inverse of a covariance matrix; metric learning takes any positive
    semi-definite matrix (Xing et al., 2002). The identity gives the Euclidean distance.

    Args:
        x: (..., n, d)
        y: (..., m, d)
        matrix: M, symmetric and positive semi-definite, (d, d).
        squared: leave out the root.

    Returns:
        Distances, shape (..., n, m). The gradient is finite everywhere.

    Raises:
        ValueError: if ``matrix`` has another shape, is not symmetric, or is not positive semi-definite.
    """
    _check_positive(matrix, x.shape[-1])
    result = _pairwise(functools.partial(_quadratic, matrix=matrix), "mahalanobis")(x, y)
    return result.clamp_min(0) if squared else _root(result)


class Mahalanobis(nn.Module):
    """A Mahalanobis distance to learn: the Euclidean distance after a linear map, ‖L(x − y)‖.

    M = LᵀL is positive semi-definite whatever L is, so any step of gradient descent is allowed (Goldberger et al.,
    *Neighbourhood Components Analysis*, 2004). With fewer rows than columns, M has low rank: directions in which
    the classes do not differ are dropped.

    Args:
        dim: of the vectors, d.
        rank: rows of L; default, d. At full rank L starts as the identity, so M starts as the Euclidean distance;
            at a lower one, with random orthonormal rows.
        squared: leave out the root.

    Attributes:
        factor: L, (rank, d), the parameter.

    Shape:
        x (..., n, d), y (..., m, d) → distances (..., n, m).
    """

    def __init__(self, dim: int, rank: int | None = None, squared: bool = False):
        super().__init__()
        rank = dim if rank is None else rank
        if not 1 <= rank <= dim:
            raise ValueError(f"The rank must lie between 1 and the dimension {dim}, but is {rank}.")
        start = torch.eye(dim) if rank == dim else nn.init.orthogonal_(torch.empty(rank, dim))
        self.factor = nn.Parameter(start)
        self.squared = squared

    @property
    def matrix(self) -> Tensor:
        """M = LᵀL, (d, d)."""
        return self.factor.mT @ self.factor

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances between all pairs."""
        result = _pairwise(self._projected, "Mahalanobis")(x, y)
        return result.clamp_min(0) if self.squared else _root(result)

    def _projected(self, x: Tensor, y: Tensor) -> Tensor:
        if x.shape[-1] != self.factor.shape[1]:
            raise ValueError(
                f"This Mahalanobis distance is for vectors of {self.factor.shape[1]} numbers, not {x.shape[-1]}."
            )
        x, y = _centred(x, y)  # before the map, which would lose digits too
        factor = self.factor.to(x.dtype)
        return _quadratic(x @ factor.mT, y @ factor.mT)


def _centred(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets moved by the mean of ``y``."""
    center = y.detach().mean(-2, keepdim=True)
    return x - center, y - center


def _quadratic(x: Tensor, y: Tensor, matrix: Tensor | None = None) -> Tensor:
    """(x − y)ᵀ M (x − y) for all pairs; without ``matrix``, ‖x − y‖². Expanded, it may come out just below zero."""
    x, y = _centred(x, y)
    mapped_x, mapped_y = (x, y) if matrix is None else (x @ matrix.to(x), y @ matrix.to(y))
    norms = (mapped_x * x).sum(-1)[..., :, None] + (mapped_y * y).sum(-1)[..., None, :]
    return norms - 2 * mapped_x @ y.mT


def _root(squared: Tensor) -> Tensor:
    """The square root, with gradient zero at zero and, for what rounding left, below."""
    tiny = torch.finfo(squared.dtype).tiny  # an even power of two, so that its root is exact
    return squared.clamp_min(tiny).sqrt() - tiny**0.5


def _check_positive(matrix: Tensor, dim: int) -> None:
    if matrix.shape != (dim, dim):
        raise ValueError(
            f"M must be of shape {(dim, dim)} for vectors of {dim} numbers, but is {tuple(matrix.shape)}."
        )
    matrix = matrix.detach().to(torch.promote_types(matrix.dtype, torch.float32))
    if not matrix.isfinite().all():
        raise ValueError("M must be finite, but holds NaN or infinity.")
    scale = matrix.abs().max()
    if (matrix - matrix.mT).abs().max() > 1e-5 * scale:
        raise ValueError("M must be symmetric; (M + Mᵀ) / 2 gives the same distances.")
    least = torch.linalg.eigvalsh(matrix)[0]
    if least < -1e-5 * scale:
        raise ValueError(
            f"M must be positive semi-definite, but has the eigenvalue {least.item():.3g}."
        )
