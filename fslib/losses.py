"""Losses of metric learning.

A loss sees what a comparison gave. So the functions take distances or similarities, by any metric of
:mod:`fslib.metrics`, of the pairs or triplets that :mod:`fslib.mining` chooses; the classes wrap them for vectors.

Nothing is normalised unless the name says cosine. Margins are in the units of what they are compared with; ArcFace's
is an angle in radians. Everything is computed in float32 or better, under autocast too. A loss over no pairs is zero,
and has a gradient, of zeros.

Labels are integers of any kind, in a tensor, an array or a list, on any device. Where it only matters which are equal,
names will do too. No loss waits for a GPU; so labels are compared with the number of classes only where they lie on the
CPU, and :func:`fslib.training.fit` does it before it begins.

>>> x, y = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.5], [1.0, 0.25]])
>>> ContrastiveLoss(margin=1.0)(x, y, [True, False])
tensor(0.4062)
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import whole
from fslib.devices import upload
from fslib.labels import as_labels
from fslib.metrics import Metric, cosine_similarity, euclidean, expect, full_precision
from fslib.mining import positives_of_each, same_and_others

Reduction = Literal["mean", "nonzero", "sum", "none"]


def in_full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute in float32 or better: whatever is annotated as a tensor comes as such, integers too."""
    signature = inspect.signature(loss)
    tensors = [name for name, each in signature.parameters.items() if each.annotation == "Tensor"]

    @functools.wraps(loss)
    def compute(*arguments: Any, **options: Any) -> Tensor:
        given = signature.bind(*arguments, **options)
        for name in tensors:
            value = given.arguments[name]
            if not isinstance(value, Tensor):
                raise TypeError(f"{loss.__name__} takes tensors; torch.tensor makes one of a list.")
            given.arguments[name] = value.to(torch.promote_types(value.dtype, torch.float32))
        with full_precision(given.arguments[tensors[0]]):
            return loss(*given.args, **given.kwargs)

    return compute


# Pairs and triplets -------------------------------------------------------------------------------------------


