"""Which pairs and triplets of a batch a loss gets to see.

Every function takes ``labels``, the class of each of the n examples of a batch, (n,), integers or names of any kind,
and returns *positions* in the batch. Those that look at distances take a matrix, (n, n), as the functions of
:mod:`fslib.metrics` give; labels and positions then go to its device, and no gradient flows through the choice. The
three parts of a triplet are an anchor, a positive of the anchor's class, and a negative of another. An anchor that has
no positive or no negative in the batch is left out, and so is a negative at an infinite distance; if that leaves none,
the positions are empty, and a loss over them is zero.

How many positions there are is known only when they are found, so on a GPU a list waits for it. The losses of
:mod:`fslib.objectives` do not wait: they use :func:`hardest_of_each` and :func:`semi_hard_of_each`, whose answers have
the size of the batch.

>>> batch_hard(torch.tensor([[0.0, 2.0, 1.0], [2.0, 0.0, 3.0], [1.0, 3.0, 0.0]]), ["cat", "cat", "dog"])
(tensor([0, 1]), tensor([1, 0]), tensor([2, 2]))
"""

from __future__ import annotations

import math
import numbers
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.devices import upload
from fslib.labels import as_labels

Triplets = tuple[Tensor, Tensor, Tensor]


def all_pairs(labels: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of different examples, once.

    Returns:
        Positions of the first and of the second example, and whether they are of the same class, n(n − 1)/2 each.

    Example:
        >>> all_pairs([7, 7, 4])
        (tensor([0, 0, 1]), tensor([1, 2, 2]), tensor([ True, False, False]))
    """
    labels = as_labels(labels)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    equal = labels[:, None] == labels
    return first, second, equal.flatten().index_select(0, first * len(labels) + second)


def all_triplets(labels: Any) -> Triplets:
    """Every triplet. Twice as many examples of each class make some eight times as many triplets.

    :func:`fslib.losses.triplet_all` gives the loss over all of them without a list.
    """
    labels = as_labels(labels)
    anchor, positive = _positive_pairs(labels)
    pair, negative = (labels[anchor][:, None] != labels).nonzero(as_tuple=True)
    return anchor[pair], positive[pair], negative


def batch_hard(distances: Tensor, labels: Any) -> Triplets:
    """For each anchor, its farthest positive and its nearest negative (Hermans et al., 2017, equation 5)."""
    farthest, nearest, complete = hardest_of_each(distances, labels)
    anchor = complete.nonzero().flatten()
    return anchor, farthest[anchor], nearest[anchor]


def hardest_of_each(distances: Tensor, labels: Any) -> Triplets:
    """The farthest positive and the nearest negative of every example, and whether it has both, (n,) each."""
    distances, labels = _batch(distances, labels)
    if not len(labels):
        return labels, labels, labels.bool()
    same, others = same_and_others(labels)
    greatest, farthest = distances.where(same, -torch.inf).max(1)
    least, nearest = distances.where(others, torch.inf).min(1)
    return farthest, nearest, (greatest != -torch.inf) & (least != torch.inf)  # true of NaN


def semi_hard_band(distances: Tensor, labels: Any, margin: float) -> Triplets:
    """Every triplet whose negative is farther than the positive, but by no more than the margin.

    One of two meanings of *semi-hard*: the band 0 < D(a, n) − D(a, p) ≤ margin, as pytorch-metric-learning has it.
    The other is :func:`semi_hard_nearest`.
    """
    if not (isinstance(margin, numbers.Real) and 0 <= margin < math.inf):
        raise ValueError(f"The margin must be finite and not negative, but is {margin}.")
    distances, labels = _batch(distances, labels)
    anchor, positive = _positive_pairs(labels)
    negatives = distances.where(labels[:, None] != labels, torch.inf)
    triplets = []
    some = max(len(labels), 2**20 // max(1, len(labels)))  # pairs at a time
    # All blocks lie in the same memory; taken anew for each, what is kept would lie scattered between its pieces.
    gaps = distances.new_empty(min(some, len(anchor)), len(labels))
    inside = torch.empty_like(gaps, dtype=torch.bool)
    for a, p in zip(anchor.split(some), positive.split(some)):
        gap = torch.index_select(negatives, 0, a, out=gaps[: len(a)]).sub_(distances[a, p][:, None])
        F.threshold_(gap, 0, torch.inf)  # who is no farther than the positive
        pair, negative = torch.le(gap, margin, out=inside[: len(a)]).nonzero(as_tuple=True)
        triplets.append((a[pair], p[pair], negative))
    if not triplets:
        return anchor, anchor, anchor
    anchor, positive, negative = map(torch.cat, zip(*triplets))
    return anchor, positive, negative


def semi_hard_nearest(
    distances: Tensor,
    labels: Any,
    otherwise: Literal["drop", "farthest"] = "drop",
) -> Triplets:
    """For each pair of anchor and positive, the nearest negative that is farther than the positive.

    What many implementations call *semi-hard*. FaceNet (Schroff et al., 2015, section 3.2) wants negatives inside the
    margin, as :func:`semi_hard_band` takes them; here the loss sees to it, because those beyond it cost nothing.

    Args:
        distances: (n, n)
        labels: (n,)
        otherwise: what to do with a pair whose negatives are all nearer than its positive: leave it out, or give
            it its farthest negative.
    """
    negative, chosen = semi_hard_of_each(distances, labels, otherwise)
    anchor, positive = chosen.nonzero(as_tuple=True)
    return anchor, positive, negative[anchor, positive]


def semi_hard_of_each(
    distances: Tensor,
    labels: Any,
    otherwise: Literal["drop", "farthest"] = "drop",
) -> tuple[Tensor, Tensor]:
    """The negative of :func:`semi_hard_nearest` for every pair of the batch, and whether that makes a triplet, (n, n).

    Where an anchor has many positives, its negatives are sorted by distance once, and each positive looks for its place
    among them. So memory is in proportion to the pairs of the batch, not to its triplets.
    """
    if otherwise not in ("drop", "farthest"):
        raise ValueError(f'otherwise must be "drop" or "farthest", but is {otherwise!r}.')
    distances, labels = _batch(distances, labels)
    same, others = same_and_others(labels)
    if not len(labels):
        return same.long(), same
    negatives = distances.where(others, torch.inf).nan_to_num(nan=torch.inf, posinf=torch.inf)
    positive = positives_of_each(same)
    if 0 < positive.shape[1] <= 8:  # to ask for each is quicker than to sort
        masks = (negatives > distances.gather(1, p[:, None]) for p in positive.T)
        found = [negatives.where(farther, torch.inf).min(1) for farther in masks]
        least, nearest = (torch.stack(parts, 1) for parts in zip(*found))
    else:
        # Who is no negative comes last, at infinity; of equally far ones, the first in the batch comes first.
        ordered, order = negatives.sort(dim=1, stable=True)
        place = torch.searchsorted(ordered, distances.gather(1, positive), right=True)
        place = place.clamp_max(len(labels) - 1)
        least, nearest = ordered.gather(1, place), order.gather(1, place)
    negative = torch.zeros_like(same, dtype=torch.long).scatter(1, positive, nearest)
    beyond = torch.zeros_like(same).scatter(1, positive, least < torch.inf)
    chosen = same & beyond
    if otherwise == "farthest":
        farthest = distances.where(others, -torch.inf).argmax(1, keepdim=True)
        negative = torch.where(chosen, negative, farthest)
        chosen = same & others.any(1, keepdim=True)
    return negative, chosen


def same_and_others(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (n, n): pairs of one class without each example and itself, and pairs of two classes."""
    equal = labels[:, None] == labels
    return equal & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~equal


def positives_of_each(same: Tensor) -> Tensor:
    """Positions of the positives of each example, (n, most), of the mask of pairs of one class; then of others.

    On a GPU it is all examples, for to know the most positives of an anchor would be to wait.
    """
    n = len(same)
    most = int(same.sum(1).max()) if n and same.device.type == "cpu" else n
    return same.float().topk(most, dim=1).indices


def _positive_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of all ordered pairs of two examples of one class."""
    first, second = same_and_others(labels)[0].nonzero(as_tuple=True)
    return first, second


def _batch(distances: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
    """Distances without gradient, in float32 or better, and labels on their device."""
    if not isinstance(distances, Tensor):
        raise TypeError(
            f"Distances are a tensor, as fslib.metrics gives, but got {type(distances).__name__}."
        )
    labels = as_labels(labels)
    if distances.shape != (len(labels), len(labels)):
        raise ValueError(
            f"{len(labels)} labels need distances of shape {(len(labels), len(labels))}, "
            f"but got {tuple(distances.shape)}."
        )
    dtype = torch.promote_types(distances.dtype, torch.float32)
    return distances.detach().to(dtype), upload(labels, distances.device)
