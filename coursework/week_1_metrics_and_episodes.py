"""Week 1: metrics and episodes, the master. `make.py` says what each part is for."""

import random
import statistics
from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor

from fslib.book.checks import Exercise, Wrong
from fslib.book.grading import Assignment, Graded


def varied(key: str) -> dict:
    """What differs from course to course."""
    draw = random.Random(f"week 1 of {key}")
    return {
        "tag": "".join(draw.sample("bcdfghjkmnpqrstvwxz", 3)),
        "cap": round(draw.uniform(1.3, 2.8), 2),
        "lead": round(draw.uniform(0.2, 0.7), 2),
        "level": round(draw.uniform(0.75, 0.93), 3),
    }


PAGE = r'''
# Week 1: metrics and episodes

It builds on chapters 1 to 3 and takes about three hours. There are 20 points: 10 for three functions, which a
program marks; 6 for an experiment and 4 for an answer in words, which a person marks.

At its end you will be able to

- change a metric so that single wild numbers do not decide,
- count hits honestly when classes have different numbers of queries,
- say how sure a mean is when episodes share their classes.

```python
import torch
from torch import Tensor

from fslib import checks, data
from fslib.evaluation import embed_all
from fslib.experiments import trained

# The constants of this course. The program that marks uses the same.
CAP = {{cap}}
LEAD = {{lead}}
LEVEL = {{level}}
```

## 1 A distance that no single number decides (4 points, 25 minutes)

The squared Euclidean distance adds the squares of all differences. One wild number, as a broken pixel gives,
outweighs all others. Let the square of each difference count for `CAP` at most:

$$
d(x, y) = \sum_k \min\big( (x_k - y_k)^2, \; \text{CAP} \big) .
$$

Return this distance from every row of one matrix to every row of another.

```python solution
def capped_distances_{{tag}}(x: Tensor, y: Tensor) -> Tensor:
    """x (n, d), y (m, d) -> distances (n, m)"""
    squares = (x[:, None] - y).square()
    return squares.clamp(max=CAP).sum(-1)
```

```python
with checks.attempt("capped_distances_{{tag}}"):
    zero, near, wild = torch.tensor([[[0.0, 0]], [[0.5, -1]], [[-90, 0.5]]])
    found = capped_distances_{{tag}}(zero, torch.cat([near, wild, zero]))
    assert found.shape == (1, 3), "a row for each of x, a column for each of y."
    assert abs(found[0, 0] - 1.25) < 1e-4, "small ones count as ever."
    assert abs(found[0, 1] - 0.25 - CAP) < 1e-4, "a wild one counts for CAP."
    assert found[0, 2] == 0, "from a point to itself it is no way."
```

## 2 Right, and by a clear lead (3 points, 25 minutes)

Count a query as a hit if the score of its own class is above the score of *each* other class by `LEAD` or
more. Take the share of hits in each class, then the mean over the classes, so that a class with many queries
counts no more than another. Columns of scores stand in the order of `classes`. Labels are any integers. Each
class has a query.

```python solution
def clear_hits_{{tag}}(scores: Tensor, classes: Tensor, answers: Tensor) -> Tensor:
    """scores (n, way), classes (way,), right labels (n,) -> a share from 0 to 1"""
    own = answers[:, None] == classes
    best_other = scores.masked_fill(own, -torch.inf).amax(1)
    hit = (scores[own] - best_other >= LEAD).float()
    return torch.stack([hit[answers == c].mean() for c in classes]).mean()
```

```python
with checks.attempt("clear_hits_{{tag}}"):
    scores = torch.tensor([[9.0, 0.0], [9.0, 0.0], [9.0, 9.0 - LEAD / 2], [0.0, 9.0]])
    classes, answers = torch.tensor([30, 10]), torch.tensor([30, 30, 30, 10])
    found = clear_hits_{{tag}}(scores, classes, answers)
    assert 0 <= found <= 1, "a share lies between 0 and 1."
    assert found < 1, "the third query wins, but not by LEAD."
    assert abs(found - 5 / 6) < 1e-5, "2/3 in class 30, 1 in class 10: in the mean 5/6."
```

## 3 An interval for episodes that share classes (3 points, 30 minutes)

Some evaluations draw a few classes, and then many episodes of these. Such a group of episodes is a *block*.
Its episodes are easy or hard together, so only blocks tell something new. Take the mean accuracy of each
block as *one* measurement, and return the half-width of the interval at the level `LEVEL` for the mean over
the blocks,

$$
z \; \frac{s}{\sqrt B}, \qquad \Pr\big(|Z| \le z\big) = \text{LEVEL},
$$

where $s$ is the standard deviation of the $B$ block means, with $B - 1$ in it, and $Z$ is a standard normal
number. Blocks may differ in size.

```python solution
def half_width_{{tag}}(accuracies: Tensor, blocks: Tensor) -> float:
    """accuracies (episodes,), the block of each (episodes,) -> half-width"""
    means = torch.stack([accuracies[blocks == b].mean() for b in blocks.unique()])
    z = torch.special.ndtri(torch.tensor((1 + LEVEL) / 2))
    return (z * means.std() / len(means) ** 0.5).item()
```

```python
with checks.attempt("half_width_{{tag}}"):
    blocks = torch.tensor([7, 7, 5, 5])
    alike = half_width_{{tag}}(torch.tensor([0.2, 0.8, 0.2, 0.8]), blocks)
    apart = half_width_{{tag}}(torch.tensor([0.4, 0.4, 0.6, 0.6]), blocks)
    assert abs(alike) < 1e-6, "these two blocks have the same mean."
    assert 0.1 < apart < 0.2, "means 0.2 apart have a standard error of 0.1."
```

## 4 Experiment: when does the cap help? (6 points, 60 minutes)

The embeddings are those of a network of the book, each number scaled to a standard deviation of one. A share
of all numbers is then made wild. `accuracies` gives the accuracy of 5-way 1-shot episodes by the nearest
example, and the block of each. For the same share, two distances meet the same episodes.

```python
test = data.load("glyphs", "test")
space = embed_all(trained("glyphs/prototypical", 0, again=False), test)
space = space / space.std(0)


def accuracies(distance, share, blocks=40, each=10):
    """Accuracies of episodes and their blocks, if a share of all numbers is wild."""
    random = torch.Generator().manual_seed(0)
    wild = torch.rand(space.shape, generator=random) < share
    z = torch.where(wild, 10 * torch.randn(space.shape, generator=random), space)
    hits, answers = [], torch.arange(5).repeat_interleave(5)
    for _ in range(blocks):
        classes = torch.randperm(len(test.class_names), generator=random)[:5]
        images = [(test.labels == c).nonzero().flatten() for c in classes]
        for _ in range(each):
            orders = [torch.randperm(len(i), generator=random)[:6] for i in images]
            drawn = torch.stack([i[order] for i, order in zip(images, orders)])
            support, queries = z[drawn[:, 0]], z[drawn[:, 1:].flatten()]
            nearest = distance(queries, support).argmin(1)
            hits.append((nearest == answers).float().mean())
    return torch.stack(hits), torch.arange(blocks).repeat_interleave(each)
```

Say first, in one sentence, what you expect. Then report by how much the capped distance is ahead of the
squared Euclidean one, with the interval of your function 3, for no wild numbers and for two shares of your
choice between 1 % and 10 %. Take the difference episode by episode. Draw it or print it, and conclude in two
sentences.

```python solution
from fslib.metrics import squared_euclidean

for share in (0, 0.02, 0.1):
    capped, blocks = accuracies(capped_distances_{{tag}}, share)
    squared, _ = accuracies(squared_euclidean, share)
    ahead = 100 * (capped - squared)
    interval = half_width_{{tag}}(ahead, blocks)
    print(f"share {share:.0%}: ahead by {ahead.mean():.1f} ± {interval:.1f} points")
```

## 5 In words (4 points, 30 minutes)

A classmate takes each of the 400 episodes as a measurement of its own and gets a narrower interval. What does
the narrower interval claim that is not so? When would the two agree? Which of the two should a paper print
that draws new classes for each episode? About 120 words.

*Your answer in the place of this line.*
'''

