"""Networks that embed images.

What each makes of its last feature maps is its ``pooling``: one vector, ``"flatten"`` for all numbers side by side or
``"mean"`` for the mean over locations; or the maps themselves, ``"none"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, get_args
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib import attention
from fslib.config import Configured, whole
from fslib.deprecation import renamed
from fslib.devices import upload
from fslib.metrics import directions

Pooling = Literal["flatten", "mean", "none"]


class Conv4(Configured, nn.Sequential):
    """Four blocks of 3 × 3 convolution, batch norm, ReLU and 2 × 2 max-pooling; then flatten.

    The standard small network of few-shot learning, from Vinyals et al. (2016, section 4.1.1). Each block halves the
    picture, so 28 × 28 becomes 1 × 1 and the embedding has ``channels`` numbers.

    Args:
        channels: of every block.
        in_channels: of the images.
        normalize: scale every embedding to length one, so that embeddings lie on a sphere.
        pools: how many blocks, the first ones, halve the picture.
        pooling: ``"flatten"``, ``"mean"``, or ``"none"`` for feature maps, as a convolutional relation module wants.
        block: name of an attention block of :data:`fslib.attention.BLOCKS`, put at the end of every block.

    Shape:
        images (n, in_channels, h, w) with h, w ≥ 16 → embeddings (n, channels · ⌊h/16⌋ · ⌊w/16⌋); with fewer pools the
        divisor is 2 to their number. With the mean, (n, channels); without pooling, (n, channels, ⌊h/16⌋, ⌊w/16⌋).
    """

    @renamed(unit="normalize", maps=("pooling", {True: "none", False: "flatten"}))
    def __init__(
        self,
        channels: int = 64,
        in_channels: int = 1,
        normalize: bool = False,
        pools: int = 4,
        pooling: Pooling = "flatten",
        block: str | None = None,
    ):
        channels, in_channels = whole("channels", channels), whole("in_channels", in_channels)
        pools, normalize = _pools(pools), flag("normalize", normalize)
        ins = [in_channels, channels, channels, channels]
        super().__init__(
            *(conv_block(ins[i], channels, pool=i < pools, block=block) for i in range(4)),
            *_pooled(pooling),
        )
        self.channels, self.in_channels, self.normalize = channels, in_channels, normalize
        self.pools, self.pooling, self.block = pools, pooling, block

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        embeddings = super().forward(_input(self, images, self.in_channels))
        return directions(embeddings, dim=1) if self.normalize else embeddings


class FrozenConv4(Conv4):
    """A :class:`Conv4` that training leaves as it is: no gradient, and batch norm always in evaluation mode."""

    def train(self, mode: bool = True) -> FrozenConv4:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        with torch.no_grad():
            return super().forward(images)


def conv_block(
    in_channels: int, out_channels: int, pool: bool = True, block: str | None = None
) -> nn.Sequential:
    """One block of :class:`Conv4`: (n, in, h, w) → (n, out, ⌊h/2⌋, ⌊w/2⌋), or without ``pool`` (n, out, h, w)."""
    layers = [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
    ]
    if pool:  # before the ReLU, which then has a quarter of the numbers to do and gives the same
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.ReLU())
    if block:
        layers.append(attention.block(block, out_channels))
    return nn.Sequential(*layers)


class ResNet12(Configured, nn.Sequential):
    """Four residual blocks of three convolutions each; then, by default, the mean over locations.

    The larger standard network of few-shot learning (Lee et al., *MetaOptNet*, 2019, section 4.1), without its
    DropBlock: in each block three 3 × 3 convolutions with batch norm, a 1 × 1 convolution as the shortcut, leaky ReLU,
    2 × 2 max-pooling.

    Args:
        widths: channels of each block.
        in_channels: of the images.
        block: name of an attention block of :data:`fslib.attention.BLOCKS`, put before the sum in every block.
        normalize: scale every embedding to length one, so that embeddings lie on a sphere.
        pools: how many blocks, the first ones, halve the picture.
        pooling: ``"mean"`` as in the paper, ``"flatten"`` or ``"none"``.

    Shape:
        images (n, in_channels, h, w) with h, w ≥ 16 → embeddings (n, widths[-1]); flattened, (n, widths[-1] ·
        ⌊h/2^pools⌋ · ⌊w/2^pools⌋).
    """

    @renamed(unit="normalize", mean=("pooling", {True: "mean", False: "flatten"}))
    def __init__(
        self,
        widths: tuple[int, int, int, int] = (64, 160, 320, 640),
        in_channels: int = 1,
        block: str | None = None,
        normalize: bool = False,
        pools: int = 4,
        pooling: Pooling = "mean",
    ):
        if not isinstance(widths, Sequence) or isinstance(widths, str) or len(widths) != 4:
            raise ValueError(f"widths must be the channels of four blocks, but is {widths!r}.")
        widths = tuple(whole("Each of the widths", width) for width in widths)  # type: ignore[assignment]
        in_channels, pools = whole("in_channels", in_channels), _pools(pools)
        normalize = flag("normalize", normalize)
        ins = [in_channels, *widths[:-1]]
        super().__init__(
            *(_Residual(ins[i], widths[i], block, pool=i < pools) for i in range(4)),
            *_pooled(pooling),
        )
        self.widths, self.in_channels, self.normalize = widths, in_channels, normalize
        self.pools, self.pooling, self.block = pools, pooling, block

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        embeddings = super().forward(_input(self, images, self.in_channels))
        return directions(embeddings, dim=1) if self.normalize else embeddings


class _Residual(nn.Module):
    """One block of :class:`ResNet12`."""

    def __init__(self, in_channels: int, out_channels: int, block: str | None, pool: bool):
        super().__init__()
        slope = 0.1
        self.residual = nn.Sequential(
            *_convolution(in_channels, out_channels, 3), nn.LeakyReLU(slope),
            *_convolution(out_channels, out_channels, 3), nn.LeakyReLU(slope),
            *_convolution(out_channels, out_channels, 3),
            attention.block(block, out_channels),
        )  # fmt: skip
        self.shortcut = nn.Sequential(*_convolution(in_channels, out_channels, 1))
        self.after = nn.Sequential(nn.LeakyReLU(slope), nn.MaxPool2d(2) if pool else nn.Identity())

    def forward(self, maps: Tensor) -> Tensor:
        return self.after(self.residual(maps) + self.shortcut(maps))


def _convolution(in_channels: int, out_channels: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(out_channels)


class Ensemble(Configured, nn.Module):
    """Several networks, of which each embeds every image; their embeddings lie side by side.

    Networks of one kind, trained from other first weights on other batches, err in part on other images, and few-shot
    classifiers differ much from one to the next; so an ensemble mostly errs less than its members (Dvornik et al.,
    *Diversity with Cooperation*, 2019). Here every member has the same weight, its embedding scaled to length one over
    the root of their number: the cosine similarity of two joined embeddings is the mean of the members' cosines.
    Flattened maps become maps of more channels, and :func:`fslib.metrics.local_similarity` moves what they have at one
    location together.

    Args:
        members: at least one, from images to embeddings (n, d), as flattened maps or other vectors.

    Shape:
        images (n, c, h, w) → embeddings (n, sum of the members' d), of length one.

    Raises:
        ValueError: if there is no member, or a member is no network; on a call, if members give unlike embeddings.
    """

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        if not isinstance(members, Sequence | nn.ModuleList) or isinstance(members, nn.Sequential):
            raise ValueError(
                f"An ensemble is built of a list of networks, but got a {type(members).__name__}."
            )
        for member in members:
            if not isinstance(member, nn.Module):
                raise ValueError(
                    f"The members of an ensemble are networks, but one is a {type(member).__name__}."
                )
        if not members:
            raise ValueError("An ensemble needs at least one member.")
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        embeddings = [directions(member(images), dim=1) for member in self.members]
        if any(each.shape[2:] != embeddings[0].shape[2:] for each in embeddings):
            shapes = ", ".join(str(tuple(each.shape)) for each in embeddings)
            raise ValueError(
                f"The members of an ensemble must give vectors, or maps of one height and width, but give {shapes}."
            )
        return torch.cat(embeddings, dim=1) / len(embeddings) ** 0.5


class Coordinates(Configured, nn.Module):
    """Some coordinates of an embedding, those from ``start`` to before ``stop``: (..., d) → (..., stop − start).

    Behind a network, ``nn.Sequential(network, Coordinates(0, 48))``, it makes a network of a part of the embedding.

    Args:
        start: the first.
        stop: the one after the last.
        normalize: scale every part to length one, so that parts lie on a sphere.

    Raises:
        ValueError: if there is none between, or on a call, if the embedding has fewer.
    """

    def __init__(self, start: int, stop: int, normalize: bool = False):
        super().__init__()
        self.start = whole("start", start, least=0)
        self.stop = whole("stop", stop, least=self.start + 1)
        self.normalize = flag("normalize", normalize)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Pick them."""
        if embeddings.shape[-1] < self.stop:
            raise ValueError(
                f"Coordinates up to {self.stop} are asked for, but the embedding has {embeddings.shape[-1]}."
            )
        part = embeddings[..., self.start : self.stop]
        return directions(part) if self.normalize else part


class Pretrained(Configured, nn.Module):
    """A classifier of torchvision without its last layer, with the weights it learned on ImageNet.

    It makes of network input what the network was trained on: three channels, the size and the normalisation of
    ImageNet; and of drawings, in which ink = 1, dark on white.

    Args:
        name: of a model of torchvision, such as ``"resnet18"``.
        weights: ``"DEFAULT"`` for torchvision's best, or ``None`` for a network that knows nothing yet.
        side: to which images are scaled.
        photographs: whether its input is photographs as they are, black = 0, and not ink = 1.

    Shape:
        images (n, 1, h, w) or (n, 3, h, w), in 0 … 1 → embeddings (n, d), for ``"resnet18"`` d = 512.

    Raises:
        ValueError: on a name that no classifier of torchvision has.
        FileNotFoundError: if the weights are neither here nor to be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "resnet18",
        weights: str | None = "DEFAULT",
        side: int = 112,
        photographs: bool = False,
    ):
        super().__init__()
        side, self.photographs = whole("side", side), flag("photographs", photographs)
        self.network = _without_head(name, weights)
        self.name, self.side = name, side
        self.weights = None  # built again without, for the saved ones come after
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        images = _input(self, images, 1, 3, least=1).expand(-1, 3, -1, -1)
        seen = images if self.photographs else 1 - images
        large = F.interpolate(seen, (self.side, self.side), mode="bilinear", antialias=True)
        return self.network((large - self.mean) / self.std)


def _without_head(name: str, weights: str | None) -> nn.Module:
    """A model of torchvision whose last linear layer lets everything through."""
    from torchvision import models  # slow to import, and seldom needed

    # Of classifiers alone: a detector would fetch weights of its own.
    if str(name).lower() not in models.list_models(module=models):
        raise ValueError(
            f"torchvision has no model {name!r} that classifies pictures; 'resnet18' is one."
        )
    network = models.get_model(name, weights=None)
    known = models.get_model_weights(name)
    if weights is not None:
        try:
            network.load_state_dict(known[weights].get_state_dict(progress=True, check_hash=True))
        except KeyError:
            raise ValueError(
                f"{name} has no weights {weights!r}; 'DEFAULT' are its best."
            ) from None
        except (URLError, OSError, RuntimeError) as error:
            address = known[weights].url
            raise FileNotFoundError(
                f"The ImageNet weights of {name} are not here and could not be downloaded ({error}); put "
                f"{address.rsplit('/', 1)[1]} into {torch.hub.get_dir()}/checkpoints, "
                "or go on without them by weights=None."
            ) from error
    if getattr(network, "aux_logits", False):  # further heads of Inception and GoogLeNet
        network.aux_logits = False
        for auxiliary in {"AuxLogits", "aux1", "aux2"} & dict(network.named_children()).keys():
            setattr(network, auxiliary, None)
    linear = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{name} does not end in a linear layer that could be taken off; resnet18 does.")
    head = linear[-1]
    parent, _, name = head.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    return network


def flag(name: str, value: Any) -> bool:
    """A setting that must be true or false, as a ``bool``.

    Raises:
        ValueError: if it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, but is {value!r}.")
    return bool(value)


def _pooled(pooling: Pooling) -> list[nn.Module]:
    """The layers after the last block."""
    if pooling not in get_args(Pooling):
        known = ", ".join(map(repr, get_args(Pooling)))
        raise ValueError(f"pooling must be one of {known}, but is {pooling!r}.")
    mean = [nn.AdaptiveAvgPool2d(1)] if pooling == "mean" else []
    return [*mean, nn.Identity() if pooling == "none" else nn.Flatten()]


def _pools(pools: Any) -> int:
    if isinstance(pools, bool) or not isinstance(pools, Integral) or not 1 <= int(pools) <= 4:
        raise ValueError(f"Of four blocks, one to four can halve the picture, not {pools}.")
    return int(pools)


def _input(network: nn.Module, images: Tensor, *channels: int, least: int = 16) -> Tensor:
    """Network input of so many channels and pixels a side, on the device and in the type of the network's weights."""
    name = type(network).__name__
    if not isinstance(images, Tensor) or not images.is_floating_point():
        what = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"{name} takes network input, a tensor of floats, but got {what}; "
            "fslib.data.to_input makes it of pictures."
        )
    if images.ndim != 4 or images.shape[1] not in channels or min(images.shape[2:]) < least:
        kinds = " or ".join(f"(n, {number}, height, width)" for number in channels)
        raise ValueError(
            f"{name} takes images of shape {kinds}, {least} pixels a side or more, "
            f"but got {tuple(images.shape)}."
        )
    weight = next(network.parameters(), images)
    return upload(images, weight.device).to(weight.dtype)
