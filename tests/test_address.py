"""One address: what cannot look it up is in step with pyproject.toml (`make address`)."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import address  # noqa: E402

REPOSITORY, SITE = address.urls()
CHAPTERS = sorted(ROOT.glob("chapters/*.ipynb"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_first_cell_is_in_step(path):
    notebook = json.loads(path.read_text(encoding="utf8"))
    assert address.with_first_cell(notebook, REPOSITORY) == notebook, "run `make address`"


def test_citation_is_in_step():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert (citation["url"], citation["repository-code"]) == (SITE, REPOSITORY), (
        "run `make address`"
    )


def test_no_other_file_holds_the_address():
    files = [ROOT / "_config.yml"]
    for pattern in ("book/**/*.md", "book/**/*.py", "fslib/**/*.py"):
        files += ROOT.glob(pattern)
    held = REPOSITORY.removeprefix("https://"), SITE.removeprefix("https://").rstrip("/")
    assert not [f.name for f in files if any(h in f.read_text(encoding="utf8") for h in held)]


def test_first_cell_is_put_on_top_once():
    chapter = {
        "cells": [{"cell_type": "markdown", "id": "title", "source": ["# One"]}],
        "metadata": {},
    }
    once = address.with_first_cell(chapter, "https://example.org/a/b")
    assert [cell["id"] for cell in once["cells"]] == ["first-cell", "title"]
    moved = address.with_first_cell(once, "https://example.org/c/d")
    assert len(moved["cells"]) == 2 and "git+https://example.org/c/d" in "".join(
        moved["cells"][0]["source"]
    )


def test_first_cell_does_nothing_where_the_package_is(monkeypatch):
    source = address.first_cell(REPOSITORY)
    ast.parse(source)
    assert max(map(len, source.splitlines())) <= 88
    monkeypatch.setattr(
        "subprocess.run", lambda *args, **kwargs: pytest.fail("it installed something")
    )
    exec(source, {})


def test_first_cell_says_in_one_line_that_the_network_is_off(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda words: subprocess.CompletedProcess(words, 1))
    with pytest.raises(SystemExit, match="could not be installed"):
        exec(address.first_cell(REPOSITORY), {})
