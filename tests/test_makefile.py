"""The Makefile, with a program in Python's place that only writes down how it was called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """\
#!/bin/sh
echo "PYTHONPATH=$PYTHONPATH JUPYTER_PATH=$JUPYTER_PATH IPYTHONDIR=$IPYTHONDIR: $*" >> "$CALLS"
exit $STATUS
"""
RAN = "_build/.notebooks-ran"

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make")


@pytest.fixture
def folder(tmp_path):
    """A project all of whose packages seem to be installed, in a folder with a space in its name."""
    folder = tmp_path / "a folder"
    for name in (".venv", "_build/colab", "_build/colab/env"):
        (folder / name / "bin").mkdir(parents=True)
        (folder / name / "bin" / "python").write_text(PYTHON)
        (folder / name / "bin" / "python").chmod(0o755)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    (folder / RAN).write_text("0\n")
    os.utime(folder / RAN, (0, 0))
    os.utime(folder / "pyproject.toml", (1, 1))
    for name in (".venv/.installed", ".venv/.tested", "_build/colab/.installed"):
        (folder / name).touch()
    return folder


def make(target, folder, status=0):
    """The exit status of make, and the calls of Python."""
    calls = folder.parent / "calls"
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MAKE", "MFLAGS", "VENV", "PYTHON"))
    }
    env = own | {"CALLS": str(calls), "STATUS": str(status)}
    done = subprocess.run(["make", target], cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


def test_a_run_that_was_cut_short_leaves_no_older_one(folder):
    status, calls = make(RAN, folder, status=3)
    assert status and len(calls) == 1
    assert not (folder / RAN).exists()


def test_the_notebooks_run_in_a_folder_with_a_space_in_its_name(folder):
    status, calls = make(RAN, folder)
    assert not status and (folder / RAN).read_text() == "0\n" and "pytest" in calls[-1]
    assert (folder / "_build" / "home" / "ipython").is_dir() and not (folder.parent / "a").exists()


def test_so_they_do_as_colab_runs_them(folder):
    status, (prepared, ran) = make("colab", folder)
    assert not status and (folder / RAN).read_text() == "0\n"
    run = prepared.partition("tests.colab prepare ")[2].split()[0]
    assert f"JUPYTER_PATH={folder}/_build/colab " in ran and f"--nbval-root={run}" in ran
    assert folder not in Path(run).parents and not Path(run).exists()
