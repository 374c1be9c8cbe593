"""Week 2: losses and mining, the master. `make.py` says what each part is for."""

import math
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fslib.book.checks import Exercise, Wrong
from fslib.book.checks.exercise import not_a, with_gradient
from fslib.book.grading import Assignment, Graded


def varied(key: str) -> dict:
    """What differs from course to course."""
    draw = random.Random(f"week 2 of {key}")
    return {
        "tag": "".join(draw.sample("bcdfghjkmnpqrstvwxz", 3)),
        "inner": round(draw.uniform(0.4, 1.1), 2),
        "outer": round(draw.uniform(2.6, 3.8), 2),
        "floor": round(draw.uniform(0.5, 0.8), 2),
        "sharp": round(draw.uniform(2.2, 4.4), 2),
        "margin": round(draw.uniform(0.6, 1.6), 2),
    }


PAGE = r'''
# Week 2: losses and mining

It builds on chapters 3 and 4 and takes about three and a half hours. There are 20 points: 11 for three
functions, which a program marks; 6 for an experiment and 3 for an answer in words, which a person marks.

At its end you will be able to

- write a loss that training can follow everywhere, also where two embeddings are one point,
- choose negatives by a rule of your own, for a whole batch at once,
- make a hard choice soft, without numbers that overflow.

```python
import torch
import torch.nn.functional as F
from torch import Tensor

from fslib import checks, data, losses
from fslib.evaluation import ci95, embed_all, evaluate
from fslib.experiments import trained
from fslib.metrics import euclidean

# The constants of this course. The program that marks uses the same.
INNER, OUTER = {{inner}}, {{outer}}
FLOOR = {{floor}}
SHARP, MARGIN = {{sharp}}, {{margin}}
```

## 1 A contrastive loss with two margins (4 points, 35 minutes)

The contrastive loss pulls two examples of a class together until they are one point. Let it be content
earlier. With the Euclidean distance $d$ of a pair, a pair of one class costs $\max(d - \text{INNER}, 0)^2$,
and a pair of two classes $\max(\text{OUTER} - d, 0)^2$. Return the mean over the pairs of one class *plus*
the mean over the other pairs, so that the many pairs of two classes do not drown the few of one. The batch
has both kinds. Some pairs of one class are the same point, and the gradient must be finite there too.

```python solution
def two_margins_{{tag}}(x: Tensor, y: Tensor, same: Tensor) -> Tensor:
    """x (n, d), y (n, d), same (n,) of booleans -> the loss, a scalar tensor"""
    distance = torch.linalg.vector_norm(x - y, dim=1)
    pull = (distance[same] - INNER).clamp(min=0).square()
    push = (OUTER - distance[~same]).clamp(min=0).square()
    return pull.mean() + push.mean()
```

```python
with checks.attempt("two_margins_{{tag}}"):
    x = torch.zeros(3, 2, requires_grad=True)
    y = torch.tensor([[INNER + 2, 0], [0, 0], [0, OUTER - 1]])
    loss = two_margins_{{tag}}(x, y, torch.tensor([True, True, False]))
    assert loss.shape == (), "the loss is one number, a tensor of shape ()."
    assert abs(loss.item() - 3) < 1e-4, "one class costs 4 and 0, two cost 1: 2 + 1."
    loss.backward()
    assert x.grad.isfinite().all(), "the second pair is one point."
```

## 2 Negatives beyond a floor (3 points, 30 minutes)

A negative that is *very* near may have a wrong label. Take, for each example, the nearest example of another
class among those at a distance of `FLOOR` or more. If no other class has an example that far, take the
farthest of another class. Return indices into the batch. Row $i$ of `distances` holds those from anchor $i$;
it need not be symmetric.

```python solution
def beyond_floor_{{tag}}(distances: Tensor, labels: Tensor) -> Tensor:
    """distances (n, n), labels (n,) -> the index of a negative for each example (n,)"""
    negative = labels[:, None] != labels
    allowed = negative & (distances >= FLOOR)
    nearest = distances.masked_fill(~allowed, torch.inf).argmin(1)
    farthest = distances.masked_fill(~negative, -torch.inf).argmax(1)
    return torch.where(allowed.any(1), nearest, farthest)
```

```python
with checks.attempt("beyond_floor_{{tag}}"):
    row = torch.tensor([0, FLOOR / 2, FLOOR + 0.2, FLOOR + 0.1, FLOOR + 0.3])
    labels = torch.tensor([8, 2, 2, 8, 5])
    distances = torch.stack([row, row, row, row / 9, row / 9])
    found = beyond_floor_{{tag}}(distances, labels)
    assert found.shape == (5,), "one index for each example."
    assert found[0] == 2, "1 is too near, 3 is of the same class."
    assert found[3] == 4, "nothing is beyond the floor, so take the farthest negative."
```

## 3 Batch-hard, softly (4 points, 40 minutes)

Batch-hard mining looks at the farthest positive and the nearest negative, and at nothing else. Let all take
part, the hard ones most. With $s$ for `SHARP`, $P_i$ for the others of the class of $i$ and $N_i$ for the
examples of other classes,

$$
p_i = \frac{1}{s} \log \sum_{j \in P_i} e^{s d_{ij}}, \qquad
n_i = -\frac{1}{s} \log \sum_{j \in N_i} e^{-s d_{ij}}, \qquad
\ell = \frac{1}{n} \sum_i \max(p_i - n_i + \text{MARGIN}, \; 0) .
$$

Distances may be in the hundreds, where $e^{s d}$ is more than a float can hold. Every example has a positive
and a negative.

```python solution
def soft_hard_{{tag}}(distances: Tensor, labels: Tensor) -> Tensor:
    """distances (n, n), labels (n,) -> the loss, a scalar tensor"""
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool)
    far = (SHARP * distances).masked_fill(~positive, -torch.inf).logsumexp(1) / SHARP
    near = -(-SHARP * distances).masked_fill(same, -torch.inf).logsumexp(1) / SHARP
    return (far - near + MARGIN).clamp(min=0).mean()
```

```python
with checks.attempt("soft_hard_{{tag}}"):
    labels = torch.tensor([4, 4, 9, 9])
    apart = 1000.0 * (labels[:, None] != labels)
    assert soft_hard_{{tag}}(apart, labels) == 0, "far apart they cost nothing."
    found = soft_hard_{{tag}}(1000 - apart, labels)
    assert abs(found - 1000 - MARGIN) < 1, "here positives are far and negatives near."
```

## 4 Experiment: does the floor help when labels are wrong? (6 points, 75 minutes)

`train_map` trains a linear map of the embeddings of a network of the book, with the triplet loss and
negatives of your choice, while a share of the training labels is wrong. It returns the accuracy on the test
classes. All that is drawn depends on the seed alone, so two rules meet the same batches.

```python
network = trained("glyphs/prototypical", 0, again=False)
train, test = data.load("glyphs", "train"), data.load("glyphs", "test")
known, unknown = embed_all(network, train), embed_all(network, test)


def train_map(mine, share, seed, steps=100):
    """Test accuracy of a linear map, trained with negatives mine(distances, labels)."""
    torch.manual_seed(seed)
    wrong = torch.rand(len(train.labels)) < share
    labels = torch.where(wrong, train.labels[torch.randperm(len(wrong))], train.labels)
    map = torch.nn.Linear(known.shape[1], 32, bias=False)
    optimizer = torch.optim.Adam(map.parameters(), lr=3e-3)
    loss = losses.TripletLoss(0.3)
    for _ in range(steps):
        classes = torch.randperm(len(train.class_names))[:20]
        images = [(labels == c).nonzero().flatten() for c in classes]
        batch = torch.cat([i[torch.randperm(len(i))[:4]] for i in images])
        z, names = F.normalize(map(known[batch]), dim=1), labels[batch]
        other = (names[:, None] == names).fill_diagonal_(False).float()
        positive = other[other.any(1)].multinomial(1).flatten()
        anchor = other.any(1).nonzero().flatten()
        negative = mine(euclidean(z, z).detach(), names)[anchor]
        optimizer.zero_grad()
        loss(z[anchor], z[positive], z[negative]).backward()
        optimizer.step()
    with torch.no_grad():
        space = F.normalize(map(unknown), dim=1)
    return evaluate(network, test, way=20, shot=1, episodes=500, embeddings=space).mean
```

Compare your function 2 with the nearest negative of all, with right labels and with a share of wrong ones
that you choose. Take five seeds at least. Report the difference of the two rules, seed by seed, with its mean
and a 95 % interval over seeds (`ci95`). Say before you run it what you expect, and after it in two sentences
what you found. An interval that holds zero is a result too.

```python solution
def nearest(distances, labels):
    """The nearest negative of all."""
    return distances.masked_fill(labels[:, None] == labels, torch.inf).argmin(1)


for share in (0, 0.3):
    floor, none = (
        torch.tensor([100 * train_map(mine, share, seed) for seed in range(5)])
        for mine in (beyond_floor_{{tag}}, nearest)
    )
    ahead = floor - none
    print(f"{share:.0%} wrong: ahead by {ahead.mean():.1f} ± {ci95(ahead):.1f} points")
```

## 5 In words (3 points, 30 minutes)

Let `SHARP` in function 3 grow without end, and then fall towards zero. What becomes of $p_i$ and $n_i$, and
which triplets have a gradient? Which end would you start a training from, and why? About 100 words.

*Your answer in the place of this line.*
'''

