"""What the contract with Colab rests on: a release served from here, and a first cell that installs one package."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from tests import colab

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("chapters/**/*.ipynb"))


def git(*words, at):
    done = subprocess.run(["git", *words], cwd=at, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def project(tmp_path):
    """A repository with a package, of which something is not committed yet, and something is ignored."""
    folder = tmp_path / "project"
    folder.mkdir()
    git("init", "-q", at=folder)
    (folder / ".gitignore").write_text("secret\n")
    (folder / "kept.py").write_text("old = 1\n")
    git("add", ".", at=folder)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one", at=folder)
    (folder / "kept.py").write_text("new = 1\n")
    (folder / "added.py").write_text("")
    (folder / "secret").write_text("")
    return folder


def test_what_is_served_is_what_lies_here_under_the_name_of_the_release(project, tmp_path):
    for _ in range(2):  # a second run begins anew
        colab.serve(project, tmp_path / "served", "v1.2.3")
    address = ["-c", f"url.{(tmp_path / 'served').as_uri()}.insteadOf=https://example.org/a/b"]
    git(*address, "clone", "-q", "--branch", "v1.2.3", "https://example.org/a/b", "clone", at=tmp_path)
    assert sorted(path.name for path in (tmp_path / "clone").iterdir()) == [".git", ".gitignore", "added.py", "kept.py"]
    assert (tmp_path / "clone" / "kept.py").read_text() == "new = 1\n"


def test_a_first_cell_installs_the_package_and_nothing_else():
    assert colab.faults("fslib\n") == []
    assert colab.faults("fslib numpy\n") == ["installed numpy in its first cell, which Colab has"]
    assert "did not install" in colab.faults("\n")[0]


def test_an_environment_sees_the_one_below_and_is_empty_itself(tmp_path):
    below = tmp_path / "below"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", below], check=True)
    (packages,) = below.glob("lib/python*/site-packages")
    (packages / "known.py").write_text("here = 1\n")
    python = colab.layer(tmp_path / "above", below)
    done = subprocess.run(
        [python, "-c", "import known; print(known.here)" + colab.INSTALLED], capture_output=True, text=True
    )
    assert done.stdout.split() == ["1"], done.stderr


def test_notebooks_run_with_nothing_around_them(tmp_path):
    colab.copy_notebooks(NOTEBOOKS, ROOT, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(NOTEBOOKS) and {path.suffix for path in files} == {".ipynb"}


def test_the_kernel_fetches_from_here(tmp_path):
    colab.write_kernel(tmp_path, tmp_path / "served", "https://example.org/a/b")
    kernel = json.loads((tmp_path / "kernels" / "colab" / "kernel.json").read_text())
    assert kernel["env"]["GIT_CONFIG_KEY_0"] == f"url.{(tmp_path / 'served').as_uri()}.insteadOf"
    assert kernel["env"]["GIT_CONFIG_VALUE_0"] == "https://example.org/a/b"


def test_the_environment_holds_what_notebooks_import():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["fslib"]["colab"]
    there = {name.partition("==")[0] for name in listed} | {"fslib"} | set(sys.stdlib_module_names)
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells]
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert set(re.findall(r"^\s*(?:import|from) (\w+)", code, re.MULTILINE)) <= there
    assert all("==" in name for name in listed), "versions are those that Colab recorded"


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: "-".join(path.parts[-2:]))
def viewed(request):
    """A notebook as a viewer shows it that knows nothing of the book: its text, and its links and pictures."""
    from nbconvert import HTMLExporter

    html, _ = HTMLExporter(template_name="classic").from_notebook_node(nbformat.read(request.param, as_version=4))
    return BeautifulSoup(html, "html.parser")


def test_a_viewer_shows_no_markup_of_the_book(viewed):
    text = "\n".join(part.get_text() for part in viewed.select(".text_cell_render, .jp-RenderedMarkdown"))
    assert len(text) > 200
    assert not re.findall(r"\{[\w:-]+\}`|^:::.*|^```.*|^\([\w-]+\)=|\{[.#][\w-]+\}|</?\w+[ >]", text, re.MULTILINE)


def test_a_viewer_finds_every_picture_and_page(viewed):
    cells = viewed.select(".text_cell_render, .jp-RenderedMarkdown")
    found = [tag.get("src") or tag.get("href") for cell in cells for tag in cell.select("img[src], a[href]")]
    assert found and not [link for link in found if not re.match(r"https?://|data:|#", link)]


def test_a_viewer_of_a_chapter_sees_no_solution(viewed):
    text = viewed.get_text()
    assert "Solutions:" in text or not re.search(r"assert checks\.\w+\(", text)
