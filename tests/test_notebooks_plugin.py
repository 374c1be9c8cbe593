"""The plugin keeps what passed, warns of what cost too much, and turns red what failed or hid its cost."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks_plugin import overspent

ROOT = Path(__file__).parents[1]
CHEAP = {"cpu_seconds": 100, "memory_mb": 400, "download_mb": 0}
NOTEBOOKS = {  # one cell each, and the cost it declares
    "good": ("print(6 * 7)", CHEAP),
    "dear": ("pass", CHEAP | {"cpu_seconds": 0.01}),
    "broken": ("1 / 0", CHEAP),
    "silent": ("pass", {"cpu_seconds": 100, "memory_mb": 400}),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """All notebooks, run once by the plugin: what was said, the outcome of each, where the build is."""
    root = tmp_path_factory.mktemp("book")
    (root / "chapters").mkdir()
    for name, (source, cost) in NOTEBOOKS.items():
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nb.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "fslib": {"cost": cost}}
        nbformat.write(nb, root / "chapters" / f"{name}.ipynb")
    command = f"-m pytest -v -p no:cacheprovider -p tests.notebooks_plugin --nbval-lax --rootdir={root}"
    words = [*command.split(), f"--nbval-build={root}/_build", str(root)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    outcomes = dict(re.findall(r"/(\w+)\W+ipynb::Cell 0 (PASSED|FAILED)", done.stdout))
    return done.stdout, outcomes, root / "_build"


@pytest.fixture(scope="module")
def cached(ran):
    """The notebooks that were kept, by name."""
    files = ran[2].glob(".jupyter_cache/executed/*/base.ipynb")
    kept = [nbformat.read(path, as_version=4) for path in files]
    return {name: nb for name, (source, _) in NOTEBOOKS.items() for nb in kept if nb.cells[0].source == source}


def test_only_what_failed_or_hid_its_cost_is_red(ran):
    said, outcomes, _ = ran
    assert outcomes == {"good": "PASSED", "dear": "PASSED", "broken": "FAILED", "silent": "FAILED"}, said
    assert "ZeroDivisionError" in said
    assert "silent.ipynb declares no cost: its metadata needs fslib.cost.download_mb; this run used {" in said


def test_what_passed_is_kept_with_its_outputs_and_its_cost(ran, cached):
    (output,) = cached["good"].cells[0].outputs
    assert output.text == "42\n" and cached["good"].cells[0].execution_count == 1
    costs = json.loads((ran[2] / "costs.json").read_text())
    assert set(costs) == {"chapters/good.ipynb", "chapters/dear.ipynb"}
    cost = costs["chapters/good.ipynb"]
    assert 0 < cost["cpu_seconds"] < CHEAP["cpu_seconds"] and 10 < cost["memory_mb"] < CHEAP["memory_mb"]


def test_what_cost_too_much_is_kept_and_named_at_the_end_with_what_to_do(ran):
    summary = ran[0].partition("warnings: cost more than they declare")[2]
    assert "dear.ipynb used" in summary and "CPU seconds, more than 1.5 times the 0.01 it declares" in summary
    assert "fslib.cost.cpu_seconds" in summary and "good.ipynb used" not in summary
    assert len(list(ran[2].glob(".jupyter_cache/executed/*/base.ipynb"))) == 2


def test_time_and_memory_may_be_half_as_much_again():
    declared = {"cpu_seconds": 10, "memory_mb": 100, "download_mb": 0}
    assert overspent({"cpu_seconds": 15, "memory_mb": 150}, declared) == []
    (time,) = overspent({"cpu_seconds": 15.1, "memory_mb": 1}, declared)
    (memory,) = overspent({"cpu_seconds": 1, "memory_mb": 151}, declared)
    assert time.startswith("used 15.1 CPU seconds") and memory.startswith("used 151 MB of memory")
    assert len(overspent({"cpu_seconds": 99, "memory_mb": 999}, declared)) == 2