NOTES = """
# Week 2: notes for the instructor

Constants of this course: INNER {{inner}}, OUTER {{outer}}, FLOOR {{floor}}, SHARP {{sharp}}, MARGIN
{{margin}}; names end in `_{{tag}}`.

## Rubric

**Experiment, 6 points.** An expectation, written before the result: 1. Both rules meet the same batches, and
differences are taken seed by seed: 2. Mean and interval over five seeds or more, for both shares: 2. The
conclusion says no more than the intervals do, and an interval that holds zero is called undecided: 1. Which
rule is ahead depends on FLOOR, so no result is the right one; the solution notebook prints those of your
course.

**Words, 3 points.** The limit of hard choices: the farthest positive and the nearest negative, and these
alone have a gradient: 1. Towards zero all weigh the same, while the logarithm of their number, divided by
SHARP, grows without end: 1. A reasoned start at the soft end, or a reasoned doubt: 1.

## Sample answer

When SHARP grows, the largest term rules the sum: p becomes the distance to the farthest positive, n that to
the nearest negative. That is batch-hard, and only these two have a gradient. When it falls, all positives get
the same weight, and so do all negatives. p is then the mean distance plus log|P| / SHARP, and n the mean
distance minus log|N| / SHARP, so their difference grows without end, the maximum with zero never takes
effect, and every triplet has a gradient. I would start soft: early on the hardest examples are alike for
reasons that the network cannot learn yet, and with these alone a space can collapse. Later a larger SHARP
spends the gradient on what is still wrong.

## Wrong answers that people give to it

- *Towards zero p becomes zero.* The factor 1/SHARP outgrows the logarithm: no point for this limit.
- *Towards zero it is the mean distance.* Right for the gradient, wrong for the value: half a point.
- *Large SHARP is better because it is closer to batch-hard.* Closer is no reason; chapter 4 shows batch-hard
  collapse.
"""


