"""Chapter 11: augmentation and distillation."""

import math
from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.augmentation.mixing import Box, cutmix, kept_share
from fslib.book.checks.exercise import Exercise, Wrong
from fslib.distillation import soft_targets

Share = Callable[[Tensor], Tensor | float]


def _previous(labels: Tensor) -> Tensor:
    """The share of pictures that follow one of their class; the first follows the last."""
    return (labels == labels.roll(1)).double().mean()


def _permuted(labels: Tensor) -> Tensor:
    """The same of partners by a permutation: each picture is as likely to get any of the batch, itself among them."""
    return (labels[:, None] == labels).double().mean()


def _counts(labels: Tensor) -> Tensor:
    return labels.unique(return_counts=True)[1]


def _by_another(labels: Tensor) -> Tensor:
    """The same if no picture may be its own partner."""
    return (len(labels) * _permuted(labels) - 1) / (len(labels) - 1)


def _of_one_size(labels: Tensor) -> float:
    """The same if all classes are of one size."""
    return 1 / len(labels.unique())


def _drawn(labels: Tensor) -> Tensor:
    return (labels == labels[torch.randperm(len(labels))]).double().mean()


def _shares(previous: Share = _previous, permuted: Share = _permuted) -> Callable[[Tensor], tuple]:
    return lambda labels: (previous(labels), permuted(labels))


def _shares_by_loop(labels: Tensor) -> tuple[float, float]:
    batch = labels.tolist()
    sizes = Counter(batch)
    followers = sum(own == before for own, before in zip(batch, [batch[-1], *batch], strict=False))
    return followers / len(batch), sum(sizes[own] for own in batch) / len(batch) ** 2


def _wrong_half(labels: Tensor, found: tuple) -> str | None:
    """Which of the two shares is wrong, if the other is right."""
    first, second = (
        math.isclose(float(each), float(right), rel_tol=1e-4)
        for each, right in zip(found, _shares()(labels), strict=True)
    )
    return "second" if first else "first" if second else None


def _batches() -> list[tuple[Tensor]]:
    """Labels as a training has them: a support set by classes, then queries by classes, of some more than of others."""
    drawn: list[tuple[Tensor]] = []
    while len(drawn) < 2:
        classes = torch.randperm(50)[:6]
        labels = torch.cat([classes, classes.repeat_interleave(torch.randint(2, 8, (6,)))])
        means = [float(len(labels) * mean(labels)) for mean in (_permuted, _by_another, _of_one_size)]
        # No two are the same, and no single permutation, which has a whole number of such mixtures, gives one of them.
        if len({round(mean, 2) for mean in means}) == 3 and all(0.01 < mean % 1 < 0.99 for mean in means):
            drawn.append((labels,))
    return drawn


within_class = Exercise(
    asks="11.1: the share of mixtures of one class, with the previous picture as partner and by permutations",
    level="easy",
    minutes=8,
    given=_batches,
    right=_shares(),
    parts=("the share with the previous picture", "the mean share over all permutations"),
    judge=_wrong_half,
    also=(
        _shares_by_loop,
        _shares(
            lambda labels: torch.cat([labels[-1:], labels[:-1]]).eq(labels).float().mean().item(),
            lambda labels: (_counts(labels) / len(labels)).square().sum(),
        ),
    ),
    hints=(
        "What stood before each label? `roll` moves a tensor on by one, and brings the last to the front.",
        "By a permutation each picture gets any picture of the batch, all as likely. Of one in a class of $n$, how "
        "many of these are of its class?",
        "A mean over all pictures, and for each over all that it may get: compare each label with every label.",
    ),
    wrong={
        "order": Wrong(
            "the previous picture comes first, the permutations second.", lambda labels: _shares()(labels)[::-1]
        ),
        "open": Wrong(
            "the first picture of the batch has a partner too: the last.",
            _shares(lambda labels: (labels[1:] == labels[:-1]).double().mean()),
        ),
        "sorted": Wrong(
            "that would be so if a class stood in one place only; take the batch as it is, in its order.",
            _shares(lambda labels: _previous(labels.sort().values)),
            _shares(lambda labels: 1 - len(labels.unique()) / len(labels)),
        ),
        "itself": Wrong(
            "a permutation may leave a picture where it is, as its own partner.",
            _shares(permuted=_by_another),
        ),
        "even": Wrong(
            "so it is if all classes are of one size; a larger one meets itself more often.",
            _shares(permuted=_of_one_size),
        ),
        "counts": Wrong(
            "those are numbers of mixtures; divide by the number of pictures.",
            lambda labels: tuple(len(labels) * share for share in _shares()(labels)),
        ),
        "two classes": Wrong(
            "those mixtures are of two classes; the others are asked for.",
            lambda labels: tuple(1 - share for share in _shares()(labels)),
        ),
        "first": Wrong(
            "the second share is right; for the first, compare each label with the one before it.",
            _shares(lambda labels: (labels == labels.flip(0)).double().mean()),
            _shares(lambda labels: (labels == labels.roll(2)).double().mean()),
        ),
        "second": Wrong(
            "the first share is right; the second is a mean over all permutations, for which none need be drawn.",
            _shares(permuted=_drawn),
            _shares(permuted=lambda labels: _counts(labels).max() / len(labels)),
        ),
    },
    otherwise="compare each label with the one before it, and then with all labels of the batch.",
)


