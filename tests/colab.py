"""The Colab contract: each notebook as a learner opens it, who has the notebook and nothing else.

    make colab                                # all notebooks, and the book is built from this run
    python -m tests.colab prepare             # all but the run
    python -m tests.colab wheel dist/x.whl    # chapter 1 where a built wheel is installed; part of make release

Each runs in an environment of its own that holds what Colab recorded of the packages that notebooks import, and of the
repository only what its unmodified first cell installs. The public address of the repository stands for a local one,
which serves the files at hand under the name of the release. What the first cell installs besides the package, such as
another NumPy, is a fault.
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
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "_build" / "colab"
BARE = FOLDER / "env"  # made by make: what Colab has, without the package
LAYERS = FOLDER / "layers"  # one for each kernel
NAME = "colab"  # of the kernel

# Run after the last cell: what lies in the environment above what Colab has.
INSTALLED = """
def _installed():
    import importlib.metadata, sysconfig

    print(*sorted(found.name for found in importlib.metadata.distributions(path=[sysconfig.get_paths()["purelib"]])))


_installed()
del _installed
"""
PLANTED = "open('../README.md').read()"


def faults(installed: str) -> list[str]:
    """What is wrong with what a first cell installed."""
    others = [name for name in installed.split() if name != "fslib"]
    if "fslib" not in installed.split():
        return ["did not install the package in its first cell"]
    return [f"installed {name} in its first cell, which Colab has" for name in others]


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
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=files, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (files / name).is_file():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(files / name, repository / name)
    who = ["-c", "user.name=colab", "-c", "user.email=colab@localhost", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-A", "-f"], [*who, "commit", "-qm", tag], ["tag", tag]):
        subprocess.run(["git", *words], cwd=repository, check=True)


def copy_notebooks(notebooks: list[Path], root: Path, to: Path) -> None:
    """Put the notebooks, and nothing that lies around them, where they will run."""
    shutil.rmtree(to, ignore_errors=True)
    for path in notebooks:
        copy = to / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def write_kernel(folder: Path, local: Path, public: str) -> None:
    """Describe the kernel to Jupyter: this program, with the local repository in the place of the public one."""
    kernel = folder / "kernels" / NAME / "kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    described = {
        "argv": [sys.executable, str(Path(__file__).resolve()), "kernel", "{connection_file}"],
        "display_name": NAME,
        "language": "python",
        "env": {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{local.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": public,
        },
    }
    kernel.write_text(json.dumps(described, indent=1), encoding="utf8")


def layer(folder: Path, below: Path) -> Path:
    """Make an empty environment above another, whose packages it sees but cannot change; its interpreter."""
    venv.EnvBuilder(symlinks=True).create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (of_below,) = below.glob("lib/python*/site-packages")
    (packages / "below.pth").write_text(f"{of_below}\n", encoding="utf8")
    return folder / "bin" / "python"


def start_kernel(connection: str) -> None:
    """Become a kernel in an environment of its own."""
    LAYERS.mkdir(exist_ok=True)
    python = layer(Path(tempfile.mkdtemp(dir=LAYERS)), BARE)
    for name in ("PYTHONPATH", "FSLIB_DATA", "FSLIB_RESULTS", "VIRTUAL_ENV"):
        os.environ.pop(name, None)
    os.execv(python, [str(python), "-m", "ipykernel_launcher", "-f", connection])


def needs_nothing_around_it() -> None:
    """Stop unless a notebook fails that reads a file of the repository."""
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": PLANTED}
    planted = FOLDER / "run" / "chapters" / "planted.ipynb"
    planted.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", f"--nbval-kernel-name={NAME}", str(planted)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=jupyter())
    planted.unlink()
    if done.returncode != 1 or "FileNotFoundError" not in done.stdout:
        sys.exit(f"A notebook that reads ../README.md must fail here, and did not:\n{done.stdout}{done.stderr}")


def jupyter() -> dict[str, str]:
    """The environment in which the kernel is found."""
    return os.environ | {"JUPYTER_PATH": str(FOLDER)}


def prepare() -> None:
    """Make what a run needs: the repository, the kernel, the notebooks."""
    shutil.rmtree(LAYERS, ignore_errors=True)
    project = address().project()
    serve(ROOT, FOLDER / "repository", project.tag)
    write_kernel(FOLDER, FOLDER / "repository", project.repository)
    copy_notebooks(address().notebooks(), ROOT, FOLDER / "run")
    needs_nothing_around_it()


def try_wheel(wheel: Path) -> None:
    """Run chapter 1 to its last cell where Colab's packages and the wheel are all there is."""
    with tempfile.TemporaryDirectory() as folder:
        python = layer(Path(folder, "env"), BARE)
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel.resolve())], check=True)
        found = subprocess.run([python, "-c", INSTALLED], check=True, capture_output=True, text=True).stdout
        if wrong := faults(found):
            sys.exit(f"The wheel {'; '.join(wrong)}.")
        (chapter, *_) = sorted((ROOT / "chapters").glob("01_*.ipynb"))
        source = "\n\n".join(
            "".join(cell["source"])
            for cell in json.loads(chapter.read_text(encoding="utf8"))["cells"]
            if cell["cell_type"] == "code"
        )
        Path(folder, "chapter.py").write_text(source, encoding="utf8")
        command = [python, "-m", "IPython", "--no-banner", "chapter.py"]
        if subprocess.run(command, cwd=folder, env=os.environ | {"MPLBACKEND": "Agg"}).returncode:
            sys.exit(f"With {wheel.name}, chapter 1 did not come to its end.")
    print(f"{wheel.name}: chapter 1 runs to its end with it.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("prepare", "kernel", "wheel"))
    parser.add_argument("of", nargs="?", default="")
    asked = parser.parse_args()
    if asked.what == "prepare":
        prepare()
    elif asked.what == "kernel":
        start_kernel(asked.of)
    else:
        try_wheel(Path(asked.of))


if __name__ == "__main__":
    main()