NOTES = """
# Week 1: notes for the instructor

Constants of this course: CAP {{cap}}, LEAD {{lead}}, LEVEL {{level}}; names end in `_{{tag}}`.

## Rubric

**Experiment, 6 points.** An expectation, written before the result: 1. Differences are taken episode by
episode, on the same episodes: 2. Each comes with an interval, over blocks, whose level is named: 2. The
conclusion says no more than the intervals do: 1. Numbers differ with the course's constants; the solution
notebook prints those of yours.

**Words, 4 points.** Episodes of a block are not independent: 1. So the narrow interval claims more than was
measured: to hold for other classes: 1. The two agree where blocks do not matter, that is where block means
differ no more than chance within a block makes them: 1. With new classes for each episode a block is an
episode, and the two are one: 1.

## Sample answer

The ten episodes of a block have the same five classes. If these look alike, all ten are hard. So 400 episodes
are not 400 independent measurements. The narrow interval takes them for that, and claims to know the accuracy
on new classes better than forty draws of classes can tell. It would be right for another question: how sure
is the mean over *these* forty sets of classes? The two agree if the choice of classes makes no difference, so
that the means of blocks vary only as means of ten episodes do anyway. A paper that draws new classes for each
episode has blocks of one episode; both computations are then the same, and it may print it. Neither covers
another training of the network.

## Wrong answers that people give to it

- *The narrow interval is better, as it is more precise.* It is narrower, not more precise: 1 point at most.
- *More episodes in a block would mend it.* They sharpen the mean of each block and leave the number of blocks
  as it is: no point for this.
- *The wide interval is wrong because it throws data away.* All episodes are in the block means.
"""


