"""Chapter 13: unlabelled pictures."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong

# 13.1 ---------------------------------------------------------------------------------------------------------------


def _pile(count: int, strangers: int) -> tuple[Tensor, Tensor]:
    """Shares of so many examples among four classes, and what they are; some are of no class."""
    truth = torch.cat([torch.randint(4, (count - strangers,)), torch.full((strangers,), -1)])
    toward = F.one_hot(truth.clamp_min(0), 4) * (truth >= 0)[:, None]
    shares = (2.5 * toward + 1.2 * torch.randn(count, 4)).softmax(1)
    order = torch.randperm(count)
    return shares[order], truth[order]


def _piles() -> list[tuple[Tensor, Tensor, float]]:
    middling = [(*_pile(40, strangers), theta) for strangers, theta in ((0, 0.6), (15, 0.7), (20, 0.5))]
    shares, truth = _pile(12, 4)
    return [*middling, (shares, truth, 1.0), (shares, truth, float(shares.amax(1)[3]))]


def _let_in(
    rule: Callable[[Tensor, float], Tensor] = lambda shares, theta: shares.amax(1) >= theta,
    part: Callable[[Tensor, Tensor], Tensor] = lambda right, within: (right & within).sum() / within.sum(),
) -> Callable[[Tensor, Tensor, float], tuple[float, float]]:
    """The part let in and how much of it is true, rightly or with a mistake."""

    def answer(shares: Tensor, truth: Tensor, threshold: float) -> tuple[float, float]:
        within = rule(shares, threshold)
        right = shares.argmax(1) == truth
        return within.double().mean().item(), float(part(right, within)) if within.any() else 0.0

    return answer


def _let_in_one_by_one(shares: Tensor, truth: Tensor, threshold: float) -> tuple[float, float]:
    rows = [(max(row), row.index(max(row)), c) for row, c in zip(shares.tolist(), truth.tolist(), strict=True)]
    within = [guess == c for most, guess, c in rows if most >= threshold]
    return len(within) / len(rows), sum(within) / max(1, len(within))


def _without_strangers(shares: Tensor, truth: Tensor, threshold: float) -> tuple[float, float]:
    known = truth >= 0
    return _let_in()(shares, truth, threshold)[0], _let_in()(shares[known], truth[known], threshold)[1]


def _is_nan(shares: Tensor, truth: Tensor, threshold: float, result: tuple[float, float]) -> str | None:
    return "nan" if math.isnan(float(result[1])) else None


def _nothing_of_nothing(shares: Tensor, truth: Tensor, threshold: float) -> tuple[float, float]:
    part, true = _let_in()(shares, truth, threshold)
    return part, true if part else math.nan


let_in = Exercise(
    asks="13.1: which part of the unlabelled examples a threshold lets in, and which part of these gets its true label",
    level="easy",
    minutes=8,
    given=_piles,
    right=_let_in(),
    also=(_let_in_one_by_one,),
    judge=_is_nan,
    parts=("the part of all examples that is let in", "the part of those whose label is true"),
    hints=(
        "The largest share of each row, and where it stands: `max(1)` gives both.",
        "What label can a stranger get? It is let in all the same, and its label is never true.",
        "A mean over the rows that are let in; of no row the mean is NaN, so ask first.",
    ),
    wrong={
        "of all": Wrong(
            "the second is a part of those let in, but yours is a part of all examples.",
            _let_in(part=lambda right, within: (right & within).double().mean()),
        ),
        "all true": Wrong(
            "that is how often the likeliest class is true of any example; ask only about those let in.",
            _let_in(part=lambda right, within: right.double().mean()),
        ),
        "without strangers": Wrong(
            "strangers that are let in count too, and their label is never true.", _without_strangers
        ),
        "above": Wrong(
            "an example whose largest share is exactly θ is let in.",
            _let_in(rule=lambda shares, theta: shares.amax(1) > theta),
        ),
        "kept out": Wrong(
            "those are the ones that stay out.", _let_in(rule=lambda shares, theta: shares.amax(1) < theta)
        ),
        "nan": Wrong("where none is let in, the second is 0, not NaN.", _nothing_of_nothing),
        "found": Wrong(
            "that is how many of the true labels are let in; how many of those let in are true?",
            _let_in(part=lambda right, within: (right & within).sum() / right.sum()),
        ),
    },
    otherwise="the rows whose largest share is θ or more, over all rows; and of these rows those whose label is true.",
)

# 13.2 ---------------------------------------------------------------------------------------------------------------


def _others(classes: int, each: int, batch: int) -> float:
    return (batch - 1) * (each - 1) / (classes * each - 1)


def _any_pair(classes: int, each: int, batch: int) -> float:
    free = 1.0
    for i in range(batch):
        free *= max(0, classes - i) * each / (classes * each - i)
    return 1 - free


def _any_pair_by_choices(classes: int, each: int, batch: int) -> float:
    if batch > classes:
        return 1.0
    return 1 - math.comb(classes, batch) * each**batch / math.comb(classes * each, batch)


def _draws() -> list[tuple[int, int, int]]:
    classes, each = torch.randint(30, 90, (3,)).tolist(), torch.randint(3, 25, (3,)).tolist()
    batches = [int(torch.randint(4, 20, (1,))), int(torch.randint(4, 20, (1,))), classes[2] + 1]
    return list(zip(classes, each, batches, strict=True))


false_negatives = Exercise(
    asks="13.2: how many pictures of its own class a picture meets in a batch, and the probability of any such pair",
    level="medium",
    minutes=10,
    given=_draws,
    fixed=(1350, 20, 120),
    right=lambda *given: (_others(*given), _any_pair(*given)),
    also=(lambda *given: (_others(*given), _any_pair_by_choices(*given)),),
    parts=("how many others of its class a picture has on average", "the probability that any two share a class"),
    hints=(
        "How many other pictures are there in all, and how many of them are of its class? Each is in the batch with "
        "the same probability.",
        "For the second, draw one picture after the other. When $i$ are drawn, all of different classes, how many of "
        "those left are of a new class?",
        "A product of `batch` factors is the probability that all differ: start at `classes * each` pictures, and lose "
        "`each` for a class that is used up.",
    ),
    wrong={
        "itself": Wrong(
            "a picture is no other of its own class: of the others in the data set one less than `each` is of it.",
            lambda classes, each, batch: ((batch - 1) / classes, _any_pair(classes, each, batch)),
        ),
        "all": Wrong(
            "in a batch a picture has one other less than there are pictures.",
            lambda classes, each, batch: (
                batch * (each - 1) / (classes * each - 1),
                _any_pair(classes, each, batch),
            ),
        ),
        "with replacement": Wrong(
            "that is the probability if every picture goes back before the next is drawn; here none comes twice.",
            lambda classes, each, batch: (
                _others(classes, each, batch),
                1 - math.prod(max(0, 1 - i / classes) for i in range(batch)),
            ),
        ),
        "one picture": Wrong(
            "that is the probability that one picture finds another of its class; ask for any two of the batch.",
            lambda classes, each, batch: (
                _others(classes, each, batch),
                1 - math.comb(classes * each - each, batch - 1) / math.comb(classes * each - 1, batch - 1),
            ),
        ),
        "none": Wrong(
            "that is the probability that all differ.",
            lambda *given: (_others(*given), 1 - _any_pair(*given)),
        ),
        "all pairs": Wrong(
            "that counts the pairs of the whole batch; of how many is one picture a part?",
            lambda classes, each, batch: (
                _others(classes, each, batch) * batch / 2,
                _any_pair(classes, each, batch),
            ),
        ),
    },
    otherwise="think of the others in the data set, and of how likely each of them is in the batch.",
)

# 13.3 ---------------------------------------------------------------------------------------------------------------


def _ages(
    slow: Callable[[float], float] = lambda m: m / (1 - m),
    waited: Callable[[float], float] = lambda steps: (steps + 1) / 2,
) -> Callable[[float, int, int], tuple[float, float]]:
    """Both ages, rightly or with a mistake."""
    return lambda momentum, queue, batch: (slow(momentum), slow(momentum) + waited(queue / batch))


def _ages_by_sums(momentum: float, queue: int, batch: int) -> tuple[float, float]:
    own = sum(age * (1 - momentum) * momentum**age for age in range(5_000))
    steps = range(1, queue // batch + 1)
    return own, sum(own + step for step in steps) / len(steps)


def _queues() -> list[tuple[float, int, int]]:
    batches, filled = torch.randint(8, 200, (3,)).tolist(), torch.randint(2, 30, (3,)).tolist()
    momenta = (0.0, *(0.5 + 0.49 * torch.rand(2).double()).tolist())
    return [(m, batch * steps, batch) for m, batch, steps in zip(momenta, batches, filled, strict=True)]


ages = Exercise(
    asks="13.3: the mean age in steps of the weights in the slow copy, and of those behind a key of the queue",
    level="medium",
    minutes=12,
    given=_queues,
    fixed=(0.99, 1024, 128),
    right=_ages(),
    also=(_ages_by_sums,),
    parts=("the age of the slow copy", "the age of the weights behind a key"),
    hints=(
        "Write out two steps: with which factor do weights of age 0, 1 and 2 enter the slow copy? The factors add up "
        "to 1.",
        r"The mean of $a\,(1 - m)\,m^a$ over all ages $a$ is a geometric series: $m / (1 - m)$.",
        "The queue holds keys of the last `queue / batch` steps, equally many of each. Each was made by a slow copy "
        "that was as old then as it is now.",
    ),
    wrong={
        "one more": Wrong(
            "the slow copy moves before it is used, so weights of this step, of age 0, have a part in it.",
            _ages(slow=lambda m: 1 / (1 - m)),
        ),
        "the other way": Wrong(
            "that is as if the copy kept 1 − m of what it was; it keeps m.",
            _ages(slow=lambda m: (1 - m) / m if m else math.inf),
        ),
        "from zero": Wrong(
            "the queue is read before this step's keys enter; its newest keys are one step old.",
            _ages(waited=lambda steps: (steps - 1) / 2),
        ),
        "half the queue": Wrong(
            "the ages in the queue run from 1 to the number of steps that it holds; their mean is not half of that.",
            _ages(waited=lambda steps: steps / 2),
        ),
        "oldest": Wrong("that is the oldest key; ask for the mean.", _ages(waited=lambda steps: steps)),
        "waiting": Wrong(
            "that is how long a key has waited; the weights that made it were not new then.",
            lambda momentum, queue, batch: (_ages()(momentum, queue, batch)[0], (queue / batch + 1) / 2),
        ),
        "keys": Wrong(
            "you count keys; a step puts in a whole batch of them.",
            lambda momentum, queue, batch: _ages()(momentum, queue, 1),
        ),
    },
    otherwise="write out which weights are in the slow copy after two steps, and when the keys of a short queue were "
    "made.",
)

# 13.4 ---------------------------------------------------------------------------------------------------------------


def _scaled(rounds: int, counts_of: Callable[[Tensor], Tensor] = lambda counts: counts, last: int = 1) -> Callable:
    """Columns and rows scaled in turns; the last of the two is that of the rows, or of the columns."""

    def answer(shares: Tensor, counts: Tensor) -> Tensor:
        z, counts = shares.double(), counts_of(counts.double())
        for _ in range(rounds):
            for dim in (1 - last, last):
                if dim == 0:
                    z = z * counts / z.sum(0).clamp_min(1e-300)
                else:
                    z = z / z.sum(1, keepdim=True).clamp_min(1e-300)
        return z

    return answer


def _by_factors(shares: Tensor, counts: Tensor) -> Tensor:
    """As a matrix between two diagonal ones, whose entries are found in turns."""
    z, counts = shares.double(), counts.double()
    rows, columns = torch.ones(len(z)).double(), torch.ones(len(counts)).double()
    for _ in range(400):
        columns = counts / (rows @ z)
        rows = 1 / (z @ columns)
    return rows[:, None] * z * columns


def _queries() -> list[tuple[Tensor, Tensor]]:
    given = []
    for counts in ((3, 5, 2), (0, 6, 4), (1, 1, 7, 3)):
        truth = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        shares = (1.5 * F.one_hot(truth, len(counts)) + torch.randn(len(truth), len(counts))).softmax(1)
        given.append((shares, torch.tensor(counts)))
    return given


shares_by_counts = Exercise(
    asks="13.4: shares scaled until each query adds up to 1 and each class to the number of its queries",
    level="hard",
    minutes=15,
    given=_queries,
    right=_scaled(400),
    also=(_by_factors, _scaled(400, last=0)),
    tolerance=2e-3,
    shows=(0, 0),
    hints=(
        "The text divides each column by its sum. What must it be multiplied by then?",
        "The order of the two does not matter in the end; after a few hundred rounds both hold.",
        "A column of zeros has the sum zero, and zero by zero is NaN: `clamp_min` with a tiny number helps.",
    ),
    wrong={
        "equal": Wrong(
            "all columns are alike; column c should add up to `counts[c]`.",
            _scaled(400, lambda counts: counts.sum() / len(counts) * torch.ones_like(counts)),
        ),
        "columns only": Wrong(
            "the columns are right, but a query should add up to 1; go on in turns.", _scaled(1, last=0)
        ),
        "one round": Wrong("one round is not enough: the columns are off again after the rows.", _scaled(1)),
        "few rounds": Wrong("the columns are not there yet; go on until they are.", _scaled(5), _scaled(3)),
        "unscaled": Wrong("these are the shares as they came.", lambda shares, counts: shares),
        "prior": Wrong(
            "a factor for each class is a prior; it does not make the columns add up to the counts.",
            lambda shares, counts: shares * counts / (shares * counts).sum(1, keepdim=True),
        ),
    },
    otherwise="look at the sums of your rows and of your columns: which of them is off?",
)
