"""The GPU at hand: a real one if there is one, else the pretended."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest
import torch

from fslib.devices import has_fast_bfloat16
from tests.pretend_gpu import CUDA, MISSING, Wait, pretend_gpu

REAL = torch.cuda.is_available()


def gpu_at_hand() -> AbstractContextManager[Any]:
    """A GPU with `device` and `waits`; the test is skipped where there is none and none can be pretended."""
    if not REAL and MISSING:
        pytest.skip(MISSING)
    return _afresh(RealGPU() if REAL else pretend_gpu())


@contextmanager
def _afresh(gpu: AbstractContextManager[Any]) -> Iterator[Any]:
    """Without what was found out about another device of the same name."""
    has_fast_bfloat16.cache_clear()
    try:
        with gpu as entered:
            yield entered
    finally:
        has_fast_bfloat16.cache_clear()


class RealGPU:
    """A CUDA GPU, whose waits torch itself reports, and which computes in float32 as the CPU does."""

    device = CUDA

    def __init__(self):
        self.waits: list[Wait] = []

    def __enter__(self) -> RealGPU:
        self._stack = ExitStack()
        self._stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        warnings.showwarning = self._note
        self._stack.callback(
            setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32
        )
        torch.backends.cudnn.allow_tf32 = False
        self._stack.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.close()

    def _note(self, message: Warning | str, *details: Any) -> None:
        if "synchronizing CUDA operation" in str(message):
            self.waits.append(Wait.now("synchronizing operation"))
