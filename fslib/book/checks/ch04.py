"""Chapter 4: losses."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong, with_gradient
from fslib.metrics import squared_euclidean

count_triplets = Exercise(
    asks="4.1: the number of triplets in a batch of so many classes and examples of each",
    level="easy",
    minutes=5,
    given=[(20, 6), (3, 2), (7, 5)],
    right=lambda classes, each: classes * each * (each - 1) * (classes - 1) * each,
    tolerance=0,
    fixed=(8, 4),
    also=(
        lambda classes, each: classes * each * (each - 1) * (classes * each - each),
        lambda classes, each: 2 * math.comb(each, 2) * classes * (classes - 1) * each,
    ),
    hints=(
        "Count in three steps and multiply.",
        "Anchors first. How many positives has each? How many negatives?",
    ),
    wrong={
        "itself": Wrong("an example is not its own positive.", lambda classes, each: classes * each**3 * (classes - 1)),
        "same class": Wrong(
            "a negative is of another class.",
            lambda classes, each: classes * each * (each - 1) * (classes * each - 1),
        ),
        "one negative": Wrong(
            "a class has more than one negative to offer.",
            lambda classes, each: classes * each * (each - 1) * (classes - 1),
        ),
        "order": Wrong(
            "anchor and positive play different parts, so either order counts.",
            lambda classes, each: classes * each * (each - 1) * (classes - 1) * each / 2,
        ),
    },
    otherwise="{given[0]} classes with {given[1]} examples have {right:,}, not {answer}.",
)


def _points() -> tuple[Tensor, Tensor]:
    points = torch.randn(24, 3)  # of fewer, a wrong answer may be right by chance
    return squared_euclidean(points, points).sqrt(), torch.tensor([5, 2, 9, 5, 2, 9, 9, 5] * 3)


def _extremes(
    distances: Tensor, labels: Tensor, *, any_positive: bool = False, near_positive: bool = False,
    far_negative: bool = False, any_negative: bool = False, with_itself: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Distances to the farthest positives and the nearest negatives, rightly or with a mistake."""
    same = labels[:, None] == labels
    other = torch.ones_like(same).fill_diagonal_(False)
    positives = torch.ones_like(same) if any_positive else same & other
    negatives = (torch.ones_like(same) if with_itself else other) if any_negative else ~same
    positive = distances.where(positives, torch.tensor(torch.inf if near_positive else -torch.inf))
    negative = distances.where(negatives, torch.tensor(-torch.inf if far_negative else torch.inf))
    return (
        positive.amin(1) if near_positive else positive.amax(1),
        negative.amax(1) if far_negative else negative.amin(1),
    )


def _half_right(distances: Tensor, labels: Tensor, found: tuple[Tensor, Tensor]) -> str | None:
    """Which of the two is wrong, and how, if the other may be anything."""

    def among(i: int, **mistake: bool) -> bool:
        return torch.allclose(found[i].double(), _extremes(distances, labels, **mistake)[i].double(), 1e-4, 1e-4)

    if not all(part.is_floating_point() for part in found):
        return "positions"
    if among(0, near_positive=True):
        return "near positive"
    if among(0, any_positive=True):
        return "any positive"
    if among(1, far_negative=True):
        return "far negative"
    if among(1, any_negative=True) or among(1, any_negative=True, with_itself=True):
        return "any negative"
    return "negatives" if among(0) else "positives"