@in_full_precision
def contrastive(
    distances: Tensor, same: Any, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Pull pairs of one class together, push others apart up to a margin.

    y·D² + (1 − y)·max(0, m − D)², with y = 1 for a pair of one class (Hadsell, Chopra and LeCun, 2006, equation 4, who
    write y the other way round and put ½ before each term).

    Args:
        distances: D of each pair, (n,).
        same: whether the pair is of one class, boolean, (n,).
        margin: m, the distance beyond which a pair of two classes costs nothing.
        reduction: ``"mean"`` over all, ``"nonzero"``: over those that cost something, ``"sum"`` or ``"none"``.

    Example:
        >>> contrastive(torch.tensor([0.5, 0.25]), [True, False], margin=1.0)
        tensor(0.4062)
    """
    check_not_negative("margin", margin)
    same = _as_same(same, distances)
    return _reduce(
        torch.where(same, distances, (margin - distances).clamp_min(0)).square(), reduction
    )


@in_full_precision
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

    Example:
        >>> triplet(torch.tensor([0.5, 0.25]), torch.tensor([1.0, 2.0]), margin=1.0)
        tensor(0.2500)
    """
    check_not_negative("margin", margin)
    _check_device(positive, negative)
    if positive.shape != negative.shape:
        raise ValueError(
            f"Each triplet has two distances, but got {tuple(positive.shape)} and {tuple(negative.shape)}."
        )
    return _reduce((positive - negative + margin).clamp_min(0), reduction)


@in_full_precision
def triplet_all(
    distances: Tensor,
    labels: Any,
    margin: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """The triplet loss over all triplets of a batch, without listing them.

    For one anchor, the negatives that cost something to a positive are those nearer than D(a, p) + m. Sorted by
    distance, they are the first c. Each costs what the last of them costs, D(a, p) + m − D(a, n_c), and what it is
    nearer than that, n_c − n_i. A running sum holds the latter: from one place to the next, all before it gain the step
    between the two. So time and memory grow with the number of pairs, not of triplets, and nothing that is summed is
    larger than the costs themselves, however far away other examples lie.

    Args:
        distances: D of all pairs of the batch, (n, n).
        labels: class of each example, (n,).
        margin: m.
        reduction: ``"mean"`` over all triplets, ``"nonzero"``: mean over those that cost something, or ``"sum"``.

    Example:
        >>> distances = torch.tensor([[0.0, 0.5, 1.0], [0.5, 0.0, 2.0], [1.0, 2.0, 0.0]])
        >>> triplet_all(distances, ["cat", "cat", "dog"], margin=1.0)
        tensor(0.2500)
    """
    check_not_negative("margin", margin)
    labels = _labels_of(distances, labels)
    same, others = same_and_others(labels)
    among = positives_of_each(same)
    positive, counted = distances.gather(1, among), same.gather(1, among)
    nearest = distances.where(others, torch.inf).sort(1).values
    reach = (positive + margin).detach()
    below, upto = (
        torch.searchsorted(nearest.detach(), reach, right=right) for right in (False, True)
    )
    # Beside 10⁷ a margin of 0.2 is rounded away; then the gap says who costs something.
    at_reach = nearest.gather(1, (upto - 1).clamp_min(0))
    count = upto.where(at_reach - positive < margin, below)
    last = (count - 1).clamp_min(0)
    nearest = nearest.where(nearest.isfinite(), 0)
    steps = torch.arange(len(labels), device=labels.device)[1:] * nearest.diff(dim=1)
    nearer = F.pad(steps.cumsum(1), (1, 0)).gather(1, last)
    costs = count * (positive - nearest.gather(1, last) + margin) + nearer
    counted = counted & (count > 0)
    total = costs.where(counted, 0).sum()
    total = total.where(~distances.isnan().any(), torch.nan)  # nor may a far one be hidden
    if reduction == "sum":
        return total
    if reduction == "mean":
        number = (same.sum(1) * others.sum(1)).sum()
    elif reduction == "nonzero":
        number = count.where(counted, 0).sum()
    else:
        raise ValueError(f'reduction must be "mean", "nonzero" or "sum", but is {reduction!r}.')
    return total / number.clamp_min(1)


@in_full_precision
def n_pair(similarities: Tensor) -> Tensor:
    """Tell one's positive from everybody else's (Sohn, 2016, the N-pair-mc loss, without its norm penalty).

    log(1 + Σⱼ exp(aᵢ·pⱼ − aᵢ·pᵢ)), the mean over i, which is the cross-entropy of row i for column i. Inner products
    that overflow, as of vectors of 10²⁰ in float32, leave no number to compare, and the loss is NaN.

    Args:
        similarities: aᵢ·pⱼ, the anchor i and the positive of class j, (n, n).

    Example:
        >>> n_pair(torch.zeros(3, 3)).exp().round(decimals=4)     # all alike: one in three
        tensor(3.)
    """
    if similarities.ndim != 2 or similarities.shape[0] != similarities.shape[1]:
        raise ValueError(
            f"n_pair takes as many anchors as positives, but got similarities of shape {tuple(similarities.shape)}."
        )
    return _cross_entropy(similarities, torch.arange(len(similarities), device=similarities.device))


# Classes with a weight vector each, on the circle ----------------------------------------------------------------


@in_full_precision
def normalized_softmax(
    cosines: Tensor, labels: Any, scale: float = 30.0, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of scaled cosines between embeddings and class weights (Wang et al., *NormFace*, 2017).

    Args:
        cosines: of each embedding with each class weight, (n, classes).
        labels: class of each embedding, 0 … classes − 1, (n,).
        scale: s. Cosines end at 1, so without a scale the loss cannot come near zero.
        label_smoothing: see :class:`SoftmaxLoss`.

    Example:
        >>> normalized_softmax(torch.tensor([[1.0, 1.0]]), [0]).exp().round(decimals=4)     # both alike: one in two
        tensor(2.)
    """
    check_above_zero("scale", scale)
    _check_smoothing(label_smoothing)
    return _cross_entropy(scale * cosines, _classes_of(cosines, labels), label_smoothing)


@in_full_precision
def cosface(
    cosines: Tensor, labels: Any, margin: float = 0.35, scale: float = 30.0
) -> Tensor:
    """Normalised softmax with a margin on the cosine: cos θ − m for the right class (Wang et al., 2018, equation 4).

    Args:
        cosines: (n, classes)
        labels: (n,)
        margin: m, in units of the cosine.
        scale: s.

    Example:
        >>> cosface(torch.tensor([[0.75, 0.5]]), [0], margin=0.25).exp().round(decimals=4)     # no lead is left
        tensor(2.)
    """
    check_not_negative("margin", margin)
    check_above_zero("scale", scale)
    labels = _classes_of(cosines, labels)
    right = labels[:, None]
    lowered = cosines.gather(1, right) - margin
    return _cross_entropy(scale * cosines.scatter(1, right, lowered), labels)


@in_full_precision
def arcface(
    cosines: Tensor, labels: Any, margin: float = 0.5, scale: float = 30.0
) -> Tensor:
    """Normalised softmax with a margin on the angle: cos(θ + m) for the right class (Deng et al., 2019, equation 3).

    Beyond θ = π − m the cosine of θ + m would rise again and reward a worse angle. There cos θ − m·sin m takes its
    place, which goes on falling, as in the authors' code.

    Args:
        cosines: (n, classes)
        labels: (n,)
        margin: m, in radians, at most π.
        scale: s.

    Example:
        >>> cosines = torch.tensor([0.25, 0.75]).cos()[None]
        >>> arcface(cosines, [0], margin=0.5).exp().round(decimals=4)     # the margin eats the lead
        tensor(2.)
    """
    _check_angle(margin)
    check_above_zero("scale", scale)
    labels = _classes_of(cosines, labels)
    right = labels[:, None]
    cosine = cosines.gather(1, right)
    sine_squared = 1 - cosine.square()
    apart = sine_squared > 0  # at an angle of zero the root has no slope; give it zero
    sine = torch.where(apart, sine_squared, 1.0).sqrt() * apart
    moved = torch.where(
        cosine > -math.cos(margin),
        cosine * math.cos(margin) - sine * math.sin(margin),
        cosine - margin * math.sin(margin),
    )
    return _cross_entropy(scale * cosines.scatter(1, right, moved), labels)


# All against all -------------------------------------------------------------------------------------------------


@in_full_precision
def supcon(similarities: Tensor, labels: Any, temperature: float = 0.1) -> Tensor:
    """Tell those of one's class from the rest of the batch (Khosla et al., 2020, equation 2, the sum outside the log).

    ``−1/|P(i)|`` Σ over p in P(i) of log( exp(s(i,p)/τ) / Σ over a ≠ i of exp(s(i,a)/τ) ), the mean over those i
    that have somebody of their class in the batch, P(i).

    Args:
        similarities: s of all pairs of the batch, (n, n); in the paper, cosines.
        labels: class of each example, (n,).
        temperature: τ.

    Example:
        >>> supcon(torch.eye(4), [0, 0, 1, 1]).exp().round(decimals=4)     # all others alike: one in three
        tensor(3.)
    """
    labels = _labels_of(similarities, labels)
    check_above_zero("temperature", temperature)
    itself = torch.eye(len(labels), dtype=torch.bool, device=similarities.device)
    positive = (labels[:, None] == labels) & ~itself
    scores = similarities / temperature
    others = scores.masked_fill(itself, torch.finfo(scores.dtype).min)
    log_probabilities = scores - others.logsumexp(1, keepdim=True)
    count = positive.sum(1)
    costs = -(log_probabilities.where(positive, 0).sum(1) / count.clamp_min(1))  # zero without any
    return costs.sum() / (count > 0).sum().clamp_min(1)


@in_full_precision
def nt_xent(similarities: Tensor, temperature: float = 0.5) -> Tensor:
    """Tell the other view of one's own picture from all other pictures (Chen et al., *SimCLR*, 2020, equation 1).

    It is :func:`supcon` with each picture as a class of two.

    Args:
        similarities: s of all 2n views, the second view of picture i at place n + i, (2n, 2n); in the paper, cosines.
        temperature: τ.

    Example:
        >>> nt_xent(torch.eye(4)).exp().round(decimals=4)     # all others alike: one in three
        tensor(3.)
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

    Example:
        >>> x, y = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.5], [1.0, 0.25]])
        >>> ContrastiveLoss(margin=1.0)(x, y, [True, False])
        tensor(0.4062)
    """

    def __init__(
        self, margin: float = 1.0, metric: Metric = euclidean, reduction: Reduction = "mean"
    ):
        super().__init__()
        check_not_negative("margin", margin)
        expect(metric, "distance", type(self).__name__)
        _check_reduction(reduction)
        self.margin, self.metric, self.reduction = margin, metric, reduction

    def forward(self, x: Tensor, y: Tensor, same: Any) -> Tensor:
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

    Example:
        >>> anchor, positive, negative = torch.zeros(1, 2), torch.tensor([[0.0, 0.5]]), torch.tensor([[1.0, 0.0]])
        >>> TripletLoss(margin=1.0)(anchor, positive, negative)
        tensor(0.5000)
    """

    def __init__(
        self, margin: float = 1.0, metric: Metric = euclidean, reduction: Reduction = "mean"
    ):
        super().__init__()
        check_not_negative("margin", margin)
        expect(metric, "distance", type(self).__name__)
        _check_reduction(reduction)
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

    Example:
        >>> NPairLoss()(torch.zeros(3, 2), torch.ones(3, 2)).exp().round(decimals=4)     # all alike: one in three
        tensor(3.)
    """

    def __init__(self, penalty: float = 0.0):
        super().__init__()
        check_not_negative("penalty", penalty)
        self.penalty = penalty

    def forward(self, anchor: Tensor, positive: Tensor) -> Tensor:
        """The loss of n anchors and their positives, every other positive a negative."""
        _check_rows(anchor, positive)
        return _n_pair_of_vectors(anchor, positive, self.penalty)


class _ClassWeights(nn.Module):
    """A weight vector for each class."""

    def __init__(self, classes: int, dim: int):
        super().__init__()
        self.classes, dim = whole("The number of classes", classes), whole("The dimension", dim)
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(self.classes, dim)))

    def _beside_weights(self, embeddings: Tensor) -> Tensor:
        """The embeddings, checked, on the device of the weights."""
        dim = self.weight.shape[1]
        if not isinstance(embeddings, Tensor):
            raise TypeError(f"Embeddings are a tensor, but got {type(embeddings).__name__}.")
        if embeddings.ndim != 2 or embeddings.shape[1] != dim:
            raise ValueError(
                f"This loss is of embeddings of shape (n, {dim}), but got {tuple(embeddings.shape)}."
            )
        return upload(embeddings, self.weight.device)


class SoftmaxLoss(_ClassWeights):
    """The cross-entropy of a linear classifier of the training classes, the way to pretrain a network.

    Args:
        classes: number of classes.
        dim: of the embeddings.
        label_smoothing: ε, the part of a label that is spread evenly over all K classes, the right one included: the
            target is 1 − ε + ε/K for that and ε/K for each other (Szegedy et al., 2016, section 7).

    Attributes:
        weight: of the classifier, (classes, dim), which must be given to the optimiser.

    Shape:
        embeddings (n, dim), labels (n,) in 0 … classes − 1 → loss, on the device of the weight.

    Example:
        >>> loss = SoftmaxLoss(classes=2, dim=3)
        >>> round(loss(torch.zeros(4, 3), [0, 1, 1, 0]).exp().item(), 4)     # both classes alike: one in two
        2.0
    """

    def __init__(self, classes: int, dim: int, label_smoothing: float = 0.0):
        _check_smoothing(label_smoothing)
        super().__init__(classes, dim)
        self.label_smoothing = label_smoothing

    def forward(self, embeddings: Tensor, labels: Any) -> Tensor:
        """The mean loss of n embeddings."""
        embeddings = self._beside_weights(embeddings)
        return _softmax(embeddings, self.weight, labels, self.label_smoothing)


class _AngularLoss(_ClassWeights):
    """The weight vectors are compared with embeddings by the cosine."""

    def __init__(self, classes: int, dim: int, scale: float):
        check_above_zero("scale", scale)
        super().__init__(classes, dim)
        self.scale = scale

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosine of each embedding with each class weight, (n, dim) → (n, classes)."""
        return cosine_similarity(self._beside_weights(embeddings), self.weight)


