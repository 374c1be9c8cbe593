"""Chapter 12: what to ignore, and what to adapt."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.nuisances import leace

Number = Tensor | float


def _most_frequent(values: Tensor) -> Tensor:
    return values.mode().values


def _share(values: Tensor, answer: Tensor) -> Tensor:
    return (values == answer).double().mean()


def _beyond(
    chance: Callable[[Tensor, Tensor], Number] = lambda fitted, measured: _share(measured, _most_frequent(fitted)),
    score: Callable[[Tensor, Number], Tensor] = lambda right, chance: (right - chance) / (1 - chance),
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A probe's accuracy beside chance, rightly or with a mistake."""
    return lambda fitted, measured, answers: score(_share(measured, answers), chance(fitted, measured))


def _beyond_by_counts(fitted: Tensor, measured: Tensor, answers: Tensor) -> float:
    seen, truth = fitted.tolist(), measured.tolist()
    blind = truth.count(max(set(seen), key=seen.count))
    right = sum(answer == value for answer, value in zip(answers.tolist(), truth, strict=True))
    return (right - blind) / (len(truth) - blind)


def _probe(kept: float) -> tuple[Tensor, Tensor, Tensor]:
    """Values fitted and measured on, of which others are most frequent, and answers of a probe that keeps a part."""
    values = torch.randperm(9)[:3]
    fitted, measured = (
        values[torch.multinomial(torch.tensor(shares), n, replacement=True)]
        for shares, n in (([0.6, 0.3, 0.1], 61), ([0.4, 0.45, 0.15], 47))
    )
    return fitted, measured, measured.where(torch.rand(47) < kept, measured[torch.randperm(47)])


def _probes() -> list[tuple[Tensor, Tensor, Tensor]]:
    """One that is worse than chance, on which each mistake shows, and one that is better."""
    answers = [beyond_chance.right, *(each for wrong in beyond_chance.wrong.values() for each in wrong.answers)]
    while True:
        worse, better = _probe(kept=0), _probe(kept=0.6)
        found = {round(abs(float(each(*worse))), 3) for each in answers}
        clear = all(len(fitted.bincount().topk(2).values.unique()) == 2 for fitted, *_ in (worse, better))
        if clear and len(found) == len(answers) and beyond_chance.right(*worse) < 0 < beyond_chance.right(*better):
            return [worse, better]


beyond_chance = Exercise(
    asks="12.1: how far a probe is beyond chance, 0 for who sees no embedding and 1 for who is always right",
    level="easy",
    minutes=8,
    given=_probes,
    right=_beyond(),
    also=(
        _beyond_by_counts,
        _beyond(
            lambda fitted, measured: (measured == fitted.bincount().argmax()).float().mean().item(),
            lambda right, chance: 1 - (1 - right) / (1 - chance),
        ),
    ),
    hints=(
        "Who sees no embedding always gives one answer. Which one, knowing only what the probe was fitted on?",
        "How often is that answer right, where the probe is measured? That accuracy becomes 0.",
        "From there to 1 lies what a probe can gain. Which part of it did this one?",
    ),
    wrong={
        "accuracy": Wrong(
            "that is how often the probe is right; how often is who sees no embedding?", _beyond(lambda *_: 0.0)
        ),
        "even": Wrong(
            "one over the number of values is chance only if all values are as frequent.",
            _beyond(lambda fitted, measured: 1 / len(fitted.unique())),
        ),
        "peeked": Wrong(
            "nobody knows which value is most frequent where the probe is measured; take that where it was fitted.",
            _beyond(lambda fitted, measured: _share(measured, _most_frequent(measured))),
        ),
        "where fitted": Wrong(
            "you count the most frequent value where the probe was fitted; how often is it right where it is measured?",
            _beyond(lambda fitted, measured: _share(fitted, _most_frequent(fitted))),
        ),
        "in proportion": Wrong(
            "who guesses each value as often as it was seen is right less often than with the most frequent alone.",
            _beyond(lambda fitted, measured: (fitted[:, None] == measured).double().mean()),
        ),
        "points": Wrong(
            "that is the distance from chance; how much of what chance leaves is it?",
            _beyond(score=lambda right, chance: right - chance),
        ),
        "ratio": Wrong(
            "that is how many times chance; who sees nothing should get 0, and who is always right 1.",
            _beyond(score=lambda right, chance: right / chance),
        ),
        "of chance": Wrong(
            "you divide by chance; divide by what it leaves to gain.",
            _beyond(score=lambda right, chance: (right - chance) / chance),
        ),
        "errors": Wrong(
            "that is the part of the errors that is still there; which part is gone?",
            _beyond(score=lambda right, chance: (1 - right) / (1 - chance)),
        ),
        "held at zero": Wrong(
            "a probe can be worse than who sees nothing; let the number be negative then.",
            _beyond(score=lambda right, chance: ((right - chance) / (1 - chance)).clamp_min(0)),
        ),
    },
    otherwise="the accuracy less that of the most frequent fitted value, over one less the latter.",
)


