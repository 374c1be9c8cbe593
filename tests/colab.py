"""The Colab contract: each notebook as a learner opens it, who has the notebook and nothing else.

    make colab                                # all notebooks, and the book is built from this run
    make colab COLAB_PYTHON=/usr/bin/python3  # with the packages of that interpreter, as in Colab's own image
    python -m tests.colab prepare FOLDER      # all but the run, which takes place in that folder
    python -m tests.colab wheel dist/x.whl    # chapter 1 where a built wheel is installed; part of make release

Each runs in an environment of its own that holds what Colab recorded of the packages that notebooks import, and of the
repository only what its unmodified first cell installs. It runs outside the checkout, and its cache begins empty: the
data set of the book, too, is made by what a first cell installs. The public address of the repository stands for a
local one, which serves the files at hand under the name of the release. What the first cell installs besides the
package, such as another NumPy, is a fault.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "_build" / "colab"
# An interpreter that has what Colab has, without the package: a given one, or that of an environment made by make.
BARE = Path(os.environ.get("COLAB_PYTHON") or FOLDER / "env" / "bin" / "python")
LAYERS = FOLDER / "layers"  # one for each kernel
CACHE = FOLDER / "cache"  # of all kernels
NAME = "colab"  # of the kernel

# Run after the last cell: what lies in the environment above what Colab has.
INSTALLED = """
def _installed():
    import importlib.metadata, sysconfig

    print(*sorted(found.name for found in importlib.metadata.distributions(path=[sysconfig.get_paths()["purelib"]])))


