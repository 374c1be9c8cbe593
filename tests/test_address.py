"""One address and one version: what cannot look them up is in step with pyproject.toml (`make address`)."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import address  # noqa: E402

PROJECT = address.project()
MOVED = address.Project("https://github.com/a/b", "https://c.org/d/", "v9.8.7")
NOTEBOOKS = address.notebooks()


def named(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(params=NOTEBOOKS, ids=named)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf8"))


def text_of(notebook):
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"])


def test_notebooks_are_in_step(path, notebook):
    assert address.in_step(notebook, named(path), PROJECT) == notebook, "run `make address`"


def test_a_notebook_that_moved_or_a_badge_gone_stale_is_not_in_step(path, notebook):
    assert address.in_step(notebook, "chapters/10_elsewhere.ipynb", PROJECT) != notebook
    stale = json.loads(json.dumps(notebook).replace(PROJECT.tag, "v0.0.1"))
    assert stale != notebook and address.in_step(stale, named(path), PROJECT) == notebook


def test_who_moves_the_project_changes_one_setting(path, notebook):
    moved = address.in_step(notebook, named(path), MOVED)
    assert address.in_step(moved, named(path), MOVED) == moved
    for old in (PROJECT.repository, PROJECT.site, PROJECT.tag, PROJECT.repository.removeprefix("https://github.com")):
        assert old not in text_of(moved), old
    assert address.in_step(moved, named(path), PROJECT) == notebook


def test_citation_is_in_step():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf8")
    assert address.citation(text, PROJECT) == text, "run `make address`"
    moved = yaml.safe_load(address.citation(text, MOVED))
    assert (moved["url"], moved["repository-code"], moved["version"]) == (MOVED.site, MOVED.repository, "9.8.7")


def test_no_other_file_holds_the_address():
    files = [ROOT / "_config.yml"]
    for pattern in ("book/**/*.md", "book/**/*.py", "fslib/**/*.py"):
        files += ROOT.glob(pattern)
    held = PROJECT.repository.removeprefix("https://"), PROJECT.site.removeprefix("https://").rstrip("/")
    assert not [f.name for f in files if any(h in f.read_text(encoding="utf8") for h in held)]


def test_a_new_chapter_gets_its_head():
    chapter = {
        "cells": [{"cell_type": "markdown", "id": "mine", "metadata": {}, "source": ["# One\n", "\n", "What is it?"]}],
        "metadata": {"fslib": {"cost": {"units": 7, "memory_mb": 1200, "download_mb": 3}}},
    }
    made = address.in_step(chapter, "chapters/10_one.ipynb", MOVED)
    title, first, mine, last = ("".join(cell["source"]) for cell in made["cells"])
    assert title.startswith("# One\n\n[![Open in Colab](")
    assert "https://colab.research.google.com/github/a/b/blob/v9.8.7/chapters/10_one.ipynb" in title
    assert "https://c.org/d/chapters/10_one.html" in title and "7 CPU seconds · 1,200 MB" in title
    assert '"https://github.com/a/b"' in first and "v9.8.7" in first and "begin(units=7)" in first
    assert "Chapter 10 of [*Learning to Compare*](https://c.org/d/)" in title
    assert mine == "What is it?" and made["metadata"]["kernelspec"]["name"] == "python3"
    assert last.startswith("This is the last chapter so far.")


def test_a_notebook_leads_on():
    onward = address.at_the_end(MOVED, "chapters/01_the_few_shot_problem.ipynb")
    assert "[Episodes and meta-learning, in Colab](https://colab.research.google.com/github/a/b/blob/v9.8.7/" in onward
    back = address.at_the_end(MOVED, "chapters/solutions/02_episodes.ipynb")
    assert "a/b/blob/v9.8.7/chapters/02_episodes.ipynb)" in back


@pytest.mark.parametrize(
    "link, full",
    [
        ("[a](02_episodes.ipynb)", "[a](https://c.org/d/chapters/02_episodes.html)"),
        ("[a](../book/results.md#omniglot)", "[a](https://c.org/d/book/results.html#omniglot)"),
        ("[a](https://old.org/x/chapters/02_episodes.html)", "[a](https://c.org/d/chapters/02_episodes.html)"),
        (
            "[a](solutions/02_episodes.ipynb)",
            "[a](https://colab.research.google.com/github/a/b/blob/v9.8.7/chapters/solutions/02_episodes.ipynb)",
        ),
        (
            '<a href="../fslib/book/figures/conv4.mjs">a</a>',
            '<a href="https://c.org/d/_static/live/conv4.mjs">a</a>',
        ),
        ("[a](https://docs.python.org/3/index.html)", "[a](https://docs.python.org/3/index.html)"),
        ("[a](https://arxiv.org/abs/1606.04080)", "[a](https://arxiv.org/abs/1606.04080)"),
    ],
)
def test_links_are_written_out(link, full):
    assert address.written_out(link, MOVED) == full
    assert address.written_out(full, MOVED) == full


def test_no_link_needs_a_file_beside_the_notebook(notebook):
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    links = re.findall(r"""\]\(([^)\s]+)|(?:href|src)="([^"]+)""", "\n".join(texts))
    assert not [link for pair in links for link in pair if link and not re.match(r"https?://|data:|#|mailto:", link)]


def test_first_cell_installs_nothing_where_the_package_is(monkeypatch, capsys):
    source = address.first_cell(PROJECT, 25)
    ast.parse(source)
    assert max(map(len, source.splitlines())) <= 88
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: pytest.fail("it installed something"))
    for _ in range(2):  # it may be run again
        exec(source, {})
    assert capsys.readouterr().out.count("about 25 seconds") == 2


def test_first_cell_says_in_one_line_that_it_failed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda words: subprocess.CompletedProcess(words, 1))
    with pytest.raises(RuntimeError, match="could not be installed"):
        exec(address.first_cell(PROJECT, 25), {})