class NormalizedSoftmaxLoss(_AngularLoss):
    """:func:`normalized_softmax` with its weight matrix, which must be given to the optimiser.

    Args:
        classes: number of classes.
        dim: of the embeddings.
        scale: s.
        label_smoothing: see :class:`SoftmaxLoss`.

    Attributes:
        weight: (classes, dim)

    Shape:
        embeddings (n, dim), labels (n,) in 0 … classes − 1 → loss, on the device of the weight.

    Example:
        >>> loss = NormalizedSoftmaxLoss(classes=2, dim=3)
        >>> round(loss(torch.zeros(4, 3), [0, 1, 1, 0]).exp().item(), 4)     # both classes alike: one in two
        2.0
    """

    def __init__(self, classes: int, dim: int, scale: float = 30.0, label_smoothing: float = 0.0):
        _check_smoothing(label_smoothing)
        super().__init__(classes, dim, scale)
        self.label_smoothing = label_smoothing

    def forward(self, embeddings: Tensor, labels: Any) -> Tensor:
        """The mean loss of n embeddings."""
        return normalized_softmax(self.cosines(embeddings), labels, self.scale, self.label_smoothing)


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
        embeddings (n, dim), labels (n,) in 0 … classes − 1 → loss, on the device of the weight.

    Example:
        >>> loss = CosFaceLoss(classes=2, dim=3, margin=0.25, scale=4.0)
        >>> round(loss(torch.zeros(4, 3), [0, 1, 1, 0]).item(), 4)     # log(1 + e): behind by 4 · 0.25
        1.3133
    """

    def __init__(self, classes: int, dim: int, margin: float = 0.35, scale: float = 30.0):
        check_not_negative("margin", margin)
        super().__init__(classes, dim, scale)
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Any) -> Tensor:
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
        embeddings (n, dim), labels (n,) in 0 … classes − 1 → loss, on the device of the weight.

    Example:
        >>> loss = ArcFaceLoss(classes=2, dim=3, margin=0.0)     # without a margin, the normalised softmax
        >>> round(loss(torch.zeros(4, 3), [0, 1, 1, 0]).exp().item(), 4)     # both classes alike: one in two
        2.0
    """

    def __init__(self, classes: int, dim: int, margin: float = 0.5, scale: float = 30.0):
        _check_angle(margin)
        super().__init__(classes, dim, scale)
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Any) -> Tensor:
        """The mean loss of n embeddings."""
        return arcface(self.cosines(embeddings), labels, self.margin, self.scale)


