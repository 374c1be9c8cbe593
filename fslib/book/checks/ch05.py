"""Chapter 5: embedding functions."""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.metrics import cosine_similarity

Layers = list[tuple[int, int, int]]


def _field(
    layers: Layers,
    start: int = 1,
    reach: Callable[[int, int], int] = lambda kernel, dilation: (kernel - 1) * dilation,
    strided: bool = True,
    late: bool = False,
    lasting: bool = False,
) -> int:
    """The receptive field, rightly or with a mistake."""
    field, step = start, 1
    for kernel, stride, dilation in layers:
        after = step * (stride if strided else 1) * (dilation if lasting else 1)
        field, step = field + reach(kernel, dilation) * (after if late else step), after
    return field


receptive_field = Exercise(
    asks="5.1: the side of the receptive field of layers given as (kernel, stride, dilation)",
    level="medium",
    minutes=12,
    given=[([(3, 1, 1)],), ([(3, 1, 2), (3, 2, 1)] * 4,), ([(7, 2, 1), (3, 2, 2), (3, 1, 4), (3, 2, 1), (1, 1, 1)],)],
    right=_field,
    tolerance=0,
    fixed=([(3, 1, 3), (2, 2, 1), (3, 2, 1)],),
    also=(
        lambda layers: (
            1 + sum((k - 1) * d * math.prod(by for _, by, _ in layers[:i]) for i, (k, _, d) in enumerate(layers))
        ),
        lambda layers: functools.reduce(
            lambda side, layer: (side - 1) * layer[1] + (layer[0] - 1) * layer[2] + 1, layers[::-1], 1
        ),
    ),
    hints=(
        "Which three locations of a row does a kernel of 3 with dilation 2 look at? How far is it from the first to "
        "the last?",
        "Only the steps from one location of the kernel to the next become longer. Where does equation 5.1 count them?",
        "Carry two numbers through the layers, and change the distance of neighbours last.",
    ),
    wrong={
        "late": Wrong(
            "count the stride of a layer only for the layers after it.", lambda layers: _field(layers, late=True)
        ),
        "no strides": Wrong(
            "you do not use the strides: after a stride of 2, neighbours lie two pixels apart.",
            lambda layers: _field(layers, strided=False),
        ),
        "no dilation": Wrong(
            "you do not use the dilations: a kernel of 3 with dilation 2 reaches over five locations.",
            lambda layers: _field(layers, reach=lambda kernel, dilation: kernel - 1),
        ),
        "last gap": Wrong(
            "gaps lie only between the locations of a kernel: one of 3 with dilation 2 reaches over five, not six.",
            lambda layers: _field(layers, reach=lambda kernel, dilation: kernel * dilation - 1),
        ),
        "lasting": Wrong(
            "a dilation widens its own layer; it moves the neighbours after it no farther apart.",
            lambda layers: _field(layers, lasting=True),
        ),
        "kernel": Wrong(
            "a kernel of 3 adds two steps, not three.",
            lambda layers: _field(layers, reach=lambda kernel, dilation: kernel * dilation),
        ),
        "start": Wrong(
            "before the first layer a number sees one pixel, itself: start with 1.",
            lambda layers: _field(layers, start=0),
        ),
        "steps": Wrong(
            "that is how far neighbours lie apart at the end; the field is asked for.",
            lambda layers: math.prod(stride for _, stride, _ in layers),
        ),
    },
    otherwise="the layers {given[0]} give {right}, and yours is {answer}.",
)

