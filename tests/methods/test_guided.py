"""Guided prototypes are the posterior means of a Gaussian; what is expected comes from training classes alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fslib.data import ImageSet
from fslib.data.characters import graph
from fslib.evaluation import compare_models, embed_all, evaluate
from fslib.methods import (
    GuidedPrototypicalNetwork,
    PrototypicalNetwork,
    posterior_means,
    prior_means,
)

KNOWN = ["LATIN SMALL LETTER B", "LATIN CAPITAL LETTER B", "LATIN SMALL LETTER Q", "LAO LETTER KO"]
NEW = ["LATIN SMALL LETTER B WITH STROKE", "LATIN CAPITAL LETTER Q", "LATIN SMALL LETTER A", "NKO LETTER KA"]


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(names, of_each=3):
    images = (drawn(len(names) * of_each, 1, 4, 4).sigmoid() * 255).to(torch.uint8)
    labels = torch.arange(len(names)).repeat_interleave(of_each)
    return ImageSet(f"Letters of {names[0]}", images, labels, names, transform=lambda images: images.float() / 255)


TRAIN, DATA, EMBEDDINGS = pictures(KNOWN), pictures(NEW), drawn(12, 5, seed=1)
MEANS = EMBEDDINGS.unflatten(0, (4, 3)).mean(1)


# The prior ------------------------------------------------------------------------------------------------------


def test_the_nearest_relatives_among_the_training_classes_say_what_to_expect():
    prior = prior_means(graph(NEW, KNOWN), DATA, TRAIN, EMBEDDINGS)
    assert prior.relations == ["modifier", "case", "script", None]
    expected = torch.stack([MEANS[0], MEANS[2], MEANS[:3].mean(0), MEANS.mean(0)])
    torch.testing.assert_close(prior.means, expected)


def test_a_graph_of_one_s_own_may_leave_out_classes_and_relations():
    prior = prior_means({NEW[1]: {"script": [KNOWN[3], KNOWN[0]], "case": []}}, DATA, TRAIN, EMBEDDINGS)
    torch.testing.assert_close(prior.means[1], MEANS[[0, 3]].mean(0))
    assert prior.relations == [None, "script", None, None]


def test_embeddings_may_be_in_any_order():
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = replace(TRAIN, images=TRAIN.images[order], labels=TRAIN.labels[order])
    found = prior_means(graph(NEW, KNOWN), DATA, shuffled, EMBEDDINGS[order])
    torch.testing.assert_close(found.means, prior_means(graph(NEW, KNOWN), DATA, TRAIN, EMBEDDINGS).means)


@pytest.mark.parametrize(
    "of, data, train, embeddings, says",
    [
        ({"LAO LETTER NGO": {}}, DATA, TRAIN, EMBEDDINGS, "LAO LETTER NGO, which is not among the classes of Letters"),
        ({NEW[0]: {"script": ["LAO LETTER NGO"]}}, DATA, TRAIN, EMBEDDINGS,
         r"LAO LETTER NGO as a relative of LATIN SMALL LETTER B WITH STROKE, but Letters of .* has no picture of it"),
        ({NEW[0]: {"shape": [KNOWN[0]]}}, DATA, TRAIN, EMBEDDINGS, "no relation 'shape'; there are modifier, case"),
        (graph(NEW, KNOWN), DATA, TRAIN, EMBEDDINGS[:5], r"for each of the 12 images of .* shape \(5, 5\)"),
        (graph(NEW, NEW), DATA, DATA, EMBEDDINGS, "share 4 classes, .* training and evaluation need different classes"),
    ],
)  # fmt: skip
def test_a_graph_that_does_not_fit_the_data_is_said(of, data, train, embeddings, says):
    """The last one is the mistake: relatives among the very classes that are tested."""
    with pytest.raises(ValueError, match=says):
        prior_means(of, data, train, embeddings)


# The posterior --------------------------------------------------------------------------------------------------


def test_it_is_the_mean_of_a_gaussian_given_its_examples():
    """By the inverse of the joint covariance of prototype and examples, one number at a time."""
    noise, spread, prior, examples = 0.7, 1.9, 0.4, np.array([2.0, 1.0, 4.0])
    n = len(examples)
    covariance = np.full((n, n), spread) + noise * np.eye(n)
    expected = prior + np.full(n, spread) @ np.linalg.solve(covariance, examples - prior)
    found = posterior_means(torch.tensor([[examples.mean()]]), torch.tensor([[prior]]), n, noise / spread)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_its_weight_falls_with_the_shots():
    means, prior = torch.zeros(4, 1), torch.ones(4, 1)
    found = posterior_means(means, prior, torch.tensor([1, 2, 5, 100]), kappa=1.0).flatten()
    torch.testing.assert_close(found, torch.tensor([1 / 2, 1 / 3, 1 / 6, 1 / 101]))
    assert torch.equal(posterior_means(drawn(4, 3), prior.expand(4, 3), 1, 0.0), drawn(4, 3))
    torch.testing.assert_close(posterior_means(means, prior, 5, 1e9), prior)


def constant_weight(means, prior, shot, kappa):
    """The mistake: a prior that counts as much beside five examples as beside one."""
    return torch.lerp(means, prior, kappa / (1 + kappa))


def test_a_weight_that_does_not_fall_would_be_found():
    means, prior = torch.zeros(1, 1), torch.ones(1, 1)
    assert constant_weight(means, prior, 1, 2.0) == posterior_means(means, prior, 1, 2.0)
    assert constant_weight(means, prior, 5, 2.0) > 2 * posterior_means(means, prior, 5, 2.0)


# The method -----------------------------------------------------------------------------------------------------


def tail(d=5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, d))


@torch.no_grad()
@pytest.mark.parametrize("kappa", [1.5, [0.0, 9.0, 9.0, 9.0, 1.5, 4.0]], ids=["one", "one a class"])
def test_scores_are_those_of_a_loop_for_classes_of_any_size_in_any_order(kappa):
    prior, labels, classes = drawn(6, 5, seed=2), torch.tensor([7, 3, 7, 7, 9]), torch.tensor([4, 0, 5])  # of 3, 7, 9
    support, query = drawn(2, 5, 5), drawn(2, 6, 5, seed=3)
    model = GuidedPrototypicalNetwork(tail(), prior, kappa, temperature=2.0)
    scores = model.compare(support, labels, query, classes=classes)
    for e in range(2):
        for k, (label, c) in enumerate(zip((3, 7, 9), classes)):
            examples = support[e][labels == label]
            of_class = kappa[c] if isinstance(kappa, list) else kappa
            mean = (examples.sum(0) + of_class * prior[c]) / (len(examples) + of_class)
            torch.testing.assert_close(scores[e, :, k], -(query[e] - mean).square().sum(1) / 2)


def test_evaluation_tells_it_the_classes(tiny):
    """A prior that knows every prototype answers better; one of other classes, worse; nobody else is told."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 16))
    plain = PrototypicalNetwork(network)
    embeddings = embed_all(plain, tiny)
    truth = torch.stack([embeddings[tiny.labels == c].mean(0) for c in range(8)])
    models = {
        "plain": plain,
        "guided": GuidedPrototypicalNetwork(network, truth, 2.0),
        "shuffled": GuidedPrototypicalNetwork(network, truth.roll(1, 0), 2.0),
    }
    found = compare_models(models, tiny, way=5, shot=1, query=5, episodes=200)
    assert found.differences["guided"].mean > 3 * found.differences["guided"].ci95 > 0
    assert found.differences["shuffled"].mean < -3 * found.differences["shuffled"].ci95
    faint = evaluate(GuidedPrototypicalNetwork(network, truth, 1e-9), tiny, way=5, query=5, episodes=200)
    assert torch.equal(faint.per_episode, found["plain"].per_episode)