def _apart(x: Tensor, nuisance: Tensor) -> Tensor:
    """From the mean of the first group to that of the second."""
    return x[nuisance == 1].mean(0) - x[nuisance == 0].mean(0)


def _to_one(read: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Scaled such that v · d = 1."""
    return lambda x, d: read(x, d) / (read(x, d) @ d)


def _solved(x: Tensor, d: Tensor) -> Tensor:
    return torch.linalg.solve(x.T.cov(), d)


_least = _to_one(_solved)


def _erased(
    v: Callable[[Tensor, Tensor], Tensor] = _least,
    mean: Callable[[Tensor, Tensor, Tensor], Number] = lambda x, nuisance, query: x.mean(0),
    sign: int = 1,
    seen: Callable[[Tensor, Tensor], Tensor] = lambda x, query: x,
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Queries without the difference of two groups, by what v reads, rightly or with a mistake."""

    def erase(x: Tensor, nuisance: Tensor, query: Tensor) -> Tensor:
        d = _apart(x, nuisance)
        return query - sign * ((query - mean(x, nuisance, query)) @ v(seen(x, query), d))[:, None] * d

    return erase


def _within(x: Tensor, nuisance: Tensor, query: Tensor) -> Tensor:
    """By the covariance within the groups, whose inverse reads in the same direction: that of linear discriminants."""
    d = _apart(x, nuisance)
    spread = x - x[nuisance == 0].mean(0) - nuisance[:, None] * d
    v = torch.linalg.lstsq(spread.T @ spread, d[:, None]).solution
    return query - (query - x.mean(0)) @ v @ d[None] / (d @ v)


def _whitened(x: Tensor, d: Tensor) -> Tensor:
    """By the square root of the inverse."""
    values, vectors = torch.linalg.eigh(x.T.cov())
    return vectors * values**-0.5 @ vectors.T @ d


def _shifted(x: Tensor, nuisance: Tensor, query: Tensor) -> Tensor:
    """Each query moved with the group whose mean is nearer."""
    means = torch.stack([x[nuisance == group].mean(0) for group in (0, 1)])
    return query - means[torch.cdist(query, means).argmin(1)] + x.mean(0)


def _two_pens() -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings that scatter obliquely to the difference of two groups, of which the first is larger."""
    mix = torch.eye(4) + 0.4 * torch.randn(4, 4)
    d, center = 2 * F.normalize(torch.randn(4), dim=0), 2 + torch.randn(4)
    nuisance = (torch.arange(60) < 20).long()[torch.randperm(60)]
    x, query = torch.randn(60, 4) @ mix + nuisance[:, None] * d, torch.randn(9, 4) @ mix + d / 3
    return x + center, nuisance, query + center


least_erasure = Exercise(
    asks="12.2: queries without the difference of two groups, moved as little as possible",
    level="medium",
    minutes=15,
    given=_two_pens,
    right=_erased(),
    shows=(0, 0),
    tolerance=1e-3,
    also=(lambda x, nuisance, query: leace(x, nuisance)(query), _within),
    hints=(
        "How far does the map move an embedding? By $v^\\top(x - \\mu)$ times the length of $d$, which is given.",
        "So the mean of $(v^\\top(x - \\mu))^2$ is to be small, and that is $v^\\top \\Sigma v$ with the covariance "
        "$\\Sigma$. By Lagrange, where it is least while $v^\\top d = 1$, $\\Sigma v$ is a multiple of $d$.",
        "`torch.linalg.solve(torch.cov(x.T), d)` is $v$ but for a factor, and $v^\\top d = 1$ gives the factor.",
    ),
    wrong={
        "orthogonal": Wrong(
            "that is the orthogonal projection: the means meet, but the embeddings move further than they must.",
            _erased(lambda x, d: d / d.square().sum()),
        ),
        "unscaled": Wrong(
            "the means of the groups do not meet: scale v such that v · d = 1.",
            _erased(_solved),
            _erased(lambda x, d: d),
            _erased(lambda x, d: d / d.norm()),
        ),
        "upside down": Wrong(
            "you read most where embeddings scatter most, and move them most; solve Σ v = d, and do not multiply by Σ.",
            _erased(_to_one(lambda x, d: x.T.cov() @ d)),
        ),
        "whitened": Wrong(
            "you whiten once; the squares are least with the inverse of Σ, not with its root.",
            _erased(_to_one(_whitened)),
        ),
        "one by one": Wrong(
            "you go by the variance of each number alone; the numbers of an embedding vary together.",
            _erased(_to_one(lambda x, d: d / x.var(0))),
        ),
        "from zero": Wrong(
            "you read from the origin; take the mean of x off first, or all queries move along with it.",
            _erased(mean=lambda x, nuisance, query: 0.0),
        ),
        "second moment": Wrong(
            "your Σ is about the origin; a covariance is about the mean.",
            _erased(_to_one(lambda x, d: torch.linalg.solve(x.T @ x, d))),
        ),
        "between": Wrong(
            "μ is the mean of all embeddings, not the middle between the groups, of which one may be larger.",
            _erased(mean=lambda x, nuisance, query: x[nuisance == 0].mean(0) + _apart(x, nuisance) / 2),
        ),
        "by queries": Wrong(
            "your map depends on which queries come together; fit it on x alone.",
            _erased(mean=lambda x, nuisance, query: query.mean(0)),
            _erased(mean=lambda x, nuisance, query: query.mean(0), seen=lambda x, query: query),
        ),
        "away": Wrong("you add what is to be taken off: the groups move apart.", _erased(sign=-1)),
        "shifted": Wrong(
            "you take each query for one of the group whose mean is nearer; the map is to ask for no group.", _shifted
        ),
    },
    otherwise="take v · (x − μ) times d off, with Σ v in the direction of d and v · d = 1.",
)


def _unbiased(examples: Tensor) -> Number:
    return examples.var() if len(examples) > 1 else 0.0


def _biased(examples: Tensor) -> Tensor:
    return examples.var(correction=0)


def _counted(n: int) -> float:
    """How much the own variance of a class of n examples counts."""
    return n / (n + 1)


def _spread(
    counted: Callable[[int], float] = _counted, variance: Callable[[Tensor], Number] = _unbiased,
    of_task: Callable[[Tensor, Tensor], Number] = lambda own, other: torch.cat([own, other]).var(), beta: bool = True,
) -> Callable[[Tensor, Tensor, float], Tensor]:  # fmt: skip
    """Q of a class beside another one, on a line, rightly or with a mistake."""

    def of_class(own: Tensor, other: Tensor, added: float) -> Tensor:
        share = counted(len(own))
        return share * variance(own) + (1 - share) * torch.as_tensor(of_task(own, other)) + beta * added

    return of_class


_by_both = _spread()


def _part_way(x: Tensor, y: Tensor) -> Tensor:
    """How far on the way from the first mean the scores are equal."""
    return x.sqrt() / (x.sqrt() + y.sqrt())


def _meet(
    spread: Callable[[Tensor, Tensor, float], Tensor] = _by_both,
    part: Callable[[Tensor, Tensor], Number] = _part_way,
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """The position between two means by a part of the way, which their spreads give, rightly or with a mistake."""
    return lambda a, b, beta: a.mean() + part(spread(a, b, beta), spread(b, a, beta)) * (b.mean() - a.mean())


def _bisected(density: bool = False) -> Callable[[Tensor, Tensor, float], float]:
    """Where the scores are equal; or the densities of two normal distributions."""

    def position(a: Tensor, b: Tensor, beta: float) -> float:
        near, far = a.mean().item(), b.mean().item()
        x, y = _by_both(a, b, beta).item(), _by_both(b, a, beta).item()
        low, high = 0.0, 1.0  # on the way from the first mean, where the first class is ahead, to the second
        for _ in range(60):
            middle = (low + high) / 2
            lead = (near - far) ** 2 * ((1 - middle) ** 2 / y - middle**2 / x) + density * math.log(y / x)
            low, high = (middle, high) if lead > 0 else (low, middle)
        return near + low * (far - near)

    return position


def _classes() -> list[tuple[Tensor, Tensor, float]]:
    """Two classes on a line, the first with one example, on which each mistake shows; and two with several."""
    answers = [each for wrong in scores_meet.wrong.values() for each in wrong.answers]
    while True:
        a, b, c, d = (
            mean + spread * torch.randn(n)
            for mean, spread, n in ((4.0, 0.0, 1), (8.0, 2.0, 4), (9.0, 0.4, 5), (5.0, 2.0, 3))
        )
        beta = 0.2 + 0.3 * torch.rand(()).item()
        found = {round(float(each(a, b, beta)), 2) for each in (scores_meet.right, *answers)}
        if len(found) == len(answers):  # of which two say half-way
            return [(a, b, beta), (c, d, beta)]


scores_meet = Exercise(
    asks="12.3: where between two prototypes on a line two classes score alike by Simple CNAPS",
    level="medium",
    minutes=12,
    given=_classes,
    right=_meet(),
    judge=lambda a, b, beta, found: "nan" if math.isnan(found) else None,
    also=(
        _bisected(),
        lambda a, b, beta: (
            (a.mean() / _by_both(a, b, beta).sqrt() + b.mean() / _by_both(b, a, beta).sqrt())
            / (_by_both(a, b, beta) ** -0.5 + _by_both(b, a, beta) ** -0.5)
        ),
    ),
    hints=(
        "On a line $Q_k$ is one number: a variance of the class, one of all examples together, and β. Which weights "
        "have the first two, if the class has one example?",
        "The scores are equal where $(x - \\mu_a)^2 / Q_a = (x - \\mu_b)^2 / Q_b$. Between the prototypes you know "
        "which of the two differences is positive, so take roots.",
        "So the distances to the two prototypes stand in the ratio of the roots of $Q_a$ and $Q_b$.",
    ),
    wrong={
        "middle": Wrong(
            "that is half-way, where no class's own variance counts; the one that spreads more reaches further.",
            _meet(part=lambda x, y: 0.5),
            _meet(_spread(lambda n: 0)),
        ),
        "not rooted": Wrong(
            "you divide the way in the ratio of the variances; what they divide is a square.",
            _meet(part=lambda x, y: x / (x + y)),
        ),
        "exchanged": Wrong(
            "so the class that spreads more reaches less far; a large variance makes a distance count less.",
            _meet(part=lambda x, y: _part_way(y, x)),
        ),
        "beyond": Wrong(
            "there they score alike too, beyond one of the prototypes; the place between the two is asked for.",
            _meet(part=lambda x, y: x.sqrt() / (x.sqrt() - y.sqrt())),
        ),
        "density": Wrong(
            "you compare densities of normal distributions; the score has no logarithm of a determinant.",
            _bisected(density=True),
        ),
        "own": Wrong(
            "you leave out the variance of all examples, which counts the more the fewer a class has.",
            _meet(_spread(lambda n: 1)),
        ),
        "turned round": Wrong(
            "with more examples the own variance should count more, and yours counts less.",
            _meet(_spread(lambda n: 1 / (n + 1))),
        ),
        "alone": Wrong(
            "the variance of a single example is zero, and its weight is still one half.",
            _meet(_spread(lambda n: _counted(n) if n > 1 else 0)),
        ),
        "biased": Wrong(
            "both variances are divided by one less than the number of examples.",
            _meet(_spread(variance=_biased, of_task=lambda *both: _biased(torch.cat(both)))),
            _meet(_spread(variance=_biased)),
        ),
        "within": Wrong(
            "that of the task is about the mean of all examples, so how far the classes lie apart counts in it.",
            _meet(
                _spread(
                    of_task=lambda own, other: (
                        torch.cat([own - own.mean(), other - other.mean()]).square().sum() / (len(own) + len(other) - 2)
                    )
                )
            ),
        ),
        "no beta": Wrong("you leave out β.", _meet(_spread(beta=False))),
        "nan": Wrong(
            "right where classes have several examples; the variance of one is 0 / 0. Take zero.",
            _meet(_spread(variance=lambda own: own.var() if len(own) > 1 else math.nan)),
        ),
    },
    otherwise="the distances to the two prototypes in the ratio of the roots of Q, with λ = n / (n + 1).",
)


def _loss(cosine: float, way: int, scale: float) -> float:
    """Of an example with this cosine to its own prototype and zero to the others."""
    return math.log1p((way - 1) * math.exp(-scale * cosine))


def _square(shots: int, alike: float) -> float:
    """Squared length of a mean of vectors of length one."""
    return (1 + (shots - 1) * alike) / shots


Cosines = Callable[[int, float], float]


def _own(shots: int, alike: float) -> float:
    return _square(shots, alike) ** 0.5


def _of_query(shots: int, alike: float) -> float:
    return alike / _own(shots, alike)


def _losses(
    own: Cosines = _own, other: Cosines = _of_query, loss: Callable[[float, int, float], float] = _loss
) -> Callable[[int, int, float, float], tuple[float, float]]:
    """Losses of an example of the support set and of a query, rightly or with a mistake."""
    return lambda way, shots, alike, scale: (
        loss(own(shots, alike), way, scale),
        loss(other(shots, alike), way, scale),
    )


def _measured(way: int, shots: int, alike: float, scale: float) -> tuple[Tensor, Tensor]:
    """On vectors made so: of a direction that is the class's, and one that is the example's own."""
    n = way * (shots + 1)
    of_class = torch.arange(n) % way
    vectors = torch.cat([alike**0.5 * F.one_hot(of_class, way), (1 - alike) ** 0.5 * torch.eye(n)], 1).double()
    prototypes = torch.stack([vectors[:-way][of_class[:-way] == c].mean(0) for c in range(way)])
    costs = F.cross_entropy(scale * F.normalize(vectors) @ F.normalize(prototypes).T, of_class, reduction="none")
    return costs[0], costs[-1]


support_and_query_loss = Exercise(
    asks="12.4: the loss of an example that is part of its own prototype, and that of a query",
    level="hard",
    minutes=12,
    given=[(20, 5, 0.5, 6.0), (5, 1, 0.4, 8.0), (5, 2, 0.7, 10.0)],
    fixed=(20, 5, 0.5, 6.0),
    right=_losses(),
    parts=("the loss of an example of the support set", "that of a query"),
    also=(
        _measured,
        _losses(
            lambda shots, alike: sum([1] + [alike] * (shots - 1)) / math.sqrt(shots + shots * (shots - 1) * alike),
            lambda shots, alike: shots * alike / math.sqrt(shots + shots * (shots - 1) * alike),
            lambda cosine, way, scale: math.log(math.exp(scale * cosine) + way - 1) - scale * cosine,
        ),
    ),
    hints=(
        "How long is a prototype? Its square is the mean of all products of two examples of the class, of an example "
        "with itself among them.",
        "A query has the inner product `alike` with each example, and so with their mean. An example of the support "
        "set has it with all but one.",
        "Divide by the length of the prototype for the cosine. All other cosines are zero, so the loss is "
        "$\\log(1 + (N - 1) e^{-s \\cos})$.",
    ),
    wrong={
        "order": Wrong(
            "the two are in the other order; of the query the loss is larger.", lambda *given: _losses()(*given)[::-1]
        ),
        "not in it": Wrong(
            "the first is part of the mean that it is compared with, which is nearer to it than to a query.",
            _losses(own=_of_query),
        ),
        "in it": Wrong("a query is no part of the mean that it is compared with.", _losses(other=_own)),
        "held out": Wrong(
            "that compares an example with the mean of the others of its class; here it is part of the mean.",
            _losses(own=lambda shots, alike: _of_query(shots - 1, alike) if shots > 1 else 0),
        ),
        "long": Wrong(
            "those are inner products with the prototype, which is shorter than one; divide by its length.",
            _losses(_square, lambda shots, alike: alike),
        ),
        "squared": Wrong(
            "you divide by the squared length of the prototype; take its root.",
            _losses(lambda shots, alike: 1, lambda shots, alike: alike / _square(shots, alike)),
        ),
        "orthogonal": Wrong(
            "that is the length of a mean of orthogonal vectors; those of a class are alike.",
            _losses(
                lambda shots, alike: _square(shots, alike) * shots**0.5, lambda shots, alike: alike * shots**0.5
            ),
        ),
        "all ways": Wrong(
            "the other classes are one fewer than all.",
            _losses(loss=lambda cosine, way, scale: _loss(cosine, way + 1, scale)),
        ),
        "no scale": Wrong(
            "the cosines are multiplied by the scale before the softmax.",
            _losses(loss=lambda cosine, way, scale: _loss(cosine, way, 1)),
        ),
        "probability": Wrong(
            "those are probabilities of the right class; the loss is minus their logarithm.",
            _losses(loss=lambda cosine, way, scale: math.exp(-_loss(cosine, way, scale))),
        ),
        "missed": Wrong(
            "those are the probabilities of all other classes together; take the logarithm of the right one's.",
            _losses(loss=lambda cosine, way, scale: -math.expm1(-_loss(cosine, way, scale))),
        ),
    },
    otherwise="log(1 + (N − 1) exp(−s cos)), by the cosine with a mean that is shorter than one.",
)
