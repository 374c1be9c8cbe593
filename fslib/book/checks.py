"""Checks a reader runs on an answer to an exercise.

A check tries the answer on fresh random data and says what is wrong with it, not only that it is. It prints one
sentence and returns whether the answer is right. An answer that is still the placeholder ``...`` is left in peace.

The data lie on the CPU, and the answer may lie on any device. Checks leave all random generators as they were.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fslib.devices import default_device, seeded
from fslib.episodes import Episode
from fslib.methods import prototypes
from fslib.metrics import cosine_similarity, squared_euclidean

# Each press of a check draws from a seed of its own.
_presses = itertools.count()


def _check(problem: Callable[[Any], str | None]) -> Callable[[Any], bool]:
    """Make a check from a function that names the problem with an answer, or returns None."""

    def check(answer: Any) -> bool:
        try:
            with seeded(next(_presses), default_device()), torch.device("cpu"):
                found = problem(answer)
        except NotImplementedError:
            print("Not answered yet.")
            return False
        except Exception as error:
            found = f"your answer raised {type(error).__name__}: {error}"
        print(f"✗ Not yet: {found}" if found else "✓ Right.")
        return not found

    check.__doc__ = (
        f"{problem.__doc__}\n\nPrints one sentence; returns whether the answer is right."
    )
    check.__name__ = check.__qualname__ = problem.__name__
    check.__module__ = __name__
    return check


def _given(value: Any) -> Any:
    """The value, on the CPU if it is a tensor, unless it is still the placeholder."""
    if value is ... or value is None:
        raise NotImplementedError
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _shape_problem(value: Any, shape: tuple[int, ...]) -> str | None:
    if not isinstance(value, Tensor):
        return f"the answer should be a tensor, but is a {type(value).__name__}."
    if tuple(value.shape) != shape:
        return f"the shape should be {shape}, but is {tuple(value.shape)}."
    return None


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.to(b.dtype), b, atol=1e-4, rtol=1e-4)


# Chapter 1: the few-shot problem ------------------------------------------------------------------------------


@_check
def nearest_neighbour(classify: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 1.1: the label of the support example nearest to each query."""
    support, labels, query = (
        torch.randn(7, 5),
        torch.tensor([40, 10, 30, 10, 20, 40, 20]),
        torch.randn(50, 5),
    )
    distances = squared_euclidean(query, support)
    answer = _given(classify(support.clone(), labels.clone(), query.clone()))
    if problem := _shape_problem(answer, (50,)):
        return problem
    if torch.equal(answer, labels[distances.argmin(1)]):
        return None
    if torch.equal(answer, distances.argmin(1)):
        return "you return the position of the nearest support example; return the label at that position."
    if torch.equal(answer, labels[distances.argmax(1)]):
        return "you pick the farthest example; the nearest has the smallest distance."
    if torch.equal(answer, labels[(query @ support.T).argmax(1)]):
        return "you compare by inner products, which favour long vectors; compare by distances."
    if torch.equal(answer, labels[(query[:, None] - support).sum(-1).argmin(1)]):
        return "the differences must be squared before they are summed, or plus and minus cancel."
    return "some labels are not those of the nearest support example."


@_check
def weights_per_picture(number: float) -> str | None:
    """Exercise 1.2: weights of a Conv-4 of 32 channels and a linear layer to ten classes, for each of 50 pictures."""
    weights = sum(32 * 9 * c + 32 + 64 for c in (1, 32, 32, 32)) + 32 * 10 + 10
    if math.isclose(_given(number), weights / 50, rel_tol=1e-3):
        return None
    if math.isclose(number, weights, rel_tol=0.01):
        return "that is the number of weights; divide it by the number of pictures."
    if math.isclose(number, weights / 10, rel_tol=0.01):
        return "ten classes with five pictures each make 50 pictures."
    return (
        "count every parameter of the network, with sum(p.numel() for p in network.parameters())."
    )


