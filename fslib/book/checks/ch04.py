"""Chapter 4: losses."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong, with_gradient
from fslib.metrics import squared_euclidean


def _mean(same: Tensor, pull: Tensor, push: Tensor) -> Tensor:
    return torch.where(same, pull, push).mean()


contrastive_loss = Exercise(
    asks="4.1: the contrastive loss, the mean over pairs",
    level="easy",
    minutes=5,
    given=lambda: (2 * torch.rand(40), torch.rand(40) < 0.3, 1 + 0.5 * torch.rand(()).item()),
    right=lambda d, same, m: _mean(same, d.square(), (m - d).clamp_min(0).square()),
    call=with_gradient,
    also=(
        lambda d, same, m: torch.where(same, d, (m - d).clamp(min=0)).square().mean(),
        lambda d, same, m: (d[same].square().sum() + F.relu(m - d[~same]).square().sum()) / len(d),
        lambda d, same, m: (same * d**2 + ~same * F.relu(m - d) ** 2).mean(),
    ),
    hints=(
        "Two cases: what does a pair of one class cost, and what a pair of two? `torch.where` takes both.",
        "Both terms are squared, and the square of the second comes after the maximum with zero.",
    ),
    wrong={
        "swapped": Wrong(
            "pull and push are swapped: pairs of one class have same = True.",
            lambda d, same, m: _mean(same, (m - d).clamp_min(0).square(), d.square()),
        ),
        "no squares": Wrong("the squares are missing.", lambda d, same, m: _mean(same, d, (m - d).clamp_min(0))),
        "push": Wrong("the push is not squared.", lambda d, same, m: _mean(same, d.square(), (m - d).clamp_min(0))),
        "pull": Wrong("the pull is not squared.", lambda d, same, m: _mean(same, d, (m - d).clamp_min(0).square())),
        "maximum": Wrong(
            "the maximum with zero is missing: pairs beyond the margin cost nothing.",
            lambda d, same, m: _mean(same, d.square(), (m - d).square()),
        ),
        "order": Wrong(
            "square after the subtraction: (m − d)², not m − d².",
            lambda d, same, m: _mean(same, d.square(), (m - d.square()).clamp_min(0)),
        ),
        "two means": Wrong(
            "take one mean over all pairs, not one over each kind.",
            lambda d, same, m: d[same].square().mean() + (m - d[~same]).clamp_min(0).square().mean(),
        ),
        "sum": Wrong(
            "that is the sum; take the mean over pairs.",
            lambda d, same, m: torch.where(same, d, (m - d).clamp_min(0)).square().sum(),
        ),
        "half": Wrong(
            "that is half the loss of equation 4.1.",
            lambda d, same, m: torch.where(same, d, (m - d).clamp_min(0)).square().mean() / 2,
        ),
    },
    otherwise="the value is not that of equation 4.1.",
)

count_triplets = Exercise(
    asks="4.2: the number of triplets in a batch of so many classes and examples of each",
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
    asks="4.3: distance to the farthest positive and to the nearest negative of each example",
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
    asks="4.4: the N-pair loss with minus the squared distance for the inner product",
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


def _of_right_class(labels: Tensor) -> Tensor:
    return labels[:, None] == torch.arange(4)


arcface_scores = Exercise(
    asks="4.5: cosines with the margin added to the angle of the right class",
    level="medium",
    minutes=10,
    # No example is of the last class: one-hot rows need to be told how many there are.
    given=lambda: (1.6 * torch.rand(9, 4) - 0.8, torch.randint(0, 3, (9,)), 0.3 + 0.2 * torch.rand(()).item()),
    right=lambda cosines, labels, m: torch.where(_of_right_class(labels), (cosines.acos() + m).cos(), cosines),
    also=(
        lambda cosines, labels, m: (cosines.acos() + m * F.one_hot(labels, cosines.shape[1])).cos(),
        lambda cosines, labels, m: torch.where(
            _of_right_class(labels), cosines * math.cos(m) - (1 - cosines**2).sqrt() * math.sin(m), cosines
        ),
    ),
    hints=(
        "From cosine to angle, add, and back to the cosine. What must be added to the angles of wrong classes?",
        "`torch.acos` gives the angle. `F.one_hot(labels, classes)` says where to add.",
    ),
    wrong={
        "every class": Wrong(
            "every class has the margin; only the right one should.",
            lambda cosines, labels, m: (cosines.acos() + m).cos(),
        ),
        "sign": Wrong(
            "the sign of the margin is wrong: the right class is made harder, its angle larger.",
            lambda cosines, labels, m: torch.where(_of_right_class(labels), (cosines.acos() - m).cos(), cosines),
        ),
        "cosface": Wrong(
            "you take the margin off the cosine, as CosFace does; ArcFace adds it to the angle.",
            lambda cosines, labels, m: torch.where(_of_right_class(labels), cosines - m, cosines),
        ),
        "wrong classes": Wrong(
            "the wrong classes have the margin; the right one should.",
            lambda cosines, labels, m: torch.where(_of_right_class(labels), cosines, (cosines.acos() + m).cos()),
        ),
        "angles": Wrong(
            "those are angles; take their cosine.",
            lambda cosines, labels, m: torch.where(_of_right_class(labels), cosines.acos() + m, cosines.acos()),
        ),
        "degrees": Wrong(
            "the margin is in radians, not in degrees.",
            lambda cosines, labels, m: torch.where(
                _of_right_class(labels), (cosines.acos() + math.radians(m)).cos(), cosines
            ),
        ),
    },
    otherwise="add the margin to the angle of the right class, and take the cosine.",
)
