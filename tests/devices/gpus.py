"""The GPU at hand: a real one if there is one, else the pretended."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
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

    def __enter__(self) -> RealGPU:
        self._tf32 = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        self._catching = warnings.catch_warnings(record=True)
        self._caught = self._catching.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *exception: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self._catching.__exit__(*exception)
        torch.backends.cudnn.allow_tf32 = self._tf32

    @property
    def waits(self) -> list[Wait]:
        """One for each so far."""
        return [
            Wait(str(warning.message), f"{warning.filename}:{warning.lineno}")
            for warning in self._caught
            if "synchronizing CUDA operation" in str(warning.message)
        ]
