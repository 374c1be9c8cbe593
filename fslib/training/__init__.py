"""Train any method by one short loop, which can be killed and goes on where it stopped."""

from fslib.training.checkpoint import History
from fslib.training.loop import Augment, Objective, fit

__all__ = ["Augment", "History", "Objective", "fit"]
