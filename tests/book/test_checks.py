"""A check accepts right answers, however written, and says what is wrong with the usual wrong ones."""

import functools
import itertools
import math
import random
import re
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fslib.book import checks
from fslib.book.checks import exercise
from fslib.devices import default_device
from fslib.episodes import Episode
from fslib.metrics import cosine_similarity, squared_euclidean
from tests.pretend_gpu import MISSING, pretend_gpu


@pytest.fixture(params=range(3), autouse=True)
def seed(request, monkeypatch):
    monkeypatch.setattr(exercise, "_presses", itertools.count(100 * request.param))


def draw(labels, way, shot, query, classes=None, same_class_twice=False, leak=False, shuffle=True):
    present = labels.unique() if classes is None else classes
    drawn = present[torch.randperm(len(present))[:way]]
    if same_class_twice:
        drawn[1] = drawn[0]
    rows = [(labels == c).nonzero().flatten() for c in drawn]
    rows = torch.stack([row[torch.randperm(len(row))] if shuffle else row for row in rows])
    queries = rows[:, :query] if leak else rows[:, shot : shot + query]
    return Episode(drawn, rows[:, :shot].flatten(), queries.flatten())


def nearest(reduce=torch.amin, sign=-1.0, order=torch.unique, power=1.0):
    def scores(support, labels, query):
        distances = squared_euclidean(query, support) ** power
        return sign * torch.stack([reduce(distances[:, labels == k], 1) for k in order(labels)], 1)

    return scores


def by_appearance(labels):
    return list(dict.fromkeys(labels.tolist()))


def means(reduce=torch.mean, order=torch.unique):
    return lambda support, labels: torch.stack(
        [reduce(support[labels == k], 0) for k in order(labels)]
    )


def contrastive(d, same, margin):
    return torch.where(same, d, (margin - d).clamp(min=0)).square().mean()


def hardest(itself=True, negative=torch.amin, fill=torch.inf):
    def find(d, labels):
        same = labels[:, None] == labels
        own = torch.eye(len(labels), dtype=torch.bool) & itself
        return d.masked_fill(~same | own, -torch.inf).amax(1), negative(d.masked_fill(same, fill), 1)

    return find


def n_pair(sign=-1, power=2):
    return lambda a, p: F.cross_entropy(sign * torch.cdist(a, p) ** power, torch.arange(len(a)))


def arcface(sign=1):
    return lambda c, labels, m: (c.acos() + sign * m * F.one_hot(labels, c.shape[1])).cos()


def pairs(order="qk", first="class"):
    def join(classes, query):
        left, right = classes.expand(len(query), -1, -1), query[:, None].expand(-1, len(classes), -1)
        joined = torch.cat([left, right] if first == "class" else [right, left], -1)
        return (joined if order == "qk" else joined.transpose(0, 1)).flatten(0, 1)

    return join


def halves(biases=1, first=0):
    def apply(linear, classes, query):
        left, right = linear.weight.chunk(2, 1)[:: 1 if first == 0 else -1]
        return (classes @ left.T) + (query @ right.T)[:, None] + biases * linear.bias

    return apply


def by_class(reduce, order=torch.unique):
    return lambda v, labels: torch.stack([reduce(v[:, labels == k], dim=1) for k in order(labels)], 1)


def fair_votes(log_attention, labels):
    shares = by_class(torch.mean)(log_attention.exp(), labels)
    return (shares / shares.sum(1, keepdim=True)).log()


def attend(length=F.normalize, axis=1, power=1):
    return lambda s, q, scale: (scale**power * length(q) @ length(s).T).softmax(axis)


def field(start=1, stride=True, skip=0, extra=1):
    def side(layers):
        size, step = start, 1
        for kernel, by in layers:
            late = step * by if skip else step
            size, step = size + (kernel - extra) * late, step * by if stride else 1
        return size

    return side


def squeeze(summary=torch.mean, between=torch.relu, gate=torch.sigmoid):
    def weigh(maps, narrow, widen):
        return maps * gate(widen(between(narrow(summary(maps, dim=(2, 3))))))[..., None, None]

    return weigh


def read(axis=1, power=0.5, similarity=lambda q, k: q @ k.T):
    def attend(q, k, v, real):
        scores = similarity(q, k) / q.shape[1] ** power
        return scores.masked_fill(~real, -torch.inf).softmax(axis) @ v

    return attend


