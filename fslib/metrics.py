"""Distances and similarities between two sets of vectors.

Every function takes ``x`` of shape (..., n, d) and ``y`` of shape (..., m, d) and returns all n·m values at once,
shape (..., n, m), in float32 or better. Leading axes broadcast, so a batch of episodes costs one call.

A distance is a matrix product, ‖x‖² − 2x·y + ‖y‖², wherever that keeps its digits. It loses them where a pair lies much
nearer to each other than to the mean of all, and where squares overflow or vanish. Such pairs are subtracted; on a GPU
all are, for to look for them one would have to wait. So the distances within a cluster are right however far away
another one lies, and those of vectors as large as 10²⁵ or as small as 10⁻²⁵ as well.

Each metric knows what it is: :func:`kind` says ``"distance"`` or ``"similarity"``. Files and recipes know one by
its name, from the table ``fslib.storage.METRICS``.

>>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
>>> euclidean(x, x)
tensor([[0., 5.],
        [5., 0.]])
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fslib.config import Configured, whole
from fslib.deprecation import renamed

Metric = Callable[[Tensor, Tensor], Tensor]
Kind = Literal["distance", "similarity"]
Sides = Callable[[Tensor], tuple[Tensor, Tensor]]

BLOCK = 2**22  # numbers in a block of differences, 16 MB of them in float32
KEPT = 1e-4  # the part of the largest ‖x‖² + ‖y‖² that the least ‖x − y‖² must have: three digits of seven remain


def full_precision(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """A context without autocast on the device of ``x``: bfloat16 is too coarse to compare."""
    device = x.device.type
    if _recorded() or (
        torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    ):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def kind(metric: Any) -> Kind | None:
    """Whether a metric is a distance or a similarity; ``None`` of a function that this module does not know.

    >>> kind(cosine_distance), kind(functools.partial(local_similarity, max_displacement=2)), kind(torch.cdist)
    ('distance', 'similarity', None)
    """
    while isinstance(metric, functools.partial):
        metric = metric.func
    found = getattr(metric, "kind", None)
    return found if found in ("distance", "similarity") else None


def expect(metric: Any, wanted: Kind, where: str) -> None:
    """Refuse a metric of the wrong kind, which would turn every answer round. One's own function is trusted.

    Args:
        metric: the metric.
        wanted: ``"distance"``, which is small for what is alike, or ``"similarity"``, which is large.
        where: who asks, for the message.

    Raises:
        ValueError: if the metric is known to be of the other kind, or is nothing to call with two sets of vectors.
    """
    if isinstance(metric, type) or not callable(metric):
        raise ValueError(
            f"{where} takes a {wanted} of fslib.metrics or a function of x and y, but got {metric!r}."
        )
    if kind(metric) in (None, wanted):
        return
    while isinstance(metric, functools.partial):
        metric = metric.func
    name = getattr(metric, "__name__", type(metric).__name__)
    family = name.rpartition("_")[0]
    instead = f"{family if family in ('cosine', 'local') else 'cosine'}_{wanted}"
    raise ValueError(
        f"{where} takes a {wanted}, but {name} is a {kind(metric)}; {instead} is a {wanted}."
    )


def _of(kind: Kind) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Check the vectors, compute in float32 or better, and say of which kind the metric is."""

    def decorate(metric: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(metric)
        def compute(x: Tensor, y: Tensor, *settings: Any, **options: Any) -> Tensor:
            x, y = _vectors(metric.__name__, x, y)
            with full_precision(x):
                return metric(x, y, *settings, **options)

        compute.kind = kind  # type: ignore[attr-defined]
        return compute

    return decorate


def _vectors(name: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets, checked, in float32 or better; one tensor where they were one."""
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        raise TypeError(
            f"{name} compares tensors, but got {type(x).__name__} and {type(y).__name__}."
        )
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1] or not x.shape[-1]:
        raise ValueError(
            f"{name} compares x (..., n, d) with y (..., m, d), "
            f"but got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    if any(a != b and 1 not in (a, b) for a, b in zip(x.shape[-3::-1], y.shape[-3::-1])):
        raise ValueError(
            f"The leading axes of x and y must be the same, or 1, or missing, "
            f"but {name} got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    if x.is_complex() or y.is_complex():
        raise ValueError(f"{name} compares real vectors, but got {x.dtype} and {y.dtype}.")
    if x.device != y.device:
        raise ValueError(
            f"{name} compares vectors on one device, but x is on {x.device} and y on {y.device}; "
            "y.to(x.device) moves them."
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    promoted = x.to(dtype)
    return promoted, promoted if y is x else y.to(dtype)


@_of("distance")
def squared_euclidean(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance, ‖x − y‖².

    Args:
        x: (..., n, d)
        y: (..., m, d)

    Returns:
        Distances, shape (..., n, m), never negative. The gradient is finite everywhere.

    Example:
        >>> squared_euclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor([[25.,  1.]])
    """
    return _distances(x, y, squared=True)


@_of("distance")
def euclidean(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distance, ‖x − y‖.

    The slope of a square root is infinite at zero; here the gradient at zero distance is zero instead, a valid
    subgradient.

    Args:
        x: (..., n, d)
        y: (..., m, d)

    Returns:
        Distances, shape (..., n, m), never negative.

    Example:
        >>> euclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor([[5., 1.]])
    """
    return _distances(x, y)


def directions(x: Tensor, dim: int = -1) -> Tensor:
    """Vectors scaled to length one, whatever their length; zero remains zero.

    Unlike ``torch.nn.functional.normalize``, it keeps the directions of vectors of any size that their type can
    hold, those whose squares overflow or vanish too.

    Args:
        x: any shape, floats.
        dim: the axis along which a vector lies.

    Returns:
        Directions, of the shape of ``x``, in float32 or better.

    Example:
        >>> directions(torch.tensor([[3e-30, 4e-30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    length = x.norm(dim=dim, keepdim=True)
    if not _ordinary(length):
        x = x / _largest(x, dim)
        length = x.norm(dim=dim, keepdim=True)
    return x / length.where(length != 0, 1)


@_of("similarity")
def cosine_similarity(x: Tensor, y: Tensor) -> Tensor:
    """Cosine of the angle between x and y, x·y / (‖x‖‖y‖), from −1 to 1; zero where a vector is zero.

    Args:
        x: (..., n, d)
        y: (..., m, d)

    Returns:
        Similarities, shape (..., n, m).

    Example:
        >>> cosine_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        tensor([[1., 0.]])
    """
    return _bounded(directions(x) @ directions(y).mT, -1, 1)


@_of("distance")
def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """One minus the cosine similarity, from 0 (same direction) to 2 (opposite); 1 where a vector is zero.

    Args:
        x: (..., n, d)
        y: (..., m, d)

    Returns:
        Distances, shape (..., n, m). They keep their digits at small angles too, where 1 − cos would lose them.

    Example:
        >>> cosine_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [-1.0, 0.0]]))
        tensor([[0., 2.]])
    """

    def expanded() -> tuple[Tensor, Tensor | None]:
        unit_x = directions(x)
        unit_y = unit_x if y is x else directions(y)
        squared, lost = _expanded(unit_x, unit_y)
        return half(squared, unit_x[..., :, None, :], unit_y[..., None, :, :]), lost

    def subtracted(x: Tensor, y: Tensor) -> Tensor:
        unit_x, unit_y = directions(x), directions(y)
        return half((unit_x - unit_y).square().sum(-1), unit_x, unit_y)

    def half(squared: Tensor, unit_x: Tensor, unit_y: Tensor) -> Tensor:
        zero = (unit_x == 0).all(-1) | (unit_y == 0).all(-1)
        return torch.where(zero, 1.0, squared.clamp(0, 4) / 2)

    return _all_pairs(x, y, expanded, subtracted)


@renamed(reach="max_displacement")
@_of("similarity")
def local_similarity(x: Tensor, y: Tensor, side: int = 7, max_displacement: int = 1) -> Tensor:
    """Cosine similarity of feature maps that tolerates deformation: local features may move a little.

    A stroke of one drawing lies a little beside the same stroke of another. So each location i of a map is compared
    with the locations j of the other around it, and the best counts,

        s(x, y) = ½ Σ_i max_j x_i · y_j + ½ Σ_j max_i x_i · y_j,   i and j at most ``max_displacement`` apart,

    along each axis, where x and y have length one as a whole. It follows the image distortion model of Keysers et al.
    (*Deformation Models for Image Recognition*, 2007), with learned features instead of grey values, and both ways.

    Args:
        x: (..., n, d), each vector c maps of side × side, flattened; so d = c · side².
        y: (..., m, d)
        side: of the maps; 7 of a picture of 28 × 28 that was halved twice. Maps of a multiple of it are not noticed.
        max_displacement: how far a local feature may move, in locations; with 0 it is the cosine similarity.

    Returns:
        Similarities, shape (..., n, m), from −1 to 2 · max_displacement + 1. But for rounding none lies below the
        cosine; some lie above one, where a location finds a neighbour that answers it more strongly than its like. The
        zero vector has similarity zero to any other.

    Raises:
        ValueError: if d is not a multiple of side², or side and max_displacement are not whole numbers of at least 1
            and 0.

    Example:
        >>> stroke, beside = torch.eye(9)[:1], torch.eye(9)[1:2]     # maps of 3 × 3, one location filled
        >>> local_similarity(stroke, beside, side=3), local_similarity(stroke, beside, side=3, max_displacement=0)
        (tensor([[1.]]), tensor([[0.]]))
    """
    side = whole("side", side)
    max_displacement = whole("max_displacement", max_displacement, least=0)
    if x.shape[-1] % side**2:
        raise ValueError(
            f"Vectors of {x.shape[-1]} numbers are not maps of {side} × {side}, flattened."
        )
    around = _neighbours(side, max_displacement)

    def local(x: Tensor) -> tuple[Tensor, ...]:
        """The features at each location, of vectors of length one, (..., n, c) each."""
        return directions(x).unflatten(-1, (-1, side**2)).movedim(-1, 0).contiguous().unbind()

    def best(x: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
        """Σ_i max_j x_i · y_j, by location, x_i (..., n, c) and y_j (..., m, c)."""
        beside = (torch.stack([y[j] for j in nearby], -3) for nearby in around)
        found = [(x_i[..., None, :, :] @ y_j.mT).amax(-3) for x_i, y_j in zip(x, beside)]
        return torch.stack(found).sum(0)

    x_at = local(x)
    y_at = x_at if y is x else local(y)
    there = best(x_at, y_at)
    # Among themselves, as in a loss, the way back is the same: half the work of a training step's comparison.
    back = there if y is x else best(y_at, x_at)
    # Σ_j max_i x_i · y_j ≤ Σ_j ‖y_j‖ max_i ‖x_i‖, where x_i is nearest to at most (2 · max_displacement + 1)² of j.
    return _bounded((there + back.mT) / 2, -1, 2 * max_displacement + 1)


@renamed(reach="max_displacement")
@_of("distance")
def local_distance(x: Tensor, y: Tensor, side: int = 7, max_displacement: int = 1) -> Tensor:
    """One minus :func:`local_similarity`, shape (..., n, m), from −2 · max_displacement to 2.

    It may fall below zero, and a vector need not be the nearest to itself.

    Example:
        >>> local_distance(torch.eye(9)[:1], torch.eye(9)[:3], side=3)     # at most one location apart, or two
        tensor([[0., 0., 1.]])
    """
    return 1 - local_similarity(x, y, side, max_displacement)


@_of("distance")
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
        Distances, shape (..., n, m), never negative. The gradient is finite everywhere.

    Raises:
        ValueError: if ``matrix`` has another shape, is not symmetric, or is not positive semi-definite. Of a matrix on
            a GPU, which every call would have to wait for, only the shape is looked at.

    Example:
        >>> x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> mahalanobis(x, y, torch.diag(torch.tensor([4.0, 9.0])))
        tensor([[2., 3.]])
    """
    _check_positive(matrix, x.shape[-1])
    return _distances(x, y, lambda v: (v @ matrix.to(v), v), squared)


class Mahalanobis(Configured, nn.Module):
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
        x (..., n, d), y (..., m, d) → distances (..., n, m), on the device of L.

    Example:
        >>> metric = Mahalanobis(dim=2)     # as it begins, the Euclidean distance
        >>> metric(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).item(), metric.matrix.shape
        (5.0, torch.Size([2, 2]))
    """

    kind: Kind = "distance"

    def __init__(self, dim: int, rank: int | None = None, squared: bool = False):
        super().__init__()
        rank = dim if rank is None else rank
        if not 1 <= rank <= dim:
            raise ValueError(f"The rank must lie between 1 and the dimension {dim}, but is {rank}.")
        start = torch.eye(dim) if rank == dim else nn.init.orthogonal_(torch.empty(rank, dim))
        self.factor = nn.Parameter(start)
        self.dim, self.rank, self.squared = dim, rank, squared

    @property
    def matrix(self) -> Tensor:
        """M = LᵀL, (d, d)."""
        return self.factor.mT @ self.factor

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances between all pairs."""
        x, y = _vectors("Mahalanobis", x, y)
        if x.shape[-1] != self.factor.shape[1]:
            raise ValueError(
                f"This Mahalanobis distance is for vectors of {self.factor.shape[1]} numbers, not {x.shape[-1]}."
            )
        if x.device != self.factor.device:
            x, y = x.to(self.factor.device), y.to(self.factor.device)
        with full_precision(x):
            return _distances(x, y, lambda v: 2 * (v @ self.factor.to(v.dtype).mT,), self.squared)


def _itself(v: Tensor) -> tuple[Tensor, Tensor]:
    return v, v


def _distances(x: Tensor, y: Tensor, sides: Sides = _itself, squared: bool = False) -> Tensor:
    """The root of the quadratic form l(x − y) · r(x − y) for all pairs, or the form itself.

    Args:
        x: (..., n, d)
        y: (..., m, d)
        sides: the linear maps l and r of one vector; by default both the vector itself, so ‖x − y‖².
        squared: leave out the root.
    """

    def expanded() -> tuple[Tensor, Tensor | None]:
        form, lost = _expanded(x, y, sides)
        return (form.clamp_min(0) if squared else _root(form)), lost

    def subtracted(x: Tensor, y: Tensor) -> Tensor:
        unit = torch.maximum(_largest(x), _largest(y))  # so that no square overflows or vanishes
        left, right = sides(x / unit - y / unit)
        form = (left * right).sum(-1)
        return form.clamp_min(0) * unit * unit if squared else _root(form) * unit

    return _all_pairs(x, y, expanded, subtracted)


def _all_pairs(
    x: Tensor,
    y: Tensor,
    expanded: Callable[[], tuple[Tensor, Tensor | None]],
    subtracted: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Distances of all pairs by the fast formula, and by the exact one where the fast one lost its digits.

    Args:
        x: (..., n, d)
        y: (..., m, d)
        expanded: gives the fast formula's values, (..., n, m), and the places of lost pairs, (pairs, axes).
        subtracted: the exact formula of vectors (..., d) and (..., d), which broadcast.
    """
    if x.device.type != "cpu" and not _recorded():  # to look for lost pairs, one would wait for the device
        return _in_blocks(subtracted, x, y, BLOCK)
    values, lost = expanded()
    if lost is None:
        return values
    if _many(lost, values):
        # Blocks that the C library can keep for the next one; larger ones it returns to the system each time.
        exact = _in_blocks(lambda x, y: subtracted(x.double(), y.double()), x, y, BLOCK // 4)
        return exact.to(values.dtype)
    x, y = (z.expand(*values.shape[:-2], *z.shape[-2:]) for z in (x, y))
    for places in lost.split(max(1, BLOCK // x.shape[-1])):
        *episode, i, j = places.unbind(-1)
        exact = subtracted(x[(*episode, i)].double(), y[(*episode, j)].double())
        values[(*episode, i, j)] = exact.to(values.dtype)
    return values


def _expanded(x: Tensor, y: Tensor, sides: Sides = _itself) -> tuple[Tensor, Tensor | None]:
    """l(x − y) · r(x − y) for all pairs by ‖x‖² − 2x·y + ‖y‖², and the places of those that lost digits, if any.

    Both sets are first moved by the mean of ``y``, which changes no distance; or by the median, where an outlier draws
    the mean so far away that many pairs are lost. What rounding left may lie below zero.
    """
    values, lost = _expanded_about(y.detach().mean(-2, keepdim=True), x, y, sides)
    if _many(lost, values):
        values, lost = _expanded_about(y.detach().median(-2, keepdim=True).values, x, y, sides)
    return values, lost


def _expanded_about(
    center: Tensor, x: Tensor, y: Tensor, sides: Sides
) -> tuple[Tensor, Tensor | None]:
    """What :func:`_expanded` gives, with both sets moved by one center, (..., 1, d)."""
    left_x, right_x = sides(x - center)
    left_y, right_y = (left_x, right_x) if y is x else sides(y - center)
    norms_x = (left_x * right_x).sum(-1)
    norms_y = norms_x if y is x else (left_y * right_y).sum(-1)
    values = norms_x[..., :, None] + norms_y[..., None, :]
    values = values.sub_(left_x @ right_y.mT, alpha=2)
    if _recorded() or not values.numel():
        return values, None
    plain, norms = values.detach(), (norms_x.detach(), norms_y.detach())
    if y is not x:
        return values, _lost(plain, *norms)
    # Each is at no distance from itself, which says nothing of the digits of others. NaN stays NaN.
    itself = plain.diagonal(dim1=-2, dim2=-1)
    zero = 0 * itself
    itself.fill_(torch.inf)
    lost = _lost(plain, *norms)
    itself.copy_(zero)
    return values, lost


def _lost(values: Tensor, norms_x: Tensor, norms_y: Tensor) -> Tensor | None:
    """Places of pairs that lie too near each other beside the norms from which their distance was computed."""
    try:
        least = 1e-34  # below, squares vanish
        if values.amin().item() > KEPT * (norms_x.amax() + norms_y.amax()).item() + least:
            return None  # as nearly always, and asked in no time
        bound = KEPT * (norms_x[..., :, None] + norms_y[..., None, :]) + least
        lost = (~(values > bound)).nonzero()  # NaN too, which ∞ − ∞ leaves
        return lost if len(lost) else None
    except RuntimeError:  # under torch.vmap there is nothing to look at
        return None


def _many(lost: Tensor | None, values: Tensor) -> bool:
    """Whether so many pairs are lost that picking them out costs more than computing all."""
    return lost is not None and 16 * len(lost) > values.numel() > 4096


def _in_blocks(
    subtracted: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, size: int
) -> Tensor:
    """Differences of all pairs, in blocks of ``size`` numbers, one at a time; the backward pass computes them again."""

    def block(x: Tensor, y: Tensor) -> Tensor:
        return subtracted(x[..., :, None, :], y[..., None, :, :])

    episodes = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    rows = max(1, size // max(1, math.prod(episodes) * y.shape[-2] * y.shape[-1]))
    if x.shape[-2] <= rows:
        return block(x, y)
    again = functools.partial(checkpoint, block, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(some, y) for some in x.split(rows, -2)], -2)


def _ordinary(length: Tensor) -> bool:
    """Whether such vectors have ordinary numbers for squares; of vectors on a GPU it is not asked, but denied."""
    if _recorded() or not length.numel():
        return True
    try:
        return (
            length.device.type == "cpu"
            and 1e-9 < length.amin().item()
            and length.amax().item() < 1e9
        )
    except RuntimeError:  # under torch.vmap there is nothing to look at
        return False


def _largest(x: Tensor, dim: int | None = None) -> Tensor:
    """The power of two at or below the largest finite number, of all or along an axis; a division by it is exact."""
    absolute = x.detach().abs()
    absolute = absolute.where(absolute.isfinite(), 0)
    largest = absolute.amax() if dim is None else absolute.amax(dim, keepdim=True)
    return largest.where(largest > 0, 1).log2().floor().exp2()


def _bounded(values: Tensor, least: float, most: float) -> Tensor:
    """Values cut off at bounds that only rounding can have passed; their gradient takes no notice."""
    values.detach().clamp_min_(least).clamp_max_(most)  # torch.vmap has no clamp_
    return values


def _recorded() -> bool:
    """Whether this run only makes a graph, in which no step may depend on the numbers: torch.export, torch.compile."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _root(squared: Tensor) -> Tensor:
    """The square root, with gradient zero at zero and, for what rounding left, below."""
    tiny = torch.finfo(squared.dtype).tiny  # an even power of two, so that its root is exact
    return squared.clamp_min(tiny).sqrt() - tiny**0.5


@functools.cache
def _neighbours(side: int, max_displacement: int) -> list[list[int]]:
    """For each location of a map, those at most so far away along both axes."""
    locations = [divmod(location, side) for location in range(side**2)]
    return [
        [j for j, (u, v) in enumerate(locations) if max(abs(u - row), abs(v - column)) <= max_displacement]
        for row, column in locations
    ]


def _check_positive(matrix: Tensor, dim: int) -> None:
    if not isinstance(matrix, Tensor):
        raise TypeError(f"M must be a tensor, but is {type(matrix).__name__}.")
    if matrix.shape != (dim, dim):
        raise ValueError(
            f"M must be of shape {(dim, dim)} for vectors of {dim} numbers, but is {tuple(matrix.shape)}."
        )
    if matrix.device.type != "cpu" or _recorded():
        return
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