_installed()
del _installed
"""
OURS = ("PYTHONPATH", "FSLIB_DATA", "FSLIB_RESULTS", "VIRTUAL_ENV")  # a learner has none of these variables
# Cells that lean on the checkout, by the error that each must end in.
LEANS = {
    "ValueError": "from pathlib import Path\n(root,) = [up for up in Path.cwd().parents if (up / 'fslib').is_dir()]",
    "ModuleNotFoundError": "import fslib",
}
DATA = "from fslib import data\ndata.load('glyphs')"


def faults(installed: str) -> list[str]:
    """What is wrong with what a first cell, or a wheel, installed."""
    others = [name for name in installed.split() if name != "fslib"]
    if "fslib" not in installed.split():
        return ["did not install the package"]
    return [f"installed {name}, which Colab has" for name in others]


@functools.cache
def address():
    """The module that writes first cells."""
    spec = importlib.util.spec_from_file_location("address", ROOT / "book" / "_ext" / "address.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["address"] = module  # where its data class looks for it
    spec.loader.exec_module(module)
    return module


def serve(files: Path, repository: Path, tag: str) -> None:
    """Make a repository whose one commit, under that tag, holds the files at hand, those not committed too."""
    shutil.rmtree(repository, ignore_errors=True)
    # Within a hook, git tells of the repository that it runs for, which is another one.
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    env = {key: value for key, value in os.environ.items() if key not in others}
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=files, env=env, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (files / name).is_file():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(files / name, repository / name)
    who = ["-c", "user.name=colab", "-c", "user.email=colab@localhost"]
    who += ["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-qm", tag], ["tag", tag]):
        subprocess.run(["git", *who, *words], cwd=repository, env=env, check=True)


def copy_notebooks(notebooks: list[Path], root: Path, to: Path) -> None:
    """Put the notebooks, and nothing that lies around them, into the folder where they will run."""
    for path in notebooks:
        copy = to / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def write_kernel(folder: Path, local: Path, public: str) -> None:
    """Describe the kernel to Jupyter: this program, with the local repository in the place of the public one."""
    kernel = folder / "kernels" / NAME / "kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    described = {
        "argv": [sys.executable, str(Path(__file__).resolve()), "kernel", "{connection_file}"],
        "display_name": NAME,
        "language": "python",
        "env": {
            "FSLIB_CACHE": str(CACHE),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{local.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": public,
        },
    }
    kernel.write_text(json.dumps(described, indent=1), encoding="utf8")


def layer(folder: Path, below: Path) -> Path:
    """Make an empty environment above that of an interpreter, whose packages it sees but cannot change; its own."""
    subprocess.run([below, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    ask = [below, "-c", "import site; print(*site.getsitepackages(), sep='\\n')"]
    of_below = subprocess.run(ask, check=True, capture_output=True, text=True).stdout
    (packages / "below.pth").write_text(of_below, encoding="utf8")
    return folder / "bin" / "python"


def bare() -> dict[str, str]:
    """The environment variables that a learner could have too."""
    return {name: value for name, value in os.environ.items() if name not in OURS}


def start_kernel(connection: str) -> None:
    """Become a kernel in an environment of its own."""
    LAYERS.mkdir(exist_ok=True)
    python = layer(Path(tempfile.mkdtemp(dir=LAYERS)), BARE)
    os.execve(python, [str(python), "-m", "ipykernel_launcher", "-f", connection], bare())


def run_planted(cells: list[str], run: Path) -> subprocess.CompletedProcess:
    """Run a notebook of these cells as the others will be, asked from an environment that names the checkout."""
    code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    nb = {"cells": [code | {"source": cell} for cell in cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    planted = run / "chapters" / "planted.ipynb"
    planted.write_text(json.dumps(nb), encoding="utf8")
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", f"--nbval-kernel-name={NAME}", str(planted)]
    environment = os.environ | {"JUPYTER_PATH": str(FOLDER), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    planted.unlink()
    return done


def needs_nothing_around_it(run: Path) -> None:
    """Stop unless each cell fails that leans on the checkout."""
    done = run_planted([*LEANS.values()], run)
    if f"{len(LEANS)} failed" not in done.stdout or not all(error in done.stdout for error in LEANS):
        sys.exit(f"A notebook that leans on the checkout must fail here, and did not:\n{done.stdout}{done.stderr}")


def makes_its_data(run: Path) -> None:
    """Make the data set of the book once, by what a first cell installs; no notebook is charged for it."""
    (chapter, *_) = sorted((run / "chapters").glob("*.ipynb"))
    (first, *_) = code_cells(chapter)
    done = run_planted([first, DATA], run)
    if done.returncode:
        sys.exit(f"The package that a first cell installs does not make the data set:\n{done.stdout}{done.stderr}")


def prepare(run: Path) -> None:
    """Make what a run needs: the repository, the kernel, the notebooks, the data set."""
    if any(run.iterdir()):
        sys.exit(f"{run} is not empty: what lies there could be run, or be leaned on.")
    for folder in (LAYERS, CACHE):
        shutil.rmtree(folder, ignore_errors=True)
    project = address().project()
    serve(ROOT, FOLDER / "repository", project.tag)
    write_kernel(FOLDER, FOLDER / "repository", project.repository)
    copy_notebooks(address().notebooks(), ROOT, run)
    needs_nothing_around_it(run)
    makes_its_data(run)


def try_wheel(wheel: Path) -> None:
    """Run chapter 1 to its last cell where Colab's packages and the wheel are all there is."""
    with tempfile.TemporaryDirectory() as folder:
        python, environment = layer(Path(folder, "env"), BARE), bare() | {"FSLIB_CACHE": folder, "MPLBACKEND": "Agg"}
        install = [python, "-m", "pip", "install", "--quiet", str(wheel.resolve())]
        subprocess.run(install, check=True, cwd=folder, env=environment)
        look = [python, "-c", INSTALLED]
        found = subprocess.run(look, check=True, cwd=folder, env=environment, capture_output=True, text=True).stdout
        if wrong := faults(found):
            sys.exit(f"The wheel {'; '.join(wrong)}.")
        (chapter, *_) = sorted((ROOT / "chapters").glob("01_*.ipynb"))
        Path(folder, "chapter.py").write_text("\n\n".join(code_cells(chapter)), encoding="utf8")
        command = [python, "-m", "IPython", "--no-banner", "chapter.py"]
        if subprocess.run(command, cwd=folder, env=environment).returncode:
            sys.exit(f"With {wheel.name}, chapter 1 did not come to its end.")
    print(f"{wheel.name}: chapter 1 runs to its end with it.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("prepare", "kernel", "wheel"))
    parser.add_argument("of", help="the folder of the run, the file of the connection, the wheel")
    asked = parser.parse_args()
    if asked.what == "prepare":
        prepare(Path(asked.of))
    elif asked.what == "kernel":
        start_kernel(asked.of)
    else:
        try_wheel(Path(asked.of))


if __name__ == "__main__":
    main()
