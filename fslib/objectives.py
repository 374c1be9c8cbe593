"""What training lowers on a batch: a loss with the choice of what it sees.

Each takes the embeddings of a batch, (n, d), and the class of each, (n,), and gives one number, as
:func:`fslib.training.fit` wants it. Labels are integers or names of any kind, on any device. Nothing here waits for a
GPU: instead of listing the pairs or triplets that count, the others are multiplied out of the mean. Losses that need no
choice, such as :class:`fslib.losses.ArcFaceLoss` or :class:`fslib.losses.SupConLoss`, do so by themselves.

>>> embeddings = torch.tensor([[0.0], [0.25], [1.0], [2.0]])
>>> triplet_hard(embeddings, ["cat", "cat", "dog", "dog"], margin=1.0)
tensor(0.5625)
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib import losses, mining
from fslib.devices import upload
from fslib.labels import as_labels
from fslib.metrics import euclidean


def contrastive(embeddings: Tensor, labels: Any, margin: float = 0.5) -> Tensor:
    """The contrastive loss over all pairs, those of one class and the others with the same weight.

    Most pairs of a batch are of two classes; in one mean over all, those of one class would hardly count.

    Example:
        >>> contrastive(torch.tensor([[0.0], [0.25], [1.0], [1.25]]), [0, 0, 1, 1], margin=1.0)
        tensor(0.0391)
    """
    labels = _labels(embeddings, labels)
    distances = euclidean(embeddings, embeddings)
    first, second, same = mining.all_pairs(labels)
    costs = losses.contrastive(distances[first, second], same, margin, reduction="none")
    return 0.5 * (_mean(costs, same) + _mean(costs, ~same))


def triplet_all(embeddings: Tensor, labels: Any, margin: float = 0.2) -> Tensor:
    """The triplet loss over all triplets, the mean over those that cost something.

    Example:
        >>> triplet_all(torch.tensor([[0.0], [0.25], [1.0], [2.0]]), [0, 0, 1, 1], margin=1.0)
        tensor(0.6500)
    """
    labels = _labels(embeddings, labels)
    return losses.triplet_all(euclidean(embeddings, embeddings), labels, margin, "nonzero")


def triplet_hard(embeddings: Tensor, labels: Any, margin: float = 0.2) -> Tensor:
    """The triplet loss over the hardest triplet of each anchor, as :func:`fslib.mining.batch_hard` chooses it.

    Example:
        >>> triplet_hard(torch.tensor([[0.0], [0.25], [1.0], [2.0]]), [0, 0, 1, 1], margin=1.0)
        tensor(0.5625)
    """
    return mined_triplets(embeddings, labels, losses.TripletLoss(margin), "hard")


def triplet_semi_hard(embeddings: Tensor, labels: Any, margin: float = 0.2) -> Tensor:
    """The triplet loss over semi-hard triplets, as :func:`fslib.mining.semi_hard_nearest` chooses them.

    Example:
        >>> triplet_semi_hard(torch.tensor([[0.0], [0.25], [1.0], [2.0]]), [0, 0, 1, 1], margin=1.0)
        tensor(0.3333)
    """
    return mined_triplets(embeddings, labels, losses.TripletLoss(margin), "semi-hard")


def mined_triplets(
    embeddings: Tensor, labels: Any, loss: losses.TripletLoss, how: Literal["hard", "semi-hard"]
) -> Tensor:
    """A triplet loss, with its metric, margin and reduction, over mined triplets that are listed nowhere."""
    labels = _labels(embeddings, labels)
    distances = loss.metric(embeddings, embeddings)
    if how == "hard":
        farthest, nearest, chosen = mining.hardest_of_each(distances, labels)
        near, far = (distances.gather(1, of[:, None])[:, 0] for of in (farthest, nearest))
    else:
        negative, chosen = mining.semi_hard_of_each(distances, labels)
        near, far = distances, distances.gather(1, negative)
        chosen = chosen | distances.isnan()  # what is no number is never chosen, nor may it be hidden
    costs = losses.triplet(near, far, loss.margin, reduction="none").where(chosen, 0)
    if loss.reduction == "sum":
        return costs.sum()
    return _mean(costs, chosen if loss.reduction == "mean" else costs != 0)


@losses.in_full_precision
def n_pair(embeddings: Tensor, labels: Any, penalty: float = 0.0) -> Tensor:
    """The N-pair loss with the first example of each class for an anchor and its second for the positive.

    How many classes have two is known only on the device, but it is at most half of the examples. So there are as many
    rows, and those that are no pair are made to cost nothing.

    Example:
        >>> n_pair(torch.zeros(6, 2), ["cat", "dog", "cow"] * 2).exp().round(decimals=4)     # all alike: one in three
        tensor(3.)
    """
    losses.check_not_negative("penalty", penalty)
    labels = _labels(embeddings, labels)
    ordered, order = labels.sort(stable=True)
    starts = F.pad(ordered[1:] != ordered[:-1], (1, 0), value=True)
    pair, at = (starts[:-1] & ~starts[1:]).sort(descending=True, stable=True)
    pair, at = pair[: len(labels) // 2], at[: len(labels) // 2]
    anchor, positive = embeddings[order[at]], embeddings[order[at + 1]]
    similarities = (anchor @ positive.mT).where(
        pair & pair[:, None], torch.finfo(embeddings.dtype).min
    )
    itself = torch.eye(len(pair), dtype=torch.bool, device=pair.device)
    cost = losses.n_pair(similarities.masked_fill(itself & ~pair, 0)) * len(pair)
    if penalty:
        norms = (anchor.square() + positive.square()).sum(1) / 2
        cost = cost + penalty * norms.where(pair, 0).sum()
    return cost / pair.sum().clamp_min(1)


def _labels(embeddings: Tensor, labels: Any) -> Tensor:
    """One label for each embedding, on its device."""
    if not isinstance(embeddings, Tensor):
        raise TypeError(f"Embeddings are a tensor (n, d), but got {type(embeddings).__name__}.")
    labels = as_labels(labels)
    if embeddings.ndim != 2 or len(labels) != len(embeddings):
        raise ValueError(
            "A batch is embeddings (n, d) with n labels, "
            f"but got {tuple(embeddings.shape)} and {len(labels)} labels."
        )
    return upload(labels, embeddings.device)


def _mean(costs: Tensor, counted: Tensor) -> Tensor:
    """The mean over those that count, and zero over nothing."""
    return costs.where(counted, 0).sum() / counted.sum().clamp_min(1)
