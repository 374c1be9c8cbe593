"""The bank of answers: each right one passes, each wrong one is told its mistake, and none is right by luck.

In the default run over fewer seeds, but for the answers that checks once took for right.
"""

import math
import os
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from fslib.book import checks
from fslib.book.checks.exercise import COMMON
from fslib.episodes import Episode
from fslib.metrics import cosine_similarity, squared_euclidean

EXERCISES = list(checks.EXERCISES.values())
CI = bool(os.environ.get("CI"))
SEEDS = range(200 if CI else 20)
FEWER = range(20 if CI else 5)


def seeds(check):
    """Two hundred episodes take a while to draw."""
    return FEWER[:2] if check is checks.draw_episode else FEWER


def found(check, answer, over):
    """What is said of an answer, by the seed of what it is tried on."""
    return Counter(check(answer, seed).because for seed in over)


each_exercise = pytest.mark.parametrize("check", EXERCISES, ids=lambda check: check.name)


@each_exercise
def test_every_right_answer_passes(check):
    assert len(check.also) >= 2
    for answer in (check.right, *check.also):
        assert set(found(check, answer, seeds(check))) == {"right"}


@each_exercise
def test_every_mistake_is_known_by_its_answers(check):
    """It is neither right by luck nor taken for another mistake, and is told in its own words."""
    assert not set(check.wrong) & set(COMMON)
    assert len({wrong.text for wrong in check.wrong.values()}) == len(check.wrong) >= 4
    for key, wrong in check.wrong.items():
        assert wrong.answers, key
        for answer in wrong.answers:
            assert set(found(check, answer, seeds(check))) == {key}


@each_exercise
def test_an_exercise_says_how_hard_it_is_and_helps_step_by_step(check):
    assert check.level in ("easy", "medium", "hard") and 1 <= check.minutes <= 30 and len(check.hints) >= 2


def test_no_level_holds_more_than_half_of_the_exercises():
    levels = Counter(check.level for check in EXERCISES)
    assert len(levels) == 3 and max(levels.values()) <= len(EXERCISES) / 2


# What checks once got wrong -------------------------------------------------------------------------------------


def sampler(pick):
    """Episodes right but for the classes, which are picked from those of a script."""

    def draw(labels, scripts, way, shot, query):
        of_script = (scripts == scripts.unique()[torch.randint(2, ())]).nonzero().flatten()
        classes = labels[of_script].unique()
        rows = of_script[labels[of_script].argsort()].view(len(classes), -1)
        rows = rows.gather(1, torch.rand(rows.shape).argsort(1))[pick(len(classes), way)]
        drawn = rows[:, : shot + query]
        return Episode(labels[rows[:, 0]], drawn[:, :shot].flatten(), drawn[:, shot:].flatten())

    return draw


def always_the_first(several, way):
    return torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(several - 1)[: way - 1]])


def neighbours(several, way):
    return int(torch.randint(several - way + 1, ())) + torch.arange(way)


def n_pair(a, p):
    return F.cross_entropy(-torch.cdist(a, p).square(), torch.arange(len(a)))


def more(exercise, by=0.4):
    return lambda *given: exercise.right(*given) + by


def in_text(exercise):
    return lambda *given: tuple(map(str, exercise.right(*given)))


def zeroing(support, labels, query):
    scores = checks.nearest_example.right(support, labels, query)
    support.zero_()
    return scores


def softened(scores, t):
    return scores.div_(t).softmax(1)


