"""What the tests of devices share."""

import pytest

from tests.devices.gpus import gpu_at_hand


@pytest.fixture
def gpu():
    """A GPU, real or pretended; see :func:`tests.devices.gpus.gpu_at_hand`."""
    with gpu_at_hand() as gpu:
        yield gpu
