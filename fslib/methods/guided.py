"""Prototypes guided by what is known of the classes beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fslib.data import ImageSet, check_disjoint
from fslib.data.characters import RELATIONS, Graph
from fslib.devices import upload
from fslib.labels import as_labels
from fslib.methods.base import FewShotClassifier, check_above_zero, one_hot
from fslib.methods.prototypical import prototypes
from fslib.metrics import full_precision, squared_euclidean


@dataclass(frozen=True, eq=False)
class Prior:
    """What a graph leads to expect of the prototypes of some classes.

    Attributes:
        means: the expected prototypes, (classes, d).
        relations: by which relation that of each class was found; ``None`` for the mean of all that is known.
    """

    means: Tensor
    relations: list[str | None]


def prior_means(graph: Graph, data: ImageSet, train: ImageSet, embeddings: Tensor) -> Prior:
    """Expect of each class the mean of the prototypes of its nearest relatives among the training classes.

    Where a class has relatives by several relations, those by the nearest count, in the order of
    :data:`fslib.data.characters.RELATIONS`; where it has none, all training classes do.

    Args:
        graph: relatives of the classes of ``data`` among those of ``train``, as :func:`fslib.data.characters.graph`
            gives them, or by another hand.
        data: the classes to be learned.
        train: the classes that are known, none of which is to be learned.
        embeddings: of all images of ``train``, (n, d), as :func:`fslib.evaluation.embed_all` gives them.

    Raises:
        ValueError: if the graph holds a class that is not in the data, or a relation that is none, the two sets share a
            class, or there is not one embedding for each image.
    """
    check_disjoint(data, train)
    _check_graph(graph, data, train)
    if embeddings.ndim != 2 or len(embeddings) != len(train):
        raise ValueError(
            f"There must be one embedding (d,) for each of the {len(train)} images of {train.name}, but these are of "
            f"shape {tuple(embeddings.shape)}."
        )
    present = train.labels.unique().tolist()
    row = {train.class_names[c]: i for i, c in enumerate(present)}
    known = prototypes(embeddings, train.labels)
    means, relations = [], []
    for name in data.class_names:
        relatives = graph.get(name, {})
        relation = next((each for each in RELATIONS if relatives.get(each)), None)
        means.append(known[[row[other] for other in relatives[relation]]].mean(0) if relation else known.mean(0))
        relations.append(relation)
    return Prior(torch.stack(means), relations)


def posterior_means(means: Tensor, prior: Tensor, shot: Any, kappa: Any) -> Tensor:
    """Between the mean of a few examples and what was expected: (n · mean + κ · prior) / (n + κ).

    If examples lie about their prototype with variance σ² in each direction, and prototypes about what is expected of
    them with variance τ², both normally, it is the mean of the prototype given n examples, for κ = σ²/τ². So the prior
    counts as much as κ examples do, and less the more there are.

    Args:
        means: of the examples of each class, (..., classes, d).
        prior: (..., classes, d).
        shot: n, a number or one for each class, (..., classes).
        kappa: κ, 0 or more, a number or one for each class, (..., classes).

    Example:
        >>> posterior_means(torch.tensor([[4.0]]), torch.tensor([[0.0]]), shot=1, kappa=3.0)
        tensor([[1.]])
    """
    shot, kappa = (torch.as_tensor(x, dtype=means.dtype, device=means.device)[..., None] for x in (shot, kappa))
    return torch.lerp(means, prior.to(means), kappa / (shot + kappa))


class GuidedPrototypicalNetwork(FewShotClassifier):
    """Prototypical Network with prototypes drawn to what is known of their classes beforehand.

    The weight of the prior is κ/(n + κ), n the shots: see :func:`posterior_means`. Of published methods AM3 is nearest
    (Xing et al., 2019), which mixes a prototype with what a network makes of the word for its class; there the weight
    is learned of the word and is the same for all shots, here it follows from their number.

    Evaluation tells it which classes of the data set are in an episode. Where nobody does, as in training, nothing is
    known, and it is the plain Prototypical Network.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
        prior: the expected prototype of each class of the data that is measured on, in its order, (classes, d), as the
            ``means`` of :func:`prior_means`.
        kappa: κ, 0 or more, chosen on validation classes; a number, or one for each class, (classes,), for a near
            relative tells more than a far one.
        temperature: τ, by which scores are divided.

    Example:
        >>> model = GuidedPrototypicalNetwork(nn.Flatten(), prior=torch.tensor([[0.0], [9.0]]), kappa=1.0)
        >>> support, query = torch.tensor([[2.0], [5.0]]), torch.tensor([[3.8]])
        >>> model.compare(support, [0, 1], query).argmax(1)     # nothing is known
        tensor([1])
        >>> model.compare(support, [0, 1], query, classes=torch.tensor([0, 1])).argmax(1)     # means of 1 and 7
        tensor([0])
    """

    knows_classes = True
    prior: Tensor
    kappa: Tensor

    def __init__(self, feature_extractor: nn.Module, prior: Tensor, kappa: Any = 1.0, temperature: float = 1.0):
        super().__init__(feature_extractor)
        if not isinstance(prior, Tensor) or prior.ndim != 2 or not prior.isfinite().all():
            raise ValueError("A prior is one finite mean for each class, in a tensor (classes, d).")
        kappas = torch.as_tensor(kappa, dtype=prior.dtype, device=prior.device)
        of_each = kappas.shape in ((), prior.shape[:1])
        if not of_each or not ((kappas >= 0) & kappas.isfinite()).all():
            raise ValueError(
                f"kappa is a number, 0 or more, or one for each of the {len(prior)} classes of the prior, but it is "
                f"{kappa}."
            )
        check_above_zero("temperature", temperature)
        self.temperature = temperature
        self.register_buffer("prior", prior.detach().clone(), persistent=False)
        self.register_buffer("kappa", kappas.expand(len(prior)).clone(), persistent=False)

    def compare(
        self, support: Tensor, support_labels: Tensor, query: Tensor, classes: Tensor | None = None
    ) -> Tensor:
        """Minus the squared distance of each query to each guided prototype, over the temperature, (..., m, classes).

        Args:
            support: (..., n, d)
            support_labels: (n,) or (..., n)
            query: (..., m, d)
            classes: the row of the prior for each column, (..., classes); default, nothing is known.

        Raises:
            ValueError: if the prior has another dimension, or no row for a class.
        """
        support, labels, query = self._ready(support, support_labels, query)
        with full_precision(support):
            means = prototypes(support, labels)
            if classes is not None:
                rows, shot = self._rows(classes, means), one_hot(labels, support.device).sum(-2)
                means = posterior_means(means, self.prior[rows], shot, self.kappa[rows])
            return -squared_euclidean(query, means) / self.temperature

    def _rows(self, classes: Tensor, means: Tensor) -> Tensor:
        """The rows of the prior for the columns, on its device."""
        rows = as_labels(classes, axes=None, names=False)
        if self.prior.shape[1] != means.shape[-1]:
            raise ValueError(
                f"The prior is of embeddings of {self.prior.shape[1]} numbers, but these have {means.shape[-1]}."
            )
        if rows.device.type == "cpu" and not 0 <= rows.min() <= rows.max() < len(self.prior):
            raise ValueError(
                f"The prior is of {len(self.prior)} classes, but class {rows.max()} is asked for; it must be made for "
                "the data that is measured on."
            )
        return upload(rows, self.prior.device)


def _check_graph(graph: Graph, data: ImageSet, train: ImageSet) -> None:
    """Raise unless a graph is of classes of the data, by relations that there are."""
    present = {train.class_names[c] for c in train.labels.unique().tolist()}
    for name, relatives in graph.items():
        if name not in data.class_names:
            raise ValueError(f"The graph holds {name}, which is not among the classes of {data.name}.")
        for relation, others in relatives.items():
            if relation not in RELATIONS:
                raise ValueError(f"There is no relation {relation!r}; there are {', '.join(RELATIONS)}.")
            if missing := [other for other in others if other not in present]:
                raise ValueError(
                    f"The graph holds {missing[0]} as a relative of {name}, but {train.name} has no picture of it."
                )
