"""Chapter 1: the few-shot problem."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.methods import prototypes
from fslib.metrics import cosine_similarity, squared_euclidean

nearest_neighbour = Exercise(
    asks="1.1: the label of the support example nearest to each query",
    level="easy",
    minutes=5,
    given=lambda: (torch.randn(7, 5), torch.tensor([40, 10, 30, 10, 20, 40, 20]), torch.randn(50, 5)),
    right=lambda support, labels, query: labels[squared_euclidean(query, support).argmin(1)],
    also=(
        lambda support, labels, query: labels[torch.cdist(support, query).argmin(0)],
        lambda support, labels, query: torch.stack([labels[(support - q).norm(dim=1).argmin()] for q in query]),
    ),
    hints=(
        "Two steps: find the nearest example of each query, then look up its label.",
        "`torch.cdist(query, support)` holds all distances, one row a query. Which column is smallest in "
        "each row, and what label belongs to that column?",
    ),
    wrong={
        "position": Wrong(
            "you return the position of the nearest support example; return the label at that position.",
            lambda support, labels, query: squared_euclidean(query, support).argmin(1),
        ),
        "axis": Wrong(
            "that is the nearest query of each example, not the nearest example of each query: argmin over the other "
            "axis.",
            lambda support, labels, query: labels[squared_euclidean(query, support).argmin(0)],
        ),
        "farthest": Wrong(
            "you pick the farthest example; the nearest has the smallest distance.",
            lambda support, labels, query: labels[squared_euclidean(query, support).argmax(1)],
        ),
        "inner product": Wrong(
            "you compare by inner products, which favour long vectors; compare by distances.",
            lambda support, labels, query: labels[(query @ support.T).argmax(1)],
        ),
        "not squared": Wrong(
            "the differences must be squared before they are summed, or plus and minus cancel.",
            lambda support, labels, query: labels[(query[:, None] - support).sum(-1).argmin(1)],
        ),
        "means": Wrong(
            "you compare with the mean of each class; compare with every single example.",
            lambda support, labels, query: labels.unique()[
                squared_euclidean(query, prototypes(support, labels)).argmin(1)
            ],
        ),
    },
    otherwise="some labels are not those of the nearest support example.",
)

def _weights(channels: int, of: int = 9, classes: int = 10) -> int:
    blocks = sum(channels * (of * before + 3) for before in (1, *[channels] * 3))
    return blocks + classes * (channels + 1)


weights_per_picture = Exercise(
    asks="1.2: weights of a Conv-4 of 64 channels and a linear layer to ten classes, for each of 50 images",
    level="easy",
    minutes=5,
    right=_weights(64) / 50,
    also=(_weights(64) // 50, torch.tensor(_weights(64)) / 50),
    tolerance=1e-3,
    hints=(
        "Most weights are in the convolutions, from all channels of one block to all of the next. How many more pairs "
        "is that?",
        "`sum(p.numel() for p in network.parameters())` counts the weights. Which two numbers of the network change?",
    ),
    wrong={
        "all": Wrong("that is the number of weights; divide it by the number of images.", _weights(64)),
        "narrow": Wrong("that is with 32 channels; the papers have 64.", _weights(32) / 50),
        "twice": Wrong(
            "it is more than twice as many: a block has twice the channels both coming in and going out.",
            2 * _weights(32) / 50,
        ),
        "four times": Wrong(
            "nearly, but only what joins two blocks grows fourfold; count the rest too.", 4 * _weights(32) / 50
        ),
        "of one class": Wrong(
            "five images are those of one class; the network was trained on all ten.", _weights(64) / 5
        ),
        "upside down": Wrong("those are images for each weight; divide the other way round.", 50 / _weights(64)),
        "no classifier": Wrong(
            "you leave out the linear layer to ten classes; its weights are learned too.",
            _weights(64, classes=0) / 50,
        ),
    },
    otherwise="divide the number of all weights by the number of all images it was trained on.",
)


def _descriptions() -> tuple[Tensor, Tensor]:
    described, predicted = torch.rand(6, 8).round(), torch.rand(400, 8)
    described[:, 0] = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    return predicted, described + 0.01 * torch.arange(6)[:, None]  # no two classes described alike


zero_shot = Exercise(
    asks="1.3: the class whose description is nearest to the description predicted for each query",
    level="easy",
    minutes=5,
    given=_descriptions,
    right=lambda predicted, described: squared_euclidean(predicted, described).argmin(1),
    also=(
        lambda predicted, described: torch.cdist(described, predicted).argmin(0),
        lambda predicted, described: (predicted[:, None] - described).norm(dim=-1).min(-1).indices,
    ),
    hints=(
        "What stands for a class here, and what is near?",
        "The table of descriptions plays the part of the class means in `classify`.",
    ),
    wrong={
        "farthest": Wrong(
            "you pick the class whose description is farthest.",
            lambda predicted, described: squared_euclidean(predicted, described).argmax(1),
        ),
        "cosine": Wrong(
            "you compare by cosines; here the nearest is meant by Euclidean distance.",
            lambda predicted, described: cosine_similarity(predicted, described).argmax(1),
        ),
        "absolute": Wrong(
            "you sum absolute differences; the Euclidean distance sums their squares.",
            lambda predicted, described: torch.cdist(predicted, described, p=1).argmin(1),
        ),
        "inner product": Wrong(
            "you compare by inner products, which favour classes with many attributes; compare by distances.",
            lambda predicted, described: (predicted @ described.T).argmax(1),
        ),
        "rounded": Wrong(
            "you round the predictions, and so forget how sure they are; compare them as they are.",
            lambda predicted, described: squared_euclidean(predicted.round(), described).argmin(1),
            lambda predicted, described: (predicted.round()[:, None] != described.round()).sum(-1).argmin(1),
        ),
        "queries": Wrong(
            "that is the nearest query of each class; the nearest class of each query is asked for.",
            lambda predicted, described: squared_euclidean(predicted, described).argmin(0),
        ),
        "scores": Wrong(
            "those are distances; name the class at which each is smallest.",
            squared_euclidean,
            lambda predicted, described: squared_euclidean(predicted, described).sqrt(),
        ),
    },
    otherwise="for each query, pick the class (a row of the second argument) at the smallest distance.",
)


def _right(images: Tensor, by: int) -> Tensor:
    return F.pad(images, (by, 0))[..., : images.shape[-1]]


def _by_shift(
    move: Callable[[Tensor, int], Tensor] = _right, support_too: bool = False, first: int = 0,
    score: Callable[[Tensor], Tensor] = torch.mean,
) -> Callable[..., Tensor]:  # fmt: skip
    """Accuracies after each shift, rightly or with a mistake."""

    def accuracies(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor, most: int) -> Tensor:
        found = []
        for by in range(first, first + most + 1):
            examples = move(support, by) if support_too else support
            nearest = squared_euclidean(move(query, by).flatten(1), examples.flatten(1)).argmin(1)
            found.append(score((labels[nearest] == truth).double()))
        return torch.stack(found)

    return accuracies


def _pictures() -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Blobs, and noisy ones of the same classes."""
    blobs = F.avg_pool2d(torch.rand(12, 1, 10, 10, dtype=torch.float64), 3, 1, 1)
    noise = 0.15 * torch.randn(30, 12, 1, 10, 10, dtype=torch.float64)
    labels = 10 * torch.arange(12) + 3
    return blobs, labels, (blobs + noise).flatten(0, 1), labels.repeat(30), 4