@_check
def zero_shot(classify: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 1.3: the class whose description is nearest to the description predicted for each query."""
    described, predicted = torch.rand(6, 8).round(), torch.rand(400, 8)
    described[:, 0] = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    described += 0.01 * torch.arange(6)[:, None]  # no two classes described alike
    answer = _given(classify(predicted.clone(), described.clone()))
    if problem := _shape_problem(answer, (400,)):
        return problem
    distances = squared_euclidean(predicted, described)
    if torch.equal(answer, distances.argmin(1)):
        return None
    if torch.equal(answer, distances.argmax(1)):
        return "you pick the class whose description is farthest."
    return "for each query, pick the class (a row of the second argument) at the smallest distance."


# Chapter 2: episodes ------------------------------------------------------------------------------------------


@_check
def draw_episode(draw: Callable[[Tensor, int, int, int], Episode]) -> str | None:
    """Exercise 2.1: draw(labels, way, shot, query) returns an Episode of indices."""
    labels = (10 * torch.arange(12) + 7).repeat_interleave(9)[torch.randperm(108)]
    drawn: list[Episode] = []
    for _ in range(30):
        episode = _given(draw(labels.clone(), 6, 2, 3))
        if not isinstance(episode, Episode):
            return f"the answer should be an Episode, but is a {type(episode).__name__}."
        episode = Episode(*map(_given, (episode.classes, episode.support, episode.query)))
        for name, index, size in (("support", episode.support, 12), ("query", episode.query, 18)):
            if problem := _shape_problem(index, (size,)):
                return f"{name}: {problem}"
        support, query = labels[episode.support].reshape(6, 2), labels[episode.query].reshape(6, 3)
        if (support != support[:, :1]).any() or (query != query[:, :1]).any():
            return "examples should be grouped by class: all of the first class, then all of the second, and so on."
        if len(support[:, 0].unique()) < 6:
            return "a class came twice in one episode; draw classes without replacement."
        if not torch.equal(support[:, 0], query[:, 0]):
            return "support and query must hold the same classes in the same order."
        if set(episode.support.tolist()) & set(episode.query.tolist()):
            return "an example stands in both support and query, so the answer leaks; split one draw in two."
        if len({*episode.support.tolist(), *episode.query.tolist()}) < 30:
            return "an example came twice; draw examples without replacement."
        if not isinstance(episode.classes, Tensor) or not torch.equal(
            episode.classes, support[:, 0]
        ):
            return "classes should hold the labels of the classes drawn, in the order of the rows."
        drawn.append(episode)
    if len({tuple(episode.support.tolist()) for episode in drawn}) == 1:
        return "every episode is the same; draw at random."
    if len(torch.cat([episode.classes for episode in drawn]).unique()) < 12:
        return "some classes are never drawn; every class should have the same chance."
    if len(torch.cat([episode.support for episode in drawn]).unique()) < 80:
        return "some examples are never in the support set; draw the examples at random too."
    return None


@_check
def interval(half_width: Callable[[Tensor], Any]) -> str | None:
    """Exercise 2.2: half-width of the 95 % interval of the mean."""
    values = 0.5 + 0.1 * torch.randn(400, dtype=torch.float64)
    right = 1.96 * values.std().item() / 20
    answer = float(_given(half_width(values.clone())))
    if math.isclose(answer, right, rel_tol=0.01):
        return None
    if math.isclose(answer, values.std().item(), rel_tol=0.01) or math.isclose(
        answer, 20 * right, rel_tol=0.01
    ):
        return "that is the spread of single episodes; the mean of n episodes varies √n times less."
    if math.isclose(answer, right / 1.96, rel_tol=0.01):
        return "that is the standard error; the 95 % interval reaches 1.96 of them to each side."
    if math.isclose(answer, 2 * right, rel_tol=0.01):
        return "that is the whole width; the half-width is asked for."
    return "divide the standard deviation by the square root of the number of episodes, and multiply by 1.96."


@_check
def episodes_needed(count: Callable[[float, float], Any]) -> str | None:
    """Exercise 2.3: episodes for an interval of a given half-width, from the standard deviation of one."""
    answer = _given(count(0.08, 0.002))
    right = math.ceil((1.96 * 0.08 / 0.002) ** 2)
    if abs(answer - right) <= 1:
        return None
    if math.isclose(answer, 1.96 * 0.08 / 0.002, rel_tol=0.02):
        return "half the width takes four times the episodes: the ratio must be squared."
    return "solve 1.96 · s / √n = half-width for n."


# Chapter 3: metrics ---------------------------------------------------------------------------------------------


@_check
def cosines(similarity: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 3.1: the cosine of every row of one matrix with every row of another."""
    x, y = torch.randn(6, 4) + 0.3, torch.randn(5, 4)
    answer = _given(similarity(x.clone(), y.clone()))
    right = cosine_similarity(x, y)
    if isinstance(answer, Tensor) and answer.shape == (5, 6):
        return (
            "rows should stand for x and columns for y; your answer has them the other way round."
        )
    if problem := _shape_problem(answer, (6, 5)):
        return problem
    if _close(answer, right):
        return None
    if _close(answer, x @ y.T):
        return "those are inner products; divide by the lengths."
    if _close(answer, 1 - right):
        return "that is the cosine distance; the cosine itself is asked for."
    lengths = x.norm(dim=1)[:, None], y.norm(dim=1)
    if any(_close(answer, x @ y.T / length) for length in lengths):
        return "only one side is scaled to length one; scale both."
    if any(_close(answer, x @ y.T / length.square()) for length in lengths) or _close(
        answer, x @ y.T / (lengths[0] * lengths[1]).square()
    ):
        return "the length is the root of the sum of squares."
    by_column = (x / x.norm(dim=0)) @ (y / y.norm(dim=0)).T
    if _close(answer, by_column):
        return "you scale columns; the length of a vector is taken over its row, dim=1."
    return "each entry should be x·y over the product of the two lengths."


@_check
def shorter_detour(points: tuple[float, float, float]) -> str | None:
    """Exercise 3.2: three numbers for which the squared distance breaks the triangle inequality."""
    u, v, w = (float(_given(point)) for point in _given(points))
    direct, detour = (u - w) ** 2, (u - v) ** 2 + (v - w) ** 2
    if direct > detour:
        return None
    if direct == detour:
        return "direct way and detour are equally long; put v strictly between u and w."
    return (
        f"the direct way is {direct:g} and the detour {detour:g}; make the detour the shorter one."
    )


@_check
def before_storing(change: Callable[[Tensor], Tensor]) -> str | None:
    """Exercise 3.3: vectors whose Euclidean ranking is the cosine ranking of the old ones."""
    vectors, queries = torch.randn(60, 5) * torch.rand(60, 1), torch.randn(40, 5)
    answer = _given(change(vectors.clone()))
    if problem := _shape_problem(answer, (60, 5)):
        return problem
    wanted = cosine_similarity(queries, vectors).argmax(1)
    if torch.equal(squared_euclidean(queries, answer.to(queries)).argmin(1), wanted):
        return None
    if torch.equal(answer, vectors):
        return "you changed nothing; long vectors are far from every query."
    if _close(answer, vectors / vectors.norm(dim=0)):
        return "you scale columns; scale each vector, a row, to length one."
    if _close(answer, vectors - vectors.mean(0)):
        return "moving the vectors changes their angles; what must be alike is their length."
    return "the nearest neighbours are not those of the cosine: make all lengths equal, keep the directions."


@_check
def scale_needed(scale: Callable[[int, float], float]) -> str | None:
    """Exercise 3.4: the scale at which a cosine softmax over so many classes could reach a loss."""
    for ways, loss in ((5, 0.3), (20, 0.05), (64, 1.2)):
        answer = float(_given(scale(ways, loss)))
        odds = (ways - 1) / (math.exp(loss) - 1)
        right = (ways - 1) / ways * math.log(odds)
        if math.isclose(answer, right, rel_tol=1e-4):
            continue
        if math.isclose(answer, math.log(odds), rel_tol=1e-4):
            return "the best cosine of two classes is −1/(N − 1), so scores lie N/(N − 1) apart: divide by that."
        if math.isclose(answer, math.log(odds) / 2, rel_tol=1e-4):
            return "N unit vectors cannot all be opposite: their scores lie N/(N − 1) apart, not 2."
        if math.isclose(answer, -right, rel_tol=1e-4):
            return "the sign is wrong: a scale is positive."
        return f"for {ways} ways and a loss of {loss} your scale is {answer:.3g}, and equation 3.5 gives another loss."
    return None


@_check
def whitening(factor: Callable[[Tensor], Tensor]) -> str | None:
    """Exercise 3.5: L with LᵀL equal to the inverse of a covariance matrix."""
    root = torch.randn(4, 4, dtype=torch.float64) + 2 * torch.eye(4, dtype=torch.float64)
    covariance = root @ root.T + 0.1 * torch.eye(4, dtype=torch.float64)
    answer = _given(factor(covariance.clone()))
    if problem := _shape_problem(answer, (4, 4)):
        return problem
    answer, wanted = answer.to(torch.float64), covariance.inverse()
    if _close(answer.T @ answer, wanted):
        return None
    if _close(answer @ answer.T, wanted):
        return "L Lᵀ is the inverse, but LᵀL is asked for: transpose."
    if _close(answer, wanted):
        return "that is M itself; return a factor of it."
    if _close(answer.T @ answer, covariance) or _close(answer @ answer.T, covariance):
        return "that is a factor of the covariance; take one of its inverse."
    return "LᵀL is not the inverse of the covariance."


# Chapter 4: losses ----------------------------------------------------------------------------------------------


@_check
def contrastive_loss(loss: Callable[[Tensor, Tensor, float], Tensor]) -> str | None:
    """Exercise 4.1: the contrastive loss, the mean over pairs."""
    d, same, m = 2 * torch.rand(40), torch.rand(40) < 0.3, 1.2
    answer = _given(loss(d.clone(), same.clone(), m))
    if problem := _shape_problem(answer, ()):
        return problem
    push = (m - d).clamp_min(0)

    def mean(one_class: Tensor, two_classes: Tensor) -> Tensor:
        return torch.where(same, one_class, two_classes).mean()

    if _close(answer, mean(d.square(), push.square())):
        return None
    wrong = {
        "pull and push are swapped: pairs of one class have same = True.": mean(
            push.square(), d.square()
        ),
        "the squares are missing.": mean(d, push),
        "the push is not squared.": mean(d.square(), push),
        "the pull is not squared.": mean(d, push.square()),
        "the maximum with zero is missing: pairs beyond the margin cost nothing.": mean(
            d.square(), (m - d).square()
        ),
        "square after the subtraction: (m − d)², not m − d².": mean(
            d.square(), (m - d.square()).clamp_min(0)
        ),
        "take one mean over all pairs, not one over each kind.": d[same].square().mean()
        + push[~same].square().mean(),
        "that is the sum; take the mean over pairs.": 40 * mean(d.square(), push.square()),
        "that is half the loss of equation 4.1.": mean(d.square(), push.square()) / 2,
    }
    for problem, value in wrong.items():
        if _close(answer, value):
            return problem
    return "the value is not that of equation 4.1."


@_check
def count_triplets(count: Callable[[int, int], float]) -> str | None:
    """Exercise 4.2: the number of triplets in a batch of so many classes and examples of each."""
    for classes, each in ((20, 6), (3, 2), (7, 5)):
        answer = _given(count(classes, each))
        n = classes * each
        right = n * (each - 1) * (n - each)
        if answer == right:
            continue
        wrong = {
            n * each * (n - each): "an example is not its own positive.",
            n * (each - 1) * (n - 1): "a negative is of another class.",
            n * (each - 1) * (classes - 1): "a class has more than one negative to offer.",
            right / 2: "anchor and positive play different parts, so either order counts.",
        }
        return wrong.get(
            answer, f"{classes} classes with {each} examples have {right:,}, not {answer}."
        )
    return None


@_check
def hardest(find: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> str | None:
    """Exercise 4.3: distance to the farthest positive and to the nearest negative of each example."""
    labels = torch.tensor([5, 2, 9, 5, 2, 9, 9, 5])
    points = torch.randn(8, 3)
    distances = squared_euclidean(points, points).sqrt()
    answer = _given(find(distances.clone(), labels.clone()))
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "return two things, the farthest positives and the nearest negatives."
    positive, negative = (_given(part) for part in answer)
    for name, part in (("positive", positive), ("negative", negative)):
        if problem := _shape_problem(part, (8,)):
            return f"{name}: {problem}"
        if not part.is_floating_point():
            return f"{name}: those are positions; return the distances, by amax or amin for argmax or argmin."
    same = labels[:, None] == labels
    itself = torch.eye(8, dtype=torch.bool)
    far = distances.masked_fill(~same | itself, -torch.inf).amax(1)
    near = distances.masked_fill(same, torch.inf).amin(1)
    if _close(positive, far) and _close(negative, near):
        return None
    if _close(positive, near) and _close(negative, far):
        return "positives come first, negatives second."
    if _close(positive, distances.masked_fill(~same | itself, torch.inf).amin(1)):
        return "that is the nearest positive; the hardest is the farthest."
    if _close(positive, distances.amax(1)):
        return "the farthest positive must be of the same class."
    if _close(negative, distances.masked_fill(same, -torch.inf).amax(1)):
        return "that is the farthest negative; the hardest is the nearest."
    if _close(negative, distances.masked_fill(itself, torch.inf).amin(1)) or _close(
        negative, distances.amin(1)
    ):
        return "the nearest negative must be of another class; set the distances of the same class to infinity."
    return f"the {'negatives' if _close(positive, far) else 'positives'} are not right."


@_check
def n_pair_distances(loss: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 4.4: the N-pair loss with minus the squared distance for the inner product."""
    anchor, positive = torch.randn(6, 3), torch.randn(6, 3)
    answer = _given(loss(anchor.clone(), positive.clone()))
    if problem := _shape_problem(answer, ()):
        return problem
    squared = squared_euclidean(anchor, positive)

    def line_up(scores: Tensor) -> Tensor:
        return (scores.logsumexp(1) - scores.diag()).mean()

    wrong = {
        "near should score high: put a minus before the distance.": line_up(squared),
        "the distance should be squared.": line_up(-squared.sqrt()),
        "those are inner products; compare by minus the squared distance.": line_up(
            anchor @ positive.T
        ),
        "rows should be anchors: you ask each positive for its anchor.": line_up(-squared.T),
        "that is the sum over anchors; take the mean.": 6 * line_up(-squared),
    }
    if _close(answer, line_up(-squared)):
        return None
    return next(
        (problem for problem, value in wrong.items() if _close(answer, value)),
        "the value is not the cross-entropy of minus the squared distances.",
    )


@_check
def arcface_scores(scores: Callable[[Tensor, Tensor, float], Tensor]) -> str | None:
    """Exercise 4.5: cosines with the margin added to the angle of the right class."""
    cosines, labels, m = 1.6 * torch.rand(9, 4) - 0.8, torch.randint(0, 4, (9,)), 0.4
    answer = _given(scores(cosines.clone(), labels.clone(), m))
    if problem := _shape_problem(answer, (9, 4)):
        return problem
    right = labels[:, None] == torch.arange(4)
    angles = cosines.acos()
    if _close(answer, torch.where(right, (angles + m).cos(), cosines)):
        return None
    wrong = {
        "every class has the margin; only the right one should.": (angles + m).cos(),
        "the sign of the margin is wrong: the right class is made harder, its angle larger.": torch.where(
            right, (angles - m).cos(), cosines
        ),
        "you take the margin off the cosine, as CosFace does; ArcFace adds it to the angle.": torch.where(
            right, cosines - m, cosines
        ),
        "the wrong classes have the margin; the right one should.": torch.where(
            right, cosines, (angles + m).cos()
        ),
        "those are angles; take their cosine.": torch.where(right, angles + m, angles),
        "the margin is in radians, not in degrees.": torch.where(
            right, (angles + math.radians(m)).cos(), cosines
        ),
    }
    return next(
        (problem for problem, value in wrong.items() if _close(answer, value)),
        "add the margin to the angle of the right class, and take the cosine.",
    )


# Chapter 5: embedding functions ---------------------------------------------------------------------------------


@_check
def receptive_field(side: Callable[[list[tuple[int, int]]], Any]) -> str | None:
    """Exercise 5.1: the side of the receptive field of layers given as (kernel, stride)."""
    for layers in ([(3, 1)], [(3, 1), (2, 2)] * 4, [(7, 2), (3, 2), (3, 1), (3, 2), (1, 1)]):
        fields, steps = [1], [1]
        for kernel, stride in layers:
            fields.append(fields[-1] + (kernel - 1) * steps[-1])
            steps.append(steps[-1] * stride)
        answer = int(_given(side(list(layers))))
        if answer == fields[-1]:
            continue
        wrong = {
            "count the stride of a layer only for the layers after it.": 1
            + sum((kernel - 1) * step for (kernel, _), step in zip(layers, steps[1:])),
            "you do not use the strides: after a stride of 2, neighbours lie two pixels apart.": 1
            + sum(kernel - 1 for kernel, _ in layers),
            "a kernel of 3 adds two steps, not three.": 1
            + sum(kernel * step for (kernel, _), step in zip(layers, steps)),
            "before the first layer a number sees one pixel, itself: start with 1.": fields[-1] - 1,
            "that is how far neighbours lie apart at the end; the field is asked for.": steps[-1],
        }
        return next(
            (problem for problem, value in wrong.items() if answer == value),
            f"the layers {layers} give {fields[-1]}, and yours is {answer}.",
        )
    return None


@_check
def block_parameters(count: Callable[[int, int, int], Any]) -> str | None:
    """Exercise 5.2: the parameters of a convolution with a bias and of the batch norm after it."""
    for ins, outs, kernel in ((1, 64, 3), (48, 32, 5)):
        answer, weights = int(_given(count(ins, outs, kernel))), ins * outs * kernel**2
        if answer == weights + 3 * outs:
            continue
        wrong = {
            "the convolution is right; batch norm learns a scale and a shift of each channel.": weights
            + outs,
            "those are the weights of the convolution; it has a bias, and batch norm has parameters.": weights,
            "the convolution has a bias, one number for each channel it makes.": weights + 2 * outs,
            "mean and variance of batch norm are measured, not learned; they are no parameters.": weights
            + 5 * outs,
            "each filter looks at all channels that come in: multiply by them.": outs * kernel**2
            + 3 * outs,
            "a kernel has two sides: square it.": ins * outs * kernel + 3 * outs,
            "bias and batch norm belong to the channels that go out, not to those that come in.": weights
            + 3 * ins,
        }
        return next(
            (problem for problem, value in wrong.items() if answer == value),
            f"{ins} channels in, {outs} out and a kernel of {kernel} give {weights + 3 * outs}, "
            f"and yours is {answer}.",
        )
    return None


@_check
def squeeze_excitation(weigh: Callable[..., Tensor]) -> str | None:
    """Exercise 5.3: feature maps with each channel weighed, from two linear layers."""
    maps = torch.randn(3, 8, 5, 4)
    narrow, widen = torch.nn.Linear(8, 2), torch.nn.Linear(2, 8)
    with torch.no_grad():
        answer = _given(weigh(maps.clone(), narrow, widen))
        if problem := _shape_problem(answer, (3, 8, 5, 4)):
            return problem

        def weights(squeezed: Tensor) -> Tensor:
            return widen(narrow(squeezed).relu())[..., None, None]

        right = weights(maps.mean((2, 3)))
        if _close(answer, maps * right.sigmoid()):
            return None
        wrong = {
            "squeeze by the mean over locations, not by the maximum.": maps
            * weights(maps.amax((2, 3))).sigmoid(),
            "squeeze by the mean over locations, not by the sum.": maps
            * weights(maps.sum((2, 3))).sigmoid(),
            "you leave out the ReLU between the two layers.": maps
            * widen(narrow(maps.mean((2, 3))))[..., None, None].sigmoid(),
            "weights should lie between 0 and 1: take the sigmoid.": maps * right,
            "channels are weighed each for itself, by a sigmoid; in a softmax they compete.": maps
            * right.softmax(1),
            "those are the weights; multiply the maps by them.": right.sigmoid().expand_as(maps),
            "multiply the maps by the weights; do not add them.": maps + right.sigmoid(),
        }
        return next(
            (problem for problem, value in wrong.items() if _close(answer, value)),
            "mean over locations, first layer, ReLU, second layer, sigmoid, times the maps.",
        )


@_check
def self_attention(attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 5.4: what every location reads, from queries, keys and values."""
    queries, keys, values = 2 * torch.randn(6, 16), 2 * torch.randn(9, 16), torch.randn(9, 5)
    answer = _given(attend(queries.clone(), keys.clone(), values.clone()))
    if problem := _shape_problem(answer, (6, 5)):
        return problem
    products = queries @ keys.T
    if _close(answer, (products / 4).softmax(1) @ values):
        return None
    wrong = {
        "you do not divide by the root of the dimension.": products.softmax(1) @ values,
        "divide by the root of the dimension, not by the dimension.": (products / 16).softmax(1)
        @ values,
        "divide by the root of the dimension of the queries, not of the values.": (
            products / math.sqrt(5)
        ).softmax(1)
        @ values,
        "divide the products before the softmax, not its result after it.": products.softmax(1)
        @ values
        / 4,
        "the attention of one query should sum to one: take the softmax over the keys.": (
            products / 4
        ).softmax(0)
        @ values,
        "those are sums by scores; take their softmax first.": products / 4 @ values,
        "compare by inner products, not by cosines.": (
            cosine_similarity(queries, keys) / 4
        ).softmax(1)
        @ values,
    }
    return next(
        (problem for problem, value in wrong.items() if _close(answer, value)),
        "softmax of queries times keys over the root of the dimension, times the values.",
    )


@_check
def mean_of_real(pool: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 5.5: the mean over the real places of each text, whatever stands at the padding."""
    features, lengths = torch.randn(4, 7, 5), torch.tensor([6, 3, 1, 5])
    real = torch.arange(7) < lengths[:, None]
    answer = _given(pool(features.clone(), real.clone()))
    if problem := _shape_problem(answer, (4, 5)):
        return problem
    kept = features * real[..., None]
    right = kept.sum(1) / lengths[:, None]
    if not _close(answer, right):
        wrong = {
            "you average over the padding too.": features.mean(1),
            "you divide by the length with padding; divide by the number of real places.": kept.mean(
                1
            ),
            "those are sums; divide each by its number of real places.": kept.sum(1),
            "texts have different lengths; divide each sum by its own.": kept.sum(1)
            / real.sum()
            * 4,
            "you average the padding and leave out the text: real is True where there is text.": (
                features - kept
            ).sum(1)
            / (7 - lengths[:, None]),
        }
        return next(
            (problem for problem, value in wrong.items() if _close(answer, value)),
            "sum the features of the real places of each text, and divide by their number.",
        )
    unknown = features.masked_fill(~real[..., None], torch.nan)
    if not _close(_given(pool(unknown, real.clone())), right):
        return (
            "right while the padding holds numbers, but NaN times zero is NaN: "
            "fill the padding in place of multiplying it by zero."
        )
    return None


# Chapter 6: Prototypical Networks -------------------------------------------------------------------------------


@_check
def class_means(means: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 6.1: the mean embedding of each class, in the order of the sorted labels."""
    labels = torch.tensor([7, -2, 7, 30, -2, 7, 30, 30, 30])
    support = torch.randn(9, 4)
    try:
        answer = _given(means(support.clone(), labels.clone()))
    except RuntimeError as error:
        if "equal size" not in str(error):
            raise
        return "the means have different lengths: take each over the examples of a class, axis 0, not axis 1."
    right = prototypes(support, labels)
    if isinstance(answer, Tensor) and answer.shape == (4,):
        return "you averaged all classes together; there should be one mean for each class."
    if problem := _shape_problem(answer, (3, 4)):
        return problem
    if _close(answer, right):
        return None
    if _close(answer, right * torch.tensor([[2.0], [3.0], [4.0]])):
        return "those are sums; divide each by the number of examples of its class."
    if _close(answer, right * torch.tensor([[2.0], [3.0], [4.0]]) / 3):
        return "classes have different numbers of examples; divide each sum by its own."
    if _close(answer, right[[1, 0, 2]]):
        return "the rows stand in the order in which the labels appear; sort the labels."
    return "the rows are not the class means."


@_check
def linear_form(weights_and_bias: Callable[[Tensor], tuple[Tensor, Tensor]]) -> str | None:
    """Exercise 6.2: weight and bias of the linear classifier that equals a Prototypical Network."""
    centers, query = torch.randn(5, 8), torch.randn(40, 8)
    answer = _given(weights_and_bias(centers.clone()))
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "return two things, the weight and the bias."
    weight, bias = (_given(part) for part in answer)
    if problem := _shape_problem(weight, (5, 8)):
        return f"weight: {problem}"
    if problem := _shape_problem(bias, (5,)):
        return f"bias: {problem}"
    weight, bias = weight.to(query), bias.to(query)
    norms = centers.square().sum(1)
    if _close(weight, 2 * centers) and _close(bias, -norms):
        return None
    if _close(bias, norms):
        return "the bias should lower the score of long prototypes: look at its sign."
    if _close(weight, centers) and _close(bias, -norms / 2):
        return "that gives the same answers but softer probabilities: both halves of equation 6.3 count double."
    if _close(weight, centers):
        return "the weight misses the 2 of 2 c·q."
    if _close(weight, -2 * centers):
        return "scores are minus distances: look at the sign of the weight."
    if _close(bias, -norms.sqrt()):
        return "the bias holds the squared length of each prototype."
    agree = (query @ weight.T + bias).softmax(1) - (-squared_euclidean(query, centers)).softmax(1)
    if agree.abs().max() < 1e-4:
        return None
    return "expand ‖q − c‖² and drop the term that is the same for all classes."


@_check
def nearest_example(scores: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 6.3: score each class by minus the distance to its nearest example."""
    labels = torch.tensor([3, 1, 3, 2, 1, 2, 3])
    support, query = torch.randn(7, 4), torch.randn(20, 4)
    distances = squared_euclidean(query, support)
    per_class = [distances[:, labels == c] for c in (1, 2, 3)]
    answer = _given(scores(support.clone(), labels.clone(), query.clone()))
    if problem := _shape_problem(answer, (20, 3)):
        return problem
    if _close(answer, -torch.stack([d.min(1).values for d in per_class], 1)):
        return None
    if _close(answer, torch.stack([d.min(1).values for d in per_class], 1)):
        return "near should score high: put a minus before the distance."
    if _close(answer, -torch.stack([d.mean(1) for d in per_class], 1)):
        return "you average the distances of a class; take the smallest."
    nearest = torch.stack([d.min(1).values for d in per_class], 1)
    if _close(answer, -torch.stack([d.max(1).values for d in per_class], 1)):
        return "you take the farthest example of each class; take the nearest."
    if _close(answer, -nearest[:, [2, 0, 1]]):
        return "the columns stand in the order in which the labels appear; sort the labels."
    if _close(answer, -nearest.sqrt()):
        return "those are distances; square them."
    if _close(answer, -squared_euclidean(query, prototypes(support, labels))):
        return "that is the distance to the mean; take the distance to the nearest example."
    return (
        "for each class, take the smallest squared distance to one of its examples, with a minus."
    )


@_check
def temperature(scaled: Callable[[Tensor, float], Tensor]) -> str | None:
    """Exercise 6.4: probabilities at a temperature; higher is softer."""
    scores = torch.randn(6, 5)
    answer = _given(scaled(scores.clone(), 4.0))
    if problem := _shape_problem(answer, (6, 5)):
        return problem
    if _close(answer, (scores / 4).softmax(-1)):
        return None
    if _close(answer, scores.softmax(-1)):
        return "you do not use the temperature."
    if _close(answer, (scores * 4).softmax(-1)):
        return "a higher temperature should make the probabilities softer, and yours are sharper: divide."
    if _close(answer, (scores / 4).softmax(0)):
        return (
            "the probabilities of one query should sum to one: take the softmax over the classes."
        )
    if _close(answer, scores.softmax(-1) / 4):
        return "scale the scores before the softmax, not the probabilities after it."
    return "divide the scores by the temperature, then take the softmax over the last axis."


# Chapter 7: Relation Networks -----------------------------------------------------------------------------------


@_check
def join_pairs(join: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 7.1: every query with every class, the class first."""
    classes, query = torch.randn(3, 4), torch.randn(5, 4)
    answer = _given(join(classes.clone(), query.clone()))
    if problem := _shape_problem(answer, (15, 8)):
        return problem
    pairs = torch.stack([torch.cat([c, q]) for q in query for c in classes])
    if _close(answer, pairs):
        return None
    if _close(answer, torch.stack([torch.cat([q, c]) for q in query for c in classes])):
        return "the class comes first in each pair, then the query."
    if _close(answer, torch.stack([torch.cat([c, q]) for c in classes for q in query])):
        return "those are the pairs, but in the order of the classes; the queries come first."
    return "row 3·i + k should hold class k, then query i, for three classes."


@_check
def constant_floor(floor: Callable[[int], tuple[float, float]]) -> str | None:
    """Exercise 7.2: the best constant relation score, and its squared error."""
    for ways in (5, 20):
        score, loss = (float(_given(value)) for value in floor(ways))
        if not math.isclose(score, 1 / ways, rel_tol=1e-4):
            return (
                f"of {ways} targets one is 1 and the others are 0; the best constant is their mean."
            )
        if math.isclose(loss, 1 - score, rel_tol=1e-4):
            return (
                "that is the mean of one pair that belongs together; take the mean over all pairs."
            )
        if math.isclose(loss, ways * score * (1 - score), rel_tol=1e-4):
            return "that is the sum over the classes; take the mean."
        if not math.isclose(loss, score * (1 - score), rel_tol=1e-4):
            return (
                "one target misses the score by 1 − s, the others by s; square, and take the mean."
            )
    return None


@_check
def linear_on_pairs(apply: Callable[[torch.nn.Linear, Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 7.3: a linear layer on joined vectors, by halves."""
    linear = torch.nn.Linear(8, 6)
    classes, query = torch.randn(3, 4), torch.randn(5, 4)
    answer = _given(apply(linear, classes.clone(), query.clone()))
    if problem := _shape_problem(answer, (5, 3, 6)):
        return problem
    pairs = torch.stack([torch.stack([torch.cat([c, q]) for c in classes]) for q in query])
    swapped = pairs.roll(4, -1)
    right = linear(pairs).detach()
    if _close(answer, right):
        return None
    if _close(answer, right + linear.bias.detach()):
        return "you add the bias twice."
    if _close(answer, right - linear.bias.detach()):
        return "you leave out the bias."
    if _close(answer, linear(swapped).detach()):
        return "the first half of the weight belongs to the class, the second to the query."
    return "split linear.weight into its first and last columns, apply each half once, and add."


# Chapter 8: Matching Networks -----------------------------------------------------------------------------------


@_check
def attention(attend: Callable[[Tensor, Tensor, float], Tensor]) -> str | None:
    """Exercise 8.1: the attention each query pays to each support example."""
    support, query, scale = 2 * torch.randn(7, 5), 2 * torch.randn(9, 5), 3.0
    answer = _given(attend(support.clone(), query.clone(), scale))
    if isinstance(answer, Tensor) and answer.shape == (7, 9):
        return "rows should be queries and columns support examples, and yours are the other way round."
    if problem := _shape_problem(answer, (9, 7)):
        return problem
    cosines = cosine_similarity(query, support)
    if _close(answer, (scale * cosines).softmax(1)):
        return None
    wrong = {
        "the attention of one query should sum to one: take the softmax over the support examples.": (
            scale * cosines
        ).softmax(0),
        "you use inner products; bring both sides to length one first.": (
            scale * query @ support.T
        ).softmax(1),
        "you do not use the scale.": cosines.softmax(1),
        "multiply the cosines by the scale before the softmax, not its result after it.": scale
        * cosines.softmax(1),
        "a larger scale should make the attention sharper, and yours is softer: multiply.": (
            cosines / scale
        ).softmax(1),
        "those are scaled cosines; take their softmax.": scale * cosines,
        "those are logarithms; return the attention itself.": (scale * cosines).log_softmax(1),
    }
    return next(
        (problem for problem, value in wrong.items() if _close(answer, value)),
        "take the softmax, over the support examples, of the scale times the cosines.",
    )


def _by_class(values: Tensor, labels: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
    """Values (m, n) brought together over the examples of each class, (m, classes)."""
    return torch.stack([reduce(values[:, labels == c], dim=1) for c in labels.unique()], 1)


@_check
def votes(count: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 8.2: the probability of each class, from the attention to its examples."""
    labels = torch.tensor([7, -2, 7, 30, -2, 7])
    shares = torch.randn(9, 6).softmax(1)
    answer = _given(count(shares.clone(), labels.clone()))
    if problem := _shape_problem(answer, (9, 3)):
        return problem
    right = _by_class(shares, labels, torch.sum)
    if _close(answer, right):
        return None
    mean = _by_class(shares, labels, torch.mean)
    wrong = {
        "you average the attention of a class; equation 8.2 sums it.": mean,
        "you average the attention of a class; sum it, and the rows sum to one by themselves.": mean
        / mean.sum(1, keepdim=True),
        "only the example with the most attention votes; all of a class should.": _by_class(
            shares, labels, torch.amax
        ),
        "the columns stand in the order in which the labels appear; sort the labels.": right[
            :, [1, 0, 2]
        ],
        "the sums are probabilities already; no second softmax.": right.softmax(1),
        "those are logarithms; return the probabilities.": right.log(),
    }
    return next(
        (problem for problem, value in wrong.items() if _close(answer, value)),
        "for each class, sum the columns of its examples.",
    )


@_check
def log_votes(count: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 8.3: log-probabilities from logarithms of attention, finite however small the attention."""
    labels = torch.tensor([7, -2, 7, 30, -2, 7])
    soft, hard = ((scale * torch.randn(9, 6)).log_softmax(1) for scale in (1, 400))
    answer = _given(count(soft.clone(), labels.clone()))
    if problem := _shape_problem(answer, (9, 3)):
        return problem
    right = _by_class(soft, labels, torch.logsumexp)
    if not _close(answer, right):
        wrong = {
            "you sum the logarithms; the logarithm of the sum is asked for.": _by_class(
                soft, labels, torch.sum
            ),
            "you average the logarithms; the logarithm of the sum is asked for.": _by_class(
                soft, labels, torch.mean
            ),
            "only the example with the most attention votes; all of a class should.": _by_class(
                soft, labels, torch.amax
            ),
            "those are probabilities; return their logarithms.": right.exp(),
            "the columns stand in the order in which the labels appear; sort the labels.": right[
                :, [1, 0, 2]
            ],
        }
        return next(
            (problem for problem, value in wrong.items() if _close(answer, value)),
            "for each class, take the logarithm of the sum of its attention.",
        )
    answer = _given(count(hard.clone(), labels.clone()))
    if not answer.isfinite().all():
        return (
            "right while attention is large, but where it is tiny its exponential is zero and "
            "the logarithm infinite: look for a function that does both at once."
        )
    if not _close(answer, _by_class(hard, labels, torch.logsumexp)):
        return "right while attention is large, but inexact where it is tiny."
    return None


@_check
def fair_votes(count: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 8.4: log-probabilities that do not favour the class with most examples."""
    labels = torch.tensor([7, -2, 7, 30, -2, 7])
    shares = torch.randn(9, 6).softmax(1)
    answer = _given(count(shares.log(), labels.clone()))
    if problem := _shape_problem(answer, (9, 3)):
        return problem
    mean = _by_class(shares, labels, torch.mean)
    if _close(answer, (mean / mean.sum(1, keepdim=True)).log()):
        return None
    wrong = {
        "that is the sum, and the class with most examples still has most votes.": _by_class(
            shares, labels, torch.sum
        ).log(),
        "you average the logarithms; take the logarithm of the mean.": _by_class(
            shares.log(), labels, torch.mean
        ).log_softmax(1),
        "the scores are right but for a number for each query: make each row a distribution.": mean.log(),
        "those are probabilities; return their logarithms.": mean / mean.sum(1, keepdim=True),
        "only the example with the most attention votes; all of a class should, on average.": _by_class(
            shares, labels, torch.amax
        ).log(),
    }
    return next(
        (problem for problem, value in wrong.items() if _close(answer, value)),
        "take the mean attention of each class, then make each row sum to one, then the logarithm.",
    )


# Chapter 9: the three compared ----------------------------------------------------------------------------------


def _two_numbers(value: Any) -> tuple[float, float] | None:
    """The answer as two floats, or None if it is not two things."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    first, second = map(_given, value)
    return float(first), float(second)


@_check
def paired_difference(difference: Callable[[Tensor, Tensor], Any]) -> str | None:
    """Exercise 9.1: mean and 95 % interval of the difference of two models on the same episodes."""
    hard = 0.2 * torch.randn(400, dtype=torch.float64)
    a, b = (
        0.6 + hard + 0.05 * torch.randn(400, dtype=torch.float64),
        0.5 + hard + 0.05 * torch.randn(400, dtype=torch.float64),
    )
    answer = _two_numbers(_given(difference(a.clone(), b.clone())))
    if answer is None:
        return "return two things, the mean difference and the half-width of its interval."
    mean, half = answer
    if math.isclose(mean, (b - a).mean().item(), rel_tol=1e-4):
        return "the difference has the wrong sign: subtract the second from the first."
    if not math.isclose(mean, (a - b).mean().item(), rel_tol=1e-4):
        return "the first thing should be the mean of a - b."
    right = 1.96 * (a - b).std().item() / 20
    if math.isclose(half, right, rel_tol=0.01):
        return None
    apart = 1.96 * (a.var() + b.var()).sqrt().item() / 20
    if math.isclose(half, apart, rel_tol=0.01):
        return "that is the interval for two models on episodes of their own; subtract first, then take the spread."
    if math.isclose(half, abs(a.std() - b.std()).item() * 1.96 / 20, rel_tol=0.01):
        return "the spread of a difference is not the difference of the spreads; subtract the accuracies first."
    if math.isclose(half, right / 1.96, rel_tol=0.01):
        return "that is the standard error; the 95 % interval reaches 1.96 of them to each side."
    if math.isclose(half, 2 * right, rel_tol=0.01):
        return "that is the whole width; the half-width is asked for."
    if math.isclose(half, 20 * right, rel_tol=0.01) or math.isclose(
        half, 20 * right / 1.96, rel_tol=0.01
    ):
        return "that is the spread of single episodes; the mean of n episodes varies √n times less."
    return "take the standard deviation of a - b, times 1.96, over the square root of the number of episodes."


@_check
def episodes_to_tell_apart(count: Callable[[float, float, float], Any]) -> str | None:
    """Exercise 9.2: episodes that tell two models apart, on the same episodes and on their own."""
    sigma, correlation, gap = 0.1 + 0.1 * torch.rand(()).item(), 0.8, 0.004
    answer = _two_numbers(_given(count(sigma, correlation, gap)))
    if answer is None:
        return "return two things, the number with the same episodes and that with their own."
    own = 2 * (1.96 * sigma / gap) ** 2
    same = own * (1 - correlation)

    def near(*wanted: float) -> bool:
        """Whether the answer is that, rounded or not."""
        return all(abs(a - w) <= max(1, 1e-3 * w) for a, w in zip(answer, wanted))

    if near(same, own):
        return None
    wrong = {
        "the two are in the other order; the same episodes need fewer.": (own, same),
        "both accuracies vary, so the variance without pairing is twice that of one.": (
            same,
            own / 2,
        ),
        "the covariance comes off twice, and both variances count: 2 σ² (1 - correlation).": (
            own / 2 * (1 - correlation),
            own / 2,
        ),
        "equation 9.1 takes the covariance off twice, once for each side.": (
            own * (1 - correlation / 2),
            own,
        ),
        "half the width takes four times the episodes: the ratio must be squared.": (
            same**0.5,
            own**0.5,
        ),
        "you have left out the 1.96 of the 95 % interval.": (same / 1.96**2, own / 1.96**2),
    }
    return next(
        (problem for problem, value in wrong.items() if near(*value)),
        "solve 1.96 · s / √n = gap for n, with s² from equation 9.1.",
    )


@_check
def class_medians(medians: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Exercise 9.3: the median of each class, number by number."""
    labels = torch.tensor([7, -2, 7, 30, -2, 7, -2, -2, -2])
    support = torch.randn(9, 4)
    answer = _given(medians(support.clone(), labels.clone()))
    if problem := _shape_problem(answer, (3, 4)):
        return problem
    groups = {c: support[labels == c] for c in labels.unique().tolist()}
    right = torch.stack([group.median(0).values for group in groups.values()])
    if _close(answer, right):
        return None
    central = [g[torch.cdist(g, g).sum(1).argmin()] for g in groups.values()]
    wrong = {
        "those are means.": torch.stack([group.mean(0) for group in groups.values()]),
        "the rows stand in the order in which the labels appear; sort the labels.": right[
            [1, 0, 2]
        ],
        "you take one example for all numbers; take the median of each number on its own.": torch.stack(
            central
        ),
        "you take one median of all numbers of a class; take one for each number.": torch.stack(
            [group.median().expand(4) for group in groups.values()]
        ),
    }
    return next(
        (problem for problem, value in wrong.items() if _close(answer, value)),
        "for each class, take the median over its examples, of each number on its own.",
    )


@_check
def comparisons(count: Callable[[int, int, int], Any]) -> str | None:
    """Exercise 9.4: similarities of an episode, with means and with votes."""
    answer = _two_numbers(_given(count(7, 3, 5)))
    if answer is None:
        return "return two things, the number with means and that with votes."
    wrong = {
        (245.0, 735.0): None,
        (735.0, 245.0): "the two are in the other order; votes compare with every example.",
        (35.0, 105.0): "queries are counted for each class: N · R of them in all.",
        (
            35.0,
            735.0,
        ): "every query is compared with the mean of every class, not of its own alone.",
        (245.0, 105.0): "every query is compared with every example, N · K of them.",
        (245.0, 245.0): "votes compare with every example, so the shots count too.",
    }
    return wrong.get(
        answer, "multiply the number of queries by the vectors that each is compared with."
    )
