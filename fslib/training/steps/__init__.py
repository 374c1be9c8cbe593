"""What one step of training lowers. A new technique is a new step: :func:`fslib.training.fit` stays as it is.

A step is anything with one method, ``step(model, batch) → loss``. If it is a module too, its weights are trained
beside the model's. One that adds something to another step keeps that as its ``wrapped``, as in
``Distilled(Augmented(SupConLoss(), warp), teacher)``. The outer one hands the batch on, and finds in it what the inner
one saw, the embeddings and the scores.
"""

from fslib.training.steps.aligned import Aligned
from fslib.training.steps.augmented import Augment, Augmented
from fslib.training.steps.batch import Batch, Loss, Step
from fslib.training.steps.distilled import Distilled
from fslib.training.steps.mixed import Mixed
from fslib.training.steps.momentum import MoCo
from fslib.training.steps.per_picture import ProtoTransfer
from fslib.training.steps.plain import Episodic, OnBatch, as_step, innermost
from fslib.training.steps.semi_supervised import SemiSupervised
from fslib.training.steps.subspaces import Subspaces
from fslib.training.steps.two_views import TwoViews

__all__ = [
    "Aligned", "Augment", "Augmented", "Batch", "Distilled", "Episodic", "Loss", "Mixed", "MoCo", "OnBatch",
    "ProtoTransfer", "SemiSupervised", "Step", "Subspaces", "TwoViews", "as_step", "innermost",
]  # fmt: skip
