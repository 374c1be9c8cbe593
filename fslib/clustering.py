"""Classes made up where there are no labels: clusters of embeddings, or none but chance.

What comes out is a data set like any other, so that methods which need classes can be trained on it.

==============================  ==========================================================================
:func:`clusters_as_classes`     a cluster is a class, from which episodes are drawn (CACTUs)
:func:`at_random`               a class is any pictures, so that batches are drawn from everywhere
==============================  ==========================================================================
"""

from __future__ import annotations

import torch
from torch import Tensor

from fslib.config import whole
from fslib.data import ImageSet
from fslib.metrics import squared_euclidean


def clusters_as_classes(
    data: ImageSet, embeddings: Tensor, clusters: int = 500, least: int = 20, seed: int = 0
) -> ImageSet:
    """The same pictures with the cluster of each for its label (Hsu, Levine and Finn, 2019, *CACTUs*).

    Args:
        data: the pictures; its labels are not looked at.
        embeddings: of all of them, (n, d), by a network that was trained without labels, as
            :func:`fslib.evaluation.embed_all` gives them.
        clusters: k. The paper has 500, in several partitions, each by :func:`kmeans` with another ``seed``.
        least: pictures of smaller clusters are left out; an episode needs as many as it has shots and queries.
        seed: of the start of k-means.

    Raises:
        ValueError: if there is not an embedding for each picture, or fewer than two clusters are large enough.

    Example:
        >>> data = ImageSet("Blank", torch.zeros(6, 1, 2, 2, dtype=torch.uint8), [0] * 6, ["blank"])
        >>> points = torch.tensor([[0.0], [9.0], [0.1], [9.1], [0.2], [9.2]])
        >>> found = clusters_as_classes(data, points, clusters=2, least=3)
        >>> found.labels[0] == found.labels[2], found.labels[0] == found.labels[1]
        (tensor(True), tensor(False))
    """
    if embeddings.ndim != 2 or len(embeddings) != len(data):
        raise ValueError(
            f"There must be one embedding (d,) for each of the {len(data)} images, but these are "
            f"{tuple(embeddings.shape)}."
        )
    least = whole("least", least)
    labels = kmeans(embeddings, clusters, seed=seed)[0].cpu()
    large = labels.bincount(minlength=clusters) >= least
    if large.sum() < 2:
        raise ValueError(
            f"Of {clusters} clusters {int(large.sum())} have {least} pictures, but classes are two at least; lower "
            "clusters or least."
        )
    return data.relabelled(labels.where(large[labels], -1), "cluster")


def at_random(data: ImageSet, each: int = 20, seed: int = 0) -> ImageSet:
    """The same pictures in random order, each so many under one made-up label.

    :func:`fslib.training.fit` draws batches class by class. Of this set they are drawn from everywhere, as where there
    are no labels, and two pictures of one real class meet by chance alone. Fewer than ``each`` pictures may be left
    out.

    Args:
        data: the pictures; its labels are not looked at.
        each: pictures of a made-up class; a training takes ``shot + query`` at most.
        seed: of the order.

    Example:
        >>> data = ImageSet("Blank", torch.zeros(7, 1, 2, 2, dtype=torch.uint8), [0] * 7, ["blank"])
        >>> at_random(data, each=3)
        Blank, at random: 6 images of 2 classes
    """
    each = whole("each", each)
    if each > len(data):
        raise ValueError(f"{each} pictures make a class, but {data.name} has {len(data)}.")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(whole("A seed", seed, 0, 2**63)))
    labels = torch.empty(len(data), dtype=torch.long)
    labels[order] = torch.arange(len(data)) // each
    return data.relabelled(labels.where(labels < len(data) // each, -1), "at random")


def kmeans(
    points: Tensor, clusters: int, steps: int = 100, seed: int = 0, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Lloyd's k-means: each point to the nearest center, each center to the mean of its points, until nothing moves.

    A cluster that loses all its points keeps its center.

    Args:
        points: (n, d).
        clusters: k, at most n.
        steps: at most so many.
        seed: of the start, k-means++ (Arthur and Vassilvitskii, 2007): centers are points drawn one after the other,
            each with a probability that goes by its squared distance from those before.
        start: centers to start from instead, (k, d).

    Returns:
        The number of the cluster of each point, (n,), and the centers, (k, d).

    Raises:
        ValueError: if there are fewer points than clusters, or the start is of another shape.

    Example:
        >>> kmeans(torch.tensor([[0.0], [2.0], [9.0]]), 2, start=torch.tensor([[0.0], [1.0]]))
        (tensor([0, 0, 1]), tensor([[1.],
                [9.]]))
    """
    clusters, steps = whole("clusters", clusters), whole("steps", steps)
    if points.ndim != 2 or len(points) < clusters:
        raise ValueError(f"{clusters} clusters need points (n, d), n at least {clusters}, not {tuple(points.shape)}.")
    centers = _plus_plus(points, clusters, seed) if start is None else start
    if centers.shape != (clusters, points.shape[1]):
        raise ValueError(f"A start is one center a cluster, {(clusters, points.shape[1])}, not {tuple(centers.shape)}.")
    labels = squared_euclidean(points, centers).argmin(1)
    for _ in range(steps):
        sizes = labels.bincount(minlength=clusters)[:, None]
        sums = torch.zeros_like(centers).index_add_(0, labels, points)
        centers = torch.where(sizes > 0, sums / sizes.clamp_min(1), centers)
        before, labels = labels, squared_euclidean(points, centers).argmin(1)
        if torch.equal(labels, before):
            break
    return labels, centers


def _plus_plus(points: Tensor, clusters: int, seed: int) -> Tensor:
    """Where k-means++ starts, (clusters, d)."""
    generator = torch.Generator().manual_seed(whole("A seed", seed, 0, 2**63))
    chosen = torch.randint(len(points), (1,), generator=generator).to(points.device)
    nearest = squared_euclidean(points, points[chosen])[:, 0]
    for _ in range(clusters - 1):
        weights = nearest.cpu().double().cumsum(0)  # few devices have float64
        place = torch.rand(1, generator=generator, dtype=torch.float64) * weights[-1]
        new = torch.searchsorted(weights, place, right=True).clamp_max(len(points) - 1).to(points.device)
        chosen = torch.cat([chosen, new])
        nearest = nearest.minimum(squared_euclidean(points, points[new])[:, 0])
    return points[chosen]
