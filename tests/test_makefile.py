"""The Makefile, with a program in Python's place that only writes down how it was called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """\
#!/bin/sh
around="PYTHONPATH=$PYTHONPATH COLAB_PYTHON=$COLAB_PYTHON JUPYTER_PATH=$JUPYTER_PATH IPYTHONDIR=$IPYTHONDIR"
echo "$0 $around: $*" >> "$CALLS"
exit $STATUS
"""
RAN = "_build/.notebooks-ran"

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make")


@pytest.fixture
def folder(tmp_path):
    """A project all of whose packages seem to be installed, in a folder with a space in its name."""
    folder = tmp_path / "a folder"
    for name in (".venv", "_build/colab", "_build/colab/env", "_build/oldest"):
        (folder / name / "bin").mkdir(parents=True)
        (folder / name / "bin" / "python").write_text(PYTHON)
        (folder / name / "bin" / "python").chmod(0o755)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    (folder / RAN).write_text("0\n")
    os.utime(folder / RAN, (0, 0))
    os.utime(folder / "pyproject.toml", (1, 1))
    for name in (".venv/.installed", ".venv/.tested", "_build/colab/.installed", "_build/oldest/.installed"):
        (folder / name).touch()
    return folder


def make(target, folder, status=0, *settings):
    """The exit status of make, and the calls of Python."""
    calls = folder.parent / "calls"
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MAKE", "MFLAGS", "VENV", "PYTHON", "COLAB_PYTHON"))
    }
    env = own | {"CALLS": str(calls), "STATUS": str(status)}
    done = subprocess.run(["make", target, *settings], cwd=folder, env=env, capture_output=True, text=True)
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


def test_the_unit_tests_run_with_the_oldest_versions_as_with_the_newest(folder):
    (_, (new,)), (_, (_, old)) = make("units", folder), make("oldest", folder)
    assert "/.venv/bin/python " in new and "_build/oldest/bin/python " in old
    assert new.partition(": ")[2] == old.partition(": ")[2] and "-m pytest" in new


def test_a_failed_unit_test_fails_with_either(folder):
    assert make("units", folder, status=1)[0] and make("oldest", folder, status=1)[0]


@pytest.mark.parametrize("target, words", [("chromium", "playwright install chromium"), ("links", "_tools/links.py")])
def test_a_target_is_one_call(folder, target, words):
    status, (call,) = make(target, folder)
    assert not status and call.endswith(words)
    assert make(target, folder, status=1)[0]


def test_what_passed_everywhere_is_repeated_if_asked_for(folder):
    _, (call,) = make("everywhere", folder, 0, "CHAPTERS=0 tests", "AGAIN=1")
    assert call.split("tests.everywhere ")[1].split() == ["--chapters", "0", "tests", "--again"]
    assert "--again" not in make("everywhere", folder)[1][-1]


def test_in_an_image_of_colab_its_own_packages_are_used(folder):
    """None are installed for it, though the list of those on record is new."""
    (folder / "_build/colab/.installed").unlink()
    status, (prepared, ran) = make("colab", folder, 0, "COLAB_PYTHON=/usr/bin/python3")
    assert not status and all("COLAB_PYTHON=/usr/bin/python3 " in call for call in (prepared, ran))


def test_the_image_of_colab_runs_the_notebooks_with_its_python(folder, tmp_path):
    """Docker is a program that runs the command here, whose Python and make only write down how they are called."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {
        "docker": 'while [ "$1" != -ec ]; do shift; done\nexec sh "$@"',
        "python3": 'echo "python3 $*" >> "$CALLS"',
        "make": 'echo "make $*" >> "$CALLS"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    env = os.environ | {"CALLS": str(tmp_path / "calls"), "PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run([shutil.which("make"), "colab-image", "COLAB_IMAGE=colab"], cwd=folder, env=env, check=True)
    made, pip, run = (tmp_path / "calls").read_text().splitlines()
    assert made.startswith("python3 -m venv") and pip.startswith("python3 -m pip --python")
    assert run == f"make colab VENV={made.split()[-1]} COLAB_PYTHON={programs}/python3"


def test_an_image_of_colab_has_a_name(folder):
    done = subprocess.run(["make", "colab-image"], cwd=folder, capture_output=True, text=True)
    assert done.returncode and "make colab-image COLAB_IMAGE=" in done.stderr


def test_coursework_is_made_of_a_folder_and_a_key_of_ones_own(folder):
    _, calls = make("coursework", folder)
    assert calls[-1].endswith("coursework/make.py")
    _, calls = make("coursework", folder, 0, "MASTERS=../my own", "KEY=key.txt")
    assert calls[-1].endswith("coursework/make.py --masters ../my own --key key.txt")
