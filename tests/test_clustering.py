"""Clusters are scikit-learn's, made-up classes are well-formed, and no label is looked at."""

import dataclasses
import warnings

import pytest
import torch
from sklearn.cluster import KMeans, kmeans_plusplus

from fslib import clustering
from fslib.clustering import at_random, clusters_as_classes, kmeans
from fslib.episodes import EpisodeSampler


def cloud(n, d=3, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 3, 100])
@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_those_of_scikit_learn_from_the_same_start(steps, seed):
    points, start = cloud(200, seed=seed), cloud(6, seed=seed + 10)
    oracle = KMeans(6, init=start.numpy(), n_init=1, max_iter=steps, algorithm="lloyd", tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        oracle.fit(points.numpy())
    labels, centers = kmeans(points, 6, steps, start=start)
    torch.testing.assert_close(centers, torch.from_numpy(oracle.cluster_centers_))
    assert labels.tolist() == oracle.labels_.tolist()


def test_it_starts_as_k_means_plus_plus_does():
    """The mean over 200 seeds of the squares to the nearest center, as scikit-learn's start leaves them."""
    points = (8 * cloud(12, seed=3)).repeat_interleave(30, 0) + cloud(360)

    def squares(centers):
        return torch.cdist(points, centers).square().amin(1).sum()

    mine = torch.stack([squares(clustering._plus_plus(points, 12, seed)) for seed in range(200)])
    starts = (kmeans_plusplus(points.numpy(), 12, random_state=seed, n_local_trials=1)[0] for seed in range(200))
    theirs = torch.stack([squares(torch.from_numpy(start)) for start in starts])
    assert (mine.mean() - theirs.mean()).abs() < 4.5 * ((mine.var() + theirs.var()) / 200).sqrt()
    assert mine.mean() < 0.5 * squares(points[:12])


def test_the_seed_alone_decides():
    points = cloud(300)
    first, again, other = (kmeans(points, 20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])


def test_an_empty_cluster_keeps_its_center():
    labels, centers = kmeans(torch.tensor([[0.0], [1.0]]), 2, start=torch.tensor([[0.5], [100.0]]))
    assert labels.tolist() == [0, 0] and centers.tolist() == [[0.5], [100.0]]


def test_points_that_are_all_the_same_are_one_cluster():
    labels, centers = kmeans(torch.ones(5, 2), 3)
    assert labels.tolist() == [0] * 5 and centers.isfinite().all()


# As classes ----------------------------------------------------------------------------------------------------


def test_clusters_become_classes_whatever_the_labels(tiny):
    """Embeddings that tell the classes in full give them back, under other names."""
    embeddings = 10 * torch.nn.functional.one_hot(tiny.labels).float() + 0.1 * cloud(96, 8).float()
    hidden = dataclasses.replace(tiny, labels=torch.zeros(96, dtype=torch.long))
    found = clusters_as_classes(hidden, embeddings, clusters=8, least=12)
    pairs = {*zip(found.labels.tolist(), tiny.labels.tolist())}
    assert len(pairs) == 8 and torch.equal(found.images, tiny.images) and torch.equal(found.domains, tiny.domains)
    assert len(found.class_names) == 8 and found.name == "Tiny, cluster" and not found.class_groups
    EpisodeSampler(found, way=8, shot=2, query=10)[0]


def test_small_clusters_are_left_out(tiny):
    embeddings = torch.zeros(96, 2)
    embeddings[:5, 0], embeddings[5:40, 1] = 10, 10
    found = clusters_as_classes(tiny, embeddings, clusters=3, least=6)
    assert found.labels.bincount().tolist() in ([35, 56], [56, 35])
    assert torch.equal(found.images, tiny.images[5:])
    with pytest.raises(ValueError, match="Of 3 clusters 1 have 50 pictures, but classes are two at least"):
        clusters_as_classes(tiny, embeddings, clusters=3, least=50)


def test_classes_at_random_are_of_any_pictures(tiny):
    found = at_random(tiny, each=10, seed=1)
    assert found.labels.bincount().tolist() == [10] * 9
    real = [{*tiny.labels[(tiny.images == image).flatten(1).all(1)].tolist()} for image in found.images]
    mixed = [set.union(*(r for r, label in zip(real, found.labels) if label == c)) for c in range(9)]
    assert all(len(classes) > 3 for classes in mixed)
    assert torch.equal(found.labels, at_random(tiny, 10, 1).labels)
    assert not torch.equal(found.labels, at_random(tiny, 10, 2).labels)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda data: kmeans(torch.rand(3, 2), 4), r"4 clusters need points \(n, d\), n at least 4, not \(3, 2\)"),
        (lambda data: kmeans(torch.rand(9), 4), "4 clusters need points"),
        (lambda data: kmeans(torch.rand(9, 2), 4, start=torch.rand(4, 3)), r"\(4, 2\), not \(4, 3\)"),
        (lambda data: kmeans(torch.rand(9, 2), 0), "clusters must be a whole number"),
        (lambda data: clusters_as_classes(data, torch.rand(95, 2)), "for each of the 96 images, but these are"),
        (lambda data: at_random(data, each=97), "97 pictures make a class, but Tiny has 96"),
        (lambda data: data.relabelled([1, 2], "x"), "one label for each of the 96 images, but there are 2"),
        (lambda data: data.relabelled([-1] * 96, "x"), "All labels are negative, and no image would be left"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny, call, says):
    with pytest.raises(ValueError, match=says):
        call(tiny)