def assignment(key: str) -> Assignment:
    """What the grader grades."""
    of = varied(key)
    functions = (
        Graded(f"capped_distances_{of['tag']}", capped_distances(of["cap"]), points=4),
        Graded(f"clear_hits_{of['tag']}", clear_hits(of["lead"]), points=3),
        Graded(f"half_width_{of['tag']}", half_width(of["level"]), points=3),
    )
    return Assignment("Week 1: metrics and episodes", functions, key=key)


# Function 1 -----------------------------------------------------------------------------------------------------


def _differences(x: Tensor, y: Tensor) -> Tensor:
    return x[:, None] - y


def capped_distances(cap: float) -> Exercise:
    """Squared Euclidean distances of which no number counts for more than a cap."""

    def by_loop(x: Tensor, y: Tensor) -> Tensor:
        return torch.tensor(
            [
                [sum(min((a - b) ** 2, cap) for a, b in zip(p, q)) for q in y.tolist()]
                for p in x.tolist()
            ]
        )

    return Exercise(
        asks="distances of which no difference counts for more than CAP",
        level="easy",
        minutes=25,
        given=lambda: (1.5 * torch.randn(7, 5), 1.5 * torch.randn(4, 5)),
        shows=None,
        right=lambda x, y: torch.minimum(_differences(x, y).square(), torch.tensor(cap)).sum(2),
        also=(by_loop, lambda x, y: _differences(x, y).abs().clamp(max=cap**0.5).square().sum(-1)),
        wrong={
            "no cap": Wrong(
                "those are squared Euclidean distances; where is the cap?",
                lambda x, y: _differences(x, y).square().sum(-1),
                lambda x, y: torch.cdist(x, y).square(),
            ),
            "cap of the sum": Wrong(
                "you cap the whole distance; cap each of the squares, before the sum.",
                lambda x, y: _differences(x, y).square().sum(-1).clamp(max=cap),
            ),
            "cap before the square": Wrong(
                "you cap the difference and then square it; it is the square that counts for CAP at most.",
                lambda x, y: _differences(x, y).abs().clamp(max=cap).square().sum(-1),
            ),
            "one side": Wrong(
                "large negative differences are not capped; the square has no sign.",
                lambda x, y: _differences(x, y).clamp(max=cap**0.5).square().sum(-1),
                lambda x, y: _differences(x, y).clamp(max=cap).square().sum(-1),
            ),
            "absolute": Wrong(
                "you add absolute differences; add their squares.",
                lambda x, y: _differences(x, y).abs().clamp(max=cap).sum(-1),
            ),
            "root": Wrong(
                "you take a root; the sum of the capped squares is asked for.",
                lambda x, y: _differences(x, y).square().clamp(max=cap).sum(-1).sqrt(),
            ),
            "mean": Wrong(
                "you take the mean over the numbers; take their sum.",
                lambda x, y: _differences(x, y).square().clamp(max=cap).mean(-1),
            ),
            "transposed": Wrong(
                "rows should stand for x and columns for y; yours are the other way round.",
                lambda x, y: _differences(y, x).square().clamp(max=cap).sum(-1),
            ),
            "floor": Wrong(
                "each square counts for CAP at least; it should be at most.",
                lambda x, y: _differences(x, y).square().clamp(min=cap).sum(-1),
            ),
            "left out": Wrong(
                "you leave wild numbers out, so a far point looks near; let them count for CAP.",
                lambda x, y: (s := _differences(x, y).square()).masked_fill(s > cap, 0).sum(-1),
            ),
            "similarity": Wrong(
                "the sign is wrong; a distance is never negative.",
                lambda x, y: -_differences(x, y).square().clamp(max=cap).sum(-1),
            ),
        },
        otherwise="each entry should be the sum over k of the smaller of (x_k − y_k)² and CAP, the one of this course.",
    )


