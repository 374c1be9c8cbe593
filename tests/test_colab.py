"""What the contract with Colab rests on: a release served from here, a first cell that installs one package, and a
kernel that reaches nothing else of ours."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup

from tests import colab

ROOT = Path(__file__).parents[1]
NOTEBOOKS = colab.address().notebooks()


WHO = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]


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
    git(*WHO, "commit", "-qm", "one", at=folder)
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


def test_nothing_around_it_decides_what_is_served(project, tmp_path, monkeypatch):
    """Neither a hook that runs for another repository, nor settings that ask for signatures that nothing can give."""
    other = tmp_path / "other"
    git("init", "-q", str(other), at=tmp_path)
    (tmp_path / "settings").write_text("[commit]\ngpgsign = true\n[tag]\ngpgsign = true\n[gpg]\nprogram = false\n")
    with monkeypatch.context() as around:
        around.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
        around.setenv("GIT_DIR", str(other / ".git"))
        around.setenv("GIT_WORK_TREE", str(other))
        around.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
        colab.serve(project, tmp_path / "served", "v1.2.3")
    served = git("ls-tree", "--name-only", "v1.2.3", at=tmp_path / "served").split()
    assert served == [".gitignore", "added.py", "kept.py"]
    assert not git("tag", at=other) and not (other / ".git" / "index").exists()


def test_a_first_cell_installs_the_package_and_nothing_else():
    assert colab.faults("fslib\n") == []
    assert colab.faults("fslib numpy\n") == ["installed numpy, which Colab has"]
    assert "did not install" in colab.faults("\n")[0]


def test_an_environment_sees_the_one_below_and_is_empty_itself(tmp_path):
    below = tmp_path / "below"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", below], check=True)
    (packages,) = below.glob("lib/python*/site-packages")
    (packages / "known.py").write_text("here = 1\n")
    python = colab.layer(tmp_path / "above", below / "bin" / "python")
    done = subprocess.run(
        [python, "-c", "import known; print(known.here)" + colab.INSTALLED], capture_output=True, text=True
    )
    assert done.stdout.split() == ["1"], done.stderr


def test_a_given_interpreter_stands_for_that_of_colab():
    code = "from tests import colab; print(colab.BARE)"
    made = str(colab.FOLDER / "env" / "bin" / "python")
    for given, used in (("/usr/bin/python3", "/usr/bin/python3"), ("", made)):
        env = os.environ | {"COLAB_PYTHON": given}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.stdout.strip() == used


def test_notebooks_run_with_nothing_around_them(tmp_path):
    colab.copy_notebooks(NOTEBOOKS, ROOT, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(NOTEBOOKS) and {path.suffix for path in files} == {".ipynb"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with a package, and Colab's packages, which are ours here, without fslib; its `colab`."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "tests").mkdir()
    (root / "fslib").mkdir()
    (root / "fslib" / "__init__.py").write_text("data = None\n")
    copy = shutil.copy(colab.__file__, root / "tests")
    spec = importlib.util.spec_from_file_location("colab_of_checkout", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", module.FOLDER / "env"], check=True)
    (packages,) = module.FOLDER.glob("env/lib/python*/site-packages")
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "fslib" not in path.name:
            (packages / path.name).symlink_to(path)
    module.write_kernel(module.FOLDER, root, "https://example.org/a/b")
    return module


def test_a_notebook_that_leans_on_the_checkout_fails(checkout):
    with tempfile.TemporaryDirectory() as run:
        (Path(run) / "chapters").mkdir()
        checkout.needs_nothing_around_it(Path(run))
        assert not [*Path(run).rglob("planted*")]


def test_a_run_inside_the_checkout_is_refused(checkout):
    (checkout.ROOT / "run" / "chapters").mkdir(parents=True)
    with pytest.raises(SystemExit, match="leans on the checkout must fail here, and did not"):
        checkout.needs_nothing_around_it(checkout.ROOT / "run")


@pytest.mark.parametrize("first, makes", [("print('made')", True), ("raise OSError('no space')", False)])
def test_the_data_set_is_made_by_what_a_first_cell_installs(checkout, tmp_path, monkeypatch, first, makes):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(first)])
    (tmp_path / "chapters").mkdir()
    nbformat.write(nb, tmp_path / "chapters" / "01_one.ipynb")
    monkeypatch.setattr(checkout, "DATA", f"import os\nassert os.environ['FSLIB_CACHE'] == {str(checkout.CACHE)!r}")
    if makes:
        checkout.makes_its_data(tmp_path)
    else:
        with pytest.raises(SystemExit, match=r"does not make the data set:[\s\S]*no space"):
            checkout.makes_its_data(tmp_path)


def test_a_run_begins_with_an_empty_folder_and_an_empty_cache(checkout, tmp_path, monkeypatch):
    project = SimpleNamespace(tag="v1.0.0", repository="https://example.org/a/b")
    monkeypatch.setattr(checkout, "address", lambda: SimpleNamespace(project=lambda: project, notebooks=list))
    for name in ("serve", "write_kernel", "needs_nothing_around_it", "makes_its_data"):
        monkeypatch.setattr(checkout, name, lambda *_: None)
    monkeypatch.setattr(checkout, "copy_notebooks", lambda _, root, to: (to / "copied").touch())
    checkout.CACHE.mkdir()
    checkout.prepare(tmp_path)
    assert not checkout.CACHE.exists() and (tmp_path / "copied").exists()
    with pytest.raises(SystemExit, match="is not empty"):
        checkout.prepare(tmp_path)


@pytest.fixture
def tried(checkout, tmp_path, monkeypatch):
    """Tries a wheel that holds this one file, with a chapter 1 that needs what is in it."""
    (tmp_path / "chapters").mkdir()
    cell = nbformat.v4.new_code_cell("import fslib\nprint(fslib.here)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "chapters" / "01_one.ipynb")
    ours = tmp_path / "ours" / "fslib"
    ours.mkdir(parents=True)
    (ours / "__init__.py").write_text("here = 'of the checkout'\n")
    monkeypatch.setenv("PYTHONPATH", str(ours.parent))
    monkeypatch.setenv("FSLIB_DATA", str(tmp_path))
    monkeypatch.setattr(checkout, "ROOT", tmp_path)

    def try_wheel(name, code):
        wheel = tmp_path / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr("fslib/__init__.py", code)
            file.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            file.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            file.writestr(f"{name}-1.0.dist-info/RECORD", "")
        checkout.try_wheel(wheel)

    return try_wheel


def test_a_wheel_with_which_chapter_1_runs_is_good(tried, capfd):
    tried("fslib", "import os\nhere = 'of the wheel', 'FSLIB_DATA' in os.environ")
    assert "('of the wheel', False)" in capfd.readouterr().out


@pytest.mark.parametrize(
    "name, code, said",
    [
        ("fslib", "", "chapter 1 did not come to its end"),
        ("other", "here = 1", "The wheel did not install the package."),
    ],
)
def test_a_broken_wheel_is_refused(tried, name, code, said):
    with pytest.raises(SystemExit, match=said):
        tried(name, code)


def test_the_kernel_fetches_from_here(tmp_path):
    colab.write_kernel(tmp_path, tmp_path / "served", "https://example.org/a/b")
    kernel = json.loads((tmp_path / "kernels" / "colab" / "kernel.json").read_text())
    assert kernel["env"]["GIT_CONFIG_KEY_0"] == f"url.{(tmp_path / 'served').as_uri()}.insteadOf"
    assert kernel["env"]["GIT_CONFIG_VALUE_0"] == "https://example.org/a/b"


def test_the_environment_holds_what_notebooks_import():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["fslib"]["colab"]
    there = {name.partition("==")[0].replace("pillow", "PIL") for name in listed}
    there |= {"fslib"} | set(sys.stdlib_module_names)
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
