"""One address and one version: what cannot look them up is in step with pyproject.toml (`make address`)."""

import ast
import json
import re
import shutil
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
OLD = address.Project("https://github.com/old/x", "https://old.org/x/", "v0.0.1")
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


def test_the_badge_is_in_step():
    text = (ROOT / "README.md").read_text(encoding="utf8")
    assert address.badge(text, PROJECT) == text, "run `make address`"
    moved = address.badge(text, MOVED)
    assert moved.count("https://github.com/a/b/actions/workflows/tests.yml") == 2 and PROJECT.repository not in moved


def test_no_other_file_holds_the_address():
    files = [ROOT / "_config.yml"]
    for pattern in ("book/**/*.md", "book/**/*.py", "fslib/**/*.py", ".github/workflows/*.yml"):
        files += ROOT.glob(pattern)
    held = PROJECT.repository.removeprefix("https://"), PROJECT.site.removeprefix("https://").rstrip("/")
    assert not [f.name for f in files if any(h in f.read_text(encoding="utf8") for h in held)]


@pytest.fixture
def new():
    """A chapter as an author begins one."""
    return {
        "cells": [{"cell_type": "markdown", "id": "mine", "metadata": {}, "source": ["# One\n", "\n", "What is it?"]}],
        "metadata": {"fslib": {"cost": {"units": 7, "memory_mb": 1200, "download_mb": 3}}},
    }


def test_a_new_chapter_gets_its_head(new):
    made = address.in_step(new, "chapters/99_one.ipynb", MOVED)
    title, first, mine, last = ("".join(cell["source"]) for cell in made["cells"])
    assert title.startswith("# One\n\n[![Open in Colab](")
    assert "https://colab.research.google.com/github/a/b/blob/v9.8.7/chapters/99_one.ipynb" in title
    assert "https://c.org/d/chapters/99_one.html" in title and "7 CPU seconds · 1,200 MB" in title
    assert '"https://github.com/a/b"' in first and "v9.8.7" in first and "begin(units=7)" in first
    assert "Chapter 99 of [*Learning to Compare*](https://c.org/d/)" in title
    assert mine == "What is it?" and made["metadata"]["kernelspec"]["name"] == "python3"
    assert last.startswith("This is the last chapter so far.")


@pytest.mark.parametrize("words", ["\n\nMine.\n\nMore.", "\nMine.", " Mine.", "\n\n[Mine](https://a.org), chapter 3"])
def test_words_typed_under_the_title_are_not_lost(new, words):
    made = address.in_step(new, "chapters/99_one.ipynb", OLD)
    made["cells"][0]["source"].append(words)
    with pytest.raises(ValueError, match=r"^chapters/99_one\.ipynb: .*Mine.*to a cell of its own\.$"):
        address.in_step(made, "chapters/99_one.ipynb", MOVED)


def test_what_is_generated_may_change_in_all_that_varies(new):
    made = address.in_step(new, "chapters/99_one.ipynb", OLD)
    made["metadata"]["fslib"]["cost"] = {"units": 7.5, "memory_mb": 800, "download_mb": 0}
    title = "".join(address.in_step(made, "chapters/solutions/98_two.ipynb", MOVED)["cells"][0]["source"])
    assert "Solutions to chapter 98" in title and "7.5 CPU" in title and "no data" in title and "old" not in title


def without_cost(notebook):
    del notebook["metadata"]["fslib"]


def with_half_a_cost(notebook):
    del notebook["metadata"]["fslib"]["cost"]["download_mb"]


def without_ids(notebook):
    del notebook["cells"][0]["id"]


def without_cells(notebook):
    notebook["cells"] = []


def with_code_first(notebook):
    notebook["cells"].insert(0, {"cell_type": "code", "id": "code", "metadata": {}, "source": ["# One"]})


def without_title(notebook):
    notebook["cells"][0]["source"] = ["One"]