class SupConLoss(nn.Module):
    """:func:`supcon` on the cosines of a batch.

    Args:
        temperature: τ.
        similarity: cosine as in the paper, or another of :mod:`fslib.metrics`.

    Shape:
        embeddings (n, d), labels (n,) → loss.

    Example:
        >>> SupConLoss()(torch.eye(4), ["cat", "cat", "dog", "dog"]).exp().round(decimals=4)     # all others alike
        tensor(3.)
    """

    def __init__(self, temperature: float = 0.1, similarity: Metric = cosine_similarity):
        super().__init__()
        check_above_zero("temperature", temperature)
        expect(similarity, "similarity", type(self).__name__)
        self.temperature, self.similarity = temperature, similarity

    def forward(self, embeddings: Tensor, labels: Any) -> Tensor:
        """The loss of a batch."""
        return supcon(self.similarity(embeddings, embeddings), labels, self.temperature)


class NTXentLoss(nn.Module):
    """:func:`nt_xent` on the cosines of two views.

    Args:
        temperature: τ.
        similarity: cosine as in the paper, or another of :mod:`fslib.metrics`.

    Shape:
        x (n, d), y (n, d), row i of each a view of picture i → loss.

    Example:
        >>> NTXentLoss()(*torch.eye(4).chunk(2)).exp().round(decimals=4)     # all others alike: one in three
        tensor(3.)
    """

    def __init__(self, temperature: float = 0.5, similarity: Metric = cosine_similarity):
        super().__init__()
        check_above_zero("temperature", temperature)
        expect(similarity, "similarity", type(self).__name__)
        self.temperature, self.similarity = temperature, similarity

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of n pictures, each in two views."""
        _check_rows(x, y)
        views = torch.cat([x, y])
        return nt_xent(self.similarity(views, views), self.temperature)


@in_full_precision
def _softmax(embeddings: Tensor, weight: Tensor, labels: Any, label_smoothing: float) -> Tensor:
    scores = embeddings @ weight.to(embeddings.dtype).mT
    return _cross_entropy(scores, _classes_of(scores, labels), label_smoothing)


def _cross_entropy(scores: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy, and zero over nothing."""
    if not len(labels):
        return scores.sum()
    return F.cross_entropy(scores, labels, label_smoothing=label_smoothing)


