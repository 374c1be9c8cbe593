"""What training lowers on a batch: a loss with the choice of what it sees.

Each takes the embeddings of a batch, (n, d), and the class of each, (n,), and gives one number, as
:func:`fslib.training.fit` wants it. Losses that need no choice, such as :class:`fslib.losses.ArcFaceLoss` or
:class:`fslib.losses.SupConLoss`, do so by themselves.
"""

from __future__ import annotations

from torch import Tensor

from fslib import losses, mining
from fslib.metrics import euclidean


def contrastive(embeddings: Tensor, labels: Tensor, margin: float = 0.5) -> Tensor:
    """The contrastive loss over all pairs, those of one class and the others with the same weight.

    Most pairs of a batch are of two classes; in one mean over all, those of one class would hardly count.
    """
    _check(embeddings, labels)
    distances = euclidean(embeddings, embeddings)
    first, second, same = mining.all_pairs(labels)
    costs = losses.contrastive(distances[first, second], same, margin, reduction="none")
    return 0.5 * (_mean(costs[same]) + _mean(costs[~same]))


def triplet_all(embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """The triplet loss over all triplets, the mean over those that cost something."""
    return losses.triplet_all(euclidean(embeddings, embeddings), labels, margin, "nonzero")


def triplet_hard(embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """The triplet loss over the hardest triplet of each anchor."""
    distances = euclidean(embeddings, embeddings)
    return _triplet(distances, mining.batch_hard(distances, labels), margin)


def triplet_semi_hard(embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """The triplet loss over FaceNet's semi-hard triplets."""
    distances = euclidean(embeddings, embeddings)
    return _triplet(distances, mining.semi_hard_nearest(distances, labels), margin)


def n_pair(embeddings: Tensor, labels: Tensor, penalty: float = 0.0) -> Tensor:
    """The N-pair loss with the first example of each class for an anchor and its second for the positive."""
    _check(embeddings, labels)
    order = labels.argsort(stable=True)
    first = labels[order].diff(prepend=labels[order][:1] - 1) != 0
    has_second = first[:-1] & ~first[1:]
    anchor = has_second.nonzero().flatten()
    return losses.NPairLoss(penalty)(embeddings[order[anchor]], embeddings[order[anchor + 1]])


def _triplet(distances: Tensor, triplets: mining.Triplets, margin: float) -> Tensor:
    anchor, positive, negative = triplets
    return losses.triplet(distances[anchor, positive], distances[anchor, negative], margin)


def _check(embeddings: Tensor, labels: Tensor) -> None:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or labels.is_floating_point():
        raise ValueError(
            "A batch is embeddings (n, d) with n integer labels, "
            f"but got {tuple(embeddings.shape)} and {labels.dtype} of shape {tuple(labels.shape)}."
        )


def _mean(costs: Tensor) -> Tensor:
    """The mean, and zero over nothing."""
    return costs.sum() / max(1, costs.numel())
