"""Relation Networks (Sung et al., *Learning to Compare: Relation Network for Few-Shot Learning*, 2018)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.backbones import conv_block
from fslib.config import Configured, whole
from fslib.devices import upload
from fslib.methods.base import FewShotClassifier, one_hot
from fslib.methods.matching import greatest_of_class
from fslib.methods.prototypical import prototypes
from fslib.metrics import full_precision

Aggregate = Literal["mean", "sum", "score mean", "score max"]
Criterion = Literal["mse", "bce", "cross-entropy"]


class RelationNetwork(FewShotClassifier):
    """Learn the comparison too: a second network looks at a pair of embeddings and says how well they belong together.

    Sung et al., 2018, equations 1 and 2. A score is no probability of a class among others, each pair is judged by
    itself, so the loss compares every score with 1 for the right class and 0 for the others.

    Inside, a score r is kept as its logit, log(r / (1 − r)), what enters the sigmoid at the end of the relation module.
    A score near 1 would be rounded to 1, and a confident mistake would have no gradient.

    Args:
        feature_extractor: any module from images to embeddings, vectors (n, d) or feature maps (n, c, h, w).
        relation_module: any module from pairs, (pairs, 2d) or (pairs, 2c, h, w), the support first, to scores between
            0 and 1, (pairs,) or (pairs, 1). An ``nn.Sequential`` that does not end in ``nn.Sigmoid`` gets one.
        aggregate: what several examples of a class become. ``"mean"`` or ``"sum"`` of their embeddings (the paper has
            the sum), which make one pair of each query and class; or ``"score mean"`` or ``"score max"`` of the scores
            of all pairs. With one shot they are the same.
        criterion: ``"mse"`` as in the paper; ``"bce"``, binary cross-entropy; or ``"cross-entropy"`` of the logits over
            the classes, which compares the scores of a query with one another (a variant in Chen et al., *A Closer Look
            at Few-shot Classification*, 2019). Then the order of the scores means much and their height little.
        maps: whether embeddings are feature maps; default, if the relation module has a convolution before any linear
            layer. Otherwise maps are flattened.

    Example:
        >>> import torch
        >>> relation = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Sigmoid())
        >>> model = RelationNetwork(torch.nn.Flatten(), relation)
        >>> model(torch.rand(2, 2), torch.tensor([7, 3]), torch.rand(5, 2)).shape
        torch.Size([5, 2])
    """

    compares_by_network = True

    def __init__(
        self,
        feature_extractor: nn.Module,
        relation_module: nn.Module,
        aggregate: Aggregate = "mean",
        criterion: Criterion = "mse",
        maps: bool | None = None,
    ):
        super().__init__(feature_extractor)
        for name, value, known in (
            ("aggregate", aggregate, ("mean", "sum", "score mean", "score max")),
            ("criterion", criterion, ("mse", "bce", "cross-entropy")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, but is {value!r}.")
        if not isinstance(relation_module, nn.Module):
            raise ValueError(
                "The relation module must be a module from pairs of embeddings to scores, "
                f"but is a {type(relation_module).__name__}."
            )
        if isinstance(relation_module, nn.Sequential) and _layers_before_sigmoid(relation_module) is None:
            relation_module = nn.Sequential(*relation_module, nn.Sigmoid())
        self.relation_module = relation_module
        self.aggregate, self.criterion = aggregate, criterion
        self.maps = _begins_with_convolution(relation_module) if maps is None else maps

    def embed(self, images: Tensor) -> Tensor:
        """Embed images, (n, ...) → (n, d), or (n, c, h, w) if the relation module takes maps."""
        return self.feature_extractor(self._here(images)) if self.maps else super().embed(images)

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Relation score of each query with each class, between 0 and 1, (..., m, classes)."""
        return self.logits(support, support_labels, query).sigmoid()

    def logits(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Logit of each relation score, in float32 or better, (..., m, classes)."""
        axes = 3 if self.maps else 1
        support, labels, query = self._ready(support, support_labels, query, axes)
        if self.aggregate.startswith("score"):
            join = _mean_of_scores if self.aggregate == "score mean" else greatest_of_class
            return join(self._pairs(support, query), one_hot(labels, support.device))
        classes = prototypes(support.flatten(-axes), labels)
        if self.aggregate == "sum":
            classes = classes * one_hot(labels, support.device).sum(-2)[..., None]
        return self._pairs(classes.unflatten(-1, support.shape[-axes:]), query)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean over all pairs of the squared error, or the binary cross-entropy, of scores (..., m, classes).

        With the cross-entropy over the classes, the mean over the queries, of the logits of the scores.
        """
        if self.criterion == "cross-entropy":
            return super().loss(scores.to(torch.promote_types(scores.dtype, torch.float32)).logit(), targets)
        error = F.mse_loss if self.criterion == "mse" else F.binary_cross_entropy
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return error(scores, _of_right_class(targets, scores))

    def episode_loss(
        self, support: Tensor, support_labels: Tensor, query: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss, computed from logits, and the scores."""
        logits = self.logits(support, support_labels, query)
        scores, right = logits.sigmoid(), _of_right_class(targets, logits)
        with full_precision(logits):
            if self.criterion == "cross-entropy":
                return super().loss(logits, targets), scores
            if self.criterion == "bce":
                return F.binary_cross_entropy_with_logits(logits, right), scores
            # 1 − r of the right class is the score of the opposite, to the last digit.
            return (logits * (1 - 2 * right)).sigmoid().square().mean(), scores

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time: some for each pair, by the width of the first layer."""
        examples = way * shot if self.aggregate.startswith("score") else way
        weight = next((w for w in self.relation_module.parameters() if w.ndim > 1), None)
        widening = 1 if weight is None else max(1, 2 * weight.shape[0] / weight.shape[1])
        return int(4 * widening * dim) * way * query * examples

    def _pairs(self, examples: Tensor, query: Tensor) -> Tensor:
        """Logit of every query with every example, ``(..., k, *f)`` and ``(..., m, *f)`` → (..., m, k)."""
        axes = 3 if self.maps else 1
        if examples.shape[-axes:] != query.shape[-axes:]:
            raise ValueError(
                "Support and query must be embedded to the same shape, "
                f"but are {tuple(examples.shape[-axes:])} and {tuple(query.shape[-axes:])}."
            )
        if isinstance(self.relation_module, RelationModule):
            return self.relation_module.logits_of_all(examples, query)
        shape = (*query.shape[: -1 - axes], query.shape[-1 - axes], examples.shape[-1 - axes])
        left = examples.unsqueeze(-2 - axes).expand(*shape, *examples.shape[-axes:])
        right = query.unsqueeze(-1 - axes).expand(*shape, *query.shape[-axes:])
        pairs = torch.cat([left, right], -axes).flatten(0, -1 - axes)
        try:
            logits = _logits(self.relation_module, pairs)
        except RuntimeError as error:
            raise ValueError(
                f"The relation module takes no pairs of shape {tuple(pairs.shape)}, two embeddings of shape "
                f"{tuple(query.shape[-axes:])} joined: {error}"
            ) from error
        if logits.numel() != len(pairs):
            raise _not_a_score(len(pairs), logits)
        return logits.reshape(shape)


class RelationModule(Configured, nn.Sequential):
    """A relation module whose first layer is linear, so that it runs on images and not on pairs.

    The first layer sees two embeddings joined. Being linear, it gives the sum of what it makes of either half, so it
    runs on n + m embeddings instead of n · m pairs; what follows must run on every pair.

    Args:
        first: ``nn.Linear`` or ``nn.Conv2d`` over the joined embeddings.
        rest: from its output to a score between 0 and 1.

    Raises:
        ValueError: if the first layer is another, is of an odd number of channels, or works on groups of channels.
    """

    def __init__(self, first: nn.Module, *rest: nn.Module):
        super().__init__(first, *rest)
        if not isinstance(first, nn.Linear | nn.Conv2d):
            raise ValueError(
                f"A RelationModule begins with nn.Linear or nn.Conv2d, but this one with {type(first).__name__}; "
                "a plain nn.Sequential may begin with anything."
            )
        if first.weight.shape[1] % 2 or getattr(first, "groups", 1) != 1:
            raise ValueError(
                "The first layer of a RelationModule sees two embeddings joined, all channels together, but this "
                f"one is {first}; a plain nn.Sequential may begin with it."
            )

    def forward(self, pairs: Tensor) -> Tensor:
        """Score pairs, (pairs, 2d) or (pairs, 2c, h, w) → (pairs,)."""
        return super().forward(pairs).squeeze(-1)

    def score_all(self, examples: Tensor, query: Tensor) -> Tensor:
        """Score every query with every example, ``(..., k, *f)`` and ``(..., m, *f)`` → (..., m, k)."""
        return self.logits_of_all(examples, query).sigmoid()

    def logits_of_all(self, examples: Tensor, query: Tensor) -> Tensor:
        """Logit of the score of every query with every example, (..., m, k)."""
        first: Any = self[0]
        axes = 3 if isinstance(first, nn.Conv2d) else 1
        half = first.weight.shape[1] // 2
        if query.shape[-axes] != half:
            raise ValueError(
                f"This relation module is for embeddings of shape {(half,) if axes == 1 else (half, 'h', 'w')}, "
                f"but got {tuple(query.shape[-axes:])}."
            )

        def apply(embeddings: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            flat = embeddings.flatten(0, -1 - axes)
            if axes == 1:
                flat = F.linear(flat, weight, bias)
            else:  # as the layer itself, with its stride, dilation and border
                flat = first._conv_forward(flat, weight, bias)
            return flat.unflatten(0, embeddings.shape[:-axes])

        left, right = first.weight.split(half, 1)
        of_examples = apply(examples.to(query.dtype), left, None).unsqueeze(-2 - axes)
        of_queries = apply(query, right, first.bias).unsqueeze(-1 - axes)
        pairs = of_examples + of_queries
        flat = pairs.flatten(0, -1 - axes)
        logits = _logits(nn.Sequential(*list(self)[1:]), flat)
        if logits.numel() != flat.shape[0]:
            raise _not_a_score(flat.shape[0], logits)
        return logits.reshape(pairs.shape[:-axes])


class ConvRelation(RelationModule):
    """The paper's relation module, on pairs of feature maps (Sung et al., 2018, figure 2).

    Two blocks of 3 × 3 convolution, batch norm, ReLU and max-pooling, then two linear layers. The second pooling
    takes the maximum over all locations that are left, so that maps of any size will do.

    Args:
        channels: c of the maps, and of both blocks.
        hidden: width of the hidden linear layer.

    Shape:
        pairs (n, 2 · channels, h, w) with h, w ≥ 2 → scores (n,).
    """

    def __init__(self, channels: int = 64, hidden: int = 8):
        channels, hidden = whole("channels", channels), whole("hidden", hidden)
        super().__init__(
            *conv_block(2 * channels, channels),
            *conv_block(channels, channels, pool=False),
            _MaxOverLocations(),
            nn.Linear(channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )
        self.channels, self.hidden = channels, hidden


class _MaxOverLocations(nn.Module):
    """The largest of each channel, (n, c, h, w) → (n, c); PyTorch's adaptive pooling is slow on maps this small."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax((-2, -1))


class VectorRelation(RelationModule):
    """A relation module on pairs of vectors: one hidden layer.

    Args:
        dim: d of the vectors.
        hidden: width of the hidden layer.

    Shape:
        pairs (n, 2 · dim) → scores (n,).
    """

    def __init__(self, dim: int = 64, hidden: int = 64):
        dim, hidden = whole("dim", dim), whole("hidden", hidden)
        super().__init__(
            nn.Linear(2 * dim, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )
        self.dim, self.hidden = dim, hidden


def _logits(module: nn.Module, pairs: Tensor) -> Tensor:
    """What a module makes of pairs before the sigmoid at its end, the last layer with weights in float32 or better.

    A module that does not show its end is run in full precision, and the logits are those of its scores.
    """
    layers = _layers_before_sigmoid(module)
    if layers is None:
        with full_precision(pairs):
            return _of_scores(module(pairs), len(pairs))
    weighted = [i for i, layer in enumerate(layers) if any(True for _ in layer.parameters())]
    last = weighted[-1] if weighted else 0
    for layer in layers[:last]:
        pairs = layer(pairs)
    with full_precision(pairs):
        pairs = pairs.to(torch.promote_types(pairs.dtype, torch.float32))
        for layer in layers[last:]:
            pairs = layer(pairs)
    return pairs


def _layers_before_sigmoid(module: nn.Module) -> list[nn.Module] | None:
    """The layers of a Sequential that ends in a Sigmoid, however deep inside, without it; else ``None``."""
    layers = _flat(module)
    return layers[:-1] if isinstance(layers[-1], nn.Sigmoid) else None


def _flat(module: nn.Module) -> list[nn.Module]:
    """A module as a list of layers, Sequentials in it opened."""
    if not isinstance(module, nn.Sequential) or not len(module):
        return [module]
    if type(module).forward not in (nn.Sequential.forward, RelationModule.forward):
        return [module]
    return [layer for part in module for layer in _flat(part)]


def _of_scores(scores: Tensor, pairs: int) -> Tensor:
    """Logits of scores between 0 and 1. Anything else is refused on the CPU; elsewhere, without waiting, it is NaN."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    inside = (scores >= 0) & (scores <= 1)
    if scores.device.type == "cpu" and not torch.compiler.is_compiling():
        if scores.numel() != pairs or not inside.all():
            raise _not_a_score(pairs, scores)
    return torch.where(inside, scores, torch.nan).logit(eps=torch.finfo(scores.dtype).eps / 4)


def _not_a_score(pairs: int, scores: Tensor) -> ValueError:
    found = scores.detach().float()
    return ValueError(
        f"The relation module must give one score between 0 and 1 for each of the {pairs} pairs, but gave "
        f"{tuple(found.shape)} from {found.min().item():.3g} to {found.max().item():.3g}; "
        "end it in a linear layer to one number and a Sigmoid."
    )


def _mean_of_scores(logits: Tensor, of_class: Tensor) -> Tensor:
    """Logit of the mean score of each class, log Σ r − log Σ (1 − r), from (..., m, n) and (..., n, classes)."""
    with full_precision(logits):
        sums = [x.sigmoid() @ of_class.to(logits.dtype) for x in (logits, -logits)]
        near, far = (x.clamp_min(torch.finfo(x.dtype).tiny).log() for x in sums)
        return near - far


def _of_right_class(targets: Tensor, scores: Tensor) -> Tensor:
    """One where a column of scores (..., m, classes) is the target, else zero, in their type."""
    columns = torch.arange(scores.shape[-1], device=scores.device)
    return (upload(targets, scores.device)[..., None] == columns).to(scores.dtype).expand_as(scores)


def _begins_with_convolution(module: nn.Module) -> bool:
    """Whether the first layer with weights is a convolution."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    return isinstance(next(layers, None), nn.Conv2d)
