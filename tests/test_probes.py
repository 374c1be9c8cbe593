"""Probes are the classifiers they say they are, and never see the classes on which they are measured."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from fslib.data import ImageSet
from fslib.nuisances import leace
from fslib.probes import ProbeSet, _logistic_regression, linear_probe, neighbour_probe


def drawn(classes, first=0, dim=6, values=3, each=12, size=1.0, seed=0):
    """Classes of a dozen images each, whose attribute moves the embedding, and so does their class."""
    random = torch.Generator().manual_seed(seed + first)
    labels = torch.arange(classes).repeat_interleave(each)
    attribute = torch.randint(0, values, (len(labels),), generator=random)
    directions = torch.randn(values, dim, generator=torch.Generator().manual_seed(seed))
    x = directions[attribute] + torch.randn(classes, dim, generator=random)[labels]
    x = x + torch.randn(len(labels), dim, generator=random)
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    names = [f"class {first + c}" for c in range(classes)]
    return ProbeSet(ImageSet("Drawn", images, labels, names), size * x + 4, attribute)


FITTED, MEASURED = drawn(20), drawn(11, first=20)


def scaled(of, by=FITTED):
    """As the probe sees embeddings: centred, and of a variance of one on average, where it is fitted."""
    x = by.embeddings.double()
    return ((of.embeddings.double() - x.mean(0)) / (x - x.mean(0)).square().mean().sqrt()).numpy()


def share_right(answers, of=MEASURED):
    right = (torch.as_tensor(answers) == of.attribute).float()
    return torch.stack([right[of.data.labels == c].mean() for c in of.data.labels.unique()])


@pytest.mark.parametrize("values", [2, 3, 5])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_a_linear_probe_is_the_logistic_regression_of_scikit_learn(C, values):
    fitted, measured = drawn(20, values=values), drawn(11, first=20, values=values)
    x, queries = scaled(fitted, fitted), scaled(measured, fitted)
    # Of two classes scikit-learn penalises the difference of the weights alone, which is half as much.
    oracle = LogisticRegression(C=2 * C if values == 2 else C, tol=1e-10, max_iter=10_000).fit(x, fitted.attribute)
    weights, intercept = _logistic_regression(torch.from_numpy(x), fitted.attribute, C)
    ours = (torch.from_numpy(queries) @ weights + intercept).softmax(1)
    torch.testing.assert_close(ours, torch.from_numpy(oracle.predict_proba(queries)), rtol=0, atol=1e-5)
    found = linear_probe(fitted, measured, C)
    torch.testing.assert_close(found.per_episode, share_right(oracle.predict(queries), measured))


@pytest.mark.parametrize("neighbours", [1, 5, 8])
def test_neighbours_are_those_of_scikit_learn(neighbours):
    oracle = KNeighborsClassifier(neighbours, algorithm="brute").fit(scaled(FITTED), FITTED.attribute)
    found = neighbour_probe(FITTED, MEASURED, neighbours)
    torch.testing.assert_close(found.per_episode, share_right(oracle.predict(scaled(MEASURED))))


@pytest.mark.parametrize("probe", [linear_probe, neighbour_probe])
def test_the_interval_is_over_classes_and_chance_that_of_the_most_frequent_value(probe):
    found = probe(FITTED, MEASURED)
    most = FITTED.attribute.bincount().argmax()
    assert math.isclose(found.chance, (MEASURED.attribute == most).float().mean(), rel_tol=1e-6)
    assert len(found.per_episode) == 11 and found.unit == "classes" and 0.6 < found.mean < 1
    assert str(found).endswith(f"(11 classes), chance {100 * found.chance:.2f} %") and repr(found) == str(found)


def test_two_probes_of_the_same_images_are_compared_class_by_class():
    worse = ProbeSet(MEASURED.data, torch.randn_like(MEASURED.embeddings), MEASURED.attribute)
    difference = linear_probe(FITTED, MEASURED) - linear_probe(FITTED, worse)
    assert difference.mean > 0.1 and "paired classes" in str(difference)
    other = ProbeSet(MEASURED.data, MEASURED.embeddings, MEASURED.attribute.flip(0))
    with pytest.raises(ValueError, match="not the same ones"):
        linear_probe(FITTED, MEASURED) - linear_probe(FITTED, other)


def test_after_leace_a_linear_probe_is_at_chance():
    def moved(of):
        """By an attribute of which each class has as many of each value."""
        attribute = torch.arange(len(of.data)) % 3
        return ProbeSet(of.data, of.embeddings + 3 * torch.eye(6)[attribute], attribute)

    fitted, measured = moved(FITTED), moved(MEASURED)
    removal = leace(fitted.embeddings, fitted.attribute)
    erased = [ProbeSet(of.data, removal(of.embeddings), of.attribute) for of in (fitted, measured)]
    weights, intercept = _logistic_regression(torch.from_numpy(scaled(erased[0], erased[0])), fitted.attribute, 1.0)
    assert weights.abs().max() < 1e-4 and intercept.abs().max() < 1e-4  # a constant answer is the best
    assert linear_probe(fitted, measured).mean > 0.75 and linear_probe(*erased).mean < 0.5


def test_what_is_not_linear_is_seen_by_neighbours_alone():
    """A circle within a ring."""
    sets = []
    for part in (drawn(10, dim=2, values=2), drawn(10, first=10, dim=2, values=2)):
        directions = torch.randn(len(part.data), 2, generator=torch.Generator().manual_seed(len(sets)))
        ring = torch.nn.functional.normalize(directions) * (1 + 2 * part.attribute[:, None])
        sets.append(ProbeSet(part.data, ring, part.attribute))
    assert linear_probe(*sets).mean < 0.7 and neighbour_probe(*sets).mean > 0.95


@pytest.mark.parametrize("probe", [linear_probe, neighbour_probe])
def test_size_and_place_of_embeddings_and_names_of_values_play_no_part(probe):
    expected = probe(FITTED, MEASURED).per_episode
    large = [ProbeSet(each.data, 1e4 * (each.embeddings - 9), each.attribute) for each in (FITTED, MEASURED)]
    names = np.array(["serif", "mono", "sans"])
    named = [ProbeSet(each.data, each.embeddings, names[each.attribute].tolist()) for each in (FITTED, MEASURED)]
    arrays = [ProbeSet(each.data, each.embeddings, each.attribute.numpy()) for each in (FITTED, MEASURED)]
    for sets in (large, arrays) + ((named,) if probe is linear_probe else ()):  # names decide ties of votes
        torch.testing.assert_close(probe(*sets).per_episode, expected)


def test_values_are_known_by_name_whichever_are_there():
    """Numbered apart, "b" would be 1 where the probe is fitted and 0 where it is measured."""
    fitted, measured = drawn(20, values=2), drawn(11, first=20, values=2)
    some = measured.data.select(range(11))
    with_a_and_b = ProbeSet(fitted.data, fitted.attribute[:, None].float(), ["ab"[v] for v in fitted.attribute])
    only_b = ProbeSet(some, torch.ones(len(some), 1), ["b"] * len(some))
    assert linear_probe(with_a_and_b, only_b).mean == 1 == neighbour_probe(with_a_and_b, only_b).mean


@torch.inference_mode()
def test_it_fits_where_no_gradient_is_wanted():
    assert linear_probe(FITTED, MEASURED).mean > 0.6


def other(of, **changes):
    return ProbeSet(**{**vars(of), **changes})


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: linear_probe(FITTED, FITTED), "share 20 classes"),
        (lambda: neighbour_probe(FITTED, drawn(3, first=19)), "share 1 classes, class 19 among them"),
        (lambda: linear_probe(FITTED, other(MEASURED, embeddings=MEASURED.embeddings[:, :4])), "6 numbers and .* on 4"),
        (lambda: linear_probe(other(FITTED, attribute=0 * FITTED.attribute), MEASURED), "one value of the attribute"),
        (lambda: linear_probe(FITTED, other(MEASURED, attribute=MEASURED.attribute + 1)), "nowhere among the images"),
        (lambda: linear_probe(FITTED, MEASURED, C=0), "C must be above zero"),
        (lambda: neighbour_probe(FITTED, MEASURED, 0), "neighbours must be a whole number"),
        (lambda: neighbour_probe(FITTED, MEASURED, 241), "240 images among which to look for 241"),
        (lambda: other(FITTED, embeddings=FITTED.embeddings[:9]), "one embedding for each of the 240 images"),
        (lambda: other(FITTED, embeddings=FITTED.embeddings[0]), r"tensor \(n, d\)"),
        (lambda: other(FITTED, embeddings=FITTED.embeddings / 0), "NaN or infinity"),
        (lambda: other(FITTED, attribute=[0, 1]), "one value of the attribute for each of the 240"),
        (lambda: other(FITTED, attribute=FITTED.embeddings[:, 0]), "must be integers"),
    ],
)
def test_what_no_probe_can_say_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
