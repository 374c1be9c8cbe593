"""Chapter 3: metrics."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.metrics import cosine_similarity, mahalanobis, squared_euclidean


def _moved(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x - x.mean(0), y - x.mean(0)


def _centred(x: Tensor, y: Tensor) -> Tensor:
    return cosine_similarity(*_moved(x, y))


def _divided(
    x: Tensor, y: Tensor, by_x: Callable[[Tensor], Tensor] = torch.ones_like,
    by_y: Callable[[Tensor], Tensor] = torch.ones_like,
) -> Tensor:  # fmt: skip
    """Inner products from the middle of x, of vectors that are divided by something."""
    x, y = _moved(x, y)
    return (x / by_x(x)) @ (y / by_y(y)).T


def _length(x: Tensor) -> Tensor:
    return x.norm(dim=1, keepdim=True)


def _squared(x: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True)


cosines = Exercise(
    asks="3.1: the cosine of every row of one matrix with every row of another, seen from the mean of the first",
    level="easy",
    minutes=8,
    given=lambda: (torch.randn(6, 4) + 0.3, torch.randn(5, 4)),
    right=_centred,
    shows=(0, 1),
    also=(
        lambda x, y: F.cosine_similarity((x - x.mean(0))[:, None], y - x.mean(0), dim=-1),
        lambda x, y: _divided(x, y, _length, _length),
        lambda x, y: 1 - squared_euclidean(*map(F.normalize, _moved(x, y))) / 2,
    ),
    hints=(
        "`x.mean(0)` is the new origin. From which vectors does it come off?",
        "All inner products at once are `x @ y.T`. What is missing between an inner product and a cosine?",
        "Scale each *row* to length one. Over which axis do you take the length, and what does `keepdim` do "
        "for the division?",
    ),
    wrong={
        "not moved": Wrong(
            "those are cosines seen from zero; first move the origin to the mean of x.", cosine_similarity
        ),
        "one moved": Wrong(
            "take the mean of x off both, or the two are seen from different origins.",
            lambda x, y: cosine_similarity(x - x.mean(0), y),
            lambda x, y: cosine_similarity(x, y - x.mean(0)),
        ),
        "own means": Wrong(
            "you take off each matrix its own mean; both are seen from the mean of x.",
            lambda x, y: cosine_similarity(x - x.mean(0), y - y.mean(0)),
        ),
        "each its mean": Wrong(
            "you take off each vector the mean of its own numbers; the origin is a mean of vectors, over axis 0.",
            lambda x, y: cosine_similarity(x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)),
        ),
        "transposed": Wrong(
            "rows should stand for x and columns for y; your answer has them the other way round.",
            lambda x, y: _centred(x, y).T,
            lambda x, y: cosine_similarity(y, x),
        ),
        "inner product": Wrong("those are inner products; divide by the lengths.", _divided, lambda x, y: x @ y.T),
        "distance": Wrong(
            "that is the cosine distance; the cosine itself is asked for.",
            lambda x, y: 1 - _centred(x, y),
            lambda x, y: 1 - cosine_similarity(x, y),
        ),
        "one side": Wrong(
            "only one side is scaled to length one; scale both.",
            lambda x, y: _divided(x, y, by_x=_length),
            lambda x, y: _divided(x, y, by_y=_length),
        ),
        "no root": Wrong(
            "the length is the root of the sum of squares.",
            lambda x, y: _divided(x, y, by_x=_squared),
            lambda x, y: _divided(x, y, by_y=_squared),
            lambda x, y: _divided(x, y, _squared, _squared),
        ),
        "columns": Wrong(
            "you scale columns; the length of a vector is taken over its row, dim=1.",
            lambda x, y: _divided(x, y, *[lambda v: v.norm(dim=0)] * 2),
        ),
    },
    otherwise="each entry should be x·y over the product of the two lengths, after the mean of x is taken off both.",
)


def _detour(points: tuple[float, float, float]) -> str:
    u, v, w = map(float, points)
    direct, detour = (u - w) ** 2, (u - v) ** 2 + (v - w) ** 2
    if direct > detour:
        return "right"
    if not detour:
        return "one point"
    if u == w:
        return "same ends"
    return "on an end" if v in (u, w) else "outside"


shorter_detour = Exercise(
    asks="3.2: three numbers for which the squared distance breaks the triangle inequality",
    level="easy",
    minutes=3,
    right=(0.0, 1.0, 2.0),
    also=((5, 4.9, -3), [torch.tensor(-1.0), torch.tensor(0.5), torch.tensor(1.0)]),
    parts=("u", "v", "w"),
    judge=_detour,
    shows=None,
    hints=(
        "Take easy numbers for two of them, and try where the third must lie.",
        "The square of a long way is more than the squares of its two halves together.",
    ),
    wrong={
        "one point": Wrong("all three are one point, and there is no way to go; take different numbers.", (0, 0, 0)),
        "same ends": Wrong("u and w are one point, and no detour is shorter than no way at all.", (0, 1, 0)),
        "on an end": Wrong(
            "direct way and detour are equally long; put v strictly between u and w.", (0, 0, 1), (0, 1, 1)
        ),
        "outside": Wrong(
            "v lies beyond an end, so the detour goes back and forth; make the detour the shorter one.",
            (0, 3, 1),
            (0, -1, 2),
        ),
    },
    otherwise="the squared distance from u to w must be above those from u to v and from v to w together.",
)


def _ranks_by_cosine(vectors: Tensor, queries: Tensor, changed: Tensor) -> str | None:
    wanted, changed = cosine_similarity(queries, vectors).argmax(1), changed.double()
    return "right" if torch.equal(squared_euclidean(queries.double(), changed).argmin(1), wanted) else None


before_storing = Exercise(
    asks="3.3: vectors whose Euclidean ranking is the cosine ranking of the old ones",
    level="medium",
    minutes=8,
    given=lambda: (torch.randn(60, 5) * torch.rand(60, 1), torch.randn(40, 5)),
    call=lambda change, vectors, queries: change(vectors),
    right=lambda vectors: F.normalize(vectors),
    judge=_ranks_by_cosine,
    shows=None,
    also=(lambda vectors: vectors / vectors.norm(dim=1, keepdim=True), lambda vectors: 1e-6 * F.normalize(vectors)),
    hints=(
        "When does the nearest by Euclidean distance have the largest cosine, too? The chapter states a condition.",
        "Write ‖q − x‖² out in three terms. Which of them must be the same for all x?",
    ),
    wrong={
        "unchanged": Wrong("you changed nothing; long vectors are far from every query.", lambda vectors: vectors),
        "columns": Wrong(
            "you scale columns; scale each vector, a row, to length one.",
            lambda vectors: F.normalize(vectors, dim=0),
        ),
        "moved": Wrong(
            "moving the vectors changes their angles; what must be alike is their length.",
            lambda vectors: vectors - vectors.mean(0),
        ),
        "no root": Wrong(
            "you divide by the squared length; the length is its root.",
            lambda vectors: vectors / vectors.square().sum(1, keepdim=True),
        ),
        "sum of absolutes": Wrong(
            "you divide by the sum of absolute values; the length of a vector is the root of the sum of squares.",
            lambda vectors: F.normalize(vectors, p=1),
        ),
        "one length": Wrong(
            "you divide all vectors by the same number, so the long ones are still long; divide each by its own "
            "length.",
            lambda vectors: vectors / vectors.norm(dim=1).max(),
            lambda vectors: vectors / vectors.norm(),
        ),
    },
    otherwise="the nearest neighbours are not those of the cosine: make all lengths equal, keep the directions.",
)


def _log_odds(ways: int, loss: float) -> float:
    return math.log((ways - 1) / math.expm1(loss))


scale_needed = Exercise(
    asks="3.4: the scale at which a cosine softmax over so many classes could reach a loss",
    level="medium",
    minutes=10,
    given=[(5, 0.3), (20, 0.05), (64, 1.2)],
    right=lambda ways, loss: (ways - 1) / ways * _log_odds(ways, loss),
    fixed=(5, 0.3),
    also=(
        lambda ways, loss: (1 - 1 / ways) * (math.log(ways - 1) - math.log(math.exp(loss) - 1)),
        lambda ways, loss: -math.log((math.exp(loss) - 1) / (ways - 1)) / (1 + 1 / (ways - 1)),
    ),
    hints=(
        "Undo the operations of equation 3.5 one after the other, from the outside.",
        "$\\ell = \\log(1 + z)$ gives $z = e^\\ell - 1$.",
        "Then $z$ is a number of classes times an exponential. Divide, take the logarithm, and mind its sign.",
    ),
    wrong={
        "apart": Wrong(
            "the best cosine of two classes is −1/(N − 1), so scores lie N/(N − 1) apart: divide by that.", _log_odds
        ),
        "opposite": Wrong(
            "N unit vectors cannot all be opposite: their scores lie N/(N − 1) apart, not 2.",
            lambda ways, loss: _log_odds(ways, loss) / 2,
        ),
        "sign": Wrong(
            "the sign is wrong: a scale is positive.", lambda ways, loss: (1 - ways) / ways * _log_odds(ways, loss)
        ),
        "no one": Wrong(
            "you lost the 1 of log(1 + z): z is exp(loss) − 1, not exp(loss).",
            lambda ways, loss: (ways - 1) / ways * (math.log(ways - 1) - loss),
        ),
        "classes": Wrong(
            "one of the classes is the right one; N − 1 are wrong.",
            lambda ways, loss: (ways - 1) / ways * math.log(ways / math.expm1(loss)),
        ),
        "outside": Wrong(
            "divide by N − 1 before the logarithm, not after it.",
            lambda ways, loss: -math.log(math.expm1(loss)) / ways,
            lambda ways, loss: -math.log(math.expm1(loss)) / (ways - 1),
        ),
    },
    otherwise="for {given[0]} ways and a loss of {given[1]} your scale is {answer:.3g}, and equation 3.5 gives another "
    "loss.",
)


def _inverse_covariance(vectors: Tensor) -> Tensor:
    return vectors.T.cov().inverse()


def _first_times(vectors: Tensor, factor: float) -> Tensor:
    return torch.cat([factor * vectors[:, :1], vectors[:, 1:]], 1)


def _stays(
    scaled: Callable[[Tensor, float], Tensor] = _first_times, refit: bool = True, but: str = "",
    share: Callable[[Tensor], Tensor] = torch.mean,
    matrix: Callable[[Tensor], Tensor] = _inverse_covariance,
) -> Callable[..., tuple[Tensor, ...]]:  # fmt: skip
    """Shares of nearest examples that stay, rightly or with a mistake."""

    def shares(support: Tensor, query: Tensor, factor: float) -> tuple[Tensor, ...]:
        s = support if but == "support" else scaled(support, factor)
        q = query if but == "query" else scaled(query, factor)
        old, new = matrix(support), matrix(s if refit else support)
        same = (
            squared_euclidean(query, support).argmin(1) == squared_euclidean(q, s).argmin(1),
            mahalanobis(query, support, old).argmin(1) == mahalanobis(q, s, new).argmin(1),
        )
        return tuple(share(each.double()) for each in same)

    return shares


def _stays_by_sums(support: Tensor, query: Tensor, factor: float) -> list[float]:
    unit = torch.ones(support.shape[1], dtype=support.dtype)
    unit[0] = factor
    found = []
    for matrix in (lambda v: torch.eye(v.shape[1], dtype=v.dtype), _inverse_covariance):
        nearest = []
        for examples, queries in ((support, query), (support * unit, query * unit)):
            gap = queries[:, None] - examples
            nearest.append(torch.einsum("qsd,de,qse->qs", gap, matrix(examples), gap).argmin(1))
        found.append((nearest[0] == nearest[1]).double().mean().item())
    return found


stays = Exercise(
    asks="3.5: shares of nearest examples that stay when the first number has another unit",
    level="hard",
    minutes=20,
    given=lambda: [
        (torch.randn(60, 4, dtype=torch.float64), torch.randn(1000, 4, dtype=torch.float64), factor)
        for factor in (6.0, 4.0)
    ],
    right=_stays(),
    also=(_stays_by_sums, lambda *given: tuple(each.item() for each in _stays()(*given))),
    parts=("the share by Euclidean distance", "that by Mahalanobis distance"),
    hints=(
        "The covariance of the support set is measured in its own units. What becomes of it when these change?",
        "`support.T.cov()` is the covariance, and `metrics.mahalanobis(query, support, matrix)` takes its inverse.",
        "Before and after the change: `argmin(1)` names the nearest, and the mean of `before == after` is the share.",
    ),
    wrong={
        "old matrix": Wrong(
            "after the change the covariance must be measured again, in the new unit.", _stays(refit=False)
        ),
        "only queries": Wrong(
            "you change the queries only; the support set has the new unit too.", _stays(but="support")
        ),
        "only support": Wrong(
            "you change the support set only; the queries have the new unit too.", _stays(but="query")
        ),
        "all numbers": Wrong(
            "you multiply all numbers; only the first one has another unit.", _stays(lambda v, factor: factor * v)
        ),
        "not inverted": Wrong(
            "the matrix is the inverse of the covariance, or wide directions count for more.",
            _stays(matrix=lambda v: v.T.cov()),
        ),
        "moved": Wrong("those are the shares that change.", _stays(share=lambda same: 1 - same.mean())),
        "order": Wrong("Euclidean comes first, Mahalanobis second.", lambda *given: _stays()(*given)[::-1]),
    },
    otherwise="compare the nearest examples before and after, once by each distance.",
)
