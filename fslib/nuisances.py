"""Removing from embeddings what should not count in a comparison: the face of a font, the pen, the camera.

Each function looks at embeddings whose nuisance or whose classes are known, and gives one affine map. Put behind the
network, ``nn.Sequential(network, removal)``, it makes a feature extractor like any other. What the map is fitted on
must not be what it is tested on.

================================  ===================  ==========================================================
function                          knows                what it does
================================  ===================  ==========================================================
:func:`leace`                     the nuisance         takes away all that a linear classifier could read of it
:func:`nuisance_projection`       the classes          projects away the directions in which a class spreads most
:func:`within_class_whitening`    the classes          shrinks each direction by how much a class spreads in it
================================  ===================  ==========================================================
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import Configured, whole
from fslib.labels import as_labels
from fslib.metrics import full_precision

_NO_VARIANCE, _NO_CORRELATION = 1e-10, 1e-8  # what rounding can leave of none, the first as a part of the largest


class AffineMap(Configured, nn.Module):
    """Embeddings multiplied by a matrix and moved: x ↦ W x + b, (..., d) → (..., d), which no training changes.

    A new one is the identity. The functions of this module give fitted ones.

    Args:
        dim: d.

    Attributes:
        weight: W, (d, d), a buffer.
        bias: b, (d,), a buffer.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.dim = whole("dim", dim)
        self.register_buffer("weight", torch.eye(self.dim))
        self.register_buffer("bias", torch.zeros(self.dim))

    def blended(self, strength: float) -> AffineMap:
        """The map part of the way from the identity, 0, to this one, 1: x ↦ (1 − strength) x + strength (W x + b)."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must lie between 0 and 1, but is {strength!r}.")
        identity = torch.eye(self.dim, dtype=self.weight.dtype, device=self.weight.device)
        return _affine(torch.lerp(identity, self.weight, strength), strength * self.bias, self.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings, in float32 or better."""
        if embeddings.shape[-1] != self.dim:
            raise ValueError(
                f"This map was fitted on embeddings of {self.dim} numbers, but these have {embeddings.shape[-1]}."
            )
        with full_precision(embeddings):
            embeddings = embeddings.to(torch.promote_types(embeddings.dtype, self.weight.dtype))
            return embeddings @ self.weight.mT.to(embeddings.dtype) + self.bias.to(embeddings.dtype)


def leace(embeddings: Tensor, nuisance: Any) -> AffineMap:
    """Least-squares concept erasure: the least change after which no linear classifier reads the nuisance.

    r(x) = x − W⁺ P W (x − μ), where μ and Σ are mean and covariance of the embeddings, W = Σ^{−1/2}, and P projects on
    the columns of W Σ_xz, the covariance with the nuisance as ones and zeros (Belrose et al., *LEACE: Perfect linear
    concept erasure in closed form*, 2023). Afterwards all values of the nuisance have one mean, which is what leaves a
    linear classifier at chance. Of a nuisance with k values at most k − 1 directions are lost, and of all affine maps
    that do this it moves the embeddings least, by the mean of squares. A classifier that is not linear may read on.

    Args:
        embeddings: (n, d), more of them than numbers in each.
        nuisance: its value for each, (n,), integers or names.

    Returns:
        The map, on the device of the embeddings.

    Raises:
        ValueError: if there are not more embeddings than d, not a value for each, or only one value.

    Example:
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> pen = torch.arange(100) % 2     # and the second pen writes further to the right
        >>> removal = leace(x + 4 * pen[:, None] * torch.tensor([1.0, 0.0, 0.0]), pen)
        >>> cleaned = removal(x + 4 * pen[:, None] * torch.tensor([1.0, 0.0, 0.0]))
        >>> torch.allclose(cleaned[pen == 0].mean(0), cleaned[pen == 1].mean(0), atol=1e-5)
        True
    """
    x, z = _checked(embeddings, nuisance, "nuisance")
    n, d = x.shape
    if n <= d:
        raise ValueError(
            f"To erase from embeddings of {d} numbers takes more than {d} embeddings, but there are {n}: in so few, "
            "anything can be read."
        )
    one_hot = F.one_hot(z).double()
    mean = x.mean(0)
    x = x - mean
    whiten, color = _powers(x.mT @ x / n, -0.5, 0.5)
    directions, size, _ = torch.linalg.svd(whiten @ (x.mT @ (one_hot - one_hot.mean(0)) / n), full_matrices=False)
    directions = directions[:, size > _NO_CORRELATION]
    erased = color @ directions @ directions.mT @ whiten
    return _affine(torch.eye(d).to(erased) - erased, erased @ mean, embeddings)