block_parameters = Exercise(
    asks="5.2: the parameters of a convolution with a bias and of the batch norm after it",
    level="easy",
    minutes=5,
    given=[(1, 64, 3), (48, 32, 5)],
    right=lambda ins, outs, kernel: ins * outs * kernel**2 + 3 * outs,
    tolerance=0,
    fixed=(3, 16, 5),
    also=(
        lambda ins, outs, kernel: outs * (ins * kernel * kernel + 1) + 2 * outs,
        lambda ins, outs, kernel: sum(
            p.numel() for layer in (nn.Conv2d(ins, outs, kernel), nn.BatchNorm2d(outs)) for p in layer.parameters()
        ),
    ),
    hints=(
        "Count the weights of one filter, then of all filters, then what comes once for each channel.",
        "Each filter of the convolution looks at all channels that come in. Batch norm learns two numbers "
        "for each channel.",
    ),
    wrong={
        "batch norm": Wrong(
            "the convolution is right; batch norm learns a scale and a shift of each channel.",
            lambda ins, outs, kernel: ins * outs * kernel**2 + outs,
        ),
        "weights": Wrong(
            "those are the weights of the convolution; it has a bias, and batch norm has parameters.",
            lambda ins, outs, kernel: ins * outs * kernel**2,
        ),
        "bias": Wrong(
            "the convolution has a bias, one number for each channel it makes.",
            lambda ins, outs, kernel: ins * outs * kernel**2 + 2 * outs,
        ),
        "measured": Wrong(
            "mean and variance of batch norm are measured, not learned; they are no parameters.",
            lambda ins, outs, kernel: ins * outs * kernel**2 + 5 * outs,
        ),
        "one channel": Wrong(
            "each filter looks at all channels that come in: multiply by them.",
            lambda ins, outs, kernel: outs * kernel**2 + 3 * outs,
        ),
        "one side": Wrong(
            "a kernel has two sides: square it.", lambda ins, outs, kernel: ins * outs * kernel + 3 * outs
        ),
        "ins": Wrong(
            "bias and batch norm belong to the channels that go out, not to those that come in.",
            lambda ins, outs, kernel: ins * outs * kernel**2 + 3 * ins,
        ),
    },
    otherwise="from {given[0]} to {given[1]} channels with kernel {given[2]} it is {right}, and yours is {answer}.",
)


def _read(scores: Tensor, values: Tensor, real: Tensor) -> Tensor:
    """What each query reads from the values, by a softmax of its scores over those that are real."""
    return scores.masked_fill(~real, -torch.inf).softmax(1) @ values


self_attention = Exercise(
    asks="5.3: what every position reads, from queries, keys and values, where padding gets no attention",
    level="medium",
    minutes=8,
    given=lambda: (2 * torch.randn(6, 16), 2 * torch.randn(9, 16), torch.randn(9, 5), torch.arange(9) < 7),
    right=lambda queries, keys, values, real: _read(queries @ keys.T / 4, values, real),
    also=(
        lambda queries, keys, values, real: F.scaled_dot_product_attention(
            queries, keys, values, real.expand(len(queries), -1)
        ),
        lambda queries, keys, values, real: (queries @ keys[real].T / 4).softmax(1) @ values[real],
    ),
    hints=(
        "All products at once are `queries @ keys.T`. What must the score of padding be, so that its softmax is zero?",
        "By what does equation 5.5 divide, and why? Take it from the shape of the queries.",
    ),
    wrong={
        "padding too": Wrong(
            "padding gets attention: set its scores to minus infinity before the softmax.",
            lambda queries, keys, values, real: (queries @ keys.T / 4).softmax(1) @ values,
        ),
        "zero scores": Wrong(
            "a score of zero still gets attention; only minus infinity gets none.",
            lambda queries, keys, values, real: (queries @ keys.T / 4 * real).softmax(1) @ values,
        ),
        "after the softmax": Wrong(
            "take the padding away before the softmax, or the attention no longer sums to one.",
            lambda queries, keys, values, real: (queries @ keys.T / 4).softmax(1) * real @ values,
        ),
        "reversed": Wrong(
            "real is True where there is text; you read the padding alone.",
            lambda queries, keys, values, real: _read(queries @ keys.T / 4, values, ~real),
        ),
        "undivided": Wrong(
            "you do not divide by the root of the dimension.",
            lambda queries, keys, values, real: _read(queries @ keys.T, values, real),
        ),
        "no root": Wrong(
            "divide by the root of the dimension, not by the dimension.",
            lambda queries, keys, values, real: _read(queries @ keys.T / 16, values, real),
        ),
        "of values": Wrong(
            "divide by the root of the dimension of the queries, not of the values.",
            lambda queries, keys, values, real: _read(queries @ keys.T / math.sqrt(5), values, real),
        ),
        "after": Wrong(
            "divide the products before the softmax, not its result after it.",
            lambda queries, keys, values, real: _read(queries @ keys.T, values, real) / 4,
        ),
        "over queries": Wrong(
            "the attention of one query should sum to one: take the softmax over the keys.",
            lambda queries, keys, values, real: (queries @ keys.T / 4).softmax(0) @ values,
            lambda queries, keys, values, real: (queries @ keys.T / 4).softmax(0) * real @ values,
            lambda queries, keys, values, real: torch.full((6, 5), torch.nan),  # padding set to minus infinity before
        ),
        "no softmax": Wrong(
            "those are sums by scores; take their softmax first.",
            lambda queries, keys, values, real: queries @ keys.T / 4 * real @ values,
            lambda queries, keys, values, real: queries @ keys.T / 4 @ values,
        ),
        "cosines": Wrong(
            "compare by inner products, not by cosines.",
            lambda queries, keys, values, real: _read(cosine_similarity(queries, keys) / 4, values, real),
        ),
    },
    otherwise="softmax of queries times keys over the root of the dimension, over real keys alone, times the values.",
)


