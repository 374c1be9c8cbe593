"""Which pairs and triplets of a batch a loss gets to see.

Every function takes ``labels``, the class of each of the n examples of a batch, shape (n,), and returns *positions* in
the batch. Those that look at distances take a matrix, shape (n, n), as the functions of :mod:`fslib.metrics` give,
and no gradient flows through the choice. The three parts of a triplet are an anchor, a positive of the anchor's class,
and a negative of another. An anchor that has no positive or no negative in the batch is left out; if that leaves none,
the positions are empty, and a loss over them is zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Triplets = tuple[Tensor, Tensor, Tensor]


def all_pairs(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of different examples, once.

    Returns:
        Positions of the first and of the second example, and whether they are of the same class, n(n − 1)/2 each.
    """
    _check(labels)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    equal = labels[:, None] == labels
    return first, second, equal.flatten().index_select(0, first * len(labels) + second)


def all_triplets(labels: Tensor) -> Triplets:
    """Every triplet. Twice as many examples of each class make some eight times as many triplets.

    :func:`fslib.losses.triplet_all` gives the loss over all of them without a list.
    """
    anchor, positive = _positive_pairs(labels)
    pair, negative = (labels[anchor][:, None] != labels).nonzero(as_tuple=True)
    return anchor[pair], positive[pair], negative


def batch_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """For each anchor, its farthest positive and its nearest negative (Hermans et al., 2017, equation 5)."""
    _check(labels, distances)
    if not len(labels):
        return labels.long(), labels.long(), labels.long()
    same, others = _same_and_others(labels)
    farthest = distances.detach().where(same, -torch.inf).argmax(1)
    nearest = distances.detach().where(others, torch.inf).argmin(1)
    anchor = (same.any(1) & others.any(1)).nonzero().flatten()
    return anchor, farthest[anchor], nearest[anchor]


def semi_hard_band(distances: Tensor, labels: Tensor, margin: float) -> Triplets:
    """Every triplet whose negative is farther than the positive, but by no more than the margin.

    One of two meanings of *semi-hard*: the band 0 < D(a, n) − D(a, p) ≤ margin, as pytorch-metric-learning has it.
    The other is :func:`semi_hard_nearest`.
    """
    if not margin >= 0:
        raise ValueError(f"The margin must not be negative, but is {margin}.")
    _check(labels, distances)
    anchor, positive = _positive_pairs(labels)
    gap = distances.detach()[anchor] - distances.detach()[anchor, positive][:, None]
    inside = (gap > 0) & (gap <= margin) & (labels[anchor][:, None] != labels)
    pair, negative = inside.nonzero(as_tuple=True)
    return anchor[pair], positive[pair], negative


def semi_hard_nearest(
    distances: Tensor, labels: Tensor, otherwise: Literal["drop", "farthest"] = "drop"
) -> Triplets:
    """For each pair of anchor and positive, the nearest negative that is farther than the positive.

    The usual reading of *semi-hard* in FaceNet (Schroff et al., 2015, section 3.2). Their inequality has no margin in
    it; that the negatives lie inside the margin, as they say of them, the loss sees to: those beyond it cost nothing.

    Args:
        distances: (n, n)
        labels: (n,)
        otherwise: what to do with a pair whose negatives are all nearer than its positive: leave it out, or give
            it its farthest negative.
    """
    _check(labels, distances)
    if otherwise not in ("drop", "farthest"):
        raise ValueError(f'otherwise must be "drop" or "farthest", but is {otherwise!r}.')
    anchor, positive = _positive_pairs(labels)
    if not len(anchor):
        return anchor, anchor, anchor
    others = labels[anchor][:, None] != labels
    from_anchor = distances.detach()[anchor]
    beyond = others & (from_anchor > from_anchor.gather(1, positive[:, None]))
    negative = from_anchor.where(beyond, torch.inf).argmin(1)
    keep = beyond.any(1)
    if otherwise == "farthest":
        negative = torch.where(keep, negative, from_anchor.where(others, -torch.inf).argmax(1))
        keep = others.any(1)
    return anchor[keep], positive[keep], negative[keep]


def _same_and_others(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (n, n): pairs of one class without each example and itself, and pairs of two classes."""
    equal = labels[:, None] == labels
    return equal & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~equal


def _positive_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of all ordered pairs of two examples of one class."""
    _check(labels)
    first, second = _same_and_others(labels)[0].nonzero(as_tuple=True)
    return first, second


def _check(labels: Tensor, distances: Tensor | None = None) -> None:
    if labels.ndim != 1 or labels.is_floating_point():
        raise ValueError(
            f"The labels of a batch are integers of shape (n,), but got {labels.dtype} {tuple(labels.shape)}."
        )
    if distances is not None and distances.shape != (len(labels), len(labels)):
        raise ValueError(
            f"{len(labels)} labels need distances of shape {(len(labels), len(labels))}, "
            f"but got {tuple(distances.shape)}."
        )