def assignment(key: str) -> Assignment:
    """What the grader grades."""
    of = varied(key)
    functions = (
        Graded(f"two_margins_{of['tag']}", two_margins(of["inner"], of["outer"]), points=4),
        Graded(f"beyond_floor_{of['tag']}", beyond_floor(of["floor"]), points=3),
        Graded(f"soft_hard_{of['tag']}", soft_hard(of["sharp"], of["margin"]), points=4),
    )
    return Assignment("Week 2: losses and mining", functions, key=key)


# Function 1 -----------------------------------------------------------------------------------------------------


def _pairs() -> tuple[Tensor, Tensor, Tensor]:
    x, y = 1.3 * torch.randn(2, 60, 3)
    same = torch.randperm(60) < 20
    y[same.nonzero()[0]] = x[same.nonzero()[0]]
    return x, y, same


def _with_slope(answer: Callable[..., Any], x: Tensor, *others: Tensor) -> Any:
    """A loss, and its gradient with respect to x."""
    loss = with_gradient(answer, x, *others)
    if loss is None:
        return None
    if not (isinstance(loss, Tensor) and loss.numel() == 1):
        raise not_a("number", loss)
    return loss, *torch.autograd.grad(loss, x)


def two_margins(inner: float, outer: float) -> Exercise:
    """A contrastive loss that is content within one margin and beyond another."""

    def length(gap: Tensor) -> Tensor:
        return torch.linalg.vector_norm(gap, dim=1)

    def loss(
        pull: Callable[[Tensor], Tensor] = lambda d: (d - inner).clamp(min=0).square(),
        push: Callable[[Tensor], Tensor] = lambda d: (outer - d).clamp(min=0).square(),
        distance: Callable[[Tensor], Tensor] = length,
        total: Callable[[Tensor, Tensor], Tensor] = lambda pull, push: pull.mean() + push.mean(),
    ) -> Callable[..., Tensor]:
        def of_batch(x: Tensor, y: Tensor, same: Tensor) -> Tensor:
            d = distance(x - y)
            return total(pull(d[same]), push(d[~same]))

        return of_batch

    def by_masks(x: Tensor, y: Tensor, same: Tensor) -> Tensor:
        squared, one = (x - y).square().sum(1), same.to(x.dtype)
        d = squared.clamp(min=1e-30).sqrt()
        return (one * torch.relu(d - inner) ** 2).sum() / one.sum() + (
            (1 - one) * torch.relu(outer - d) ** 2
        ).sum() / (1 - one).sum()

    def by_pairs(x: Tensor, y: Tensor, same: Tensor) -> Tensor:
        costs: dict[bool, list[Tensor]] = {True: [], False: []}
        for a, b, one in zip(x, y, same.tolist()):
            d = (a - b).norm()
            costs[one].append(torch.relu(d - inner if one else outer - d) ** 2)
        return sum(torch.stack(each).mean() for each in costs.values())

    return Exercise(
        asks="a contrastive loss with two margins, as a mean over each kind of pairs",
        level="medium",
        minutes=35,
        given=_pairs,
        call=_with_slope,
        parts=("the loss", "its gradient"),
        shows=None,
        right=loss(),
        also=(by_masks, by_pairs),
        wrong={
            "not finite": Wrong(
                "the gradient is NaN where two embeddings are one point: the root of a sum has no slope at 0.",
                loss(distance=lambda gap: gap.square().sum(1).sqrt()),
            ),
            "no inner margin": Wrong(
                "pairs of one class are pulled together until they are one point; within INNER they cost nothing.",
                loss(pull=torch.square),
            ),
            "pull without maximum": Wrong(
                "pairs of one class nearer than INNER are pushed apart; there the cost is 0.",
                loss(pull=lambda d: (d - inner).square()),
            ),
            "push without maximum": Wrong(
                "pairs of two classes farther than OUTER are pulled together; there the cost is 0.",
                loss(push=lambda d: (outer - d).square()),
            ),
            "squared distance": Wrong(
                "you compare squared distances with the margins; take the distance itself.",
                loss(distance=lambda gap: gap.square().sum(1)),
            ),
            "not squared": Wrong(
                "the costs are squares; you add what is beyond the margins as it is.",
                loss(lambda d: (d - inner).clamp(min=0), lambda d: (outer - d).clamp(min=0)),
            ),
            "squared before": Wrong(
                "you take the difference of squares; take the square of the difference.",
                loss(
                    lambda d: (d**2 - inner**2).clamp(min=0),
                    lambda d: (outer**2 - d**2).clamp(min=0),
                ),
            ),
            "one mean": Wrong(
                "you take one mean over all pairs, so the frequent kind drowns the other; take a mean of each.",
                loss(total=lambda pull, push: torch.cat([pull, push]).mean()),
            ),
            "half": Wrong(
                "you take the mean of the two means; their sum is asked for.",
                loss(total=lambda pull, push: (pull.mean() + push.mean()) / 2),
            ),
            "sum": Wrong(
                "you add over all pairs, so a larger batch costs more; take means.",
                loss(total=lambda pull, push: pull.sum() + push.sum()),
            ),
            "other way round": Wrong(
                "you pull pairs of two classes together and push those of one apart.",
                lambda x, y, same: loss()(x, y, ~same),
            ),
            "margins exchanged": Wrong(
                "you exchanged the margins: INNER is for one class, OUTER for two.",
                loss(
                    lambda d: (d - outer).clamp(min=0).square(),
                    lambda d: (inner - d).clamp(min=0).square(),
                ),
            ),
        },
        otherwise="take the mean of max(d − INNER, 0)² for one class, and add that of max(OUTER − d, 0)² for two.",
    )


