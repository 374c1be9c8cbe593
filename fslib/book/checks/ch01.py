"""Chapter 1: the few-shot problem."""

import torch

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

WEIGHTS = sum(32 * 9 * channels + 32 + 64 for channels in (1, 32, 32, 32)) + 32 * 10 + 10

weights_per_picture = Exercise(
    asks="1.2: weights of a Conv-4 of 32 channels and a linear layer to ten classes, for each of 50 images",
    level="easy",
    minutes=3,
    right=WEIGHTS / 50,
    also=(WEIGHTS // 50, torch.tensor(WEIGHTS) / 50),
    tolerance=1e-3,
    hints=(
        "Two numbers: how many weights has the network, and how many images was it trained on?",
        "`sum(p.numel() for p in network.parameters())` counts the weights.",
    ),
    wrong={
        "all": Wrong("that is the number of weights; divide it by the number of images.", WEIGHTS),
        "classes": Wrong("you divide by the ten classes; with five images each they make 50 images.", WEIGHTS / 10),
        "of one class": Wrong("five images are those of one class; the network was trained on all ten.", WEIGHTS / 5),
        "upside down": Wrong("those are images for each weight; divide the other way round.", 50 / WEIGHTS),
        "no classifier": Wrong(
            "you leave out the linear layer to ten classes; its weights are learned too.", (WEIGHTS - 330) / 50
        ),
    },
    otherwise="divide the number of all weights by the number of all images it was trained on.",
)


def _descriptions() -> tuple[torch.Tensor, torch.Tensor]:
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
        "The table of descriptions plays the part of the class means in `nearest_mean`.",
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