@in_full_precision
def _n_pair_of_vectors(anchor: Tensor, positive: Tensor, penalty: float) -> Tensor:
    loss = n_pair(anchor @ positive.mT)
    if not penalty:
        return loss
    norms = torch.cat([anchor, positive]).square().sum(1)
    return loss + penalty * norms.sum() / max(1, len(norms))


def _rowwise(metric: Metric, x: Tensor, y: Tensor) -> Tensor:
    """The metric of row i of ``x`` with row i of ``y``, (n, d) and (n, d) → (n,)."""
    _check_rows(x, y)
    return metric(x[:, None], y[:, None])[:, 0, 0]


def _check_rows(x: Tensor, y: Tensor) -> None:
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        raise TypeError(
            f"Both sides must be tensors (n, d), but are {type(x).__name__} and {type(y).__name__}."
        )
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(
            f"Both sides must have one shape (n, d), but have {tuple(x.shape)} and {tuple(y.shape)}."
        )
    _check_device(x, y)


def _check_device(x: Tensor, y: Tensor) -> None:
    if x.device != y.device:
        raise ValueError(f"Both sides must be on one device, but are on {x.device} and {y.device}.")


def _reduce(costs: Tensor, reduction: Reduction) -> Tensor:
    _check_reduction(reduction)
    if reduction == "none":
        return costs
    if reduction == "sum":
        return costs.sum()
    if reduction == "mean":
        return costs.sum() / max(1, costs.numel())
    return costs.sum() / (costs > 0).sum().clamp_min(1)


