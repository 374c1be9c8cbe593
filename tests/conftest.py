"""What several test files share."""

import os

import pytest
import torch

from fslib import data
from fslib.data import ImageSet

os.environ.pop("FSLIB_RESULTS", None)  # the tests are about the project's own ledger
for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # of the hook that runs the tests, which commit elsewhere
    os.environ.pop(name, None)
if os.name == "nt":  # what builds the book needs the programs of Linux and macOS
    builders = ("colab", "everywhere", "makefile", "notebooks_plugin", "release", "workflows")
    collect_ignore = [f"test_{name}.py" for name in builders]
torch.set_num_threads(1)  # pytest-xdist runs a process for each core


@pytest.fixture(scope="session")
def tiny() -> ImageSet:
    """Eight classes of twelve pictures: above, a grey patch whose place tells the class; below, blotches."""
    random = torch.Generator().manual_seed(0)
    images = torch.full((8, 12, 1, 28, 28), 255)
    blotches = torch.randint(0, 2, (8, 12, 1, 5, 7), generator=random) * 255
    images[..., 8:, :] = blotches.repeat_interleave(4, -2).repeat_interleave(4, -1)
    for c in range(8):
        images[c, :, :, :8, 3 * c : 3 * c + 3] = torch.randint(90, 170, (12, 1, 1, 1), generator=random)
    return ImageSet(
        name="Tiny",
        images=images.flatten(0, 1).to(torch.uint8),
        labels=torch.arange(8).repeat_interleave(12),
        class_names=[f"patch {c}" for c in range(8)],
        class_groups=["left"] * 4 + ["right"] * 4,
        domains=torch.arange(12).repeat(8),
    )


@pytest.fixture(scope="session")
def glyphs() -> dict[str, ImageSet]:
    """All of Glyphs by split; made first if the cache of this machine does not hold it."""
    return {split: data.load("glyphs", split) for split in data.SPLITS}
