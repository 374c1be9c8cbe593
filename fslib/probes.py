"""Probes: how well something that an embedding should not know can be read from it, the face of a font or the pen.

A probe is a small classifier, fitted on embeddings whose attribute is known and measured on others (Alain and Bengio,
*Understanding intermediate layers using linear classifier probes*, 2016). The classes on which it is measured are never
those on which it is fitted: there it could remember how each character looks in each face, which is no knowledge of
the face. What a linear probe cannot read may be there all the same, for the neighbours to find.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.config import whole
from fslib.data import ImageSet, check_disjoint
from fslib.evaluation import Accuracy
from fslib.labels import as_labels
from fslib.methods.base import check_above_zero, check_finite
from fslib.metrics import squared_euclidean


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Embeddings of all images of a data set, with an attribute of each.

    Attributes:
        data: the images, whose classes tell what a probe is fitted and measured on.
        embeddings: (n, d), as :func:`fslib.evaluation.embed_all` gives them.
        attribute: its value for each image, (n,), integers or names.

    Raises:
        ValueError: if there is not one finite embedding and one value for each image.
    """

    data: ImageSet
    embeddings: Tensor
    attribute: Any

    def __post_init__(self) -> None:
        if not isinstance(self.embeddings, Tensor) or self.embeddings.ndim != 2:
            raise ValueError("Embeddings of a probe are a tensor (n, d), as embed_all gives of a network of vectors.")
        for what, found in (("embedding", self.embeddings), ("value of the attribute", as_labels(self.attribute))):
            if len(found) != len(self.data):
                raise ValueError(
                    f"There must be one {what} for each of the {len(self.data)} images, but there are {len(found)}."
                )
        check_finite(self.embeddings)


@dataclass(frozen=True, eq=False, repr=False)
class ProbeAccuracy(Accuracy):
    """How often a probe is right, in each class, with the mean and its interval over classes.

    The interval is over classes, not images: the images of one character resemble each other and are right or wrong
    together, so they count as one. It covers the draw of the classes measured on, not of those fitted on.

    Attributes:
        chance: how often who knows no embedding is right, with the value that is most frequent where it is fitted.
    """

    chance: float = 0.0

    def __str__(self) -> str:
        return f"{super().__str__()}, chance {100 * self.chance:.2f} %"

    __repr__ = __str__


def linear_probe(fitted: ProbeSet, measured: ProbeSet, C: float = 1.0) -> ProbeAccuracy:
    """How well a linear classifier reads an attribute: logistic regression, fitted on some classes.

    It minimises the sum of the cross-entropies over the images plus half the squared length of all weights over ``C``;
    the intercepts cost nothing. Embeddings are centred and divided by one number, so that their size plays no part.

    Args:
        fitted: images on which to fit it.
        measured: images of other classes, on which to measure it.
        C: the larger, the closer it fits.

    Returns:
        How often it is right, over the classes measured on, and chance.

    Raises:
        ValueError: if the two share a class or differ in dimension, there is one value only, or one that is nowhere
            among the images to fit on.

    Example:
        >>> from fslib import data
        >>> from fslib.data.glyphs import attributes, balanced
        >>> greek = balanced(data.load("glyphs", "validation"))
        >>> first, second = greek.select(range(25)), greek.select(range(25, 51))
        >>> def read(name, part):     # from an embedding that knows nothing but the slant
        ...     of = attributes(part.domains)
        ...     return ProbeSet(part, of["slant"][:, None].float(), of[name])
        >>> linear_probe(read("slant", first), read("slant", second))
        100.00 % ± 0.00 (26 classes), chance 50.00 %
        >>> linear_probe(read("family", first), read("family", second))
        33.33 % ± 0.00 (26 classes), chance 33.33 %
    """
    check_above_zero("C", C)
    x, y, queries, targets = _prepared(fitted, measured)
    weights, intercept = _logistic_regression(x, y, C)
    return _accuracy(measured, (queries @ weights + intercept).argmax(1), y, targets)