def _check_reduction(reduction: Reduction) -> None:
    if reduction not in ("mean", "nonzero", "sum", "none"):
        raise ValueError(
            f'reduction must be "mean", "nonzero", "sum" or "none", but is {reduction!r}.'
        )


def check_not_negative(name: str, value: float) -> None:
    """Raise unless a setting is a finite number of at least zero; one that is learned, a tensor, is not looked at."""
    if not isinstance(value, Tensor) and not (
        isinstance(value, numbers.Real) and 0 <= value < math.inf
    ):
        raise ValueError(f"The {name} must be finite and not negative, but is {value}.")


def _check_angle(margin: float) -> None:
    check_not_negative("margin", margin)
    if margin > math.pi:
        raise ValueError(
            f"ArcFace's margin is an angle in radians, at most π, but is {margin}; "
            "math.radians makes them of degrees."
        )


def _check_smoothing(label_smoothing: float) -> None:
    if not (isinstance(label_smoothing, numbers.Real) and 0 <= label_smoothing < 1):
        raise ValueError(
            f"label_smoothing is the part of a label that is spread, from 0 to below 1, but is {label_smoothing!r}."
        )


def check_above_zero(name: str, value: float) -> None:
    """Raise unless a setting is a finite number above zero; one that is learned, a tensor, is not looked at."""
    if not isinstance(value, Tensor) and not (
        isinstance(value, numbers.Real) and 0 < value < math.inf
    ):
        raise ValueError(f"The {name} must be above zero and finite, but is {value}.")


def _labels_of(matrix: Tensor, labels: Any) -> Tensor:
    """The labels of a batch that is compared in a matrix (n, n), on its device."""
    labels = as_labels(labels)
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(
            "A batch is compared in a matrix (n, n) and has n integer labels, "
            f"but got {tuple(matrix.shape)} and {len(labels)} labels."
        )
    return upload(labels, matrix.device)


def _classes_of(cosines: Tensor, labels: Any) -> Tensor:
    """The labels of rows (n, classes), on their device, and between 0 and classes − 1 if on the CPU one can see it."""
    if cosines.ndim != 2:
        raise ValueError(
            f"The cosines must be of shape (n, classes), but have shape {tuple(cosines.shape)}."
        )
    labels = as_labels(labels, names=False)
    n, classes = cosines.shape
    if len(labels) != n:
        raise ValueError(f"{n} embeddings need {n} integer labels, but got {len(labels)}.")
    if n and labels.device.type == "cpu" and not (0 <= labels.min() and labels.max() < classes):
        raise ValueError(
            f"The labels must lie between 0 and {classes - 1}, for there are {classes} classes, "
            f"but lie between {labels.min()} and {labels.max()}."
        )
    return upload(labels, cosines.device)


def _as_same(same: Any, distances: Tensor) -> Tensor:
    """Whether each pair is of one class, a boolean tensor beside the distances."""
    if not isinstance(same, Tensor):
        try:
            array = np.asarray(same, dtype=None if np.size(same) else bool)
        except ValueError:  # rows of unequal length
            array = np.empty(0)
        same = torch.from_numpy(array.copy()) if array.dtype == bool else torch.empty(array.shape)
    if same.dtype != torch.bool or same.shape != distances.shape:
        raise ValueError(
            f"same must be boolean, True for a pair of one class, of the shape {tuple(distances.shape)} of the "
            f"distances, but is {same.dtype} of shape {tuple(same.shape)}."
        )
    return upload(same, distances.device)