def medians(middle=lambda group: group.median(0).values, order=torch.unique):
    return lambda s, labels: torch.stack([middle(s[labels == k]) for k in order(labels)])


def paired(spread=lambda a, b: (a - b).std(), factor=1.96, power=0.5, sign=1):
    return lambda a, b: (sign * (a - b).mean(), factor * spread(a, b) / len(a) ** power)


def to_tell_apart(factor=1.96, same=lambda r: 2 * (1 - r), own=2, power=2):
    return lambda s, r, gap: tuple((v**0.5 * factor * s / gap) ** power for v in (same(r), own))


def pool(over=lambda real: real.sum(1), keep=lambda real: real):
    return lambda f, real: (f * keep(real)[..., None]).sum(1) / torch.as_tensor(over(real)).view(-1, 1)


RIGHT = [(each, answer) for each in checks.EXERCISES.values() for answer in (each.right, *each.also)]

WRONG = [
    (checks.receptive_field, field(skip=1), "only for the layers after it"),
    (checks.receptive_field, field(stride=False), "do not use the strides"),
    (checks.receptive_field, field(extra=0), "two steps, not three"),
    (checks.receptive_field, field(start=0), "start with 1"),
    (checks.receptive_field, lambda layers: math.prod(s for _, s in layers), "how far neighbours lie"),
    (checks.receptive_field, lambda layers: 28, "and yours is 28"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k + o, "a scale and a shift"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k, "the weights of the convolution"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k + 2 * o, "the convolution has a bias"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k + 5 * o, "measured, not learned"),
    (checks.block_parameters, lambda i, o, k: o * k * k + 3 * o, "all channels that come in"),
    (checks.block_parameters, lambda i, o, k: i * o * k + 3 * o, "square it"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k + 3 * i, "channels that go out"),
    (checks.block_parameters, lambda i, o, k: 7, "and yours is 7"),
    (checks.squeeze_excitation, squeeze(summary=torch.amax), "not by the maximum"),
    (checks.squeeze_excitation, squeeze(summary=torch.sum), "not by the sum"),
    (checks.squeeze_excitation, squeeze(between=lambda x: x), "leave out the ReLU"),
    (checks.squeeze_excitation, squeeze(gate=lambda x: x), "take the sigmoid"),
    (checks.squeeze_excitation, squeeze(gate=lambda x: x.softmax(1)), "in a softmax they compete"),
    (checks.squeeze_excitation, lambda m, a, b: squeeze()(m, a, b) / m, "those are the weights"),
    (checks.squeeze_excitation, lambda m, a, b: squeeze()(m, a, b) / m + m, "do not add them"),
    (checks.squeeze_excitation, lambda m, a, b: m, "mean over locations, first layer"),
    (checks.self_attention, read(power=0), "do not divide"),
    (checks.self_attention, read(power=1), "not by the dimension"),
    (checks.self_attention, lambda q, k, v, real: read(power=0)(q, k, v, real) / 4, "divide the products before"),
    (checks.self_attention, lambda q, k, v, real: (q @ k.T / 4).softmax(1) @ v, "padding gets attention"),
    (checks.self_attention, lambda q, k, v, real: (q @ k.T / 4 * real).softmax(1) @ v, "still gets attention"),
    (checks.self_attention, lambda q, k, v, real: (q @ k.T / 4).softmax(1) * real @ v, "no longer sums to one"),
    (checks.self_attention, lambda q, k, v, real: read()(q, k, v, ~real), "read the padding alone"),
    (checks.self_attention, read(power=math.log(5) / math.log(256)), "not of the values"),
    (checks.self_attention, read(axis=0), "over the keys"),
    (checks.self_attention, lambda q, k, v, real: q @ k.T / 4 @ v, "take their softmax first"),
    (checks.self_attention, read(similarity=cosine_similarity), "not by cosines"),
    (checks.mean_of_real, pool(), "fill the padding"),
    (checks.mean_of_real, lambda f, real: f.mean(1), "over the padding too"),
    (checks.mean_of_real, pool(over=lambda real: [7.0] * 4), "number of real positions"),
    (checks.mean_of_real, pool(over=lambda real: [1.0] * 4), "those are sums"),
    (checks.mean_of_real, pool(over=lambda real: [real.sum() / 4] * 4), "by its own"),
    (checks.mean_of_real, pool(lambda real: (~real).sum(1), torch.logical_not), "leave out the text"),
    (checks.mean_of_real, lambda f, real: f[:, 0], "divide by their number"),
    (checks.join_pairs, pairs(first="query"), "the class comes first"),
    (checks.join_pairs, pairs(order="kq"), "in the order of the classes"),
    (checks.join_pairs, lambda c, q: pairs()(c, q).flip(0), "should hold class k, then query i"),
    (checks.constant_floor, lambda n: (0.5, 0.25), "as many pairs"),
    (checks.constant_floor, lambda n: (0.3, 0.25), "the best constant is their mean"),
    (checks.constant_floor, lambda n: (1 / n, 1 - 1 / n), "the sum over the pairs"),
    (checks.constant_floor, lambda n: (1 / n, (1 - 1 / n) ** 2), "one pair that belongs together"),
    (checks.constant_floor, lambda n: (1 / n, 1 - 1 / n**2), "square, and take the mean"),
    (checks.linear_on_pairs, halves(biases=2), "the bias twice"),
    (checks.linear_on_pairs, halves(biases=0), "leave out the bias"),
    (checks.linear_on_pairs, halves(first=1), "belongs to the class"),
    (checks.linear_on_pairs, lambda linear, c, q: halves()(linear, c, q) + 1, "apply each half once"),
    (
        checks.nearest_neighbour,
        lambda s, labels, q: torch.cdist(q, s).argmin(1),
        "the position of the nearest",
    ),
    (
        checks.nearest_neighbour,
        lambda s, labels, q: labels[torch.cdist(q, s).argmax(1)],
        "the farthest",
    ),
    (checks.nearest_neighbour, lambda s, labels, q: labels[(q @ s.T).argmax(1)], "inner products"),
    (
        checks.nearest_neighbour,
        lambda s, labels, q: labels[(q[:, None] - s).sum(-1).argmin(1)],
        "squared before",
    ),
    (checks.weights_per_picture, 28_650, "divide it by the number of images"),
    (checks.weights_per_picture, 28_320 / 50, "the linear layer to ten classes"),
    (checks.weights_per_picture, 50 / 28_650, "the other way round"),
    (checks.weights_per_picture, 5730, "those of one class"),
    (checks.weights_per_picture, 574, "the number of all weights by"),
    (checks.zero_shot, lambda p, d: torch.cdist(p, d).argmax(1), "farthest"),
    (checks.draw_episode, lambda *a: draw(*a, same_class_twice=True), "a class came twice"),
    (checks.draw_episode, lambda *a: draw(*a, leak=True), "in both support and query"),
    (
        checks.draw_episode,
        lambda y, *a: draw(y, *a, classes=y.unique()[:6]),
        "some classes come more often",
    ),
    (checks.draw_episode, lambda *a: draw(*a, shuffle=False), "too often or too rarely"),
    (checks.interval, lambda a: a.std(), "the mean of n episodes varies"),
    (checks.interval, lambda a: a.std() / len(a) ** 0.5, "that is the standard error"),
    (
        checks.class_means,
        lambda s, labels: torch.stack([s[labels == k].mean(1) for k in labels.unique()]),
        "axis 0, not axis 1",
    ),
    (checks.linear_form, lambda c: (c, -c.square().sum(1) / 2), "softer probabilities"),
    (checks.cosines, lambda x, y: x @ y.T, "inner products"),
    (checks.cosines, lambda x, y: cosine_similarity(x, y).T, "other way round"),
    (checks.cosines, lambda x, y: 1 - cosine_similarity(x, y), "cosine distance"),
    (checks.cosines, lambda x, y: F.normalize(x) @ y.T, "only one side"),
    (checks.cosines, lambda x, y: x @ F.normalize(y).T, "only one side"),
    (checks.cosines, lambda x, y: F.normalize(x, dim=0) @ F.normalize(y, dim=0).T, "over its row"),
    (checks.shorter_detour, (0, 0, 1), "equally long"),
    (checks.shorter_detour, (0, 3, 1), "make the detour the shorter"),
    (checks.shorter_detour, (1, 0, 1), "no detour is shorter than no way"),
    (checks.before_storing, lambda v: v, "changed nothing"),
    (checks.before_storing, lambda v: v - v.mean(0), "changes their angles"),
    (checks.before_storing, lambda v: F.normalize(v, dim=0), "scale columns"),
    (checks.scale_needed, lambda n, loss: math.log((n - 1) / math.expm1(loss)), "divide by that"),
    (checks.scale_needed, lambda n, loss: math.log((n - 1) / math.expm1(loss)) / 2, "all be opposite"),
    (checks.whitening, lambda c: torch.linalg.cholesky(c.inverse()), "transpose"),
    (checks.whitening, torch.inverse, "M itself"),
    (checks.whitening, torch.linalg.cholesky, "one of its inverse"),
    (checks.contrastive_loss, lambda d, y, m: contrastive(d, ~y, m), "swapped"),
    (checks.contrastive_loss, lambda d, y, m: torch.where(y, d, (m - d).clamp(min=0)).mean(), "squares are"),
    (checks.contrastive_loss, lambda d, y, m: torch.where(y, d, m - d).square().mean(), "maximum with zero"),
    (checks.contrastive_loss, lambda d, y, m: contrastive(d, y, m) * 40, "sum"),
    (checks.contrastive_loss, lambda d, y, m: contrastive(d, y, m) / 2, "half the loss"),
    (checks.contrastive_loss, lambda d, y, m: contrastive(d, y, m).item(), "cannot follow"),
    (checks.contrastive_loss, lambda d, y, m: torch.tensor(contrastive(d, y, m).item()), "cannot follow"),
    (checks.n_pair_distances, lambda a, p: n_pair()(a, p).detach(), "cannot follow"),
    (checks.count_triplets, lambda n, k: n * k * k * (n * k - k), "its own positive"),
    (checks.count_triplets, lambda n, k: n * k * (k - 1) * (n * k - 1), "of another class"),
    (checks.count_triplets, lambda n, k: 17, "not 17"),
    (checks.hardest, lambda d, y: hardest()(d, y)[::-1], "positives come first"),
    (checks.hardest, lambda d, y: (d.argmax(1), d.argmin(1)), "those are positions"),
    (checks.hardest, lambda d, y: (d.amax(1), hardest()(d, y)[1]), "of the same class"),
    (checks.hardest, hardest(itself=False, negative=torch.amax, fill=-torch.inf), "the hardest is the nearest"),
    (checks.hardest, lambda d, y: (hardest()(d, y)[0], d.amin(1)), "to infinity"),
    (checks.n_pair_distances, n_pair(sign=1), "put a minus"),
    (checks.n_pair_distances, n_pair(power=1), "should be squared"),
    (checks.n_pair_distances, lambda a, p: F.cross_entropy(a @ p.T, torch.arange(6)), "inner products"),
    (checks.n_pair_distances, lambda a, p: n_pair()(p, a), "rows should be anchors"),
    (checks.arcface_scores, arcface(sign=-1), "sign of the margin"),
    (checks.arcface_scores, lambda c, y, m: (c.acos() + m).cos(), "every class"),
    (checks.arcface_scores, lambda c, y, m: c - m * F.one_hot(y, 4), "CosFace"),
    (checks.episodes_needed, lambda s, h: math.ceil(1.96 * s / h), "must be squared"),
    (checks.class_means, lambda s, labels: s.mean(0), "averaged all classes together"),
    (checks.class_means, means(torch.sum), "those are sums"),
    (checks.class_means, means(order=by_appearance), "order in which the labels appear"),
    (checks.linear_form, lambda c: (c, -c.square().sum(1)), "misses the 2"),
    (checks.linear_form, lambda c: (2 * c, c.square().sum(1)), "look at its sign"),
    (checks.linear_form, lambda c: (2 * c, -c.norm(dim=1)), "squared length"),
    (checks.linear_form, lambda c: 2 * c, "return two things"),
    (checks.nearest_example, nearest(torch.mean), "you average the distances"),
    (checks.nearest_example, nearest(torch.amax), "you take the farthest"),
    (checks.nearest_example, nearest(sign=1.0), "near should score high"),
    (checks.nearest_example, nearest(order=by_appearance), "sort the labels"),
    (checks.nearest_example, nearest(power=0.5), "square them"),
    (checks.temperature, lambda s, t: (s * t).softmax(-1), "yours are sharper"),
    (checks.temperature, lambda s, t: s.softmax(-1), "do not use the temperature"),
    (checks.temperature, lambda s, t: (s / t).softmax(0), "sum to one"),
    (checks.temperature, lambda s, t: s.nonsense, "raised AttributeError"),
    (checks.attention, attend(length=lambda x: x), "inner products"),
    (checks.attention, attend(axis=0), "over the support examples"),
    (checks.attention, attend(power=0), "do not use the scale"),
    (checks.attention, attend(power=-1), "yours is softer"),
    (checks.attention, lambda s, q, t: t * attend(power=0)(s, q, t), "before the softmax"),
    (checks.attention, lambda s, q, t: t * cosine_similarity(q, s), "take their softmax"),
    (checks.attention, lambda s, q, t: attend()(s, q, t).log(), "those are logarithms"),
    (checks.attention, lambda s, q, t: attend()(s, q, t).T, "other way round"),
    (checks.votes, by_class(torch.mean), "you average the attention"),
    (checks.votes, lambda a, labels: fair_votes(a.log(), labels).exp(), "sum to one by themselves"),
    (checks.votes, by_class(torch.amax), "only the example with the most attention"),
    (checks.votes, by_class(torch.sum, by_appearance), "sort the labels"),
    (checks.votes, lambda a, labels: by_class(torch.sum)(a, labels).softmax(1), "no second softmax"),
    (checks.votes, lambda a, labels: by_class(torch.sum)(a, labels).log(), "return the probabilities"),
    (checks.log_votes, by_class(torch.sum), "you sum the logarithms"),
    (checks.log_votes, by_class(torch.mean), "you average the logarithms"),
    (checks.log_votes, by_class(torch.amax), "all of a class should"),
    (checks.log_votes, by_class(torch.logsumexp, by_appearance), "sort the labels"),
    (checks.log_votes, lambda v, labels: by_class(torch.sum)(v.exp(), labels), "return their logarithms"),
    (checks.log_votes, lambda v, labels: by_class(torch.sum)(v.exp(), labels).log(), "look for a function"),
    (
        checks.log_votes,
        lambda v, labels: by_class(torch.sum)(v.exp(), labels).clamp(min=1e-30).log(),
        "inexact where it is tiny",
    ),
    (checks.fair_votes, by_class(torch.logsumexp), "still has most votes"),
    (checks.fair_votes, lambda v, labels: by_class(torch.mean)(v, labels).log_softmax(1), "average the logarithms"),
    (checks.fair_votes, lambda v, labels: by_class(torch.mean)(v.exp(), labels).log(), "each row a distribution"),
    (checks.fair_votes, lambda v, labels: fair_votes(v, labels).exp(), "return their logarithms"),
    (checks.fair_votes, by_class(torch.amax), "on average"),
    (checks.paired_difference, lambda a, b: (a - b).mean(), "return two things"),
    (checks.paired_difference, paired(sign=-1), "wrong sign"),
    (checks.paired_difference, lambda a, b: (a.mean(), paired()(a, b)[1]), "the mean of a - b"),
    (checks.paired_difference, paired(lambda a, b: (a.var() + b.var()).sqrt()), "subtract first"),
    (checks.paired_difference, paired(lambda a, b: (a.std() - b.std()).abs()), "difference of the spreads"),
    (checks.paired_difference, paired(factor=1), "standard error"),
    (checks.paired_difference, paired(factor=2 * 1.96), "whole width"),
    (checks.paired_difference, paired(power=0), "spread of single episodes"),
    (checks.paired_difference, paired(factor=1, power=0), "spread of single episodes"),
    (checks.paired_difference, paired(power=1), "take the standard deviation of a - b"),
    (checks.episodes_to_tell_apart, lambda *given: to_tell_apart()(*given)[0], "return two things"),
    (checks.episodes_to_tell_apart, lambda *given: to_tell_apart()(*given)[::-1], "other order"),
    (checks.episodes_to_tell_apart, to_tell_apart(own=1), "twice that of one"),
    (checks.episodes_to_tell_apart, to_tell_apart(same=lambda r: 1 - r, own=1), "both variances count"),
    (checks.episodes_to_tell_apart, to_tell_apart(same=lambda r: 2 - r), "once for each side"),
    (checks.episodes_to_tell_apart, to_tell_apart(power=1), "must be squared"),
    (checks.episodes_to_tell_apart, to_tell_apart(factor=1), "left out the 1.96"),
    (checks.episodes_to_tell_apart, to_tell_apart(own=3), "from equation 10.1"),
    (checks.class_medians, medians(lambda group: group.mean(0)), "those are means"),
    (checks.class_medians, medians(order=by_appearance), "sort the labels"),
    (checks.class_medians, medians(lambda g: g[torch.cdist(g, g).sum(1).argmin()]), "one example for all"),
    (checks.class_medians, medians(lambda group: group.median().expand(4)), "one for each number"),
    (checks.class_medians, medians(lambda group: group.amax(0)), "over its examples"),
    (checks.comparisons, lambda n, k, r: (n * r * n * k, n * r * n), "other order"),
    (checks.comparisons, lambda n, k, r: (r * n, r * n * k), "counted for each class"),
    (checks.comparisons, lambda n, k, r: (n * r, n * r * n * k), "not of its own alone"),
    (checks.comparisons, lambda n, k, r: (n * r * n, n * r * k), "with every example, N"),
    (checks.comparisons, lambda n, k, r: (n * r * n, n * r * n), "the shots count too"),
    (checks.comparisons, lambda n, k, r: n * r * n, "return two things"),
    (checks.comparisons, lambda n, k, r: (n, n * k), "multiply the number of queries"),
]


