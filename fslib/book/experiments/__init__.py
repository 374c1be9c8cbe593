"""Train and measure by recipe, and enter the results in the ledger.

Run as a command::

    python -m fslib.book.experiments                                   # list the recipes
    python -m fslib.book.experiments omniglot/prototypical --validate  # how it was chosen
    python -m fslib.book.experiments omniglot/prototypical             # train + validation classes, tested once

A run saves as it goes and, started again, takes up where it stopped. Its records go to ``results/``, or to the folder
that ``FSLIB_RESULTS`` names.

A recipe is a short function that builds, trains and measures; each chapter has a file of them here, and a new file is
found by itself. What is common to all recipes is in ``running``, and the ways to measure are in ``measures``.
"""

import importlib
import pkgutil

from fslib.book.experiments.command import main
from fslib.book.experiments.kept import trained
from fslib.book.experiments.registry import RECIPES, Recipe, recipe
from fslib.book.experiments.running import Plan, Run, Training, run

__all__ = ["RECIPES", "Plan", "Recipe", "Run", "Training", "main", "recipe", "run", "trained"]

for _found in pkgutil.iter_modules(__path__):
    if _found.name != "__main__":
        importlib.import_module(f"{__name__}.{_found.name}")
