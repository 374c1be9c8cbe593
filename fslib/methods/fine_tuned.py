"""Fine-tuning the last layers on every support set (Chen et al., *A Closer Look at Few-shot Classification*, 2019)."""

from __future__ import annotations

import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fslib.config import whole
from fslib.devices import evaluation_mode
from fslib.methods.base import FewShotClassifier, check_above_zero, check_images, one_hot
from fslib.metrics import full_precision

Tuned = Literal["layers", "residual"]


class FineTunedNetwork(FewShotClassifier):
    """Train the last layers of a network on every support set, with a weight vector a class, compared by the cosine.

    Chen et al. (2019) leave the network as it is and train such a classifier alone, which is
    :class:`CosineClassifier`. Where pictures come from another domain, Guo et al. (2020) find that to train the last
    layers too is better than to meta-learn. The more layers, the more the support set can say, and the easier a few
    examples are learned by heart.

    Both are trained by steps of gradient descent down the cross-entropy of the whole support set, the classifier from
    the mean directions of the classes, so that the result is the same every time, and that of no step is the cosine to
    these. Batch norm keeps the statistics of training, so no query sees another. All episodes of a stack are tuned at
    once, each a copy of its own.

    The scores carry no gradient: the fit is made for a network that is trained already.

    Args:
        feature_extractor: an ``nn.Sequential`` of blocks, as :class:`~fslib.backbones.Conv4` and
            :class:`~fslib.backbones.ResNet12` are.
        layers: how many blocks, the last ones with weights, come after what is embedded once for all episodes.
        tuned: ``"layers"`` trains their weights. ``"residual"`` leaves those as they are, and adds to the channels that
            enter them, x, what a matrix makes of them, x + A x at each location, where A starts at zero: an adapter as
            of Rebuffi et al. (2018), of c² numbers.
        learning_rate: of the steps. It is chosen on validation classes.
        steps: how many.
        scale: of the cosines in the softmax.

    Example:
        >>> from fslib.backbones import Conv4
        >>> model = FineTunedNetwork(Conv4(8), tuned="residual").eval()
        >>> model(torch.rand(4, 1, 28, 28), [0, 0, 1, 1], torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        feature_extractor: nn.Sequential,
        layers: int = 1,
        tuned: Tuned = "layers",
        learning_rate: float = 0.01,
        steps: int = 20,
        scale: float = 10.0,
    ):
        super().__init__(feature_extractor)
        if tuned not in ("layers", "residual"):
            raise ValueError(f'tuned must be "layers" or "residual", but is {tuned!r}.')
        check_above_zero("learning_rate", learning_rate)
        check_above_zero("scale", scale)
        self.layers, self.tuned, self.steps = whole("layers", layers), tuned, whole("steps", steps, least=0)
        self.learning_rate, self.scale = learning_rate, scale
        _cut(feature_extractor, self.layers)

    @property
    def tail(self) -> nn.Sequential:
        """The last layers, from feature maps (n, c, h, w), or vectors, to embeddings."""
        blocks = list(self.feature_extractor.children())
        return nn.Sequential(*blocks[_cut(self.feature_extractor, self.layers) :])

    def embed(self, images: Tensor) -> Tensor:
        """What enters the last layers, (n, ...) → (n, c, h, w), or vectors."""
        check_images(images)
        maps = self._here(images)
        for block in list(self.feature_extractor.children())[: -len(self.tail)]:
            maps = block(maps)
        return maps

    @torch.no_grad()
    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Scaled cosines of each query, embedded by the layers that its support set has trained, (..., m, classes)."""
        tail = self.tail
        axes = 3 if _begins_with_convolution(tail) else 1
        support, labels, query = self._ready(support, support_labels, query, axes)
        episodes, kind = support.shape[: -1 - axes], next(tail.parameters()).dtype

        def stacked(part: Tensor, own: int) -> Tensor:
            """All episodes along one axis, (..., *own) → (episodes, *own)."""
            shape = part.shape[part.ndim - own :]
            return part.to(kind).expand(*episodes, *shape).reshape(-1, *shape).clone()

        with full_precision(support), torch.inference_mode(False), evaluation_mode(tail):  # whoever calls
            parts = stacked(support, 1 + axes), stacked(one_hot(labels, support.device), 2), stacked(query, 1 + axes)
            scores = vmap(functools.partial(self._scores, tail))(*parts)
        return scores.reshape(*episodes, *scores.shape[1:])

    def _scores(self, tail: nn.Module, support: Tensor, of_class: Tensor, query: Tensor) -> Tensor:
        """One episode: what enters the tail, (n, ...) and (m, ...), and classes (n, classes) → (m, classes)."""
        channels = support.shape[1]
        weights: dict[str, Tensor] = {"residual": support.new_zeros(channels, channels)}
        if self.tuned == "layers":
            weights = dict(tail.named_parameters())
        weights["classifier"] = F.normalize(of_class.mT @ _directions(tail, weights, support), dim=1)

        def logits(weights: dict[str, Tensor], maps: Tensor) -> Tensor:
            return self.scale * _directions(tail, weights, maps) @ F.normalize(weights["classifier"], dim=1).mT

        slopes_of = grad(lambda weights: F.cross_entropy(logits(weights, support), of_class))
        for _ in range(self.steps):
            slopes = slopes_of(weights)
            weights = {name: weight - self.learning_rate * slopes[name] for name, weight in weights.items()}
        return logits(weights, query)

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time: copies of the weights, and the maps of all layers."""
        weights = sum(weight.numel() for weight in self.tail.parameters())
        return 4 * weights + way * (33 * shot + 10 * query) * dim  # of support examples for the way back, too


def _directions(tail: nn.Module, weights: dict[str, Tensor], maps: Tensor) -> Tensor:
    """Embeddings of length one by a tail with some weights of its own, and by a residual if there is one."""
    if "residual" in weights:
        maps = maps + torch.einsum("dc,nc...->nd...", weights["residual"], maps)
    own = {name: weight for name, weight in weights.items() if name not in ("residual", "classifier")}
    return F.normalize(functional_call(tail, own, (maps,)).flatten(1), dim=1)


def _cut(network: nn.Module, layers: int) -> int:
    """Before which block of a network its last layers begin.

    Raises:
        ValueError: if it has no blocks, or fewer with weights.
    """
    if not isinstance(network, nn.Sequential):
        raise ValueError(
            "The last layers are trained of an nn.Sequential of blocks, as Conv4 and ResNet12 are, "
            f"but this is a {type(network).__name__}."
        )
    weighted = [i for i, block in enumerate(network) if any(True for _ in block.parameters())]
    if layers > len(weighted):
        raise ValueError(f"layers is {layers}, but {type(network).__name__} has {len(weighted)} blocks with weights.")
    return weighted[-layers]


def _begins_with_convolution(tail: nn.Module) -> bool:
    """Whether maps enter, and not vectors."""
    layers = (layer for layer in tail.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    return isinstance(next(layers, None), nn.Conv2d)