def named(value):
    return value.name if isinstance(value, checks.Exercise) else ""


@pytest.mark.parametrize("check, answer", RIGHT, ids=named)
def test_right_answers_pass(check, answer):
    verdict = check(answer)
    assert verdict and verdict.because == "right" and verdict.exercise == check.name, verdict
    assert verdict.message == "✓ Right." and str(verdict).splitlines()[0] == "✓ Right."


@pytest.mark.parametrize("check, answer, said", WRONG, ids=named)
def test_wrong_answers_are_told_what_is_wrong(check, answer, said, capsys):
    verdict = check(answer)
    assert not verdict and verdict.attempted and said in verdict.message
    assert verdict.message.startswith("✗ Not yet: ") and capsys.readouterr().out == ""


EXERCISES = list(checks.EXERCISES.values())


def test_exercises_are_numbered_in_order():
    numbers = [tuple(map(int, check.asks.partition(":")[0].split("."))) for check in EXERCISES]
    assert numbers == [
        (chapter, n + 1)
        for chapter, several in itertools.groupby(sorted(numbers), key=lambda number: number[0])
        for n, _ in enumerate(several)
    ]
    assert [f"ch{chapter:02}" for chapter, _ in numbers] == [check.name[:4] for check in EXERCISES]


def empty(*given): ...