def upper_medians(s, labels):
    of_class = [s[labels == k] for k in labels.unique()]
    return torch.stack([each.sort(0).values[len(each) // 2] for each in of_class])


def of_pairs(linear, classes, query):
    return torch.stack([torch.stack([linear(torch.cat([c, q])) for c in classes]) for q in query])


def of_repeated(linear, classes, query):
    left, right = linear.weight.chunk(2, 1)
    repeated = classes.expand(len(query), -1, -1) @ left.T
    return repeated + (query[:, None].expand(-1, len(classes), -1) @ right.T) + linear.bias


ONCE_RIGHT = {
    "one number of episodes": (checks.episodes_needed, lambda s, h: 6147),
    "episodes by the ratio": (checks.episodes_needed, lambda s, h: 1.96**2 * 40 * s / h),
    "episodes for one spread": (checks.episodes_needed, lambda s, h: math.ceil((0.1568 / h) ** 2)),
    "episodes rounded down": (checks.episodes_needed, lambda s, h: math.floor((1.96 * s / h) ** 2)),
    "episodes to the nearest": (checks.episodes_needed, lambda s, h: round((1.96 * s / h) ** 2)),
    "parts of an episode": (checks.episodes_needed, lambda s, h: (1.96 * s / h) ** 2),
    "always the first class": (checks.draw_episode, sampler(always_the_first)),
    "classes that are neighbours": (checks.draw_episode, sampler(neighbours)),
    "a loss without gradient": (checks.n_pair_distances, lambda a, p: n_pair(a.detach(), p)),
    "weights in letters": (checks.weights_per_picture, "2252"),
    "part of a pixel": (checks.receptive_field, more(checks.receptive_field)),
    "part of a parameter": (checks.block_parameters, more(checks.block_parameters)),
    "what is left in letters": (checks.left_of_means, lambda *given: str(checks.left_of_means.right(*given))),
    "intervals in letters": (checks.which_unit, in_text(checks.which_unit)),
    "what is left at once": (checks.left_of_means, lambda *given: 0.625),
    "the upper median": (checks.class_medians, upper_medians),
    "scores that take the examples along": (checks.nearest_example, zeroing),
    "a softmax that changes its scores": (checks.temperature, softened),
    "one temperature": (checks.temperature, lambda scores, t: (scores / 3.5).softmax(-1)),
    "fewer episodes than tell apart": (
        checks.episodes_to_tell_apart,
        lambda *given: tuple(map(math.floor, checks.episodes_to_tell_apart.right(*given))),
    ),
    "pairs joined": (checks.linear_on_pairs, checks.linear_on_pairs.wrong["pairs"].answers[0]),
    "pairs one by one": (checks.linear_on_pairs, of_pairs),
    "halves applied to each pair": (checks.linear_on_pairs, of_repeated),
}


@pytest.mark.parametrize("check, answer", ONCE_RIGHT.values(), ids=ONCE_RIGHT)
def test_what_was_once_taken_for_right_is_wrong(check, answer):
    assert found(check, answer, SEEDS)["right"] == 0


def by_means(s, labels, q):
    means = torch.stack([s[labels == k].mean(0) for k in labels.unique()])
    return labels.unique()[torch.cdist(q, means).argmin(1)]


def of_range(labels, scripts, way, shot, query):
    rows = [(labels == c).nonzero().flatten() for c in torch.randperm(16)[:way]]
    return Episode(
        torch.arange(way),
        torch.cat([row[:shot] for row in rows]),
        torch.cat([row[shot:][:query] for row in rows]),
    )


def labels_for_positions(labels, *task):
    e = sampler(lambda several, way: torch.randperm(several)[:way])(labels, *task)
    return Episode(e.classes, labels[e.support], labels[e.query])


ONCE_MISREAD = {  # answers of which a check once said what was not true, and what it says now
    "cosines for distances": (
        checks.zero_shot,
        lambda p, d: cosine_similarity(p, d).argmax(1),
        "compare by cosines",
    ),
    "sums for distances": (
        checks.zero_shot,
        lambda p, d: torch.cdist(p, d, p=1).argmin(1),
        "absolute differences",
    ),
    "rounded attributes": (
        checks.zero_shot,
        lambda p, d: (p.round()[:, None] != d.round()).sum(-1).argmin(1),
        "round the predictions",
    ),
    "labels for positions": (checks.draw_episode, labels_for_positions, "those are labels"),
    "labels that count": (checks.draw_episode, of_range, "Labels may be any integers"),
    "a tuple": (
        checks.draw_episode,
        lambda y, s, n, k, q: (y[:n], y[: n * k], y[: n * q]),
        "an Episode, but is a tuple",
    ),
    "images a weight": (checks.weights_per_picture, 50 / 112_586, "the other way round"),
    "five images": (checks.weights_per_picture, 22_517, "those of one class"),
    "class means": (checks.nearest_neighbour, by_means, "with every single example"),
    "the pairs of a query": (
        checks.constant_floor,
        lambda n: (1 / n, math.log(n) - (n - 1) * math.log(1 - 1 / n)),
        "the sum over the pairs",
    ),
    "a pair of its own": (
        checks.constant_floor,
        lambda n: (1 / n, math.log(n)),
        "the one pair",
    ),
    "one number for two": (checks.constant_floor, lambda n: 1 / n, "return two things"),
    "votes of a range": (
        checks.without_nearest,
        lambda a, labels: torch.stack([a[:, labels == k].sum(1) for k in range(len(labels.unique()))], 1),
        "labels may be any integers",
    ),
    "examples of a range": (
        checks.nearest_example,
        lambda s, labels, q: torch.stack(
            [-squared_euclidean(q, s)[:, labels == k].amin(1) for k in range(len(labels.unique()))],
            1,
        ),
        "labels may be any integers",
    ),
    "a float for a loss": (
        checks.n_pair_distances,
        lambda *given: n_pair(*given).item(),
        "cannot follow",
    ),
}


@pytest.mark.parametrize("check, answer, said", ONCE_MISREAD.values(), ids=ONCE_MISREAD)
def test_what_was_once_misread_is_named(check, answer, said):
    for seed in seeds(check):
        assert said in check(answer, seed).message


def test_vectors_may_be_as_short_as_one_likes():
    assert set(found(checks.before_storing, lambda v: 1e-6 * F.normalize(v), SEEDS)) == {"right"}


# Answers that look at nothing -----------------------------------------------------------------------------------


def filled(value, number):
    if isinstance(value, torch.Tensor):
        return torch.full_like(value, number)
    if isinstance(value, tuple | list):
        return tuple(filled(part, number) for part in value)
    return type(value)(number) if math.isfinite(number) else number


def off(value, by):
    if isinstance(value, tuple | list):
        return tuple(off(part, by) for part in value)
    return value + by


NUMBERS = [check for check in EXERCISES if check is not checks.draw_episode and check.given is not None]
HOSTILE = {
    "zeros": lambda result: filled(result, 0),
    "ones": lambda result: filled(result, 1),
    "a million": lambda result: filled(result, 1e6),
    "a bit more": lambda result: off(result, 0.4),
    "nothing at all": lambda result: torch.empty(0),
    "a text": str,
    "one too many": lambda result: (result, result, result),
    "true": lambda result: True,
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("check", NUMBERS, ids=lambda check: check.name)
def test_hostile_answers_are_wrong(check, change):
    assert found(check, lambda *given: change(check.right(*given)), FEWER)["right"] == 0


@pytest.mark.parametrize("check", NUMBERS, ids=lambda check: check.name)
def test_what_was_right_for_other_data_is_wrong(check):
    kept = []

    def remembering(*given):
        kept.append(check.right(*given))
        return kept[0]

    check(remembering, 1000)
    assert found(check, remembering, FEWER)["right"] == 0


# What an answer gives on one fixed input ------------------------------------------------------------------------

SHOWING = [check for check in EXERCISES if check.shows is not None]


def test_only_what_has_many_right_answers_shows_no_number():
    silent = {check.name.partition(".")[2] for check in EXERCISES if check.shows is None}
    assert silent == {"draw_episode", "shorter_detour", "before_storing"}


@pytest.mark.parametrize("check", SHOWING, ids=lambda check: check.name)
def test_mistakes_have_numbers_that_no_right_answer_has(check):
    listed = check.mistakes()
    assert not {check.value(answer) for answer in (check.right, *check.also)} & set(listed)
    texts = {text for several in listed.values() for text in several}
    right = check.value(check.right).removeprefix("-")
    missing = [
        key
        for key, wrong in check.wrong.items()
        if not {check._said(key, {"given": check.fixed})} & texts
        and any(check.value(answer).removeprefix("-") != right for answer in wrong.answers)  # it would tell the answer
    ]
    # Shapes without such a number; and what is wrong in a case that the fixed input is not.
    assert set(missing) <= {
        "axis",
        "numbered",
        "not flat",
        "pairs",
        "nan",
        "infinite",
        "inexact",
        "rounded down",
    }
    assert len(texts) >= 3


@pytest.mark.parametrize("check", [each for each in SHOWING if each.given is not None], ids=lambda check: check.name)
def test_a_check_shows_the_number_whatever_it_is_tried_on(check):
    for answer in (check.right, *(wrong.answers[0] for wrong in check.wrong.values())):
        shown = {check(answer, seed).shown for seed in range(3)}
        value = check.value(answer)
        assert shown == {next(iter(shown))} and next(iter(shown)).endswith(f" is {value}." if value else "")


def test_what_a_reader_sees():
    wrong = repr(checks.episodes_needed(lambda s, h: 1.96 * s / h))
    assert wrong.splitlines()[1] == "On (0.08, 0.003), answer is 52.267."
    value = checks.cosines.value(checks.cosines.right)
    assert repr(checks.cosines(checks.cosines.right)) == f"✓ Right.\nOn one fixed input, answer[0][1] is {value}."
    assert "answer[0].sum() − answer[1].sum() is " in repr(checks.hardest(checks.hardest.right))
    assert checks.weights_per_picture(2252).shown == checks.cosines(lambda x, y: x.nonsense).shown == ""


def test_numbers_are_short():
    numbers = {
        573.0: "573",
        0.63149: "0.631",
        -0.0000821: "-8.21e-05",
        28650.0: "28650",
        1.0000001: "1",
        0.0: "0",
    }
    assert {number: checks.exercise._to_three_digits(number) for number in numbers} == numbers


def test_reading_the_mistakes_leaves_the_generator_alone():
    before = torch.get_rng_state()
    checks.cosines.mistakes()
    assert torch.equal(torch.get_rng_state(), before)
