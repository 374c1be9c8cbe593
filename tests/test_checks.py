"""A check accepts right answers, however written, and says what is wrong with the usual wrong ones."""

import math

import pytest
import torch

from fslib import checks
from fslib.episodes import Episode
from fslib.metrics import squared_euclidean


@pytest.fixture(params=range(3), autouse=True)
def seed(request):
    torch.manual_seed(request.param)


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


RIGHT = [
    (checks.nearest_neighbour, lambda s, labels, q: labels[torch.cdist(q, s).argmin(1)]),
    (checks.nearest_neighbour, lambda s, labels, q: labels[squared_euclidean(s, q).argmin(0)]),
    (checks.weights_per_picture, 112_586 / 50),
    (checks.zero_shot, lambda p, d: torch.cdist(p, d).argmin(1)),
    (checks.draw_episode, draw),
    (checks.interval, lambda a: 1.96 * a.std() / len(a) ** 0.5),
    (checks.interval, lambda a: 1.96 * a.std().item() / math.sqrt(len(a))),
    (checks.episodes_needed, lambda s, h: math.ceil((1.96 * s / h) ** 2)),
    (checks.class_means, means()),
    (checks.linear_form, lambda c: (2 * c, -c.square().sum(1))),
    (checks.linear_form, lambda c: [2 * c.double(), -c.double().square().sum(1)]),
    (checks.nearest_example, nearest()),
    (checks.temperature, lambda s, t: (s / t).softmax(-1)),
    (checks.temperature, lambda s, t: s.div_(t).softmax(1)),
]

WRONG = [
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
    (checks.weights_per_picture, 112_586, "divide it by the number of pictures"),
    (checks.weights_per_picture, 111_936 / 50, "count every parameter"),
    (checks.zero_shot, lambda p, d: torch.cdist(p, d).argmax(1), "farthest"),
    (checks.draw_episode, lambda *a: draw(*a, same_class_twice=True), "a class came twice"),
    (checks.draw_episode, lambda *a: draw(*a, leak=True), "in both support and query"),
    (
        checks.draw_episode,
        lambda y, *a: draw(y, *a, classes=y.unique()[:6]),
        "some classes are never drawn",
    ),
    (checks.draw_episode, lambda *a: draw(*a, shuffle=False), "some examples are never"),
    (checks.interval, lambda a: a.std(), "the mean of n episodes varies"),
    (checks.interval, lambda a: a.std() / len(a) ** 0.5, "that is the standard error"),
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
]


@pytest.mark.parametrize("check, answer", RIGHT, ids=lambda value: getattr(value, "__name__", ""))
def test_right_answers_pass(check, answer, capsys):
    assert check(answer), capsys.readouterr().out


@pytest.mark.parametrize(
    "check, answer, said", WRONG, ids=lambda value: getattr(value, "__name__", "")
)
def test_wrong_answers_are_told_what_is_wrong(check, answer, said, capsys):
    assert not check(answer)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "check", dict.fromkeys(check for check, _ in RIGHT), ids=lambda check: check.__name__
)
def test_a_placeholder_is_left_in_peace(check, capsys):
    untouched = {checks.weights_per_picture: ..., checks.linear_form: lambda *_: (..., ...)}
    assert not check(untouched.get(check, lambda *_: None))
    assert capsys.readouterr().out == "Not answered yet.\n"