def within_class_whitening(embeddings: Tensor, classes: Any) -> AffineMap:
    """Within-class covariance normalisation, WCCN: x ↦ Σ^{−1/2} x, so that a class spreads alike in all directions.

    Σ is the covariance within the classes, about their means and pooled (Hatch, Kajarekar and Stolcke, *Within-class
    Covariance Normalization for SVM-based Speaker Recognition*, 2006). The Euclidean distance afterwards is the
    Mahalanobis distance by Σ⁻¹ before: directions in which examples of a class differ, whatever of, count less.
    Directions in which no class spreads at all are dropped, for there is nothing to go by.

    Args:
        embeddings: (n, d), at least d more than there are classes.
        classes: the class of each, (n,), integers or names.

    Returns:
        The map, on the device of the embeddings.

    Raises:
        ValueError: if there are too few embeddings, not a class for each, or only one class.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 4.0], [1.0, -4.0]])     # spread up and down
        >>> within_class_whitening(torch.cat([x, x + 9]), [0] * 4 + [1] * 4)(torch.eye(2))
        tensor([[1.4142, 0.0000],
                [0.0000, 0.3536]])
    """
    x, labels = _checked(embeddings, classes, "class")
    covariance = _within_class_covariance(x, labels, least=x.shape[1])
    if covariance.trace() <= _NO_VARIANCE * x.var(0).sum():
        raise ValueError("All embeddings of a class are the same, so there is no spread to whiten.")
    (whiten,) = _powers(covariance, -0.5)
    return _affine(whiten, torch.zeros_like(whiten[0]), embeddings)


def nuisance_projection(embeddings: Tensor, classes: Any, directions: int) -> AffineMap:
    """Nuisance attribute projection, NAP: x ↦ (I − V Vᵀ) x, without the directions in which a class spreads most.

    V are the eigenvectors of the covariance within the classes with the largest eigenvalues (Solomonoff, Campbell and
    Boardman, *Advances in Channel Compensation for SVM Speaker Recognition*, 2005). Nobody need say what the nuisance
    is: it is taken for whatever differs most among examples of one class.

    Args:
        embeddings: (n, d).
        classes: the class of each, (n,), integers or names.
        directions: how many to remove, fewer than d.

    Returns:
        The map, an orthogonal projection, on the device of the embeddings.

    Raises:
        ValueError: if so many directions cannot be removed or told from so few embeddings, there is not a class for
            each, or only one class.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 4.0], [1.0, -4.0]])     # spread up and down
        >>> nuisance_projection(torch.cat([x, x + 9]), [0] * 4 + [1] * 4, directions=1)(torch.tensor([[3.0, 5.0]]))
        tensor([[3., 0.]])
    """
    x, labels = _checked(embeddings, classes, "class")
    directions, d = whole("directions", directions), x.shape[1]
    if directions >= d:
        raise ValueError(
            f"Of {d} dimensions at most {d - 1} can be removed, or nothing is left, but directions is {directions}."
        )
    covariance = _within_class_covariance(x, labels, least=directions)
    removed = torch.linalg.eigh(covariance).eigenvectors[:, -directions:]
    return _affine(torch.eye(d).to(removed) - removed @ removed.mT, torch.zeros(d).to(removed), embeddings)


def _within_class_covariance(x: Tensor, labels: Tensor, least: int) -> Tensor:
    """Covariance about the mean of each class, pooled and divided by n, (d, d), of at least so many directions."""
    sizes = labels.bincount()
    if len(x) - len(sizes) < least:
        raise ValueError(
            f"{len(x)} embeddings of {len(sizes)} classes differ from the means of their classes in at most "
            f"{len(x) - len(sizes)} directions, but {least} are needed; give more examples of each class."
        )
    means = torch.zeros(len(sizes), x.shape[1], dtype=x.dtype).index_add_(0, labels, x) / sizes[:, None]
    x = x - means[labels]
    return x.mT @ x / len(x)


def _checked(embeddings: Tensor, labels: Any, what: str) -> tuple[Tensor, Tensor]:
    """Embeddings (n, d) in float64 on the CPU, and a number from zero on for each value of the labels, (n,)."""
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 2:
        shape = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise ValueError(f"Embeddings are a tensor (n, d), but these are {shape}.")
    labels = as_labels(labels).cpu()
    if len(labels) != len(embeddings):
        raise ValueError(
            f"There must be one {what} for each of the {len(embeddings)} embeddings, but there are {len(labels)}."
        )
    values, numbers = labels.unique(return_inverse=True)
    if len(values) < 2:
        raise ValueError(f"All embeddings have one {what}; nothing can be learned from it.")
    x = embeddings.detach().cpu().double()
    if not x.isfinite().all():
        raise ValueError("Some embeddings hold NaN or infinity.")
    return x, numbers


def _powers(covariance: Tensor, *exponents: float) -> list[Tensor]:
    """Powers of a covariance matrix, in the directions in which there is any variance; zero in the others."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > _NO_VARIANCE * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    return [vectors * values**exponent @ vectors.mT for exponent in exponents]


def _affine(weight: Tensor, bias: Tensor, like: Tensor) -> AffineMap:
    """The map of these numbers, on the device of a tensor, and in its type or float32."""
    found = AffineMap(len(bias))
    found.weight, found.bias = weight, bias
    return found.to(like.device, torch.promote_types(like.dtype, torch.float32))
