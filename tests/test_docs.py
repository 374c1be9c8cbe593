"""The examples in the docstrings give what they say."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import fslib
from fslib import distillation, losses, metrics, objectives, storage
from fslib.domains import moments


class Finder(doctest.DocTestFinder):
    """Finds the examples of a function though it is wrapped by a decorator of another module."""

    def _from_module(self, module, object):
        return super()._from_module(
            module, inspect.unwrap(object) if inspect.isroutine(object) else object
        )


MODULES = [
    importlib.import_module(found.name) for found in pkgutil.walk_packages(fslib.__path__, "fslib.")
]
SHOWN = [module for module in MODULES if any(test.examples for test in Finder().find(module))]


def test_there_are_examples():
    assert {"fslib.data", "fslib.episodes", "fslib.files"} <= {module.__name__ for module in SHOWN}


@pytest.mark.parametrize("module", SHOWN, ids=lambda module: module.__name__)
def test_examples_are_true(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    runner = doctest.DocTestRunner()
    for test in Finder().find(module):
        runner.run(test)
    assert runner.summarize().failed == 0


METRICS = [
    each
    for name, each in vars(metrics).items()
    if name in storage.METRICS or each is metrics.Mahalanobis
]
LOSSES = [
    each
    for module in (losses, objectives, distillation, moments)
    for name, each in vars(module).items()
    if callable(each) and getattr(each, "__module__", "") == module.__name__
    if not name.startswith(("_", "in_", "check_", "mined_"))
]


@pytest.mark.parametrize(
    "each", [*METRICS, *LOSSES], ids=lambda each: f"{each.__module__}.{each.__name__}"
)
def test_each_metric_and_each_loss_has_an_example(each):
    found = [
        test for test in Finder().find(importlib.import_module(each.__module__)) if test.examples
    ]
    assert f"{each.__module__}.{each.__name__}" in {test.name for test in found}
