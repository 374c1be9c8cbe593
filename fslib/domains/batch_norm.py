"""Batch-norm statistics of another domain (Li et al., *Revisiting Batch Normalization*, 2016, called AdaBN)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fslib.config import whole
from fslib.devices import device_of, evaluation_mode, upload
from fslib.domains.target import Target, check_target, inputs_of


@contextmanager
def adabn(network: nn.Module, target: Target, batch: int = 512) -> Iterator[None]:
    """A context in which batch norm normalises by the target's statistics instead of those of training.

    Each channel then has mean 0 and variance 1 over the target, before its own scale and shift, as it had over the
    source (Li et al., 2016). A thicker pen or another contrast, which moves the activations of all pictures alike, is
    so undone. No weight changes, and afterwards the statistics are again what they were.

    Mean and variance are those of all activations together, the variance divided by their number. Statistics of a
    layer move what the next one sees, so that each pass over the target makes one more layer exact; there are as many
    passes as layers. Batch norm that embedding does not pass, as in a relation module, is left alone; of a method whose
    last layers come after, as of :class:`fslib.methods.FineTunedNetwork`, give the ``feature_extractor``.

    Statistics of pictures beside the queries leave a method inductive. Taken from the queries themselves they make it
    transductive, and then a result should say so.

    Args:
        network: a network, or a method over one, which embeds.
        target: pictures of the target, an image set or network input, (n, ...). Labels are not looked at.
        batch: pictures at a time. It changes nothing but the memory that is used.

    Raises:
        ValueError: if the network has no batch norm with statistics, or these are no pictures of a domain: fewer than
            two, or all of one class.

    Example:
        >>> network = nn.Sequential(nn.BatchNorm1d(1)).eval()
        >>> pictures = torch.tensor([[10.0], [14.0]])
        >>> with torch.no_grad(), adabn(network, pictures):
        ...     network(pictures).round(decimals=4).flatten()
        tensor([-1.,  1.])
        >>> network[0].running_mean
        tensor([0.])
    """
    check_target(target)
    batch = whole("batch", batch)
    layers = _layers(network)
    before = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]
    try:
        passed = _pass(network, layers, target, batch)
        if not passed:
            raise ValueError(
                f"AdaBN replaces the statistics of batch norm, but {type(network).__name__} embeds without any."
            )
        for _ in range(passed - 1):
            _pass(network, layers, target, batch)
        yield
    finally:
        for layer, (mean, variance) in zip(layers, before):
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """A context in which batch norm in training mode normalises by the batch, and remembers nothing of it.

    Pictures of the target, which are embedded beside those of the source, so leave no trace in the statistics.
    """
    layers = _layers(network)
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def _layers(network: nn.Module) -> list[Any]:
    """The layers of batch norm that keep statistics."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


@torch.no_grad()
def _pass(network: nn.Module, layers: list[Any], target: Target, batch: int) -> int:
    """Let all pictures pass, and set the statistics of the layers to what they saw; how many saw anything."""
    seen = {layer: _Moments() for layer in layers}
    hooks = [layer.register_forward_pre_hook(moments) for layer, moments in seen.items()]
    embed: Any = getattr(network, "embed", network)  # of a method
    device = device_of(network)
    try:
        with evaluation_mode(network):
            for indices in torch.arange(len(target)).split(batch):
                images = inputs_of(target, indices)
                embed(upload(images, device or images.device))
    finally:
        for hook in hooks:
            hook.remove()
    passed = [layer for layer, moments in seen.items() if moments.count]
    for layer in passed:
        layer.running_mean.copy_(seen[layer].mean)
        layer.running_var.copy_(seen[layer].squares / seen[layer].count)
    return len(passed)


class _Moments:
    """Mean of each channel over all that a layer sees, and the sum of squares about it, batch by batch.

    Two parts are joined as by Chan, Golub and LeVeque (1983), which keeps the digits that a sum of squares would lose.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        """Look at what comes in, (n, channels, ...)."""
        seen = inputs[0].to(torch.promote_types(inputs[0].dtype, torch.float32))
        seen = seen.transpose(0, 1).flatten(1)  # (channels, pictures · locations)
        if not self.count:
            self.mean, self.squares = torch.zeros_like(seen[:, 0]), torch.zeros_like(seen[:, 0])
        count, mean = seen.shape[1], seen.mean(1)
        total, apart = self.count + count, mean - self.mean
        self.mean += apart * (count / total)
        self.squares += (seen - mean[:, None]).square().sum(1) + apart.square() * (self.count * count / total)
        self.count = total
