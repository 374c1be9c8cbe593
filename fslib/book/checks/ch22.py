"""Chapter 22: your own images."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong

Share = Callable[[float, float, float], float]


def _among(
    of: Callable[[float, float], float] = lambda strangers, known: strangers / (strangers + known),
    let_in: Share = lambda kept, refused, p: p * (1 - refused),
    known: Share = lambda kept, refused, p: (1 - p) * kept,
) -> Share:
    """A share made of the strangers and the known that pass, both as shares of all that is asked."""
    return lambda kept, refused, p: of(let_in(kept, refused, p), known(kept, refused, p))


def _by_count(kept: float, refused: float, p: float) -> Tensor:
    passing = 10**6 * torch.tensor([p, 1 - p]).double() * torch.tensor([1 - refused, kept]).double()
    return passing[0] / passing.sum()


strangers_among_kept = Exercise(
    asks="22.1: the share of strangers among the pictures that are accepted",
    level="easy",
    minutes=6,
    given=[(0.95, 0.9, 0.2), (0.9, 0.8, 0.75), (0.6, 0.97, 0.3)],
    fixed=(0.95, 0.9, 0.2),
    right=_among(),
    also=(
        _by_count,
        lambda kept, refused, p: 1 / (1 + (1 - p) * kept / (p * (1 - refused))),
        lambda kept, refused, p: 1 - (1 - p) * kept / ((1 - p) * kept + p - p * refused),
    ),
    hints=(
        "Take a thousand pictures. How many of them are strangers, and how many of these pass?",
        "How many of the others, which are of your classes, pass?",
        "Of all that pass, which part are the strangers?",
    ),
    wrong={
        "of all": Wrong(
            "that is the share of all that is asked; divide by the share that is accepted.",
            _among(lambda strangers, known: strangers),
        ),
        "let in": Wrong(
            "that is how many of the strangers pass; asked is how many of those that pass are strangers.",
            lambda kept, refused, p: 1 - refused,
        ),
        "half": Wrong(
            "so it is if half of what is asked are strangers.",
            _among(let_in=lambda kept, refused, p: 1 - refused, known=lambda kept, refused, p: kept),
        ),
        "refused": Wrong(
            "you let those strangers pass that are refused.", _among(let_in=lambda kept, refused, p: p * refused)
        ),
        "all known": Wrong("not all of the known are kept.", _among(known=lambda kept, refused, p: 1 - p)),
        "all strangers": Wrong(
            "that would be so if no stranger were refused.", _among(let_in=lambda kept, refused, p: p)
        ),
        "odds": Wrong(
            "that is the number of strangers for each known one; divide by both together.",
            _among(lambda strangers, known: strangers / known),
        ),
        "known": Wrong(
            "that is the share of the known among the accepted.",
            _among(lambda strangers, known: known / (strangers + known)),
        ),
        "lost": Wrong(
            "you count the known that are lost, not those that are kept.",
            _among(known=lambda kept, refused, p: (1 - p) * (1 - kept)),
        ),
        "rejected": Wrong(
            "that is the share among the refused.",
            lambda kept, refused, p: p * refused / (p * refused + (1 - p) * (1 - kept)),
        ),
        "turned": Wrong(
            "the third number is the share of strangers among what is asked, not that of the known.",
            lambda kept, refused, p: _among()(kept, refused, 1 - p),
        ),
    },
    otherwise="the strangers that pass, over all that pass.",
)


def _left_out(
    factor: Callable[[Tensor, int], Tensor | float] = lambda k, n: (k / (k - 1)) ** 2,
    length: Callable[[Tensor], Tensor] = lambda apart: apart.square().sum(1),
) -> Callable[[Tensor, Tensor], Tensor]:
    """From the distance to the mean of all of the class by a factor that depends on their number, or with a mistake."""

    def distances(support: Tensor, labels: Tensor) -> Tensor:
        same = (labels[:, None] == labels).double()
        means = same / same.sum(1, keepdim=True) @ support.double()
        return factor(same.sum(1), len(labels)) * length(support - means)

    return distances


def _by_loop(support: Tensor, labels: Tensor) -> Tensor:
    found = []
    for i, one in enumerate(support):
        others = [support[j] for j in range(len(labels)) if j != i and labels[j] == labels[i]]
        found.append((one - sum(others) / len(others)).square().sum())
    return torch.stack(found)


def _by_mask(support: Tensor, labels: Tensor) -> Tensor:
    others = (labels[:, None] == labels).float().fill_diagonal_(0)
    return (support - others @ support / others.sum(1, keepdim=True)).pow(2).sum(1)


def _from(others: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """To the mean of other examples, chosen by a mistake."""

    def distances(support: Tensor, labels: Tensor) -> Tensor:
        chosen = others(labels).to(support)
        return (support - chosen @ support / chosen.sum(1, keepdim=True)).square().sum(1)

    return distances


def _pairs(support: Tensor, labels: Tensor) -> Tensor:
    others = (labels[:, None] == labels).float().fill_diagonal_(0)
    return ((support[:, None] - support).square().sum(2) * others).sum(1) / others.sum(1)


def _support() -> list[tuple[Tensor, Tensor]]:
    """Classes of several sizes, mixed, none of their numbers the first ones."""
    drawn = []
    for sizes in ((2, 3, 5), (4, 2, 6)):
        labels = torch.tensor([7, 3, 12]).repeat_interleave(torch.tensor(sizes))
        labels = labels[torch.randperm(len(labels))]
        drawn.append((torch.randn(len(labels), 6) + labels[:, None] / 8, labels))
    return drawn


left_out_distances = Exercise(
    asks="22.2: of each example the squared distance to the mean of the others of its class",
    level="medium",
    minutes=10,
    given=_support,
    right=_left_out(),
    also=(_by_loop, _by_mask),
    hints=(
        "First the mean of all examples of its class. How does the mean change if one of $K$ is taken out?",
        "With $c$ the mean of all, that of the others is $(K c - x)/(K - 1)$. Subtract it from $x$.",
        "A table of which labels are the same, (n, n), says by its rows how many each class has, and what to average.",
    ),
    wrong={
        "itself": Wrong(
            "the example itself is in its mean, so it seems nearer than any further picture will be.",
            _left_out(lambda k, n: 1.0),
        ),
        "once": Wrong(
            "the distance grows by K/(K − 1), so its square by the square.", _left_out(lambda k, n: k / (k - 1))
        ),
        "inverse": Wrong(
            "without itself the mean is farther away, not nearer.", _left_out(lambda k, n: ((k - 1) / k) ** 2)
        ),
        "one size": Wrong(
            "classes have numbers of examples of their own.",
            _left_out(lambda k, n: (k.mean() / (k.mean() - 1)) ** 2),
            _left_out(lambda k, n: (k.min() / (k.min() - 1)) ** 2),
            _left_out(lambda k, n: (k.max() / (k.max() - 1)) ** 2),
        ),
        "total": Wrong(
            "K is the number of examples of the class, not of all.", _left_out(lambda k, n: (n / (n - 1)) ** 2)
        ),
        "root": Wrong(
            "those are distances; their squares are asked for.",
            _left_out(lambda k, n: k / (k - 1), lambda apart: apart.norm(dim=1)),
        ),
        "mean": Wrong(
            "a squared distance is a sum over the numbers of a vector, not their mean.",
            _left_out(length=lambda apart: apart.square().mean(1)),
        ),
        "all classes": Wrong(
            "the others are those of its own class alone.",
            _from(lambda labels: torch.ones(len(labels), len(labels)).fill_diagonal_(0)),
        ),
        "other classes": Wrong(
            "that is the mean of what is not of its class.", _from(lambda labels: labels[:, None] != labels)
        ),
        "pairs": Wrong("that is the mean of the squared distances; one distance to the mean is asked for.", _pairs),
        "sorted": Wrong(
            "the distances stand class after class; leave them in the order of the examples.",
            lambda support, labels: _left_out()(support, labels)[labels.argsort(stable=True)],
        ),
    },
    otherwise="of each example, the mean of the others of its class, and the squared distance to it.",
)


Cost = Callable[[Tensor, Tensor, float, float], Tensor]


def _all_cuts(known: Tensor, unknown: Tensor) -> Tensor:
    """Every distance, and what is below all of them."""
    return torch.cat([known, unknown, torch.tensor([-torch.inf])])


def _cheapest(
    cost: Cost = lambda let_in, lost, p, c: c * p * let_in + (1 - p) * lost,
    cuts: Callable[[Tensor, Tensor], Tensor] = _all_cuts,
    share: Callable[[Tensor], Tensor] = lambda passing: passing.double().mean(1),
) -> Cost:
    """The least cost over some thresholds, rightly or with a mistake."""

    def least(known: Tensor, unknown: Tensor, strangers: float, price: float) -> Tensor:
        at = cuts(known, unknown)[:, None]
        return cost(share(unknown <= at), share(known > at), strangers, price).min()

    return least


def _one_after_the_other(known: Tensor, unknown: Tensor, strangers: float, price: float) -> float:
    best = 1 - strangers  # all refused
    for t in [*known.tolist(), *unknown.tolist()]:
        let_in = sum(d <= t for d in unknown.tolist()) / len(unknown)
        lost = sum(d > t for d in known.tolist()) / len(known)
        best = min(best, price * strangers * let_in + (1 - strangers) * lost)
    return best


def _by_sorting(known: Tensor, unknown: Tensor, strangers: float, price: float, ties: bool = True) -> Tensor:
    distances, order = torch.cat([known, unknown]).sort()
    gain = torch.cat([
        torch.full((len(known),), -(1 - strangers) / len(known)).double(),
        torch.full((len(unknown),), price * strangers / len(unknown)).double(),
    ])  # fmt: skip
    costs = 1 - strangers + gain[order].cumsum(0)
    last = torch.cat([distances[1:] > distances[:-1], torch.tensor([True])])  # of those that are as far
    return torch.cat([costs[last] if ties else costs, torch.tensor([1 - strangers]).double()]).min()


def _at(known: Tensor, unknown: Tensor, strangers: float, price: float, t: Tensor) -> Tensor:
    let_in, lost = (unknown <= t).double().mean(), (known > t).double().mean()
    return price * strangers * let_in + (1 - strangers) * lost


def _threshold(known: Tensor, unknown: Tensor, strangers: float, price: float) -> Tensor:
    cuts = _all_cuts(known, unknown)
    return cuts[torch.stack([_at(known, unknown, strangers, price, t) for t in cuts]).argmin()]


def _told_apart(cases: list[tuple]) -> bool:
    """Whether each mistake is another one in the first case in which it is none by luck."""
    right = [float(least_cost.right(*case)) for case in cases]
    costs = {
        key: [[float(answer(*case)) for case in cases] for answer in wrong.answers]
        for key, wrong in least_cost.wrong.items()
    }
    for key, several in costs.items():
        for own in several:
            off = [i for i, cost in enumerate(own) if not math.isclose(cost, right[i], rel_tol=1e-3)]
            others = [each for other in costs if other != key for each in costs[other]]
            if not off or any(math.isclose(each[off[0]], own[off[0]], rel_tol=1e-3) for each in others):
                return False
    return True


def _distances() -> list[tuple[Tensor, Tensor, float, float]]:
    """A task with distances that are the same, and one in which it is cheapest to refuse everything."""
    rare = torch.tensor([0.5, 0.6, 0.7, 0.9]), torch.tensor([0.1, 0.4, 0.8]), 0.8, 5.0
    while True:
        known, unknown = (10 * torch.rand(30)).round() / 10, (4 + 10 * torch.rand(18)).round() / 10
        cases = [(known, unknown, 0.25, 2.0), rare]
        if _told_apart(cases):
            return cases


least_cost = Exercise(
    asks="22.3: the least expected cost of a picture, over all thresholds",
    level="hard",
    minutes=15,
    given=_distances,
    right=_cheapest(),
    also=(_one_after_the_other, _by_sorting),
    hints=(
        "Between two neighbouring distances the cost does not change. So which thresholds need to be tried?",
        "For one threshold: the share of strangers that come in, and the share of known that are lost. How often does "
        "each of the two happen, and what does it cost?",
        "Compare all distances with all thresholds at once: `unknown <= thresholds[:, None]`. And one threshold is "
        "below everything: it refuses all.",
    ),
    wrong={
        "price": Wrong(
            "letting a stranger in has the price; refusing a known one costs 1.",
            _cheapest(lambda let_in, lost, p, c: p * let_in + c * (1 - p) * lost),
        ),
        "no price": Wrong(
            "the two mistakes cost differently.", _cheapest(lambda let_in, lost, p, c: p * let_in + (1 - p) * lost)
        ),
        "rates": Wrong(
            "strangers are not half of what is asked; weigh both shares by how often they are asked.",
            _cheapest(lambda let_in, lost, p, c: c * let_in + lost),
            _cheapest(lambda let_in, lost, p, c: (c * let_in + lost) / 2),
        ),
        "turned": Wrong(
            "that takes the share of strangers for that of the known.",
            _cheapest(lambda let_in, lost, p, c: c * (1 - p) * let_in + p * lost),
        ),
        "counts": Wrong(
            "those are numbers of pictures; how many you happen to have says nothing of how many will be asked.",
            _cheapest(share=lambda passing: passing.double().sum(1)),
        ),
        "pooled": Wrong(
            "your two lists say nothing of how often strangers are asked; the third argument does.",
            lambda known, unknown, p, c: _cheapest()(known, unknown, len(unknown) / (len(known) + len(unknown)), c),
        ),
        "far": Wrong(
            "what is near is accepted, what is far refused.",
            lambda known, unknown, p, c: _cheapest()(-known, -unknown, p, c),
        ),
        "ties": Wrong(
            "those that are as far come in together, known and strangers.",
            lambda known, unknown, p, c: _by_sorting(known, unknown, p, c, ties=False),
        ),
        "threshold": Wrong("that is the threshold; its cost is asked for.", _threshold),
        "quantile": Wrong(
            "that is the cost at the quantile that keeps most known ones; the cheapest threshold may be another.",
            lambda known, unknown, p, c: _at(known, unknown, p, c, known.quantile(0.95)),
        ),
        "all refused": Wrong(
            "it may be cheapest to accept nothing: try a threshold below all distances, too.",
            _cheapest(cuts=lambda known, unknown: torch.cat([known, unknown])),
            _cheapest(cuts=lambda known, unknown: known),
        ),
    },
    otherwise="for each threshold, the price of the strangers that come in, plus the known that are lost; the least.",
)
