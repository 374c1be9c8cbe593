"""Relation Networks (Sung et al., *Learning to Compare: Relation Network for Few-Shot Learning*, 2018)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.backbones import conv_block
from fslib.methods.base import FewShotClassifier, check_labels, members
from fslib.methods.prototypical import prototypes

Aggregate = Literal["mean", "sum", "score mean", "score max"]
Criterion = Literal["mse", "bce"]


class RelationNetwork(FewShotClassifier):
    """Learn the comparison too: a second network looks at a pair of embeddings and says how well they belong together.

    Sung et al., 2018, equations 1 and 2. A score is no probability of a class among others, each pair is judged by
    itself, so the loss compares every score with 1 for the right class and 0 for the others.

    Args:
        feature_extractor: any module from images to embeddings, vectors (n, d) or feature maps (n, c, h, w).
        relation_module: any module from pairs, (pairs, 2d) or (pairs, 2c, h, w), the support first, to scores between
            0 and 1, (pairs,) or (pairs, 1). An ``nn.Sequential`` that does not end in ``nn.Sigmoid`` gets one.
        aggregate: what several examples of a class become. ``"mean"`` or ``"sum"`` of their embeddings (the paper has
            the sum), which make one pair of each query and class; or ``"score mean"`` or ``"score max"`` of the scores
            of all pairs. With one shot they are the same.
        criterion: ``"mse"`` as in the paper, or ``"bce"``, binary cross-entropy.
        maps: whether embeddings are feature maps; default, if the relation module has a convolution before any linear
            layer. Otherwise maps are flattened.

    Example:
        >>> import torch
        >>> relation = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Sigmoid())
        >>> model = RelationNetwork(torch.nn.Flatten(), relation)
        >>> model(torch.rand(2, 2), torch.tensor([7, 3]), torch.rand(5, 2)).shape
        torch.Size([5, 2])
    """

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
            ("criterion", criterion, ("mse", "bce")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, but is {value!r}.")
        if isinstance(relation_module, nn.Sequential) and not isinstance(
            relation_module[-1], nn.Sigmoid
        ):
            relation_module = nn.Sequential(*relation_module, nn.Sigmoid())
        self.relation_module = relation_module
        self.aggregate, self.criterion = aggregate, criterion
        self.maps = _begins_with_convolution(relation_module) if maps is None else maps

    @property
    def config(self) -> dict[str, Any]:
        """What it was built with."""
        return super().config | dict(
            relation_module=self.relation_module,
            aggregate=self.aggregate,
            criterion=self.criterion,
            maps=self.maps,
        )

    def embed(self, images: Tensor) -> Tensor:
        """Embed images, (n, ...) → (n, d), or (n, c, h, w) if the relation module takes maps."""
        embeddings = self.feature_extractor(images)
        return embeddings if self.maps else embeddings.flatten(1)

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Relation score of each query with each class, between 0 and 1, (..., m, classes)."""
        axes = 3 if self.maps else 1
        check_labels(support_labels, support.shape[-1 - axes])
        if self.aggregate.startswith("score"):
            scores = self._pairs(support, query)  # (..., m, n)
            mask = members(support_labels).mT  # (classes, n)
            if self.aggregate == "score mean":
                return scores @ (mask / mask.sum(-1, keepdim=True)).mT.to(scores.dtype)
            alone = scores[..., None, :].masked_fill(mask[..., None, :, :] == 0, -1)
            return alone.amax(-1)
        classes = prototypes(support.flatten(-axes), support_labels)
        if self.aggregate == "sum":
            classes = classes * members(support_labels).sum(-2)[..., None]
        return self._pairs(classes.unflatten(-1, support.shape[-axes:]), query)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean over all pairs of the squared error, or the binary cross-entropy, of scores (..., m, classes)."""
        right = F.one_hot(targets.expand(scores.shape[:-1]), scores.shape[-1]).float()
        error = F.mse_loss if self.criterion == "mse" else F.binary_cross_entropy
        return error(scores.float(), right)

    def workspace(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time: some for each pair, by the width of the first layer."""
        examples = way * shot if self.aggregate.startswith("score") else way
        weight = next((w for w in self.relation_module.parameters() if w.ndim > 1), None)
        widening = 1 if weight is None else max(1, 2 * weight.shape[0] / weight.shape[1])
        return int(4 * widening * dim) * way * query * examples

    def _pairs(self, examples: Tensor, query: Tensor) -> Tensor:
        """Score of every query with every example, ``(..., k, *f)`` and ``(..., m, *f)`` → (..., m, k)."""
        axes = 3 if self.maps else 1
        if examples.shape[-axes:] != query.shape[-axes:]:
            raise ValueError(
                "Support and query must be embedded to the same shape, "
                f"but are {tuple(examples.shape[-axes:])} and {tuple(query.shape[-axes:])}."
            )
        shape = (*query.shape[: -1 - axes], query.shape[-1 - axes], examples.shape[-1 - axes])
        if isinstance(self.relation_module, RelationModule):
            return self.relation_module.score_all(examples, query)
        left = examples.unsqueeze(-2 - axes).expand(*shape, *examples.shape[-axes:])
        right = query.unsqueeze(-1 - axes).expand(*shape, *query.shape[-axes:])
        pairs = torch.cat([left, right], -axes).flatten(0, -1 - axes)
        try:
            scores = self.relation_module(pairs)
        except RuntimeError as error:
            raise ValueError(
                f"The relation module takes no pairs of shape {tuple(pairs.shape)}, two embeddings of shape "
                f"{tuple(query.shape[-axes:])} joined: {error}"
            ) from error
        if scores.numel() != len(pairs) or not ((0 <= scores) & (scores <= 1)).all():
            raise ValueError(
                f"The relation module must give one score between 0 and 1 for each of the {len(pairs)} pairs, but gave "
                f"{tuple(scores.shape)} from {scores.min().item():.3g} to {scores.max().item():.3g}; "
                "end it in a linear layer to one number and a Sigmoid."
            )
        return scores.reshape(shape)