@torch.no_grad()
def test_where_nobody_tells_the_classes_it_is_the_prototypical_network():
    support, query, labels = drawn(6, 5), drawn(4, 5, seed=1), [1, 1, 2, 2, 3, 3]
    found = GuidedPrototypicalNetwork(tail(), drawn(3, 5), 5.0).compare(support, labels, query)
    assert torch.equal(found, PrototypicalNetwork(tail()).compare(support, labels, query))


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: GuidedPrototypicalNetwork(tail(), [[1.0]]), "one finite mean for each class"),
        (lambda: GuidedPrototypicalNetwork(tail(), torch.full((2, 5), torch.nan)), "one finite mean for each class"),
        (lambda: GuidedPrototypicalNetwork(tail(), drawn(2, 5), kappa=-1), "kappa is a number, 0 or more, .* is -1"),
        (lambda: GuidedPrototypicalNetwork(tail(), drawn(2, 5), kappa=[1, 2, 3]), "one for each of the 2 classes"),
        (lambda: GuidedPrototypicalNetwork(tail(), drawn(2, 5), kappa=torch.nan), "0 or more, .* is nan"),
        (lambda: GuidedPrototypicalNetwork(tail(), drawn(2, 5), temperature=0), "temperature must be above zero"),
        (lambda: GuidedPrototypicalNetwork(tail(), drawn(8, 4)).compare(
            drawn(2, 5), [0, 1], drawn(1, 5), classes=torch.arange(2)), "of 4 numbers, but these have 5"),
        (lambda: GuidedPrototypicalNetwork(tail(), drawn(1, 5)).compare(
            drawn(2, 5), [0, 1], drawn(1, 5), classes=torch.arange(2)), "of 1 classes, but class 1 is asked for"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said(call, says):
    with pytest.raises(ValueError, match=says):
        call()