hardest = Exercise(
    asks="4.2: distance to the farthest positive and to the nearest negative of each example",
    level="hard",
    minutes=15,
    given=_points,
    right=_extremes,
    parts=("the farthest positives", "the nearest negatives"),
    judge=_half_right,
    also=(
        lambda distances, labels: (
            distances.masked_fill(labels[:, None] != labels, -1).amax(1),
            distances.masked_fill(labels[:, None] == labels, torch.inf).amin(1),
        ),
        lambda distances, labels: tuple(
            torch.stack([pick(row[(labels == y) == same]) for row, y in zip(distances, labels)])
            for pick, same in ((torch.max, True), (torch.min, False))
        ),
    ),
    hints=(
        "Which pairs are of one class? `labels[:, None] == labels` says it of all at once.",
        "Set what must not win to $-\\infty$ before a maximum and to $\\infty$ before a minimum. Is an "
        "example its own positive?",
        "`distances.masked_fill(mask, value)` sets, `amax(1)` and `amin(1)` pick a distance in each row.",
    ),
    wrong={
        "swapped": Wrong(
            "positives come first, negatives second.", lambda distances, labels: _extremes(distances, labels)[::-1]
        ),
        "positions": Wrong(
            "those are positions; return the distances, by amax or amin for argmax or argmin.",
            lambda distances, labels: (distances.argmax(1), distances.argmin(1)),
        ),
        "near positive": Wrong(
            "that is the nearest positive; the hardest is the farthest.",
            lambda distances, labels: _extremes(distances, labels, near_positive=True),
        ),
        "any positive": Wrong(
            "the farthest positive must be of the same class.",
            lambda distances, labels: _extremes(distances, labels, any_positive=True),
        ),
        "far negative": Wrong(
            "that is the farthest negative; the hardest is the nearest.",
            lambda distances, labels: _extremes(distances, labels, far_negative=True),
        ),
        "any negative": Wrong(
            "the nearest negative must be of another class; set the distances of the same class to infinity.",
            lambda distances, labels: _extremes(distances, labels, any_negative=True),
            lambda distances, labels: _extremes(distances, labels, any_negative=True, with_itself=True),
        ),
        "positives": Wrong(
            "the positives are not right.",
            lambda distances, labels: (distances.mean(1), _extremes(distances, labels)[1]),
        ),
        "negatives": Wrong(
            "the negatives are not right.",
            lambda distances, labels: (_extremes(distances, labels)[0], distances.mean(1)),
        ),
    },
    otherwise="neither the positives nor the negatives are right.",
)


def _line_up(scores: Tensor) -> Tensor:
    return (scores.logsumexp(1) - scores.diag()).mean()


n_pair_distances = Exercise(
    asks="4.3: the N-pair loss with minus the squared distance for the inner product",
    level="medium",
    minutes=8,
    given=lambda: (torch.randn(6, 3), torch.randn(6, 3)),
    right=lambda anchor, positive: _line_up(-squared_euclidean(anchor, positive)),
    call=with_gradient,
    also=(
        lambda anchor, positive: F.cross_entropy(-torch.cdist(anchor, positive).square(), torch.arange(len(anchor))),
        lambda anchor, positive: -(-(anchor[:, None] - positive).square().sum(-1)).log_softmax(1).diagonal().mean(),
    ),
    hints=(
        "First the table of scores, one row an anchor. What is the right answer of each row?",
        "Rows are anchors, columns are positives. `F.cross_entropy` takes scores, and the right answer to "
        "row $i$ is $i$.",
    ),
    wrong={
        "sign": Wrong(
            "near should score high: put a minus before the distance.",
            lambda anchor, positive: _line_up(squared_euclidean(anchor, positive)),
        ),
        "root": Wrong(
            "the distance should be squared.",
            lambda anchor, positive: _line_up(-squared_euclidean(anchor, positive).sqrt()),
        ),
        "inner product": Wrong(
            "those are inner products; compare by minus the squared distance.",
            lambda anchor, positive: _line_up(anchor @ positive.T),
        ),
        "columns": Wrong(
            "rows should be anchors: you ask each positive for its anchor.",
            lambda anchor, positive: _line_up(-squared_euclidean(positive, anchor)),
        ),
        "sum": Wrong(
            "that is the sum over anchors; take the mean.",
            lambda anchor, positive: len(anchor) * _line_up(-squared_euclidean(anchor, positive)),
        ),
    },
    otherwise="the value is not the cross-entropy of minus the squared distances.",
)