def neighbour_probe(fitted: ProbeSet, measured: ProbeSet, neighbours: int = 5) -> ProbeAccuracy:
    """How well the nearest neighbours tell an attribute, by their votes: what is not linear is seen too.

    Args:
        fitted: images among which to look for neighbours.
        measured: images of other classes, on which to measure it.
        neighbours: how many vote; of values with as many votes the first is taken.

    Returns:
        How often they are right, over the classes measured on, and chance.

    Raises:
        ValueError: whatever :func:`linear_probe` refuses, or if there are fewer images than neighbours.
    """
    neighbours = whole("neighbours", neighbours)
    x, y, queries, targets = _prepared(fitted, measured)
    if neighbours > len(x):
        raise ValueError(f"There are {len(x)} images among which to look for {neighbours} neighbours.")
    voted = []
    for some in queries.split(512):
        nearest = squared_euclidean(some, x).topk(neighbours, largest=False).indices
        voted.append(F.one_hot(y[nearest]).sum(1).argmax(1))
    return _accuracy(measured, torch.cat(voted), y, targets)


def _prepared(fitted: ProbeSet, measured: ProbeSet) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings and values to fit on, and those to measure on, values numbered alike from zero on.

    On the CPU in float64: a fit is small, and ends where it should in that alone.
    """
    check_disjoint(fitted.data, measured.data)
    x, queries = (each.embeddings.detach().cpu().double() for each in (fitted, measured))
    if x.shape[1] != queries.shape[1]:
        raise ValueError(
            f"The probe would be fitted on embeddings of {x.shape[1]} numbers and measured on {queries.shape[1]}."
        )
    # Together, for names are numbered in sorted order.
    values = as_labels([*_listed(fitted.attribute), *_listed(measured.attribute)])
    y, targets = values.unique(return_inverse=True)[1].split([len(x), len(queries)])
    known = y.unique()
    if len(known) < 2:
        raise ValueError("All images to fit on have one value of the attribute, so there is nothing to tell apart.")
    if not torch.isin(targets, known).all():
        raise ValueError("A value of the attribute is nowhere among the images to fit on, and so is never answered.")
    center = x.mean(0)
    size = (x - center).square().mean().sqrt()
    size = size.where(size > 0, 1)
    return (x - center) / size, y, (queries - center) / size, targets


def _listed(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _logistic_regression(x: Tensor, y: Tensor, C: float) -> tuple[Tensor, Tensor]:
    """Weights (d, values) and intercepts (values,), by L-BFGS over all of x (n, d) at once."""
    with torch.inference_mode(False), torch.enable_grad():  # whoever calls
        x, y = x.clone(), y.clone()
        weights = x.new_zeros(x.shape[1], int(y.max()) + 1, requires_grad=True)
        intercept = x.new_zeros(weights.shape[1], requires_grad=True)
        descent = torch.optim.LBFGS(
            [weights, intercept], max_iter=2000, tolerance_grad=1e-7, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            descent.zero_grad()
            cost = F.cross_entropy(x @ weights + intercept, y) + weights.square().sum() / (2 * C * len(x))
            cost.backward()
            return cost

        descent.step(loss)  # type: ignore[arg-type]
        return weights.detach(), intercept.detach()


def _accuracy(measured: ProbeSet, answers: Tensor, fitted_values: Tensor, targets: Tensor) -> ProbeAccuracy:
    """The share of right answers in each class, and that of the value most frequent where the probe was fitted."""
    labels = measured.data.labels
    classes, positions, sizes = labels.unique(return_inverse=True, return_counts=True)

    def share(right: Tensor) -> Tensor:
        return torch.zeros(len(classes)).index_add_(0, positions, right.float()) / sizes

    digest = hashlib.sha256("\n".join(measured.data.class_names).encode())
    digest.update(torch.stack([labels, targets]).numpy().tobytes())
    return ProbeAccuracy(
        share(answers == targets),
        unit="classes",
        drawn=digest.hexdigest()[:16],
        chance=share(fitted_values.bincount().argmax() == targets).mean().item(),
    )
