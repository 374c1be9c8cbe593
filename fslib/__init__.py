"""Learning to compare: metric learning for few-shot learning.

Every method here does two things. It *embeds* images without knowing the task, and it *compares* queries with
a support set. The modules follow that split: :mod:`fslib.data` and :mod:`fslib.episodes` make tasks,
:mod:`fslib.backbones` embed, :mod:`fslib.metrics` and :mod:`fslib.methods` compare, :mod:`fslib.training` fits,
and :mod:`fslib.evaluation` measures.
"""

from fslib.storage import load, save

__version__ = "0.1.0"
__all__ = ["load", "save"]
