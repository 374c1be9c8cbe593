"""Learning to compare: metric learning for few-shot learning.

Every method here does two things. It *embeds* images without knowing the task, and it *compares* queries with
a support set. The modules follow that split: :mod:`fslib.data` and :mod:`fslib.episodes` make tasks,
:mod:`fslib.backbones` embed, :mod:`fslib.metrics` and :mod:`fslib.methods` compare, :mod:`fslib.training` fits,
and :mod:`fslib.evaluation` measures.
"""

import importlib
import pkgutil
from typing import Any

from fslib.storage import load, save

__version__ = "0.1.0"
__all__ = ["load", "save"]

_MODULES = {module.name for module in pkgutil.iter_modules(__path__)}


def __getattr__(name: str) -> Any:
    """Any module of the package, imported when it is first asked for: ``fslib.training.fit``."""
    if name in _MODULES:
        return importlib.import_module(f"fslib.{name}")
    raise AttributeError(f"module 'fslib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