class RelationModule(nn.Sequential):
    """A relation module whose first layer is linear, so that it runs on images and not on pairs.

    The first layer sees two embeddings joined. Being linear, it gives the sum of what it makes of either half, so it
    runs on n + m embeddings instead of n · m pairs; what follows must run on every pair.

    Args:
        first: ``nn.Linear`` or ``nn.Conv2d`` over the joined embeddings.
        rest: from its output to a score between 0 and 1.
    """

    def __init__(self, first: nn.Module, *rest: nn.Module):
        super().__init__(first, *rest)

    def forward(self, pairs: Tensor) -> Tensor:
        """Score pairs, (pairs, 2d) or (pairs, 2c, h, w) → (pairs,)."""
        return super().forward(pairs).squeeze(-1)

    def score_all(self, examples: Tensor, query: Tensor) -> Tensor:
        """Score every query with every example, ``(..., k, *f)`` and ``(..., m, *f)`` → (..., m, k)."""
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
            else:
                flat = F.conv2d(flat, weight, bias, padding=first.padding)
            return flat.unflatten(0, embeddings.shape[:-axes])

        left, right = first.weight.split(half, 1)
        of_examples = apply(examples.to(query.dtype), left, None).unsqueeze(-2 - axes)
        of_queries = apply(query, right, first.bias).unsqueeze(-1 - axes)
        pairs = of_examples + of_queries
        scores = pairs.flatten(0, -1 - axes)
        for layer in list(self)[1:]:
            scores = layer(scores)
        return scores.reshape(pairs.shape[:-axes])


class ConvRelation(RelationModule):
    """The paper's relation module, on pairs of feature maps (Sung et al., 2018, figure 2).

    Two blocks of 3 × 3 convolution, batch norm, ReLU and max-pooling, then two linear layers. The second pooling
    takes the maximum over all places that are left, so that maps of any size will do.

    Args:
        channels: c of the maps, and of both blocks.
        hidden: width of the hidden linear layer.

    Shape:
        pairs (n, 2 · channels, h, w) with h, w ≥ 2 → scores (n,).
    """

    def __init__(self, channels: int = 64, hidden: int = 8):
        super().__init__(
            *conv_block(2 * channels, channels),
            *conv_block(channels, channels, pool=False),
            _MaxOverPlaces(),
            nn.Linear(channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )
        self.config = dict(channels=channels, hidden=hidden)


class _MaxOverPlaces(nn.Module):
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
        super().__init__(
            nn.Linear(2 * dim, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )
        self.config = dict(dim=dim, hidden=hidden)


def _begins_with_convolution(module: nn.Module) -> bool:
    """Whether the first layer with weights is a convolution."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    return isinstance(next(layers, None), nn.Conv2d)
