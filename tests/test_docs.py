"""The examples in the docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import fslib

MODULES = [importlib.import_module(found.name) for found in pkgutil.walk_packages(fslib.__path__, "fslib.")]
SHOWN = [module for module in MODULES if any(test.examples for test in doctest.DocTestFinder().find(module))]


def test_there_are_examples():
    assert {"fslib.data", "fslib.episodes", "fslib.files"} <= {module.__name__ for module in SHOWN}


@pytest.mark.parametrize("module", SHOWN, ids=lambda module: module.__name__)
def test_examples_are_true(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    assert doctest.testmod(module).failed == 0
