"""The plugin keeps what ran, as it came, and turns red what failed, hid its cost or cost too much."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests import colab, notebooks_report
from tests.notebooks_cost import REFERENCE, cost, overspent
from tests.notebooks_report import told

ROOT = Path(__file__).parents[1]
CHEAP = {"units": 100, "memory_mb": 900, "download_mb": 0}
# As a first cell that installs: another program works as long as the kernel has worked so far.
PAYS_OTHERS = """
import subprocess, sys, time
worked = time.process_time()
code = f"import time\\nwhile time.process_time() < {worked}: pass"
subprocess.run([sys.executable, "-c", code], check=True)
print(worked)
"""
NOTEBOOKS = {  # their cells, and the cost they declare
    "good": (["print(6 * 7)"], CHEAP),
    "dear": (["sum(range(2 * 10**7))"], CHEAP | {"units": 0.01}),
    "broken": (["print(1)", "value = 3\nassert value == 4, 'no four'", "print(2)"], CHEAP),
    "silent": (["pass"], {"units": 100, "memory_mb": 900}),
    "dead": (["print(3)", "import os\nos.kill(os.getpid(), 9)", "print(4)"], CHEAP),
    "slow": (["while True:\n    try:\n        import time; time.sleep(99)\n    except KeyboardInterrupt: pass"], CHEAP),
    "skipped": (["print(5)", "# NBVAL_SKIP\nprint(6)"], CHEAP),
    "kernelless": (["print(7)", "print(8)"], CHEAP),
    "installer": ([PAYS_OTHERS, "pass"], CHEAP),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """All notebooks, run once by the plugin: what was said, the outcome of each cell, where the build is."""
    root = tmp_path_factory.mktemp("book")
    (root / "chapters").mkdir()
    for name, (sources, declared) in NOTEBOOKS.items():
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        kernel = "none" if name == "kernelless" else "python3"
        nb.metadata = {"kernelspec": {"name": kernel, "display_name": "Python 3"}, "fslib": {"cost": declared}}
        nbformat.write(nb, root / "chapters" / f"{name}.ipynb")
    command = f"-m pytest -v -p no:cacheprovider -p tests.notebooks_plugin --nbval-lax --rootdir={root}"
    words = [*command.split(), f"--nbval-build={root}/_build", "--nbval-cell-timeout=10", str(root)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.findall(r"/(\w+)\W+ipynb::Cell (\d) (PASSED|FAILED|SKIPPED|ERROR)", done.stdout)
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
        "dead 0": "PASSED",
        "dead 1": "FAILED",
        "dead 2": "SKIPPED",
        "slow 0": "FAILED",
        "skipped 0": "PASSED",
        "skipped 1": "SKIPPED",
        "kernelless 0": "ERROR",
        "kernelless 1": "ERROR",
        "installer 0": "PASSED",
        "installer 1": "PASSED",
    }, said
    assert "silent.ipynb declares no cost: its metadata needs fslib.cost.download_mb; this run cost {" in said
    assert re.search(r"good\.ipynb: \d+ s, \d+ units", said)


def test_every_notebook_is_kept_with_its_outputs_as_they_came(cached):
    assert cached.keys() == NOTEBOOKS.keys()
    (output,) = cached["good"].cells[0].outputs
    assert output.text == "42\n" and cached["good"].cells[0].execution_count == 1
    first, wrong, last = (cell.outputs[0] for cell in cached["broken"].cells)
    assert (first.text, wrong.ename, last.text) == ("1\n", "AssertionError", "2\n")
    before, dead, after = (cell.outputs for cell in cached["dead"].cells)
    assert before[0].text == "3\n" and dead[0].evalue.startswith("the kernel died") and after == []
    assert "Timeout of 10 seconds" in cached["slow"].cells[0].outputs[0].evalue
    assert cached["kernelless"].cells[0].outputs[0].output_type == "error"
    assert [len(cell.outputs) for cell in cached["skipped"].cells] == [1, 0]


def test_the_report_names_the_claim_and_the_cost_and_what_to_do(report):
    assert report["chapters/good.ipynb"]["failed"] == report["chapters/good.ipynb"]["faults"] == []
    assert 0 < report["chapters/good.ipynb"]["units"] < 100 and report["chapters/good.ipynb"]["memory_mb"] > 10
    claim, dead, dear, kernelless, silent, slow = told(report)
    assert dead == "chapters/dead.ipynb, code cell 2: Stopped: the kernel died, perhaps for want of memory"
    assert kernelless.startswith("chapters/kernelless.ipynb, code cell 1: Stopped: ")
    assert slow.startswith("chapters/slow.ipynb, code cell 1: Stopped: Timeout of 10 seconds exceeded")
    assert claim == "chapters/broken.ipynb, code cell 2: AssertionError: no four, at: assert value == 4, 'no four'"
    assert "more than 2 times the 0.01 it declares" in dear and "fslib.cost.units" in dear
    assert "declares no cost" in silent


def test_what_other_programs_do_for_a_first_cell_is_not_charged(report, cached):
    worked = float(cached["installer"].cells[0].outputs[0].text)
    assert report["chapters/installer.ipynb"]["cpu_seconds"] < worked


def test_where_nothing_ran_nothing_is_said_to_hold(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notebooks_report, "REPORT", tmp_path / "notebooks.json")
    notebooks_report.main()
    assert "No notebook ran" in capsys.readouterr().out
    good = {"chapters/01.ipynb": {"failed": [], "faults": []}}
    (tmp_path / "notebooks.json").write_text(json.dumps(good), encoding="utf8")
    notebooks_report.main()
    assert capsys.readouterr().out == "Every claim of every notebook held.\n"


@pytest.fixture
def one(tmp_path):
    """Runs a notebook of one cell with these options: the status of pytest, and what was said."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("pass")])
    nb.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "fslib": {"cost": CHEAP}}
    (tmp_path / "chapters").mkdir()
    nbformat.write(nb, tmp_path / "chapters" / "one.ipynb")

    def run(*options):
        command = f"-m pytest -q -p no:cacheprovider -p tests.notebooks_plugin --nbval-lax {tmp_path}/chapters".split()
        command += [f"--nbval-build={tmp_path}/_build", *options]
        environment = os.environ | {"JUPYTER_PATH": str(tmp_path)}
        done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout

    return run


def test_a_first_cell_that_installs_what_it_must_not_is_red(one, tmp_path):
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = tmp_path / "kernels" / colab.NAME / "kernel.json"  # that finds all our packages above what Colab has
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": argv, "display_name": "colab", "language": "python"}), encoding="utf8")
    status, said = one(f"--nbval-kernel-name={colab.NAME}")
    assert status == 1 and "one.ipynb installed numpy, which Colab has." in said


def test_what_runs_before_the_first_cell_must_come_to_its_end(one, tmp_path):
    before = tmp_path / "before.py"
    before.write_text("raise ImportError('no seeds')", encoding="utf8")
    status, said = one(f"--nbval-before={before}")
    assert status == 1 and "before.py did not come to its end" in said


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
