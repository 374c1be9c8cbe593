"""Train any method by one short loop, which can be killed and goes on where it stopped."""

from fslib.training.batches import Augment
from fslib.training.checkpoint import History
from fslib.training.loop import fit, one_cycle
from fslib.training.steps import Batch, Episodic, Loss, OnBatch, Step

Objective = Loss  # its former name

__all__ = [
    "Augment", "Batch", "Episodic", "History", "Loss", "Objective", "OnBatch", "Step", "fit", "one_cycle",
]  # fmt: skip