def described(*given):
    """What is to be returned."""
    ...


UNTOUCHED = {"the stub": empty, "with its words": described, "three dots": lambda *_: ..., "not even a function": ...}


@pytest.mark.parametrize("check", EXERCISES, ids=named)
@pytest.mark.parametrize("stub", UNTOUCHED.values(), ids=UNTOUCHED)
def test_a_placeholder_is_left_in_peace(check, stub):
    verdict = check(... if check.given is None else stub)
    assert not verdict and not verdict.attempted
    assert verdict.because == "untouched" and str(verdict).startswith("○ Your turn: put your answer in")


@pytest.mark.parametrize("check", [each for each in EXERCISES if each.parts], ids=named)
def test_a_part_that_is_missing_is_a_placeholder_too(check):
    parts = (...,) * len(check.parts)
    assert not check(parts if check.given is None else lambda *_: parts).attempted


@pytest.mark.parametrize("check", [each for each in EXERCISES if each.given is not None], ids=named)
def test_a_forgotten_return_is_named(check):
    def forgotten(*given):
        _ = len(given)

    verdict = check(forgotten)
    assert not verdict and verdict.attempted and "returned None: is there a return?" in verdict.message


def test_what_is_returned_has_the_right_kind_and_shape():
    assert "should be a tensor, but is a float" in checks.cosines(lambda x, y: 3.0).message
    assert "should be (6, 5), but is (6, 6)" in checks.cosines(lambda x, y: x @ x.T).message
    assert "a number, but is a str" in checks.interval(lambda a: "wide").message
    assert "the bias: the shape should be (5,), but" in checks.linear_form(lambda c: (2 * c, c)).message
    assert "two things, the weight and the bias." in checks.linear_form(lambda c: (c, c, c)).message
    assert "three things, u, v and w." in checks.shorter_detour((1, 2)).message