def _ink(images: Tensor, where: Tensor | int = 1) -> Tensor:
    """The ink of each picture, or of some of its pixels, (n,)."""
    return (images * where).sum((1, 2, 3))


def _within(images: Tensor, box: Box) -> Tensor:
    """Which pixels lie in the box, (h, w)."""
    top, left, bottom, right = box
    inside = torch.zeros(images.shape[-2:], dtype=torch.bool)
    inside[top:bottom, left:right] = True
    return inside


Inks = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _in_sight(images: Tensor, pasted: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """What a mixture shows of a picture and of its partner."""
    return _ink(images, ~inside), _ink(pasted, inside)


def _by_ink(
    inks: Inks = _in_sight,
    share: Callable[[Tensor, Tensor], Tensor] = lambda own, other: own / (own + other),
    empty: float | None = None,
    corners: tuple[int, ...] = (0, 1, 2, 3),
) -> Callable[[Tensor, Tensor, Box], Tensor]:
    """The share of each picture by its ink and that of its partner, rightly or with a mistake."""

    def shares(images: Tensor, partner: Tensor, box: Box) -> Tensor:
        top, left, bottom, right = (box[i] for i in corners)
        own, other = inks(images, images[partner], _within(images, (top, left, bottom, right)))
        by_area = kept_share(images, box) if empty is None else empty
        return share(own, other).masked_fill(own + other == 0, by_area)

    return shares


def _by_what_is_seen(images: Tensor, partner: Tensor, box: Box) -> Tensor:
    mixed, area = cutmix(images, partner, box), kept_share(images, box)
    ink = mixed.sum((1, 2, 3))
    of_partner = mixed[:, :, box[0] : box[2], box[1] : box[3]].sum((1, 2, 3))
    return torch.where(ink > 0, 1 - of_partner / ink.where(ink > 0, 1), area)


def _by_ink_in_a_loop(images: Tensor, partner: Tensor, box: Box) -> Tensor:
    top, left, bottom, right = box
    shares = []
    for picture, other in zip(images, images[partner]):
        pasted = other[:, top:bottom, left:right].sum().item()
        own = picture.sum().item() - picture[:, top:bottom, left:right].sum().item()
        area = 1 - (bottom - top) * (right - left) / picture[0].numel()
        shares.append(own / (own + pasted) if own + pasted > 1e-4 else area)
    return torch.tensor(shares)


def _mixtures() -> list[tuple[Tensor, Tensor, Box]]:
    """Pictures with their partners and a box; at last with a mixture that shows no ink."""
    images = (2 * torch.rand(5, 1, 8, 11) - 1).clamp_min(0)
    order = torch.randperm(5)
    partner = torch.empty_like(order).index_copy_(0, order, order.roll(1))  # nobody's own
    top, left = int(torch.randint(3, ())), int(torch.randint(4, 7, ()))
    box = (top, left, top + 3, left + 4)
    inside, bare = _within(images, box), images.clone()
    bare[0] *= inside
    bare[partner[0]] *= ~inside
    return [(images, partner, box), (bare, partner, box)]


ink_share = Exercise(
    asks="11.2: the share of a picture in the label of a mixture, by the ink that is to be seen of it",
    level="medium",
    minutes=10,
    given=_mixtures,
    right=_by_ink(),
    also=(_by_what_is_seen, _by_ink_in_a_loop),
    hints=(
        "What is to be seen of a picture lies outside of the box, and of its partner inside.",
        "Ink is a sum over pixels, one number for each picture: `sum((1, 2, 3))`. A copy of the pictures with "
        "the box set to zero holds what is left of them.",
        "Where both sums are zero, `torch.where` can put the part of the area that lies outside of the box.",
    ),
    wrong={
        "area": Wrong(
            "that is the share by area, which counts paper like ink.",
            lambda images, partner, box: torch.full((len(images),), kept_share(images, box)),
        ),
        "kept": Wrong(
            "that is how much of its own ink a picture keeps; divide by all the ink that the mixture shows.",
            _by_ink(lambda images, pasted, inside: (_ink(images, ~inside), _ink(images, inside))),
        ),
        "partner": Wrong(
            "that is the share of the partner; the picture's own is asked for.",
            lambda *given: 1 - _by_ink()(*given),
        ),
        "outside": Wrong(
            "of the partner you take what lies outside of the box; pasted is what lies inside.",
            _by_ink(lambda images, pasted, inside: (_ink(images, ~inside), _ink(pasted, ~inside))),
        ),
        "inside out": Wrong(
            "your mixture is the other one, of which the picture fills the box.",
            _by_ink(lambda images, pasted, inside: (_ink(images, inside), _ink(pasted, ~inside))),
        ),
        "hidden": Wrong(
            "you count ink that the mixture does not show, of the picture under the box or of its partner beside it.",
            _by_ink(lambda images, pasted, inside: (_ink(images), _ink(pasted, inside))),
            _by_ink(lambda images, pasted, inside: (_ink(images), _ink(pasted))),
        ),
        "amount": Wrong(
            "that is an amount of ink; a share is a part of what the mixture shows.",
            lambda images, partner, box: _ink(images, ~_within(images, box)),
        ),
        "pixels": Wrong(
            "you count pixels that have ink; sum their ink, of which a grey one holds less.",
            _by_ink(lambda images, pasted, inside: _in_sight((images > 0).float(), (pasted > 0).float(), inside)),
        ),
        "corners": Wrong(
            "a box begins with its top, a row; you take that for a column.", _by_ink(corners=(1, 0, 3, 2))
        ),
        "one for all": Wrong(
            "you sum over all mixtures; each has a share of its own.",
            _by_ink(share=lambda own, other: (own.sum() / (own + other).sum()).expand(len(own))),
        ),
        "nan": Wrong(
            "right where there is ink; a mixture without any is 0 / 0. Take the share by area there.",
            _by_ink(empty=math.nan),
        ),
        "empty": Wrong(
            "right where there is ink; where none is to be seen, take the share by area.",
            *(_by_ink(empty=share) for share in (0, 0.5, 1)),
        ),
    },
    otherwise="own ink outside of the box, over that and the partner's ink inside.",
)


def _becomes(
    pairs: Callable[[list[tuple[int, int]]], dict[int, int]],
    new: Callable[[list[int], int, int], int] = lambda alone, c, classes: classes + alone.index(c),
    alone: Callable[[list[int], Tensor], list[int]] = lambda alone, labels: alone,
) -> Callable[[Tensor, int, list[tuple[int, int]]], Tensor]:
    """Labels of mirrored pictures, from what is known of pairs and a number for a class without a partner."""

    def mirrored(labels: Tensor, classes: int, given: list[tuple[int, int]]) -> Tensor:
        known = pairs(given)
        others = alone([c for c in range(classes) if c not in known], labels)
        return torch.tensor([known[c] if c in known else new(others, c, classes) for c in labels.tolist()])

    return mirrored


def _both_ways(pairs: list[tuple[int, int]]) -> dict[int, int]:
    return {a: b for pair in pairs for a, b in (pair, pair[::-1])}


def _by_table(labels: Tensor, classes: int, pairs: list[tuple[int, int]]) -> Tensor:
    table = torch.full((classes,), -1)
    for a, b in pairs:
        table[a], table[b] = b, a
    alone = table < 0
    table[alone] = torch.arange(classes, classes + int(alone.sum()))
    return table[labels]


def _by_counting(labels: Tensor, classes: int, pairs: list[tuple[int, int]]) -> Tensor:
    becomes, free = [], classes
    for c in range(classes):
        partners = [b if c == a else a for a, b in pairs if c in (a, b)]
        becomes += partners[:1] or [free]
        free += not partners
    return torch.tensor(becomes)[labels]


def _characters() -> tuple[Tensor, int, list[tuple[int, int]]]:
    """Labels, with a class missing, and pairs, such that each mistake gives other labels."""
    answers = [mirrored_labels.right, *(each for wrong in mirrored_labels.wrong.values() for each in wrong.answers)]
    while True:
        classes = int(torch.randint(11, 15, ()))
        order = torch.randperm(classes).tolist()
        pairs = [(order[0], order[1]), (order[2], order[2]), (order[3], order[4]), (order[5], order[5])]
        labels = torch.tensor(2 * order[:-1])[torch.randperm(2 * classes - 2)]
        if len({tuple(each(labels, classes, pairs).tolist()) for each in answers}) == len(answers):
            return labels, classes, pairs


mirrored_labels = Exercise(
    asks="11.3: the labels of mirrored pictures, given which classes are mirrors of which",
    level="medium",
    minutes=12,
    given=_characters,
    right=_becomes(_both_ways),
    also=(_by_table, _by_counting),
    hints=(
        "What a label becomes depends on the class alone. So make a table with an entry for each class first.",
        "A dictionary can hold the pairs, each of them both ways. Which classes are then not in it?",
        "Go through all classes in order and give each that is not in it the next number, from `classes` on. "
        "`table[labels]` looks all labels up at once.",
    ),
    wrong={
        "augmentation": Wrong(
            "that is the mirror as an augmentation: a mirrored p is called p, and looks like a q.",
            lambda labels, classes, pairs: labels,
        ),
        "all new": Wrong(
            "so the mirrored p is a new class that looks like q, and the two are to be told apart.",
            lambda labels, classes, pairs: labels + classes,
        ),
        "one way": Wrong(
            "a pair holds both ways: if the mirror makes q of p, it makes p of q.", _becomes(dict)
        ),
        "other way": Wrong(
            "you read the pairs from the second to the first alone; they hold both ways.",
            _becomes(lambda pairs: {b: a for a, b in pairs}),
        ),
        "symmetric": Wrong(
            "a class that is its own mirror needs no new number.",
            _becomes(lambda pairs: _both_ways([(a, b) for a, b in pairs if a != b])),
        ),
        "gaps": Wrong(
            "some of your new numbers belong to no class; count those alone that need one.",
            _becomes(_both_ways, lambda alone, c, classes: classes + c),
        ),
        "from one": Wrong(
            "classes are counted from 0, so the first free number is their number.",
            _becomes(_both_ways, lambda alone, c, classes: classes + 1 + alone.index(c)),
        ),
        "present": Wrong(
            "your numbers depend on which classes this batch holds; in another the same class would get another one.",
            _becomes(_both_ways, alone=lambda alone, labels: [c for c in alone if c in labels]),
        ),
        "appearance": Wrong(
            "you number the new classes as they appear in the batch; go by the order of the old ones.",
            _becomes(_both_ways, alone=lambda alone, labels: [c for c in dict.fromkeys(labels.tolist()) if c in alone]),
        ),
        "one for all": Wrong(
            "all that is new has got one number, as if it were one character.",
            _becomes(_both_ways, lambda alone, c, classes: classes),
        ),
        "merged": Wrong(
            "you make one class of the two of a pair; p and q stay two, and change places.",
            _becomes(lambda pairs: {c: min(pair) for pair in pairs for c in pair}),
        ),
    },
    otherwise="the partner's number, its own, or the next that is free, in the order of the classes.",
)


def _slope(
    factor: Callable[[float], float] = lambda t: t,
    difference: Callable[[Tensor, Tensor], Tensor] = lambda student, teacher: student.softmax(1) - teacher.softmax(1),
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """A factor times a difference of what is made of both scores over T, rightly or with a mistake."""
    return lambda student, teacher, t: factor(t) * difference(student / t, teacher / t)


def _by_autograd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(len(student) * soft_targets(student, teacher, temperature), student)
    return gradient


def _by_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Which differs from the divergence by the teacher's entropy, and so has the same gradient."""
    student = student.clone().requires_grad_()
    costs = F.cross_entropy(student / temperature, (teacher / temperature).softmax(1), reduction="sum")
    (temperature**2 * costs).backward()
    assert student.grad is not None
    return student.grad


def _centred(student: Tensor, teacher: Tensor) -> Tensor:
    apart = student - teacher
    return (apart - apart.mean(1, keepdim=True)) / apart.shape[1]


def _one_hot(scores: Tensor) -> Tensor:
    return F.one_hot(scores.argmax(1), scores.shape[1])


soft_gradient = Exercise(
    asks="11.4: the gradient of the distillation loss with respect to the student's scores",
    level="hard",
    minutes=15,
    given=lambda: [(*(2 * torch.randn(2, 6, 5)), 2 + 3 * torch.rand(()).item()) for _ in range(2)],
    right=_slope(),
    shows=(0, 0),
    also=(_by_autograd, _by_cross_entropy),
    hints=(
        "Write the divergence as a sum over classes. Which part of it changes with the student's scores? That is a "
        "cross-entropy.",
        "Take $T = 1$ first. The gradient of a cross-entropy with respect to the scores is a difference of two "
        "distributions, and zero where the student agrees with the teacher.",
        "Now the scores enter as $s/T$, so the chain rule brings a $1/T$. How much of the $T^2$ is left?",
    ),
    wrong={
        "without": Wrong("that is without the T² before the divergence.", _slope(lambda t: 1 / t)),
        "inner": Wrong(
            "you leave out the chain rule: the scores are divided by T before the softmax.", _slope(lambda t: t**2)
        ),
        "no T left": Wrong("T² times the 1/T of the chain rule is not 1.", _slope(lambda t: 1)),
        "sign": Wrong(
            "that points downhill; the gradient points uphill, away from the teacher.", _slope(lambda t: -t)
        ),
        "at one": Wrong(
            "both distributions are those at temperature T.",
            lambda student, teacher, t: t * (student.softmax(1) - teacher.softmax(1)),
            lambda student, teacher, t: t * (student.softmax(1) - (teacher / t).softmax(1)),
            lambda student, teacher, t: t * ((student / t).softmax(1) - teacher.softmax(1)),
        ),
        "sharper": Wrong(
            "a temperature divides the scores; you multiply them.",
            lambda student, teacher, t: t * ((student * t).softmax(1) - (teacher * t).softmax(1)),
        ),
        "hard": Wrong(
            "you take the teacher's best class alone; its other probabilities are what is handed on.",
            _slope(difference=lambda student, teacher: student.softmax(1) - _one_hot(teacher)),
        ),
        "logarithms": Wrong(
            "that is a difference of log-probabilities; the gradient is one of probabilities.",
            _slope(difference=lambda student, teacher: student.log_softmax(1) - teacher.log_softmax(1)),
        ),
        "probabilities": Wrong(
            "that is the gradient for the student's probabilities; go on through the softmax to its scores.",
            _slope(lambda t: -(t**2), lambda student, teacher: teacher.softmax(1) / student.softmax(1)),
        ),
        "limit": Wrong(
            "that is what it tends to as T grows; yours is given.",
            lambda student, teacher, t: _centred(student, teacher),
        ),
        "mean": Wrong(
            "that is the gradient of the mean over queries; each query has a loss of its own.",
            lambda student, teacher, t: _slope()(student, teacher, t) / len(student),
        ),
        "over queries": Wrong(
            "your softmax runs over the queries; probabilities are over classes.",
            _slope(difference=lambda student, teacher: student.softmax(0) - teacher.softmax(0)),
        ),
    },
    otherwise="the probabilities of the student less those of the teacher, both at T, times what is left of T².",
)