# Function 2 -----------------------------------------------------------------------------------------------------


def _queries() -> tuple[Tensor, Tensor, Tensor]:
    classes = 4 + torch.randperm(50)[:4]
    answers = classes[torch.tensor([0] * 6 + [1] * 10 + [2] * 17 + [3] * 27)[torch.randperm(60)]]
    return 1.5 * torch.randn(60, 4) + 0.7 * (answers[:, None] == classes), classes, answers


def _of_classes(hit: Tensor, classes: Tensor, answers: Tensor) -> Tensor:
    return torch.stack([hit[answers == c].double().mean() for c in classes]).mean()


def _shares(is_hit: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Mean shares of hits; of a query the scores, and which of them is its own, say whether it is one."""

    def share(scores: Tensor, classes: Tensor, answers: Tensor) -> Tensor:
        return _of_classes(is_hit(scores, answers[:, None] == classes), classes, answers)

    return share


def clear_hits(lead: float) -> Exercise:
    """The mean share of hits that lead by so much, class by class."""

    def ahead(scores: Tensor, own: Tensor) -> Tensor:
        return scores[own] - scores.masked_fill(own, -torch.inf).amax(1)

    def hits(scores: Tensor, own: Tensor) -> Tensor:
        return ahead(scores, own) >= lead

    def by_loop(scores: Tensor, classes: Tensor, answers: Tensor) -> float:
        found: dict[int, list[bool]] = {}
        for row, answer in zip(scores.tolist(), answers.tolist()):
            own = row.pop(classes.tolist().index(answer))
            found.setdefault(answer, []).append(all(own - other >= lead for other in row))
        return statistics.fmean(map(statistics.fmean, found.values()))

    def by_sorting(scores: Tensor, classes: Tensor, answers: Tensor) -> Tensor:
        best = scores.topk(2)
        hit = (classes[best.indices[:, 0]] == answers) & (
            best.values[:, 0] - best.values[:, 1] >= lead
        )
        counts = torch.stack([(answers == c).sum() for c in classes])
        return torch.stack([(hit & (answers == c)).sum() for c in classes]).div(counts).mean()

    def confident(scores: Tensor, own: Tensor) -> Tensor:
        best = scores.topk(2).values
        return best[:, 0] - best[:, 1] >= lead

    def all_pairs(scores: Tensor, classes: Tensor, answers: Tensor) -> Tensor:
        predicted = classes[scores.argmax(1, keepdim=True)]
        return (predicted == answers).float().mean()

    def of_predicted(scores: Tensor, classes: Tensor, answers: Tensor) -> Tensor:
        return _of_classes(
            hits(scores, answers[:, None] == classes), classes, classes[scores.argmax(1)]
        )

    def in_sorted_order(scores: Tensor, classes: Tensor, answers: Tensor) -> Tensor:
        return _shares(hits)(scores, classes.sort().values, answers)

    def others_mean(scores: Tensor, own: Tensor) -> Tensor:
        return scores[own] - (scores.sum(1) - scores[own]) / (scores.shape[1] - 1) >= lead

    return Exercise(
        asks="the share of queries whose own class leads by LEAD, as a mean over classes",
        level="medium",
        minutes=25,
        given=_queries,
        shows=None,
        right=_shares(hits),
        also=(by_loop, by_sorting),
        wrong={
            "no lead": Wrong(
                "you count who wins by however little; a hit leads by LEAD.",
                _shares(lambda scores, own: ahead(scores, own) > 0),
            ),
            "mean of the others": Wrong(
                "you compare with the mean of the other classes; the lead is over each of them, so over the best.",
                _shares(others_mean),
            ),
            "own score": Wrong(
                "you ask for a score of LEAD; the lead is a difference of two scores.",
                _shares(lambda scores, own: scores[own] >= lead),
            ),
            "probabilities": Wrong(
                "you compare probabilities; LEAD is a difference of scores.",
                _shares(lambda scores, own: hits(scores.softmax(1), own)),
            ),
            "confident": Wrong(
                "you count queries with a clear winner, right or wrong; the winner must be their own class.",
                _shares(confident),
            ),
            "over queries": Wrong(
                "that is the share of all queries, in which a large class counts for more; take the mean over classes.",
                lambda scores, classes, answers: (
                    hits(scores, answers[:, None] == classes).float().mean()
                ),
            ),
            "of predicted": Wrong(
                "you group queries by the class that wins; group them by the class that is right.",
                of_predicted,
            ),
            "columns by number": Wrong(
                "you take labels for columns; column j stands for classes[j], whatever number that is.",
                lambda scores, classes, answers: scores[torch.arange(len(scores)), answers],
                lambda scores, classes, answers: _of_classes(
                    scores.argmax(1) == answers, classes, answers
                ),
            ),
            "sorted": Wrong(
                "columns stand in the order of classes, which is not sorted.", in_sorted_order
            ),
            "all pairs": Wrong(
                "you compare each prediction with each answer, an n × n table: mind the shapes (n, 1) and (n,).",
                all_pairs,
            ),
            "nearest": Wrong(
                "you take the lowest score for the best, as with distances; these are scores.",
                _shares(lambda scores, own: hits(-scores, own)),
            ),
            "misses": Wrong(
                "that is the share of misses.", _shares(lambda scores, own: ~hits(scores, own))
            ),
            "percent": Wrong(
                "that is in percent; a share lies between 0 and 1.",
                lambda *given: 100 * _shares(hits)(*given),
            ),
        },
        otherwise="in each class take the share of queries that are LEAD or more above the best other; then the mean.",
    )


# Function 3 -----------------------------------------------------------------------------------------------------


def _blocks() -> tuple[Tensor, Tensor]:
    sizes = torch.tensor([3, 12, 7, 20, 5, 9, 15])
    numbers = torch.randperm(90)[:7]
    blocks = numbers.repeat_interleave(sizes)[torch.randperm(int(sizes.sum()))]
    level = dict(zip(numbers.tolist(), (0.6 + 0.1 * torch.randn(7)).tolist()))
    return torch.tensor([level[b] for b in blocks.tolist()]) + 0.1 * torch.randn(
        len(blocks)
    ), blocks


def _means(accuracies: Tensor, blocks: Tensor) -> Tensor:
    return torch.stack([accuracies[blocks == b].double().mean() for b in blocks.unique()])


def half_width(level: float) -> Exercise:
    """The half-width of an interval of this level over blocks of episodes."""
    z, one_sided, usual = (NormalDist().inv_cdf(p) for p in ((1 + level) / 2, level, 0.975))

    def of_means(width: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda accuracies, blocks: width(_means(accuracies, blocks))

    def by_loop(accuracies: Tensor, blocks: Tensor) -> float:
        found: dict[int, list[float]] = {}
        for accuracy, block in zip(accuracies.tolist(), blocks.tolist()):
            found.setdefault(block, []).append(accuracy)
        means = [sum(each) / len(each) for each in found.values()]
        return z * statistics.stdev(means) / len(means) ** 0.5

    def by_sums(accuracies: Tensor, blocks: Tensor) -> Tensor:
        _, place, counts = blocks.unique(return_inverse=True, return_counts=True)
        means = torch.zeros(len(counts)).index_add(0, place, accuracies) / counts
        return z * (means.var() / len(means)).sqrt()

    def within(accuracies: Tensor, blocks: Tensor) -> Tensor:
        spreads = torch.stack([accuracies[blocks == b].std() for b in blocks.unique()])
        return z * spreads.mean() / len(spreads) ** 0.5

    def by_size(accuracies: Tensor, blocks: Tensor) -> Tensor:
        means = (
            torch.stack([accuracies[blocks == b].sum() for b in blocks.unique()]) * 7 / len(blocks)
        )
        return z * means.std() / len(means) ** 0.5

    return Exercise(
        asks="the half-width of the interval at LEVEL, with blocks of episodes as the unit",
        level="medium",
        minutes=30,
        given=_blocks,
        shows=None,
        right=of_means(lambda m: z * m.std() / len(m) ** 0.5),
        also=(by_loop, by_sums),
        wrong={
            "episodes": Wrong(
                "you take each episode for a measurement of its own; the unit is the block.",
                lambda accuracies, blocks: z * accuracies.std() / len(accuracies) ** 0.5,
            ),
            "root of the episodes": Wrong(
                "you divide by the root of the number of episodes; there are only B measurements.",
                lambda accuracies, blocks: (
                    z * _means(accuracies, blocks).std() / len(accuracies) ** 0.5
                ),
            ),
            "95 %": Wrong(
                "that is the interval of 95 %; the level of this course is LEVEL.",
                of_means(lambda m: usual * m.std() / len(m) ** 0.5),
            ),
            "one side": Wrong(
                "your z leaves all of 1 − LEVEL on one side; half of it lies on each.",
                of_means(lambda m: one_sided * m.std() / len(m) ** 0.5),
            ),
            "standard error": Wrong(
                "that is the standard error; the half-width is z times it.",
                of_means(lambda m: m.std() / len(m) ** 0.5),
            ),
            "deviation": Wrong(
                "that is z standard deviations of a block; the mean of B blocks is surer, by the root of B.",
                of_means(lambda m: z * m.std()),
            ),
            "no z, no root": Wrong(
                "that is the standard deviation of the blocks, and no interval of their mean.",
                of_means(torch.std),
            ),
            "no root": Wrong(
                "you divide by B; divide by its root.", of_means(lambda m: z * m.std() / len(m))
            ),
            "variance": Wrong(
                "you take the variance; the standard deviation is its root.",
                of_means(lambda m: z * m.var() / len(m) ** 0.5),
            ),
            "population": Wrong(
                "your standard deviation has B in it; few blocks need B − 1.",
                of_means(lambda m: z * m.std(correction=0) / len(m) ** 0.5),
            ),
            "both sides": Wrong(
                "that is the whole width; half of it is asked for.",
                of_means(lambda m: 2 * z * m.std() / len(m) ** 0.5),
            ),
            "within": Wrong(
                "you take how episodes vary within a block; what counts is how the means of blocks vary.",
                within,
            ),
            "by size": Wrong(
                "large blocks weigh more in yours; the mean of each block is one measurement.",
                by_size,
            ),
        },
        otherwise="take the mean of each block, then z · s / √B of these means, with the z of this course's LEVEL.",
    )
