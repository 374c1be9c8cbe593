"""The device to compute on, and what the machine at hand does fast."""

from __future__ import annotations

import ctypes
import functools
import itertools
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h


def default_device() -> torch.device:
    """A CUDA or Apple GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def known_device(device: torch.device | str | None) -> torch.device | None:
    """The device of that name; ``None`` if none is asked for.

    Raises:
        ValueError: if there is no such device here.
    """
    if device is None:
        return None
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"There is no device {device!r} here; without the argument, the best there is is taken."
        ) from error


@functools.cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32.

    A GPU is asked for its generation. A CPU may have the instructions and still be slower with them, so there a
    product of two matrices is timed in both types, once. A small product comes first: where bfloat16 is emulated, the
    large one takes seconds.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        emulated = _product_seconds(128, torch.bfloat16) > 4 * _product_seconds(128, torch.float32)
        return not emulated and (
            _product_seconds(1024, torch.float32) > 1.2 * _product_seconds(1024, torch.bfloat16)
        )
    return False


def _product_seconds(size: int, dtype: torch.dtype) -> float:
    matrix = torch.ones(size, size, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return min(times)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep freed memory for the next step instead of handing it back to the system.

    Each training step needs the same large blocks. By default glibc returns them after the step, and the system
    clears them anew for the next, which can take as long as the arithmetic. Elsewhere this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        yield
        return

    def limit(mmap: int, trim: int) -> None:
        """From how many bytes on a block is mapped apart, and how many free ones go back to the system."""
        mallopt(_M_MMAP_THRESHOLD, mmap)
        mallopt(_M_TRIM_THRESHOLD, trim)

    limit(2**30, 2**31 - 1)
    try:
        yield
    finally:
        limit(2**25, 2**26)  # where glibc's own adjustment ends


def autocast(device: torch.device, enabled: bool | None = None) -> torch.autocast:
    """A context of mixed precision in bfloat16; by default where :func:`has_fast_bfloat16`."""
    enabled = has_fast_bfloat16(device) if enabled is None else enabled
    return torch.autocast(device.type if enabled else "cpu", dtype=torch.bfloat16, enabled=enabled)


def device_of(model: nn.Module) -> torch.device | None:
    """Where the weights of a model are, or its buffers; ``None`` if it has neither."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), None)


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. From the CPU it goes up without waiting for what the device is still doing."""
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")


@contextmanager
def borrowed(model: nn.Module, device: torch.device | None) -> Iterator[None]:
    """Have a model on another device for a while; ``None`` for where it is."""
    home = device_of(model)
    try:
        if device is not None:
            model.to(device)
        yield
    finally:
        if device is not None and home is not None:
            model.to(home)


def random_state(device: torch.device) -> dict[str, Any]:
    """The states of all generators that a training may draw from: PyTorch's, the device's, NumPy's and Python's."""
    name, numbers, position, *gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    on_gpu = device.type in ("cuda", "mps")
    return {
        "torch": torch.get_rng_state(),
        "device": getattr(torch, device.type).get_rng_state() if on_gpu else None,
        "numpy": (name, torch.from_numpy(np.asarray(numbers, dtype=np.int64)), position, *gauss),
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put back what :func:`random_state` gave; the state of a device only onto one of its kind."""
    torch.set_rng_state(state["torch"])
    if state["device"] is not None and device.type in ("cuda", "mps"):
        getattr(torch, device.type).set_rng_state(state["device"])
    name, numbers, *rest = state["numpy"]
    np.random.set_state((name, numbers.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from generators that all start at the seed, and leave them afterwards as they were."""
    before = random_state(device)
    torch.manual_seed(seed)  # the device's too
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        set_random_state(before, device)


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
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
