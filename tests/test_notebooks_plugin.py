"""The plugin keeps what passed, and turns red what failed, overspent or hid its cost."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
CHEAP = {"cpu_seconds": 20, "memory_mb": 400, "download_mb": 0}


@pytest.fixture
def run(tmp_path):
    """Run a notebook of one cell by the plugin; whether it was green, what was said, how many are cached."""

    def run_one(source, cost):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nb.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "fslib": {"cost": cost}}
        (tmp_path / "chapters").mkdir()
        nbformat.write(nb, tmp_path / "chapters" / "one.ipynb")
        command = f"-m pytest -p no:cacheprovider -p tests.notebooks_plugin --nbval-lax --rootdir={tmp_path}"
        words = [*command.split(), f"--nbval-build={tmp_path}/_build", str(tmp_path)]
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
        cached = list(tmp_path.glob("_build/.jupyter_cache/executed/*/base.ipynb"))
        return done.returncode == 0, done.stdout, cached

    return run_one


def test_what_passed_is_kept_with_its_outputs_and_its_cost(run, tmp_path):
    green, said, cached = run("print(6 * 7)", CHEAP)
    assert green, said
    (nb,) = (nbformat.read(path, as_version=4) for path in cached)
    assert nb.cells[0].outputs[0].text == "42\n" and nb.cells[0].execution_count == 1
    cost = json.loads((tmp_path / "_build" / "costs.json").read_text())["chapters/one.ipynb"]
    assert 0 < cost["cpu_seconds"] < CHEAP["cpu_seconds"] and 10 < cost["memory_mb"] < CHEAP["memory_mb"]


@pytest.mark.parametrize(
    "source, cost, says",
    [
        ("1 / 0", CHEAP, "ZeroDivisionError"),
        ("pass", CHEAP | {"cpu_seconds": 0.01}, "CPU seconds, more than 1.5 times the 0.01 it declares"),
        ("pass", CHEAP | {"memory_mb": 1}, "MB of memory, more than 1.5 times the 1 it declares"),
        ("pass", {}, "declares no cost"),
        ("pass", {"cpu_seconds": 20, "memory_mb": 400}, "needs fslib.cost.download_mb"),
    ],
)
def test_what_failed_overspent_or_hid_its_cost_is_red_and_not_kept(run, source, cost, says):
    green, said, cached = run(source, cost)
    assert not green and says in said and not cached, said