@pytest.mark.parametrize(
    "spoil, needs",
    [
        (without_cost, "its cost in its metadata"),
        (with_half_a_cost, "its cost in its metadata"),
        (without_ids, "an id for each of its cells"),
        (without_cells, "begins with its title"),
        (with_code_first, "begins with its title"),
        (without_title, "begins with its title"),
    ],
)
def test_what_a_notebook_lacks_is_said_in_a_sentence(new, spoil, needs):
    spoil(new)
    with pytest.raises(ValueError, match=rf"^chapters/99_one\.ipynb needs .*{needs}.*\.$"):
        address.in_step(new, "chapters/99_one.ipynb", MOVED)


@pytest.fixture
def folder(tmp_path, monkeypatch, new):
    """A project with one new chapter, as `make address` finds it."""
    for name in ("pyproject.toml", *address.FILES):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "chapters" / "solutions" / ".ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "chapters" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "chapters" / "99_one.ipynb").write_text(json.dumps(new), encoding="utf8")
    monkeypatch.setattr(address, "ROOT", tmp_path)
    for function in (address.project, address.notebooks, address.at_the_end):
        monkeypatch.setattr(function, "__defaults__", (tmp_path,))
    return tmp_path


def test_checkpoints_are_no_notebooks(folder):
    for part in ("chapters", "chapters/solutions"):
        (folder / part / ".ipynb_checkpoints" / "99_one-checkpoint.ipynb").write_text("of Jupyter's")
    address.main()
    assert [path.name for path in address.notebooks()] == ["99_one.ipynb"]


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", '{"cells": [], "metadata": {}}'])
def test_the_command_names_the_notebook_that_it_cannot_bring_in_step(folder, text):
    (folder / "chapters" / "11_two.ipynb").write_text(text)
    with pytest.raises(SystemExit, match=r"^chapters/11_two\.ipynb "):
        address.main()


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
        ("[a](https://github.com/old/x/blob/main/book/results.md)", "[a](https://c.org/d/book/results.html)"),
        ("[a](https://old.org/x/_static/live/conv4.mjs)", "[a](https://c.org/d/_static/live/conv4.mjs)"),
        (
            "[a](https://colab.research.google.com/github/old/x/blob/v0.0.1/chapters/solutions/02_episodes.ipynb)",
            "[a](https://colab.research.google.com/github/a/b/blob/v9.8.7/chapters/solutions/02_episodes.ipynb)",
        ),
        ("`a` [`b`](02_episodes.ipynb)", "`a` [`b`](https://c.org/d/chapters/02_episodes.html)"),
        ("a ` b\n\n[a](02_episodes.ipynb) `", "a ` b\n\n[a](https://c.org/d/chapters/02_episodes.html) `"),
        ("```\na\n```\n[a](02_episodes.ipynb)", "```\na\n```\n[a](https://c.org/d/chapters/02_episodes.html)"),
        (
            "[a](solutions/02_episodes.ipynb)",
            "[a](https://colab.research.google.com/github/a/b/blob/v9.8.7/chapters/solutions/02_episodes.ipynb)",
        ),
        (
            '<a href="../fslib/book/figures/conv4.mjs">a</a>',
            '<a href="https://c.org/d/_static/live/conv4.mjs">a</a>',
        ),
    ],
)
def test_links_are_written_out(link, full):
    assert address.written_out(link, MOVED, OLD) == full
    assert address.written_out(full, MOVED, OLD) == full


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://docs.python.org/3/index.html)",
        "[a](https://arxiv.org/abs/1606.04080)",
        "[a](https://other.org/book/results.html)",
        "[a](https://other.org/chapters/02_episodes.ipynb)",
        "[a](https://github.com/other/x/blob/main/chapters/02_episodes.ipynb)",
        '<a href="https://other.org/_static/live/conv4.mjs">a</a>',
        "[a](https://other.org/?to=https://old.org/x/chapters/02_episodes.html)",
        "`[a](02_episodes.ipynb)`",
        "`` [a](02_episodes.ipynb) ` ``",
        "```\n[a](02_episodes.ipynb)\n```",
        "~~~markdown\n`[a](02_episodes.ipynb)\n~~~",
    ],
)
def test_links_to_elsewhere_and_what_is_code_stay_as_they_are(text):
    assert address.written_out(text, MOVED, OLD) == text


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