# Function 2 -----------------------------------------------------------------------------------------------------


def _asymmetric() -> tuple[Tensor, Tensor]:
    labels = torch.tensor([30] * 2 + [7] * 3 + [12] * 4 + [55] * 6)[torch.randperm(15)]
    distances = 2 * torch.rand(15, 15)
    distances[torch.randperm(15)[:5]] *= 0.2  # nothing there is beyond the floor
    return distances.fill_diagonal_(0), labels


def beyond_floor(floor: float) -> Exercise:
    """The nearest negative beyond a floor, or the farthest of all."""

    def pick(
        distances: Tensor,
        negative: Tensor,
        allowed: Tensor,
        instead: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        nearest = distances.masked_fill(~(negative & allowed), torch.inf).argmin(1)
        farthest = distances.masked_fill(~negative, -torch.inf).argmax(1)
        other = instead(distances, negative) if instead else farthest
        return torch.where((negative & allowed).any(1), nearest, other)

    def right(distances: Tensor, labels: Tensor) -> Tensor:
        return pick(distances, labels[:, None] != labels, distances >= floor)

    def nearest_of_all(distances: Tensor, negative: Tensor) -> Tensor:
        return distances.masked_fill(~negative, torch.inf).argmin(1)

    def first(distances: Tensor, negative: Tensor) -> Tensor:
        return torch.zeros(len(distances), dtype=torch.long)

    def by_loop(distances: Tensor, labels: Tensor) -> Tensor:
        found = []
        for row, label in zip(distances.tolist(), labels.tolist()):
            others = [j for j, other in enumerate(labels.tolist()) if other != label]
            beyond = [j for j in others if row[j] >= floor]
            found.append(
                min(beyond, key=row.__getitem__) if beyond else max(others, key=row.__getitem__)
            )
        return torch.tensor(found)

    def by_keys(distances: Tensor, labels: Tensor) -> Tensor:
        key = torch.where(distances >= floor, distances, 1000 - distances)
        return torch.where(labels[:, None] == labels, torch.inf, key).argmin(1)

    def in_a_shorter_list(distances: Tensor, labels: Tensor) -> Tensor:
        places = []
        for i, j in enumerate(right(distances, labels).tolist()):
            places.append(int((labels[:j] != labels[i]).sum()))
        return torch.tensor(places)

    def semi_hard(distances: Tensor, labels: Tensor) -> Tensor:
        same = labels[:, None] == labels
        farthest = distances.masked_fill(~same, 0).amax(1, keepdim=True)
        return pick(distances, ~same, distances > farthest)

    def zeros_win(distances: Tensor, labels: Tensor) -> Tensor:
        return (distances * ((labels[:, None] != labels) & (distances >= floor))).argmin(1)

    return Exercise(
        asks="the index of the nearest negative beyond FLOOR, for each example",
        level="medium",
        minutes=30,
        given=_asymmetric,
        tolerance=0,
        shows=None,
        right=right,
        also=(by_loop, by_keys),
        wrong={
            "no floor": Wrong(
                "you take the nearest negative, however near; it should be at FLOOR or beyond.",
                lambda d, labels: nearest_of_all(d, labels[:, None] != labels),
            ),
            "farthest": Wrong(
                "you take the farthest negative; the nearest beyond the floor is asked for.",
                lambda d, labels: d.masked_fill(labels[:, None] == labels, -torch.inf).argmax(1),
            ),
            "below": Wrong(
                "you take the farthest below the floor; take the nearest beyond it.",
                lambda d, labels: d.masked_fill(
                    (labels[:, None] == labels) | (d >= floor), -torch.inf
                ).argmax(1),
            ),
            "own class": Wrong(
                "some of those are of the anchor's own class; a negative is of another.",
                lambda d, labels: pick(d, d > -1, d >= floor),
                lambda d, labels: pick(d, ~torch.eye(len(d), dtype=torch.bool), d >= floor),
            ),
            "positives": Wrong(
                "those are of the anchor's own class; `==` and `!=` are exchanged.",
                lambda d, labels: pick(d, labels[:, None] == labels, d >= floor),
            ),
            "first": Wrong(
                "where nothing is beyond the floor, all you compare is infinite, and argmin names the first example.",
                lambda d, labels: pick(d, labels[:, None] != labels, d >= floor, first),
            ),
            "nearest instead": Wrong(
                "where nothing is beyond the floor, you take the nearest negative; take the farthest.",
                lambda d, labels: pick(d, labels[:, None] != labels, d >= floor, nearest_of_all),
            ),
            "columns": Wrong(
                "you search columns; the distances from anchor i stand in row i.",
                lambda d, labels: right(d.T, labels),
            ),
            "distances": Wrong(
                "those are distances; return indices into the batch.",
                lambda d, labels: d.gather(1, right(d, labels)[:, None]).squeeze(1),
            ),
            "labels": Wrong(
                "those are labels; return indices into the batch.",
                lambda d, labels: labels[right(d, labels)],
            ),
            "shorter list": Wrong(
                "you count among the negatives alone; an index into the batch counts all examples.",
                in_a_shorter_list,
            ),
            "zeros": Wrong(
                "you put zeros where no example may be taken, and zero is the smallest; put infinity there.",
                zeros_win,
            ),
            "semi-hard": Wrong(
                "you ask for more than the distance to the farthest positive; the floor is the same for all.",
                semi_hard,
            ),
        },
        otherwise="of other classes at FLOOR or beyond take the nearest; if there is none, the farthest.",
    )


# Function 3 -----------------------------------------------------------------------------------------------------


def _batches() -> list[tuple[Tensor, Tensor]]:
    numbers = torch.tensor([0] * 4 + [1] * 7 + [2] * 9 + [3] * 12)[torch.randperm(32)]
    points = 0.35 * torch.randn(32, 3) + torch.randn(4, 3)[numbers]
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    labels = torch.tensor([30, 7, 12, 55])[numbers]
    return [(distances, labels), (300 * distances, labels)]


def soft_hard(sharp: float, margin: float) -> Exercise:
    """Batch-hard with all examples, the hard ones most."""

    def soft(scores: Tensor, among: Tensor, s: float) -> Tensor:
        return (s * scores).masked_fill(~among, -torch.inf).logsumexp(1) / s

    def sides(labels: Tensor) -> tuple[Tensor, Tensor]:
        same = labels[:, None] == labels
        return same & ~torch.eye(len(labels), dtype=torch.bool), ~same

    def loss(
        s: float = sharp, m: float = margin, itself: bool = False, over: Callable[..., Tensor] = soft,
        cost: Callable[[Tensor], Tensor] = torch.relu, total: Callable[[Tensor], Tensor] = torch.mean,
    ) -> Callable[[Tensor, Tensor], Tensor]:  # fmt: skip
        def of_batch(distances: Tensor, labels: Tensor) -> Tensor:
            positive, negative = sides(labels)
            positive = ~negative if itself else positive
            return total(cost(over(distances, positive, s) + over(-distances, negative, s) + m))

        return of_batch

    def naive(scores: Tensor, among: Tensor, s: float) -> Tensor:
        return ((s * scores).exp() * among).sum(1).log() / s

    def by_loop(distances: Tensor, labels: Tensor) -> float:
        def log_sum(numbers: list[float]) -> float:
            top = max(numbers)
            return (top + math.log(sum(math.exp(n - top) for n in numbers))) / sharp

        names, costs = labels.tolist(), []
        for i, row in enumerate(distances.tolist()):
            far = log_sum([sharp * d for j, d in enumerate(row) if names[j] == names[i] and j != i])
            near = -log_sum([-sharp * d for j, d in enumerate(row) if names[j] != names[i]])
            costs.append(max(far - near + margin, 0))
        return sum(costs) / len(costs)

    def by_shifting(distances: Tensor, labels: Tensor) -> Tensor:
        def shifted(scores: Tensor, among: Tensor, s: float) -> Tensor:
            top = scores.masked_fill(~among, -torch.inf).amax(1, keepdim=True)
            return top.squeeze(1) + naive((scores - top).masked_fill(~among, -torch.inf), among, s)

        return loss(over=shifted)(distances, labels)

    def hardest(scores: Tensor, among: Tensor, s: float) -> Tensor:
        return scores.masked_fill(~among, -torch.inf).amax(1)

    def mean_inside(scores: Tensor, among: Tensor, s: float) -> Tensor:
        return soft(scores, among, s) - among.sum(1).log() / s

    def average(scores: Tensor, among: Tensor, s: float) -> Tensor:
        return (scores * among).sum(1) / among.sum(1)

    def weighted(scores: Tensor, among: Tensor, s: float) -> Tensor:
        return (scores * (s * scores).masked_fill(~among, -torch.inf).softmax(1)).sum(1)

    def exchanged(distances: Tensor, labels: Tensor) -> Tensor:
        positive, negative = sides(labels)
        return (
            (soft(distances, negative, sharp) + soft(-distances, positive, sharp) + margin)
            .clamp(min=0)
            .mean()
        )

    return Exercise(
        asks="the soft form of the batch-hard triplet loss",
        level="hard",
        minutes=40,
        given=_batches,
        shows=None,
        right=loss(),
        also=(by_loop, by_shifting),
        judge=lambda distances, labels, result: None if math.isfinite(result) else "overflow",
        wrong={
            "overflow": Wrong(
                "for large distances the exponential overflows; logsumexp takes the largest out first.",
                loss(over=naive),
                loss(
                    over=lambda scores, among, s: (
                        (s * scores).masked_fill(~among, -torch.inf).exp().sum(1).log() / s
                    )
                ),
            ),
            "itself": Wrong(
                "an example is not its own positive; its distance of 0 takes part in your sum.",
                loss(itself=True),
            ),
            "not divided": Wrong(
                "you do not divide the logarithms by SHARP, so they are no distances.",
                loss(over=lambda scores, among, s: s * soft(scores, among, s)),
            ),
            "upside down": Wrong(
                "you divide by SHARP where you should multiply, and the other way round.",
                loss(s=1 / sharp),
            ),
            "hardest": Wrong(
                "that is batch-hard itself: only the hardest take part in yours, and all should.",
                loss(over=hardest),
            ),
            "mean": Wrong(
                "you take the logarithm of a mean; there stands a sum.", loss(over=mean_inside)
            ),
            "average": Wrong(
                "you take mean distances, so the hard ones count for no more than others.",
                loss(over=average),
            ),
            "weighted": Wrong(
                "you take a mean weighted by a softmax; the logarithm of the sum is asked for.",
                loss(over=weighted),
            ),
            "margin": Wrong(
                "the margin has the wrong sign: negatives should be farther by MARGIN.",
                loss(m=-margin),
            ),
            "no margin": Wrong("the margin is missing.", loss(m=0)),
            "softplus": Wrong(
                "you made the maximum with 0 soft, too; it is a plain maximum.",
                loss(cost=torch.nn.functional.softplus),
            ),
            "no maximum": Wrong(
                "anchors that are content pay you back; no anchor costs less than 0.",
                loss(cost=lambda gap: gap),
            ),
            "sum": Wrong("you add over the anchors; take the mean.", loss(total=torch.sum)),
            "violators": Wrong(
                "you take the mean over the anchors that cost something; take it over all.",
                loss(total=lambda costs: costs[costs > 0].mean()),
            ),
            "exchanged": Wrong("you exchanged positives and negatives.", exchanged),
        },
        otherwise="take p and n of each anchor by a logsumexp over its positives or negatives; then the mean.",
    )
