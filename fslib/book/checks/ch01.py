"""Chapter 1: the few-shot problem."""

import torch

from fslib.book.checks.exercise import Exercise, Wrong
from fslib.metrics import squared_euclidean

nearest_neighbour = Exercise(
    asks="1.1: the label of the support example nearest to each query",
    given=lambda: (torch.randn(7, 5), torch.tensor([40, 10, 30, 10, 20, 40, 20]), torch.randn(50, 5)),
    right=lambda support, labels, query: labels[squared_euclidean(query, support).argmin(1)],
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
    },
    otherwise="some labels are not those of the nearest support example.",
)

WEIGHTS = sum(32 * 9 * channels + 32 + 64 for channels in (1, 32, 32, 32)) + 32 * 10 + 10

weights_per_picture = Exercise(
    asks="1.2: weights of a Conv-4 of 32 channels and a linear layer to ten classes, for each of 50 pictures",
    right=WEIGHTS / 50,
    tolerance=1e-3,
    wrong={
        "all": Wrong("that is the number of weights; divide it by the number of pictures.", WEIGHTS),
        "classes": Wrong("ten classes with five pictures each make 50 pictures.", WEIGHTS / 10),
    },
    otherwise="count every parameter of the network, with sum(p.numel() for p in network.parameters()).",
)


def _descriptions() -> tuple[torch.Tensor, torch.Tensor]:
    described, predicted = torch.rand(6, 8).round(), torch.rand(400, 8)
    described[:, 0] = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    return predicted, described + 0.01 * torch.arange(6)[:, None]  # no two classes described alike


zero_shot = Exercise(
    asks="1.3: the class whose description is nearest to the description predicted for each query",
    given=_descriptions,
    right=lambda predicted, described: squared_euclidean(predicted, described).argmin(1),
    wrong={
        "farthest": Wrong(
            "you pick the class whose description is farthest.",
            lambda predicted, described: squared_euclidean(predicted, described).argmax(1),
        ),
    },
    otherwise="for each query, pick the class (a row of the second argument) at the smallest distance.",
)
