"""Losses of metric learning.

A loss sees what a comparison gave. So the functions take distances or similarities, by any metric of
:mod:`fslib.metrics`, of the pairs or triplets that :mod:`fslib.mining` chooses; the classes wrap them for vectors.

Nothing is normalised unless the name says cosine. Margins are in the units of what they are compared with; ArcFace's
is an angle in radians. Everything is computed in float32 or better, under autocast too. A loss over no pairs is zero,
and has a gradient, of zeros.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.metrics import Metric, cosine_similarity, euclidean, full_precision

Reduction = Literal["mean", "nonzero", "sum", "none"]


def _full(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute in float32 or better."""

    def promoted(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.to(torch.promote_types(value.dtype, torch.float32))
        return value

    @functools.wraps(loss)
    def compute(*arguments: Any, **options: Any) -> Tensor:
        tensors = [v for v in (*arguments, *options.values()) if isinstance(v, Tensor)]
        if not tensors:
            raise TypeError(f"{loss.__name__} takes tensors; torch.tensor makes one of a list.")
        with full_precision(tensors[0]):
            return loss(*map(promoted, arguments), **{k: promoted(v) for k, v in options.items()})

    return compute


# Pairs and triplets -------------------------------------------------------------------------------------------


@_full
def contrastive(
    distances: Tensor, same: Tensor, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Pull pairs of one class together, push others apart up to a margin.

    y·D² + (1 − y)·max(0, m − D)², with y = 1 for a pair of one class (Hadsell, Chopra and LeCun, 2006, equation 4, who
    write y the other way round and put ½ before each term).

    Args:
        distances: D of each pair, (n,).
        same: whether the pair is of one class, boolean, (n,).
        margin: m, the distance beyond which a pair of two classes costs nothing.
        reduction: ``"mean"`` over all, ``"nonzero"``: over those that cost something, ``"sum"`` or ``"none"``.
    """
    _check_margin(margin)
    if same.dtype != torch.bool or same.shape != distances.shape:
        raise ValueError(
            f"same must be boolean, True for a pair of one class, of the shape {tuple(distances.shape)} of the "
            f"distances, but is {same.dtype} of shape {tuple(same.shape)}."
        )
    return _reduce(
        torch.where(same, distances, (margin - distances).clamp_min(0)).square(), reduction
    )


@_full
def triplet(
    positive: Tensor, negative: Tensor, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Ask that an anchor be nearer to its positive than to its negative, by a margin.

    max(0, D(a, p) − D(a, n) + m) (Schroff et al., *FaceNet*, 2015, equation 3, with squared distances of unit
    vectors; Weinberger and Saul, 2009, section 3.2).

    Args:
        positive: D(a, p) of each triplet, (n,).
        negative: D(a, n) of each triplet, (n,).
        margin: m.
        reduction: ``"mean"`` over all, ``"nonzero"``: over those that cost something, ``"sum"`` or ``"none"``.
    """
    _check_margin(margin)
    if positive.shape != negative.shape:
        raise ValueError(
            f"Each triplet has two distances, but got {tuple(positive.shape)} and {tuple(negative.shape)}."
        )
    return _reduce((positive - negative + margin).clamp_min(0), reduction)


@_full
def triplet_all(
    distances: Tensor, labels: Tensor, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """The triplet loss over all triplets of a batch, without listing them.

    For one anchor, the negatives that cost something to a positive are those nearer than D(a, p) + m. Sorted by
    distance, they are the first c, and together cost c·(D(a, p) + m) minus the sum of their distances, which a running
    sum holds. So time and memory grow with the number of pairs, not of triplets.

    Args:
        distances: D of all pairs of the batch, (n, n).
        labels: class of each example, (n,).
        margin: m.
        reduction: ``"mean"`` over all triplets, ``"nonzero"``: mean over those that cost something, or ``"sum"``.
    """
    _check_margin(margin)
    n = _check_batch(distances, labels)
    equal = labels[:, None] == labels
    positive = equal & ~torch.eye(n, dtype=torch.bool, device=labels.device)
    if n:  # only differences within a row count; small numbers keep more digits of them
        middle = distances.detach()
        distances = distances - middle.where(~middle.isinf(), 0).mean(1, keepdim=True)
    nearest = distances.where(~equal, torch.inf).sort(1).values
    sums = F.pad(nearest.where(nearest.isfinite(), 0).cumsum(1), (1, 0))
    reach = distances + margin
    count = torch.searchsorted(nearest.detach(), reach.detach().contiguous())
    costs = (count * reach - sums.gather(1, count)).where(positive, 0)
    total = costs.sum()
    if reduction == "sum":
        return total
    if reduction == "mean":
        number = (positive.sum(1) * (~equal).sum(1)).sum()
    elif reduction == "nonzero":
        number = count.where(positive, 0).sum()
    else:
        raise ValueError(f'reduction must be "mean", "nonzero" or "sum", but is {reduction!r}.')
    return total / number.clamp_min(1)


@_full
def n_pair(similarities: Tensor) -> Tensor:
    """Tell one's positive from everybody else's (Sohn, 2016, the N-pair-mc loss, without its norm penalty).

    log(1 + Σⱼ exp(aᵢ·pⱼ − aᵢ·pᵢ)), the mean over i, which is the cross-entropy of row i for column i.

    Args:
        similarities: aᵢ·pⱼ, the anchor i and the positive of class j, (n, n).
    """
    n = len(similarities)
    if similarities.shape != (n, n):
        raise ValueError(
            f"n_pair takes as many anchors as positives, but got similarities of shape {tuple(similarities.shape)}."
        )
    if n == 0:
        return similarities.sum()
    return F.cross_entropy(similarities, torch.arange(n, device=similarities.device))


# Classes with a weight vector each, on the circle ----------------------------------------------------------------


@_full
def normalized_softmax(cosines: Tensor, labels: Tensor, scale: float = 30.0) -> Tensor:
    """Cross-entropy of scaled cosines between embeddings and class weights (Wang et al., *NormFace*, 2017).

    Args:
        cosines: of each embedding with each class weight, (n, classes).
        labels: class of each embedding, 0 … classes − 1, (n,).
        scale: s. Cosines end at 1, so without a scale the loss cannot come near zero.
    """
    _check_above_zero("scale", scale)
    _check_classes(cosines, labels)
    if len(labels) == 0:
        return cosines.sum()
    return F.cross_entropy(scale * cosines, labels.long())


@_full
def cosface(cosines: Tensor, labels: Tensor, margin: float = 0.35, scale: float = 30.0) -> Tensor:
    """Normalised softmax with a margin on the cosine: cos θ − m for the right class (Wang et al., 2018, equation 4).

    Args:
        cosines: (n, classes)
        labels: (n,)
        margin: m, in units of the cosine.
        scale: s.
    """
    _check_margin(margin)
    _check_classes(cosines, labels)
    right = labels.long()[:, None]
    lowered = cosines.gather(1, right) - margin
    return normalized_softmax(cosines.scatter(1, right, lowered), labels, scale)


@_full
def arcface(cosines: Tensor, labels: Tensor, margin: float = 0.5, scale: float = 30.0) -> Tensor:
    """Normalised softmax with a margin on the angle: cos(θ + m) for the right class (Deng et al., 2019, equation 3).

    Beyond θ = π − m the cosine of θ + m would rise again and reward a worse angle. There cos θ − m·sin m takes its
    place, which goes on falling, as in the authors' code.

    Args:
        cosines: (n, classes)
        labels: (n,)
        margin: m, in radians, at most π.
        scale: s.
    """
    _check_angle(margin)
    _check_classes(cosines, labels)
    right = labels.long()[:, None]
    cosine = cosines.gather(1, right)
    sine_squared = 1 - cosine.square()
    apart = sine_squared > 0  # at an angle of zero the root has no slope; give it zero
    sine = torch.where(apart, sine_squared, 1.0).sqrt() * apart
    moved = torch.where(
        cosine > -math.cos(margin),
        cosine * math.cos(margin) - sine * math.sin(margin),
        cosine - margin * math.sin(margin),
    )
    return normalized_softmax(cosines.scatter(1, right, moved), labels, scale)


# All against all -------------------------------------------------------------------------------------------------


@_full
def supcon(similarities: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Tell those of one's class from the rest of the batch (Khosla et al., 2020, equation 2, the sum outside the log).

    ``−1/|P(i)|`` Σ over p in P(i) of log( exp(s(i,p)/τ) / Σ over a ≠ i of exp(s(i,a)/τ) ), the mean over those i
    that have somebody of their class in the batch, P(i).

    Args:
        similarities: s of all pairs of the batch, (n, n); in the paper, cosines.
        labels: class of each example, (n,).
        temperature: τ.
    """
    n = _check_batch(similarities, labels)
    _check_above_zero("temperature", temperature)
    itself = torch.eye(n, dtype=torch.bool, device=similarities.device)
    positive = (labels[:, None] == labels) & ~itself
    scores = similarities / temperature
    others = scores.masked_fill(itself, torch.finfo(scores.dtype).min)
    log_probabilities = scores - others.logsumexp(1, keepdim=True)
    count = positive.sum(1)
    costs = -(log_probabilities.where(positive, 0).sum(1) / count.clamp_min(1))
    return costs[count > 0].sum() / (count > 0).sum().clamp_min(1)


def nt_xent(similarities: Tensor, temperature: float = 0.5) -> Tensor:
    """Tell the other view of one's own picture from all other pictures (Chen et al., *SimCLR*, 2020, equation 1).

    It is :func:`supcon` with each picture as a class of two.

    Args:
        similarities: s of all 2n views, the second view of picture i at place n + i, (2n, 2n); in the paper, cosines.
        temperature: τ.
    """
    if len(similarities) % 2:
        raise ValueError(f"Every picture has two views, but there are {len(similarities)} rows.")
    pictures = torch.arange(len(similarities) // 2, device=similarities.device)
    return supcon(similarities, pictures.repeat(2), temperature)


# The same for vectors --------------------------------------------------------------------------------------------


class ContrastiveLoss(nn.Module):
    """:func:`contrastive` on pairs of vectors.

    Args:
        margin: distance beyond which a pair of two classes costs nothing.
        metric: a distance of :mod:`fslib.metrics`.
        reduction: see :func:`contrastive`.

    Shape:
        x (n, d), y (n, d), same (n,) boolean → loss.
    """

    def __init__(
        self, margin: float = 1.0, metric: Metric = euclidean, reduction: Reduction = "mean"
    ):
        super().__init__()
        _check_margin(margin)
        self.margin, self.metric, self.reduction = margin, metric, reduction

    def forward(self, x: Tensor, y: Tensor, same: Tensor) -> Tensor:
        """The loss of n pairs."""
        return contrastive(_rowwise(self.metric, x, y), same, self.margin, self.reduction)


class TripletLoss(nn.Module):
    """:func:`triplet` on triplets of vectors.

    Args:
        margin: how much nearer the positive should be.
        metric: a distance of :mod:`fslib.metrics`.
        reduction: see :func:`triplet`.

    Shape:
        anchor (n, d), positive (n, d), negative (n, d) → loss.
    """

    def __init__(
        self, margin: float = 1.0, metric: Metric = euclidean, reduction: Reduction = "mean"
    ):
        super().__init__()
        _check_margin(margin)
        self.margin, self.metric, self.reduction = margin, metric, reduction

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of n triplets."""
        near, far = (_rowwise(self.metric, anchor, other) for other in (positive, negative))
        return triplet(near, far, self.margin, self.reduction)


class NPairLoss(nn.Module):
    """:func:`n_pair` on vectors, compared by inner products, with a penalty on their norms.

    Inner products grow with the norms, so the loss alone would let the vectors grow without end; Sohn (2016) adds a
    penalty on the squared norms.

    Args:
        penalty: weight of the mean squared norm of all 2n vectors.

    Shape:
        anchor (n, d), positive (n, d), row i of each from class i → loss.
    """

    def __init__(self, penalty: float = 0.0):
        super().__init__()
        if not penalty >= 0:
            raise ValueError(f"The penalty must not be negative, but is {penalty}.")
        self.penalty = penalty

    def forward(self, anchor: Tensor, positive: Tensor) -> Tensor:
        """The loss of n anchors and their positives, every other positive a negative."""
        if anchor.shape != positive.shape or anchor.ndim != 2:
            raise ValueError(
                f"NPairLoss takes anchors and positives of one shape (n, d), "
                f"but got {tuple(anchor.shape)} and {tuple(positive.shape)}."
            )
        return _n_pair_of_vectors(anchor, positive, self.penalty)


class _AngularLoss(nn.Module):
    """A weight vector for each class, compared with embeddings by the cosine."""

    def __init__(self, classes: int, dim: int, scale: float):
        super().__init__()
        _check_above_zero("scale", scale)
        self.scale = scale
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, dim)))

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosine of each embedding with each class weight, (n, dim) → (n, classes)."""
        return cosine_similarity(embeddings, self.weight)


class SoftmaxLoss(nn.Module):
    """The cross-entropy of a linear classifier of the training classes, the way to pretrain a network.

    Args:
        classes: number of classes.
        dim: of the embeddings.

    Attributes:
        weight: of the classifier, (classes, dim), which must be given to the optimiser.

    Shape:
        embeddings (n, dim), labels (n,) in 0 … classes − 1 → loss.
    """

    def __init__(self, classes: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, dim)))

    @_full
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of n embeddings."""
        dim = self.weight.shape[1]
        if embeddings.ndim != 2 or embeddings.shape[1] != dim:
            raise ValueError(
                f"This loss is of embeddings of shape (n, {dim}), but got {tuple(embeddings.shape)}."
            )
        scores = embeddings @ self.weight.to(embeddings.dtype).mT
        _check_classes(scores, labels)
        return F.cross_entropy(scores, labels.long()) if len(labels) else scores.sum()


class NormalizedSoftmaxLoss(_AngularLoss):
    """:func:`normalized_softmax` with its weight matrix, which must be given to the optimiser.

    Args:
        classes: number of classes.
        dim: of the embeddings.
        scale: s.

    Attributes:
        weight: (classes, dim)

    Shape:
        embeddings (n, dim), labels (n,) in 0 … classes − 1 → loss.
    """

    def __init__(self, classes: int, dim: int, scale: float = 30.0):
        super().__init__(classes, dim, scale)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of n embeddings."""
        return normalized_softmax(self.cosines(embeddings), labels, self.scale)


class CosFaceLoss(_AngularLoss):
    """:func:`cosface` with its weight matrix, which must be given to the optimiser.

    Args:
        classes: number of classes.
        dim: of the embeddings.
        margin: m, in units of the cosine.
        scale: s.

    Attributes:
        weight: (classes, dim)

    Shape:
        embeddings (n, dim), labels (n,) in 0 … classes − 1 → loss.
    """

    def __init__(self, classes: int, dim: int, margin: float = 0.35, scale: float = 30.0):
        super().__init__(classes, dim, scale)
        _check_margin(margin)
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of n embeddings."""
        return cosface(self.cosines(embeddings), labels, self.margin, self.scale)


class ArcFaceLoss(_AngularLoss):
    """:func:`arcface` with its weight matrix, which must be given to the optimiser.

    Args:
        classes: number of classes.
        dim: of the embeddings.
        margin: m, in radians, at most π.
        scale: s.

    Attributes:
        weight: (classes, dim)

    Shape:
        embeddings (n, dim), labels (n,) in 0 … classes − 1 → loss.
    """

    def __init__(self, classes: int, dim: int, margin: float = 0.5, scale: float = 30.0):
        super().__init__(classes, dim, scale)
        _check_angle(margin)
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of n embeddings."""
        return arcface(self.cosines(embeddings), labels, self.margin, self.scale)


class SupConLoss(nn.Module):
    """:func:`supcon` on the cosines of a batch.

    Args:
        temperature: τ.
        similarity: cosine as in the paper, or another of :mod:`fslib.metrics`.

    Shape:
        embeddings (n, d), labels (n,) → loss.
    """

    def __init__(self, temperature: float = 0.1, similarity: Metric = cosine_similarity):
        super().__init__()
        _check_above_zero("temperature", temperature)
        self.temperature, self.similarity = temperature, similarity

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch."""
        return supcon(self.similarity(embeddings, embeddings), labels, self.temperature)


class NTXentLoss(nn.Module):
    """:func:`nt_xent` on the cosines of two views.

    Args:
        temperature: τ.
        similarity: cosine as in the paper, or another of :mod:`fslib.metrics`.

    Shape:
        x (n, d), y (n, d), row i of each a view of picture i → loss.
    """

    def __init__(self, temperature: float = 0.5, similarity: Metric = cosine_similarity):
        super().__init__()
        _check_above_zero("temperature", temperature)
        self.temperature, self.similarity = temperature, similarity

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of n pictures, each in two views."""
        if x.shape != y.shape:
            raise ValueError(
                f"Both views must have one shape, but have {tuple(x.shape)} and {tuple(y.shape)}."
            )
        views = torch.cat([x, y])
        return nt_xent(self.similarity(views, views), self.temperature)


@_full
def _n_pair_of_vectors(anchor: Tensor, positive: Tensor, penalty: float) -> Tensor:
    loss = n_pair(anchor @ positive.mT)
    if not penalty:
        return loss
    norms = torch.cat([anchor, positive]).square().sum(1)
    return loss + penalty * norms.sum() / max(1, len(norms))


def _rowwise(metric: Metric, x: Tensor, y: Tensor) -> Tensor:
    """The metric of row i of ``x`` with row i of ``y``, (n, d) and (n, d) → (n,)."""
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(
            f"Both sides of the pairs must have one shape (n, d), but have {tuple(x.shape)} and {tuple(y.shape)}."
        )
    return metric(x[:, None], y[:, None])[:, 0, 0]


def _reduce(costs: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return costs
    if reduction == "sum":
        return costs.sum()
    if reduction == "mean":
        return costs.sum() / max(1, costs.numel())
    if reduction == "nonzero":
        return costs.sum() / (costs > 0).sum().clamp_min(1)
    raise ValueError(f'reduction must be "mean", "nonzero", "sum" or "none", but is {reduction!r}.')


def _check_margin(margin: float) -> None:
    if not margin >= 0:  # so that NaN is refused too
        raise ValueError(f"The margin must not be negative, but is {margin}.")


def _check_angle(margin: float) -> None:
    _check_margin(margin)
    if margin > math.pi:
        raise ValueError(
            f"ArcFace's margin is an angle in radians, at most π, but is {margin}; "
            "math.radians makes them of degrees."
        )


def _check_above_zero(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"The {name} must be above zero, but is {value}.")


def _check_batch(matrix: Tensor, labels: Tensor) -> int:
    """The size of a batch, (n, n) with labels (n,)."""
    n = len(labels)
    if labels.ndim != 1 or labels.is_floating_point() or matrix.shape != (n, n):
        raise ValueError(
            "A batch is compared in a matrix (n, n) and has n integer labels, "
            f"but got {tuple(matrix.shape)} and {labels.dtype} of shape {tuple(labels.shape)}."
        )
    return n


def _check_classes(cosines: Tensor, labels: Tensor) -> None:
    if cosines.ndim != 2:
        raise ValueError(
            f"The cosines must be of shape (n, classes), but have shape {tuple(cosines.shape)}."
        )
    n, classes = cosines.shape
    if labels.shape != (n,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"{n} embeddings need {n} integer labels, but got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    if n and not (0 <= labels.min() and labels.max() < classes):
        raise ValueError(
            f"The labels must lie between 0 and {classes - 1}, for there are {classes} classes, "
            f"but lie between {labels.min()} and {labels.max()}."
        )
