"""What the machine at hand does fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def default_device() -> torch.device:
    """A CUDA or Apple GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; where it only emulates, autocast would cost time."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # Not public in torch yet; a torch without these functions runs in float32.
        instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in instructions)
    return False


def autocast(device: torch.device, enabled: bool | None = None) -> torch.autocast:
    """A context of mixed precision in bfloat16; by default where :func:`has_fast_bfloat16`."""
    enabled = has_fast_bfloat16(device) if enabled is None else enabled
    return torch.autocast(device.type if enabled else "cpu", dtype=torch.bfloat16, enabled=enabled)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to the device, its weights in the order of memory in which convolutions are fastest."""
    return model.to(device).to(memory_format=torch.channels_last)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