def _texts() -> list[tuple[Tensor, Tensor]]:
    """Features of four texts and where they are real; once with numbers at the padding, once with NaN."""
    features, real = torch.randn(4, 7, 5), torch.arange(7) < torch.tensor([6, 3, 1, 5])[:, None]
    return [(features, real), (features.masked_fill(~real[..., None], torch.nan), real)]


mean_of_real = Exercise(
    asks="5.4: the mean over the real positions of each text, whatever stands at the padding",
    level="medium",
    minutes=10,
    given=_texts,
    right=lambda features, real: torch.stack([f[r].mean(0) for f, r in zip(features, real)]),
    judge=lambda features, real, found: "nan" if features.isnan().any() else None,
    also=(
        lambda features, real: features.masked_fill(~real[..., None], 0).sum(1) / real.sum(1, keepdim=True),
        lambda features, real: torch.where(real[..., None], features, 0.0).sum(1) / real.sum(1)[:, None],
    ),
    hints=(
        "A mean is a sum over a number. Which sum, and which number, of each text?",
        "NaN times zero is NaN. `masked_fill` puts zeros in place of whatever stood there.",
    ),
    wrong={
        "nan": Wrong(
            "right while the padding holds numbers, but NaN times zero is NaN: "
            "fill the padding in place of multiplying it by zero.",
            lambda features, real: (features * real[..., None]).sum(1) / real.sum(1, keepdim=True),
        ),
        "padding too": Wrong("you average over the padding too.", lambda features, real: features.mean(1)),
        "with padding": Wrong(
            "you divide by the length with padding; divide by the number of real positions.",
            lambda features, real: (features * real[..., None]).mean(1),
        ),
        "sums": Wrong(
            "those are sums; divide each by its number of real positions.",
            lambda features, real: (features * real[..., None]).sum(1),
        ),
        "one length": Wrong(
            "texts have different lengths; divide each sum by its own.",
            lambda features, real: (features * real[..., None]).sum(1) / real.sum() * len(real),
        ),
        "reversed": Wrong(
            "you average the padding and leave out the text: real is True where there is text.",
            lambda features, real: (features * ~real[..., None]).sum(1) / (~real).sum(1, keepdim=True),
        ),
    },
    otherwise="sum the features of the real positions of each text, and divide by their number.",
)


