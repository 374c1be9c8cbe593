"""The plugin keeps what ran, as it came, and turns red what failed, hid its cost or cost too much."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks_cost import REFERENCE, cost, overspent
from tests.notebooks_report import told

ROOT = Path(__file__).parents[1]
CHEAP = {"units": 100, "memory_mb": 900, "download_mb": 0}
NOTEBOOKS = {  # their cells, and the cost they declare
    "good": (["print(6 * 7)"], CHEAP),
    "dear": (["sum(range(2 * 10**7))"], CHEAP | {"units": 0.01}),
    "broken": (["print(1)", "value = 3\nassert value == 4, 'no four'", "print(2)"], CHEAP),
    "silent": (["pass"], {"units": 100, "memory_mb": 900}),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """All notebooks, run once by the plugin: what was said, the outcome of each cell, where the build is."""
    root = tmp_path_factory.mktemp("book")
    (root / "chapters").mkdir()
    for name, (sources, declared) in NOTEBOOKS.items():
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        nb.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "fslib": {"cost": declared}}
        nbformat.write(nb, root / "chapters" / f"{name}.ipynb")
    command = f"-m pytest -v -p no:cacheprovider -p tests.notebooks_plugin --nbval-lax --rootdir={root}"
    words = [*command.split(), f"--nbval-build={root}/_build", str(root)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    found = re.findall(r"/(\w+)\W+ipynb::Cell (\d) (PASSED|FAILED)", done.stdout)
    return done.stdout, {f"{name} {cell}": outcome for name, cell, outcome in found}, root / "_build"


@pytest.fixture(scope="module")
def report(ran):
    return json.loads((ran[2] / "notebooks.json").read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def cached(ran):
    """The notebooks that were kept, by name."""
    kept = [nbformat.read(path, as_version=4) for path in ran[2].glob(".jupyter_cache/executed/*/base.ipynb")]
    return {name: nb for name, (sources, _) in NOTEBOOKS.items() for nb in kept if nb.cells[0].source == sources[0]}


def test_what_failed_hid_its_cost_or_cost_too_much_is_red(ran):
    said, outcomes, _ = ran
    assert outcomes == {
        "good 0": "PASSED",
        "dear 0": "FAILED",
        "broken 0": "PASSED",
        "broken 1": "FAILED",
        "broken 2": "PASSED",
        "silent 0": "FAILED",
    }, said
    assert "silent.ipynb declares no cost: its metadata needs fslib.cost.download_mb; this run cost {" in said
    assert re.search(r"good\.ipynb: \d+ s, \d+ units", said)


def test_every_notebook_is_kept_with_its_outputs_as_they_came(cached):
    assert cached.keys() == NOTEBOOKS.keys()
    (output,) = cached["good"].cells[0].outputs
    assert output.text == "42\n" and cached["good"].cells[0].execution_count == 1
    first, wrong, last = (cell.outputs[0] for cell in cached["broken"].cells)
    assert (first.text, wrong.ename, last.text) == ("1\n", "AssertionError", "2\n")


def test_the_report_names_the_claim_and_the_cost_and_what_to_do(report):
    assert report["chapters/good.ipynb"]["failed"] == report["chapters/good.ipynb"]["faults"] == []
    assert 0 < report["chapters/good.ipynb"]["units"] < 100 and report["chapters/good.ipynb"]["memory_mb"] > 10
    claim, dear, silent = told(report)
    assert claim == "chapters/broken.ipynb, code cell 2: AssertionError: no four, at: assert value == 4, 'no four'"
    assert "more than 2 times the 0.01 it declares" in dear and "fslib.cost.units" in dear
    assert "declares no cost" in silent


def test_a_unit_does_not_depend_on_how_fast_the_machine_is():
    used, nothing = '{"cpu_seconds": %s, "memory_mb": 300}', '{"by_others": 0}'
    plain = cost(used % (20 + REFERENCE), f"{REFERENCE}", f"{REFERENCE}\n", nothing)
    fast = cost(used % (10 + REFERENCE / 2), f"{REFERENCE / 2}", f"{REFERENCE / 2}", nothing)
    assert plain["units"] == fast["units"] == 20 and fast["cpu_seconds"] == 10


def test_what_a_first_cell_installs_is_not_charged_to_the_notebook():
    came = cost('{"cpu_seconds": 30, "memory_mb": 1}', f"{REFERENCE}", f"{REFERENCE}", '{"by_others": 8}')
    assert came["cpu_seconds"] == 30 - REFERENCE - 8


def test_time_and_memory_may_be_twice_as_much():
    declared = {"units": 10, "memory_mb": 100, "download_mb": 0}
    assert overspent({"units": 20, "memory_mb": 200}, declared) == []
    (time,) = overspent({"units": 20.1, "memory_mb": 1}, declared)
    (memory,) = overspent({"units": 1, "memory_mb": 201}, declared)
    assert time.startswith("cost 20.1 units") and memory.startswith("cost 201 MB of memory")
    assert len(overspent({"units": 99, "memory_mb": 999}, declared)) == 2