cosface_margin = Exercise(
    asks="4.4: the margin with which CosFace scores as ArcFace does at an angle",
    level="easy",
    minutes=8,
    given=[(0.4, 0.5), (1.2, 0.3), (2.0, 0.2)],
    fixed=(1.0, 0.5),
    right=lambda angle, margin: math.cos(angle) - math.cos(angle + margin),
    also=(
        lambda angle, margin: 2 * math.sin(margin / 2) * math.sin(angle + margin / 2),
        lambda angle, margin: torch.tensor([angle, angle + margin], dtype=torch.float64).cos().diff().neg().sum(),
    ),
    hints=(
        "Both scores of the right class stand in equation 4.4. What must be the same?",
        "Put $\\cos\\theta_y - m$ equal to the other score, and solve for this $m$.",
    ),
    wrong={
        "sign": Wrong(
            "the sign is wrong: a margin lowers the score.", lambda angle, m: math.cos(angle + m) - math.cos(angle)
        ),
        "smaller": Wrong(
            "ArcFace makes the angle larger, not smaller.",
            lambda angle, m: math.cos(angle) - math.cos(angle - m),
            lambda angle, m: math.cos(angle - m) - math.cos(angle),
        ),
        "same": Wrong("a margin on the angle and one on the cosine are in different units.", lambda angle, m: m),
        "at zero": Wrong("so it is at the angle zero alone.", lambda angle, m: 1 - math.cos(m)),
        "slope": Wrong(
            "that is the slope times the margin, right for small ones only.", lambda angle, m: m * math.sin(angle)
        ),
        "score": Wrong(
            "that is ArcFace's score; what comes off the cosine to get there?", lambda angle, m: math.cos(angle + m)
        ),
        "degrees": Wrong(
            "angles are in radians, not in degrees.",
            lambda angle, m: math.cos(math.radians(angle)) - math.cos(math.radians(angle + m)),
        ),
    },
    otherwise="cos(angle) less your margin is not cos(angle + margin).",
)


def _teaching(
    own: bool = False, active: Callable[[Tensor, Tensor, float], Tensor] = lambda near, far, m: near - far + m > 0,
    of_all: bool = False, loss: bool = False,
) -> Callable[..., Tensor]:  # fmt: skip
    """The share of triplets that teach, rightly or with a mistake."""

    def share(distances: Tensor, labels: Tensor, margin: float) -> Tensor:
        same = labels[:, None] == labels
        positive = same if own else same & ~torch.eye(len(labels), dtype=torch.bool)
        triplets = positive[:, :, None] & ~same[:, None]
        near, far = distances[:, :, None], distances[:, None]
        if loss:
            return (near - far + margin).clamp_min(0)[triplets].mean()
        return (active(near, far, margin) & triplets).sum() / (len(labels) ** 3 if of_all else triplets.sum())

    return share


def _teaching_by_loop(distances: Tensor, labels: Tensor, margin: float) -> float:
    taught = several = 0
    for a, label in enumerate(labels):
        far = distances[a][labels != label]
        for p in (labels == label).nonzero().flatten().tolist():
            if p != a:
                taught, several = taught + int((distances[a, p] + margin > far).sum()), several + len(far)
    return taught / several


def _batches() -> list[tuple[Tensor, Tensor, float]]:
    labels = torch.tensor([4, 1, 7]).repeat_interleave(10)[torch.randperm(30)]
    points = [torch.randn(30, 3, dtype=torch.float64) for _ in range(2)]
    return [(torch.cdist(x, x), labels, margin) for x, margin in zip(points, (0.3, 1.0))]


teaching = Exercise(
    asks="4.5: the share of all triplets that have a gradient",
    level="medium",
    minutes=15,
    given=_batches,
    right=_teaching(),
    also=(
        _teaching_by_loop,
        lambda *given: _teaching(active=lambda near, far, m: (near + m - far).clamp_min(0) > 0)(*given).item(),
    ),
    hints=(
        "A triplet has three indices: `distances[:, :, None] - distances[:, None]` holds near less far for all threes.",
        "Which threes are triplets? Two masks, one for the positive and one for the negative.",
        "The share is a number of triplets over a number of triplets, not over all threes.",
    ),
    wrong={
        "itself": Wrong("an example is not its own positive.", _teaching(own=True)),
        "all threes": Wrong("divide by the number of triplets, not by that of all threes.", _teaching(of_all=True)),
        "no margin": Wrong("you leave out the margin.", _teaching(active=lambda near, far, m: near > far)),
        "semi-hard": Wrong(
            "those are the semi-hard ones; a negative nearer than the positive teaches too.",
            _teaching(active=lambda near, far, m: (far > near) & (far < near + m)),
        ),
        "easy": Wrong(
            "those are the triplets that teach nothing.", _teaching(active=lambda near, far, m: near - far + m <= 0)
        ),
        "beyond": Wrong(
            "those violate the order by more than the margin: it is added to the near distance, not to the far one.",
            _teaching(active=lambda near, far, m: near > far + m),
        ),
        "loss": Wrong("that is the mean loss; count the triplets that have one.", _teaching(loss=True)),
    },
    otherwise="count the triplets with d(a, p) − d(a, n) + margin above zero, and divide by the number of triplets.",
)
