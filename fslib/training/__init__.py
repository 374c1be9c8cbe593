"""Train any method by one short loop, which can be killed and goes on where it stopped."""

from fslib.training.checkpoint import History
from fslib.training.loop import fit, one_cycle
from fslib.training.steps import (
    Aligned,
    Augment,
    Augmented,
    Batch,
    Distilled,
    Episodic,
    Loss,
    Mixed,
    MoCo,
    OnBatch,
    ProtoTransfer,
    SemiSupervised,
    Step,
    Subspaces,
    TwoViews,
)

Objective = Loss  # its former name

__all__ = [
    "Aligned", "Augment", "Augmented", "Batch", "Distilled", "Episodic", "History", "Loss", "Mixed", "MoCo",
    "Objective", "OnBatch", "ProtoTransfer", "SemiSupervised", "Step", "Subspaces", "TwoViews", "fit", "one_cycle",
]  # fmt: skip