STRANGE = {  # and what is said of it
    "a text for a number": (checks.episodes_needed, lambda s, h: "6147", "a number, but is a str"),
    "two numbers for one": (checks.episodes_needed, lambda s, h: torch.ones(2), "a number, but is a Tensor"),
    "a number in a row": (checks.scale_needed, lambda n, loss: torch.tensor([2.0]), "your scale is 2"),
    "numbers too large": (checks.shorter_detour, (0, 1e200, 1e308), "the squared distance from u to w"),
    "indices that are none": (checks.draw_episode, lambda y, n, k, q: Episode(y[:n], y[: n * k] + 900, y[: n * q]), ""),
    "the result for the function": (checks.cosines, torch.eye(3), "give the check the function itself"),
    "a part that is missing": (checks.hardest, lambda d, y: (d.amax(1), None), "the nearest negatives: the answer"),
    "a way out": (checks.cosines, lambda x, y: sys.exit(), "raised SystemExit"),
}


@pytest.mark.parametrize("check, answer, said", STRANGE.values(), ids=STRANGE)
def test_strange_answers_get_a_verdict(check, answer, said):
    verdict = check(answer)
    assert not verdict and verdict.attempted and said in verdict.message


class Stub:
    def method(self, *given): ...


def unwritten(*given):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [Stub().method, functools.partial(empty), unwritten, None])
def test_other_stubs_are_stubs_too(stub):
    assert checks.cosines(stub).because == "untouched"