def _forgives(
    compare: Callable[[Tensor, Tensor], Tensor] = F.cosine_similarity,
    other: Callable[[Tensor, Tensor], Tensor] = lambda space, changed: changed.roll(-1, 0),
    half: Callable[[Tensor], Tensor] = lambda gains: 1.96 * gains.std() / len(gains) ** 0.5,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Mean and half-width of how much nearer each image is to its changed self, rightly or with a mistake."""

    def measured(embed: Callable, images: Tensor, change: Callable) -> tuple[Tensor, Tensor]:
        space, changed = embed(images), embed(change(images))
        gains = compare(space, changed) - compare(space, other(space, changed))
        return gains.mean(), half(gains)

    return measured


def _forgives_by_table(embed: Callable, images: Tensor, change: Callable) -> list[float]:
    table = F.normalize(embed(images)) @ F.normalize(embed(change(images))).T
    gains = table.diag() - torch.stack([table[i - 1, i] for i in range(1, len(table))] + [table[-1, 0]])
    return [gains.mean().item(), 1.96 * (gains.var() / len(gains)).sqrt().item()]


def _own_alone(embed: Callable, images: Tensor, change: Callable) -> tuple[Tensor, Tensor]:
    own = F.cosine_similarity(embed(images), embed(change(images)))
    return own.mean(), 1.96 * own.std() / len(own) ** 0.5


def _mean_is_right(embed: Callable, images: Tensor, change: Callable, found: tuple) -> str | None:
    mean, _ = _forgives()(embed, images, change)
    return "half-width" if math.isclose(found[0], mean, rel_tol=1e-3) else None


def _network() -> tuple[Callable, Tensor, Callable]:
    weight = torch.randn(36, 6)
    images = torch.rand(40, 6, 6)
    return lambda images: (images.flatten(1) @ weight).relu() + 0.1, images, lambda images: images.roll(1, 2)


forgives = Exercise(
    asks="5.5: how much nearer an image is to its own changed self than to another's, with an interval",
    level="hard",
    minutes=15,
    given=_network,
    right=_forgives(),
    also=(_forgives_by_table, lambda *given: tuple(part.item() for part in _forgives()(*given))),
    parts=("the mean", "the half-width"),
    tolerance=1e-3,
    judge=_mean_is_right,
    hints=(
        "Embed twice: the images, and the changed images. Which rows belong together?",
        "`changed.roll(-1, 0)` puts the next row in the place of each.",
        "That is one number for each image. Mean and interval follow the rule of the chapter on episodes.",
    ),
    wrong={
        "distances": Wrong("compare by cosines, not by distances.", _forgives(lambda a, b: -(a - b).norm(dim=1))),
        "products": Wrong(
            "those are inner products, in which long embeddings count more; take cosines.",
            _forgives(lambda a, b: (a * b).sum(1)),
        ),
        "before": Wrong(
            "you take the image before; the next one is asked for.",
            _forgives(other=lambda space, changed: changed.roll(1, 0)),
        ),
        "unchanged": Wrong(
            "change the other image too, or what all changed images have in common counts as well.",
            _forgives(other=lambda space, changed: space.roll(-1, 0)),
        ),
        "no other": Wrong(
            "a cosine near one says little where all are near one: take off that with the next image.", _own_alone
        ),
        "standard error": Wrong(
            "that is the standard error; the 95 % interval reaches 1.96 of them.",
            _forgives(half=lambda gains: gains.std() / len(gains) ** 0.5),
        ),
        "single": Wrong(
            "that is the spread of single images; the mean of n varies √n times less.",
            _forgives(half=lambda gains: 1.96 * gains.std()),
            _forgives(half=lambda gains: gains.std()),
        ),
        "half-width": Wrong(
            "the mean is right; the half-width is 1.96 · std (n − 1) / √n.",
            _forgives(half=lambda gains: 1.96 * gains.std(correction=0) / len(gains) ** 0.5),
            _forgives(half=lambda gains: 2 * gains.std() / len(gains) ** 0.5),
        ),
    },
    otherwise="the cosine with its own changed image, less that with the next one's, over all images.",
)
