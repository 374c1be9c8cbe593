"""Networks that embed images.

Each keeps the arguments it was built with in ``config``, so that :func:`fslib.save` can build it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib import attention
from fslib.config import whole
from fslib.devices import upload
from fslib.metrics import directions


class Conv4(nn.Sequential):
    """Four blocks of 3 × 3 convolution, batch norm, ReLU and 2 × 2 max-pooling; then flatten.

    The standard small network of few-shot learning, from Vinyals et al. (2016, section 4.1.1). Each block halves the
    picture, so 28 × 28 becomes 1 × 1 and the embedding has ``channels`` numbers.

    Args:
        channels: of every block.
        in_channels: of the images.
        unit: scale every embedding to length one, so that embeddings lie on a sphere.
        pools: how many blocks, the first ones, halve the picture.
        maps: give feature maps instead of flattening them, as a convolutional relation module wants.
        block: name of an attention block of :data:`fslib.attention.BLOCKS`, put at the end of every block.

    Shape:
        images (n, in_channels, h, w) with h, w ≥ 16 → embeddings (n, channels · ⌊h/16⌋ · ⌊w/16⌋); with fewer pools the
        divisor is 2 to their number; with ``maps``, (n, channels, ⌊h/16⌋, ⌊w/16⌋).
    """

    def __init__(
        self,
        channels: int = 64,
        in_channels: int = 1,
        unit: bool = False,
        pools: int = 4,
        maps: bool = False,
        block: str | None = None,
    ):
        channels, in_channels = whole("channels", channels), whole("in_channels", in_channels)
        pools, unit, maps = _pools(pools), flag("unit", unit), flag("maps", maps)
        ins = [in_channels, channels, channels, channels]
        super().__init__(
            *(conv_block(ins[i], channels, pool=i < pools, block=block) for i in range(4)),
            nn.Identity() if maps else nn.Flatten(),
        )
        self.config: dict[str, Any] = dict(
            channels=channels,
            in_channels=in_channels,
            unit=unit,
            pools=pools,
            maps=maps,
            block=block,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        embeddings = super().forward(_input(self, images, self.config["in_channels"]))
        return directions(embeddings, dim=1) if self.config["unit"] else embeddings


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


class ResNet12(nn.Sequential):
    """Four residual blocks of three convolutions each; then, by default, the mean over places.

    The larger standard network of few-shot learning (Lee et al., *MetaOptNet*, 2019, section 4.1), without its
    DropBlock: in each block three 3 × 3 convolutions with batch norm, a 1 × 1 convolution around them, leaky ReLU,
    2 × 2 max-pooling.

    Args:
        widths: channels of each block.
        in_channels: of the images.
        block: name of an attention block of :data:`fslib.attention.BLOCKS`, put before the sum in every block.
        unit: scale every embedding to length one, so that embeddings lie on a sphere.
        pools: how many blocks, the first ones, halve the picture.
        mean: take the mean over places, as in the paper; else flatten the maps.

    Shape:
        images (n, in_channels, h, w) with h, w ≥ 16 → embeddings (n, widths[-1]); without ``mean``, (n, widths[-1] ·
        ⌊h/2^pools⌋ · ⌊w/2^pools⌋).
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (64, 160, 320, 640),
        in_channels: int = 1,
        block: str | None = None,
        unit: bool = False,
        pools: int = 4,
        mean: bool = True,
    ):
        if not isinstance(widths, Sequence) or isinstance(widths, str) or len(widths) != 4:
            raise ValueError(f"widths must be the channels of four blocks, but is {widths!r}.")
        widths = tuple(whole("Each of the widths", width) for width in widths)  # type: ignore[assignment]
        in_channels, pools = whole("in_channels", in_channels), _pools(pools)
        unit, mean = flag("unit", unit), flag("mean", mean)
        ins = [in_channels, *widths[:-1]]
        super().__init__(
            *(_Residual(ins[i], widths[i], block, pool=i < pools) for i in range(4)),
            nn.AdaptiveAvgPool2d(1) if mean else nn.Identity(),
            nn.Flatten(),
        )
        self.config: dict[str, Any] = dict(
            widths=widths,
            in_channels=in_channels,
            block=block,
            unit=unit,
            pools=pools,
            mean=mean,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        embeddings = super().forward(_input(self, images, self.config["in_channels"]))
        return directions(embeddings, dim=1) if self.config["unit"] else embeddings


class _Residual(nn.Module):
    """One block of :class:`ResNet12`."""

    def __init__(self, in_channels: int, out_channels: int, block: str | None, pool: bool):
        super().__init__()
        slope = 0.1
        self.path = nn.Sequential(
            *_convolution(in_channels, out_channels, 3), nn.LeakyReLU(slope),
            *_convolution(out_channels, out_channels, 3), nn.LeakyReLU(slope),
            *_convolution(out_channels, out_channels, 3),
            attention.block(block, out_channels),
        )  # fmt: skip
        self.around = nn.Sequential(*_convolution(in_channels, out_channels, 1))
        self.after = nn.Sequential(nn.LeakyReLU(slope), nn.MaxPool2d(2) if pool else nn.Identity())

    def forward(self, maps: Tensor) -> Tensor:
        return self.after(self.path(maps) + self.around(maps))


def _convolution(in_channels: int, out_channels: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(out_channels)


class Ensemble(nn.Module):
    """Several networks, of which each embeds every image; their embeddings lie side by side.

    Networks of one kind, trained from other first weights on other batches, err in part on other images, and few-shot
    classifiers differ much from one to the next; so an ensemble mostly errs less than its members (Dvornik et al.,
    *Diversity with Cooperation*, 2019). Here every member has the same weight, its embedding scaled to length one over
    the root of their number: the cosine similarity of two joined embeddings is the mean of the members' cosines.
    Flattened maps become maps of more channels, and :func:`fslib.metrics.local_similarity` moves a place of all members
    together.

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
        self.config: dict[str, Any] = dict(members=list(members))

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        embeddings = [directions(member(images), dim=1) for member in self.members]
        if any(each.shape[2:] != embeddings[0].shape[2:] for each in embeddings):
            shapes = ", ".join(str(tuple(each.shape)) for each in embeddings)
            raise ValueError(
                f"The members of an ensemble must give vectors, or maps of one height and width, but give {shapes}."
            )
        return torch.cat(embeddings, dim=1) / len(embeddings) ** 0.5


class Pretrained(nn.Module):
    """A classifier of torchvision without its last layer, with the weights it learned on ImageNet.

    It takes our network input, ink = 1, and makes of it what the network was trained on: dark on white, three
    channels, the size and the normalisation of ImageNet.

    Args:
        name: of a model of torchvision, such as ``"resnet18"``.
        weights: ``"DEFAULT"`` for torchvision's best, or ``None`` for a network that knows nothing yet.
        side: to which images are enlarged.

    Shape:
        images (n, 1, h, w) or (n, 3, h, w), in 0 … 1 → embeddings (n, d), for ``"resnet18"`` d = 512.

    Raises:
        ValueError: on a name that no classifier of torchvision has.
        FileNotFoundError: if the weights are neither here nor to be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = "resnet18", weights: str | None = "DEFAULT", side: int = 112):
        super().__init__()
        side = whole("side", side)
        self.network = _without_head(name, weights)
        # Built again without weights, for the saved ones come after.
        self.config: dict[str, Any] = dict(name=name, weights=None, side=side)
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        paper = (1 - _input(self, images, 1, 3, least=1)).expand(-1, 3, -1, -1)
        side = self.config["side"]
        large = F.interpolate(paper, (side, side), mode="bilinear", antialias=True)
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