@pytest.mark.parametrize(
    "words, message",
    [
        ({"ch03.cosine": "x"}, "There is no text 'ch03.cosine'"),
        ({"shape": "Form {form}"}, "has a gap {form}, but the English one is: the shape"),
        ({"shape": "Form {"}, "is no text for a verdict"),
        ({"right": None}, "is no text for a verdict"),
    ],
)
def test_words_that_would_fail_later_are_refused(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        checks.speak(words)
    assert checks.cosines(cosine_similarity).message == "✓ Right."


# Other words ----------------------------------------------------------------------------------------------------


def test_verdicts_are_said_in_the_words_of_another_language():
    english = checks.texts()
    gaps = re.compile(r"{[^}]*}")
    checks.speak({key: f"«{key}» {' '.join(gaps.findall(text))}" for key, text in english.items()})
    try:
        assert checks.cosines(cosine_similarity).message == "«right» "
        assert "«ch03.cosines.distance»" in checks.cosines(lambda x, y: 1 - cosine_similarity(x, y)).message
        assert "«untouched»" in checks.cosines(empty).message
        assert "«parts» «count 2»  «and» «ch06.linear_form.part 1»" in checks.linear_form(lambda c: c).message
        assert "«part» «ch06.linear_form.part 2»  «shape» (5,)" in checks.linear_form(lambda c: (2 * c, c)).message
        assert "7" in checks.count_triplets(lambda n, k: 7).message
    finally:
        checks.speak({})
    assert checks.cosines(cosine_similarity).message == "✓ Right."


def test_every_verdict_of_the_bank_is_in_the_table():
    keys = checks.texts()
    for check, answer, _ in WRONG:
        because = check(answer).because
        assert because in keys or f"{check.name}.{because}" in keys


# Names ----------------------------------------------------------------------------------------------------------


def test_an_exercise_goes_by_its_chapter_and_by_its_name_alone():
    assert checks.ch03.cosines is checks.cosines is checks.EXERCISES["ch03.cosines"]
    assert {"cosines", "texts", "ch03"} <= set(dir(checks))
    with pytest.raises(AttributeError, match="There is no exercise 'sines'"):
        _ = checks.sines


def test_a_name_of_several_chapters_needs_its_chapter(monkeypatch):
    monkeypatch.setitem(checks.EXERCISES, "ch99.cosines", checks.cosines)
    with pytest.raises(AttributeError, match=r"write checks.ch03.cosines or checks.ch99.cosines"):
        _ = checks.cosines


# What a check leaves alone --------------------------------------------------------------------------------------


def generators():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


CHECKS = dict(RIGHT)


@pytest.mark.parametrize("check, answer", CHECKS.items(), ids=named)
@pytest.mark.parametrize("wrong", ["right", "nothing", "raises"])
def test_a_check_leaves_the_generators_as_they_were(check, answer, wrong):
    """Whatever the answer draws, or seeds."""

    def drawing(*arguments):
        torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
        torch.randn(3), np.random.rand(), random.random()  # noqa: NPY002
        if wrong == "raises":
            raise RuntimeError("no answer")
        return answer(*arguments) if wrong == "right" else None

    before = generators()
    for _ in range(2):
        check(drawing if callable(answer) else answer)
        assert generators() == before


def test_each_press_draws_other_data():
    seen = []
    for _ in range(3):
        checks.cosines(lambda x, y: seen.append((x, torch.rand(1))))
    assert len({x.sum().item() for x, _ in seen}) == len({drawn.item() for _, drawn in seen}) == 3


def test_what_was_drawn_before_changes_nothing(monkeypatch):
    seen = []
    for before in range(2):
        torch.manual_seed(before)
        monkeypatch.setattr(exercise, "_presses", itertools.count())
        checks.cosines(lambda x, y: seen.append(x))
    assert torch.equal(*seen)


# Answers from a GPU ---------------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def moved(value):
    """The same on the GPU, and so is all that it holds."""
    if isinstance(value, Episode):
        return Episode(value.classes.cuda(), value.support.cuda(), value.query.cuda())
    if isinstance(value, tuple | list):
        return type(value)(map(moved, value))
    return value.cuda() if isinstance(value, torch.Tensor) else value


@on_gpu
@pytest.mark.parametrize(
    "check, answer, right",
    [(*pair, True) for pair in RIGHT] + [(check, answer, False) for check, answer, _ in WRONG],
    ids=named,
)
def test_an_answer_from_a_gpu_is_judged(check, answer, right):
    said = check(answer, seed=3)
    assert said.right is right
    with pretend_gpu():
        assert check((lambda *given: moved(answer(*given))) if callable(answer) else moved(answer), seed=3) == said


@on_gpu
def test_an_answer_may_be_found_on_a_gpu():
    with pretend_gpu():
        assert checks.cosines(lambda x, y: cosine_similarity(x.cuda(), y.cuda()))
        assert checks.class_means(lambda s, labels: means()(s.cuda(), labels.cuda()))


@on_gpu
def test_a_check_leaves_the_generator_of_the_gpu_as_it_was():
    with pretend_gpu():
        if default_device().type != "cuda":
            pytest.skip("The pretend GPU does not call itself cuda here, so its generator is not looked for.")
        torch.manual_seed(0)
        wanted = torch.rand(3, device="cuda").cpu()
        torch.manual_seed(0)
        checks.cosines(lambda x, y: torch.rand(6, 5, device="cuda"))
        assert torch.equal(torch.rand(3, device="cuda").cpu(), wanted)


def test_data_lie_on_the_cpu_whatever_the_default_device():
    found = []
    torch.set_default_device("meta")  # one where nothing can be computed
    try:
        right = checks.cosines(lambda x, y: found.append(x.device.type) or cosine_similarity(x, y))
    finally:
        torch.set_default_device(None)
    assert right and set(found) == {"cpu"}


# Other forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.int32, torch.float32])
def test_labels_may_be_of_another_kind(kind):
    assert checks.nearest_neighbour(lambda s, labels, q: labels[torch.cdist(q, s).argmin(1)].to(kind))


def test_an_episode_must_be_one():
    verdict = checks.draw_episode(lambda *_: (torch.arange(12), torch.arange(18)))
    assert "should be an Episode, but is a tuple" in verdict.message
    assert not checks.draw_episode(lambda *_: Episode(..., *(torch.arange(n) for n in (12, 18)))).attempted


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_numbers_may_be_of_another_width(dtype):
    verdict = checks.cosines(lambda x, y: cosine_similarity(x, y).to(dtype))
    assert verdict.right is (dtype == torch.float64) and "raised" not in verdict.message
