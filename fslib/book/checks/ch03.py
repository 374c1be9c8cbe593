"""Chapter 3: metrics."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.metrics import cosine_similarity, squared_euclidean

cosines = Exercise(
    asks="3.1: the cosine of every row of one matrix with every row of another",
    level="easy",
    minutes=5,
    given=lambda: (torch.randn(6, 4) + 0.3, torch.randn(5, 4)),
    right=cosine_similarity,
    shows=(0, 1),
    also=(
        lambda x, y: F.cosine_similarity(x[:, None], y, dim=-1),
        lambda x, y: (x @ y.T) / (x.norm(dim=1)[:, None] * y.norm(dim=1)),
        lambda x, y: 1 - squared_euclidean(F.normalize(x), F.normalize(y)) / 2,
    ),
    hints=(
        "All inner products at once are `x @ y.T`. What is missing between an inner product and a cosine?",
        "Scale each *row* to length one. Over which axis do you take the length, and what does `keepdim` do "
        "for the division?",
    ),
    wrong={
        "transposed": Wrong(
            "rows should stand for x and columns for y; your answer has them the other way round.",
            lambda x, y: cosine_similarity(y, x),
        ),
        "inner product": Wrong("those are inner products; divide by the lengths.", lambda x, y: x @ y.T),
        "distance": Wrong(
            "that is the cosine distance; the cosine itself is asked for.", lambda x, y: 1 - cosine_similarity(x, y)
        ),
        "one side": Wrong(
            "only one side is scaled to length one; scale both.",
            lambda x, y: F.normalize(x) @ y.T,
            lambda x, y: x @ F.normalize(y).T,
        ),
        "no root": Wrong(
            "the length is the root of the sum of squares.",
            lambda x, y: x @ y.T / x.square().sum(1, keepdim=True),
            lambda x, y: x @ y.T / y.square().sum(1),
            lambda x, y: x @ y.T / x.square().sum(1, keepdim=True) / y.square().sum(1),
        ),
        "columns": Wrong(
            "you scale columns; the length of a vector is taken over its row, dim=1.",
            lambda x, y: F.normalize(x, dim=0) @ F.normalize(y, dim=0).T,
        ),
    },
    otherwise="each entry should be x·y over the product of the two lengths.",
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
    },
    otherwise="for {given[0]} ways and a loss of {given[1]} your scale is {answer:.3g}, and equation 3.5 gives another "
    "loss.",
)


def _covariance() -> tuple[Tensor]:
    root = torch.randn(4, 4, dtype=torch.float64) + 2 * torch.eye(4, dtype=torch.float64)
    return (root @ root.T + 0.1 * torch.eye(4, dtype=torch.float64),)


def _factor_of(covariance: Tensor, factor: Tensor) -> str | None:
    factor, inverse = factor.to(torch.float64), covariance.inverse()

    def same(a: Tensor, b: Tensor) -> bool:
        return torch.allclose(a, b, atol=1e-4, rtol=1e-4)

    if same(factor.T @ factor, inverse):
        return "right"
    if same(factor @ factor.T, inverse):
        return "transposed"
    if same(factor.T @ factor, covariance) or same(factor @ factor.T, covariance):
        return "of the covariance"
    return None


def _inverse_root(covariance: Tensor) -> Tensor:
    """The symmetric one among the factors."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ values.rsqrt().diag() @ vectors.T


whitening = Exercise(
    asks="3.5: L with LᵀL equal to the inverse of a covariance matrix",
    level="hard",
    minutes=15,
    given=_covariance,
    right=lambda covariance: torch.linalg.cholesky(covariance.inverse()).T,
    judge=_factor_of,
    shows=None,
    also=(
        lambda covariance: torch.linalg.cholesky(covariance).inverse(),
        _inverse_root,
    ),
    hints=(
        "$M = L^\\top L$. Which matrix plays the part of $M$ here?",
        "`torch.linalg.cholesky` gives a lower triangular $C$ with $C C^\\top$ equal to its argument. Which "
        "product do you have, and which do you want?",
        "Turn $L^\\top L$ into $C C^\\top$: what must $C$ be?",
    ),
    wrong={
        "transposed": Wrong(
            "L Lᵀ is the inverse, but LᵀL is asked for: transpose.",
            lambda covariance: torch.linalg.cholesky(covariance.inverse()),
        ),
        "itself": Wrong("that is M itself; return a factor of it.", torch.inverse),
        "of the covariance": Wrong(
            "that is a factor of the covariance; take one of its inverse.", torch.linalg.cholesky
        ),
        "diagonal": Wrong(
            "you divide each number by its own spread, and forget that they go together: the whole matrix counts.",
            lambda covariance: covariance.diag().rsqrt().diag(),
        ),
    },
    otherwise="LᵀL is not the inverse of the covariance.",
)