def _by_slices(support: Tensor, labels: Tensor, query: Tensor, truth: Tensor, most: int) -> Tensor:
    found = []
    for by in range(most + 1):
        moved = torch.zeros_like(query)
        moved[..., by:] = query[..., : query.shape[-1] - by]
        nearest = (moved[:, None] - support).square().sum((2, 3, 4)).min(1).indices
        found.append((labels[nearest] == truth).double().mean())
    return torch.tensor(found)


by_shift = Exercise(
    asks="1.4: accuracies of the nearest example for queries moved 0, 1, … pixels to the right",
    level="hard",
    minutes=15,
    given=_pictures,
    right=_by_shift(),
    also=(_by_slices, _by_shift(lambda images, by: torch.cat([0 * images[..., :by], images], -1)[..., :10])),
    hints=(
        "One shift first: which columns of the moved image come from where, and what stands in the others?",
        "`F.pad(images, (by, 0))` puts columns of zeros at the left; then the image is too wide.",
        "The rest is exercise 1 with `flatten(1)`, and the share of right answers, once for each shift.",
    ),
    wrong={
        "around": Wrong(
            "what leaves at the right comes in again at the left; paper should.",
            _by_shift(lambda images, by: images.roll(by, -1)),
        ),
        "left": Wrong("you move to the left.", _by_shift(lambda images, by: F.pad(images, (0, by))[..., by:])),
        "down": Wrong(
            "you move down: the last axis runs to the right.",
            _by_shift(lambda images, by: F.pad(images, (0, 0, by, 0))[..., : images.shape[-2], :]),
        ),
        "both": Wrong("you move the support set too; only queries move.", _by_shift(support_too=True)),
        "late": Wrong("begin with no shift at all.", _by_shift(first=1)),
        "counts": Wrong(
            "those are numbers of right answers; divide by the number of queries.", _by_shift(score=torch.sum)
        ),
        "errors": Wrong(
            "those are errors; the accuracy is the share that is right.", _by_shift(score=lambda hit: 1 - hit.mean())
        ),
    },
    otherwise="move the queries, name the nearest example, take the share that is right; once for each shift.",
)
