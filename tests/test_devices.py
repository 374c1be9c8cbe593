"""What a device does fast is found out at little cost."""

import pytest
import torch

from fslib import devices


@pytest.fixture
def product(monkeypatch):
    """Sets how long products take on the device at hand, and notes which were timed."""
    timed = []

    def set_seconds(seconds):
        def measured(size, dtype):
            timed.append((size, dtype))
            return seconds[size, dtype]

        monkeypatch.setattr(devices, "_product_seconds", measured)
        return timed

    devices.has_fast_bfloat16.cache_clear()
    yield set_seconds
    devices.has_fast_bfloat16.cache_clear()


SMALL, LARGE = 128, 1024


@pytest.mark.parametrize("large, fast", [(1.0, True), (3.9, False), (6.0, False)])
def test_bfloat16_is_fast_where_a_large_product_is(product, large, fast):
    product(
        {
            (SMALL, torch.float32): 1e-4, (SMALL, torch.bfloat16): 2e-4,
            (LARGE, torch.float32): 4.0, (LARGE, torch.bfloat16): large,
        }
    )  # fmt: skip
    assert devices.has_fast_bfloat16(torch.device("cpu")) is fast


def test_emulated_bfloat16_is_found_out_before_the_large_product(product):
    timed = product({(SMALL, torch.float32): 1e-4, (SMALL, torch.bfloat16): 2e-3})
    assert not devices.has_fast_bfloat16(torch.device("cpu"))
    assert all(size == SMALL for size, _ in timed)
