"""Learning to compare: metric learning for few-shot learning.

Every method here does two things. It *embeds* images without knowing the task, and it *compares* queries with
a support set. The modules follow that split: :mod:`fslib.data` and :mod:`fslib.episodes` make tasks,
:mod:`fslib.backbones` embed, :mod:`fslib.metrics` and :mod:`fslib.methods` compare, :mod:`fslib.training` fits,
and :mod:`fslib.evaluation` measures. What serves the book alone is in ``fslib.book``.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

# Threads that wait for one another leave the processor to other work: where one core is busy with something else, two
# threads that wait by spinning take fifteen times as long. PyTorch reads it once, so it must not be imported before.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from fslib.storage import load, save

__version__ = "0.1.0"
__all__ = ["load", "save"]

# Modules of `fslib.book` that go by a short name too: `fslib.ledger` is `fslib.book.ledger`.
_OF_THE_BOOK = {"checks", "experiments", "export", "figures", "guesses", "ledger", "plots", "your_run"}
_MODULES = {module.name for module in pkgutil.iter_modules(__path__)} | _OF_THE_BOOK


def __getattr__(name: str) -> Any:
    """Any module of the package, imported when it is first asked for: ``fslib.training.fit``; so ``load`` and ``save``.

    A command that says how it is used need not wait for PyTorch.
    """
    if name in __all__:
        return getattr(importlib.import_module("fslib.storage"), name)
    if name in _MODULES:
        return importlib.import_module(f"fslib.{name}")
    raise AttributeError(f"module 'fslib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


class _ShortNames:
    """Imports a module of the book by its short name: the very module, so that there is never a second one."""

    def find_spec(self, name: str, *context: Any) -> importlib.machinery.ModuleSpec | None:
        package, module, *_ = *name.split("."), ""
        if package == "fslib" and module in _OF_THE_BOOK:
            return importlib.machinery.ModuleSpec(name, self)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(_long(spec.name))
        spec.loader_state = module.__spec__  # which importing by another name replaces
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, name: str) -> Any:
        """The code that ``python -m`` runs: of the module, or of the package's ``__main__``."""
        found = importlib.util.find_spec(_long(name))
        if found is not None and found.submodule_search_locations:
            found = importlib.util.find_spec(f"{found.name}.__main__")
        assert found is not None and found.loader is not None
        return found.loader.get_code(found.name)  # type: ignore[attr-defined]


def _long(name: str) -> str:
    return name.replace("fslib.", "fslib.book.", 1)


sys.meta_path.insert(0, _ShortNames())  # type: ignore[arg-type]
