"""A page says the day of the last commit that changed it, or nothing: with the book's settings, on a small site."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[1]
SPHINX = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["sphinx"]
OURS = {
    key: value
    for key, value in SPHINX["config"].items()
    if key.startswith("git_") or key in ("html_last_updated_fmt", "suppress_warnings")
}
CONF = f"""\
import sys

sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["sphinx_last_updated_by_git", "site_pages"]
html_theme, root_doc = "basic", "start"
globals().update({OURS!r})
"""
OLD, NEW = "2 March 2021", "5 April 2022"

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="there is no git")


def git(*words: str, at: Path, day: str = "") -> None:
    someone = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    then = {"GIT_AUTHOR_DATE": day, "GIT_COMMITTER_DATE": day} if day else {}
    nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *words], cwd=at, env=os.environ | someone | then | nowhere, check=True, capture_output=True)


def commit(folder: Path, day: str) -> None:
    git("add", "--all", at=folder)
    git("commit", "--message", "A change", at=folder, day=day)


def days(folder: Path) -> dict[str, str | None]:
    """What each page of the site says, built without a warning."""
    built = folder.parent / f"site-of-{folder.name}"
    assert build_main(["-q", "-W", str(folder), str(built)]) == 0
    found = {}
    for page in ("start", "older", "newer", "search"):
        text = (built / f"{page}.html").read_text(encoding="utf8")
        shown = re.findall(r"Last updated on (.*?)\.\s", text)
        assert bool(shown) == ("article:modified_time" in text)
        assert page == "search" or f"_sources/{page}.rst.txt" in text  # what the book's buttons lead to
        found[page] = shown[0] if shown else None
    return found


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Three pages of one day; then one of them is changed."""
    folder = tmp_path_factory.mktemp("repositories") / "whole"
    folder.mkdir()
    (folder / "conf.py").write_text(CONF, encoding="utf8")
    (folder / "start.rst").write_text("First\n=====\n\n.. toctree::\n   :glob:\n\n   *\n", encoding="utf8")
    for page in ("older", "newer"):
        (folder / f"{page}.rst").write_text(f"{page}\n=====\n\nWords.\n", encoding="utf8")
    (folder / "part.txt").write_text("Words of several pages.\n", encoding="utf8")
    git("init", at=folder)
    commit(folder, "2021-03-02T12:00:00Z")
    with (folder / "newer.rst").open("a", encoding="utf8") as file:
        file.write("\nMore words.\n")
    commit(folder, "2022-04-05T12:00:00Z")
    return folder


def copy(repository: Path, name: str) -> Path:
    return shutil.copytree(repository, repository.parent / name)


def test_each_page_says_the_day_of_its_own_last_commit(repository):
    assert days(repository) == {"start": OLD, "older": OLD, "newer": NEW, "search": None}


@pytest.mark.parametrize("depth, newer", [(1, None), (2, NEW)])
def test_a_shallow_clone_says_only_what_it_knows(repository, depth, newer):
    """The oldest commit that it holds seems to have made every page, and says nothing of when they were."""
    clone = repository.parent / f"depth-{depth}"
    git("clone", f"--depth={depth}", repository.as_uri(), clone.name, at=repository.parent)
    assert days(clone) == {"start": None, "older": None, "newer": newer, "search": None}


def test_without_a_repository_no_page_says_a_day(repository, monkeypatch):
    folder = copy(repository, "unpacked")
    shutil.rmtree(folder / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))  # nor in one that holds the folder
    assert not any(days(folder).values())


def test_without_git_no_page_says_a_day(repository, monkeypatch):
    folder = copy(repository, "without-git")
    monkeypatch.setenv("PATH", "")
    assert not any(days(folder).values())


def test_a_page_that_was_never_committed_says_no_day(repository):
    """Not even that of a committed file that it includes."""
    folder = copy(repository, "uncommitted")
    (folder / "older.rst").rename(folder / "uncommitted.rst")
    (folder / "older.rst").write_text("older\n=====\n\nWords.\n", encoding="utf8")
    (folder / "uncommitted.rst").write_text("new\n===\n\n.. include:: part.txt\n", encoding="utf8")
    days(folder)
    text = (folder.parent / "site-of-uncommitted" / "uncommitted.html").read_text(encoding="utf8")
    assert "Words of several pages" in text and "Last updated" not in text
