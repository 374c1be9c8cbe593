"""Run each notebook once, as a test, and build the book from that very run.

A pytest plugin on top of nbval:

    python -m pytest -p tests.notebooks_plugin --nbval-lax --nbval-build=_build chapters

A notebook that passed goes into the cache that Jupyter Book reads, and what it cost into `_build/costs.json`.
A notebook whose metadata say nothing of its cost fails with its last cell. One that cost much more than they say is
named at the end of the run, and kept: how long a run takes depends on the machine, and on what else the machine does.
The pin of nbval is for its private parts: `test_outputs`, `cell_num`, `parent.nb`, `parent.kernel`, `RunningKernel`.
"""

import copy
import json
import os
import time
from pathlib import Path

import pytest
from nbval.kernel import RunningKernel

COSTS = ("cpu_seconds", "memory_mb", "download_mb")
WARNED = pytest.StashKey[list[str]]()  # what to say at the end
SLACK = 1.5  # a cost is an honest estimate, not a race: this much over it is worth a warning

# Runs in the notebook's own kernel after its last cell. On Linux the peak is read from /proc, for
# the peak that getrusage tells includes the memory of the process that started the kernel.
PROBE = """
def _cost():
    import json, pathlib, re, resource, sys
    me, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = me.ru_utime + me.ru_stime + children.ru_utime + children.ru_stime
    status = pathlib.Path("/proc/self/status")
    peak = re.search(r"VmHWM:\\s*(\\d+)", status.read_text()) if status.exists() else None
    unit = 1e6 if sys.platform == "darwin" else 1e3
    memory = int(peak[1]) / 1e3 if peak else me.ru_maxrss / unit
    print(json.dumps({"cpu_seconds": round(seconds, 1), "memory_mb": round(memory)}))
_cost()
"""


def execute_as_a_reader(self, code, allow_stdin=None):
    """nbval keeps its cells out of the history, where IPython looks for the semicolon that hides a value."""
    return self.kc.execute(code, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_as_a_reader


def pytest_addoption(parser):
    parser.addoption("--nbval-build", metavar="DIR", type=Path, help="the book's build folder")


def is_cell(item) -> bool:
    return hasattr(item, "test_outputs")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if is_cell(item) and not hasattr(item.parent, "started"):
        item.parent.started, item.parent.failed = time.time(), False


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if not is_cell(item):
        return
    notebook = item.parent
    notebook.failed |= report.outcome != "passed"
    cells = [other for other in item.session.items if other.parent is notebook]
    build = item.config.getoption("--nbval-build")
    if build is None or call.when != "call" or notebook.failed or item is not cells[-1]:
        return

    cost = json.loads(run_hidden(notebook.kernel, PROBE))
    declared = notebook.nb.metadata.get("fslib", {}).get("cost", {})
    if missing := [f"fslib.cost.{key}" for key in COSTS if key not in declared]:
        fault = f"declares no cost: its metadata needs {', '.join(missing)}; this run used {cost}"
        report.outcome, report.longrepr = "failed", f"{item.path.name} {fault}."
        return
    warned = item.config.stash.setdefault(WARNED, [])
    warned += [f"{item.path.name} {excess}" for excess in overspent(cost, declared)]
    build = build.resolve()
    note_cost(build / "costs.json", item.path.resolve().relative_to(build.parent).as_posix(), cost)
    if len(cells) == sum(cell.cell_type == "code" for cell in notebook.nb.cells):
        seconds = time.time() - notebook.started
        store(build / ".jupyter_cache", item.path, with_outputs(notebook.nb, cells), seconds)


def pytest_terminal_summary(terminalreporter, config):
    if warned := config.stash.get(WARNED, []):
        terminalreporter.section("warnings: cost more than they declare")
        for line in warned:
            terminalreporter.line(line, yellow=True)


def overspent(cost: dict, declared: dict) -> list[str]:
    """Where a notebook cost much more than it declares, and what to do about it."""
    return [
        f"used {cost[key]} {unit}, more than {SLACK} times the {declared[key]} it declares. If it does so on an idle "
        f"machine too, make it cheaper or put what it costs in fslib.cost.{key} of its metadata."
        for key, unit in {"cpu_seconds": "CPU seconds", "memory_mb": "MB of memory"}.items()
        if cost[key] > SLACK * declared[key]
    ]


def run_hidden(kernel, code: str) -> str:
    """Run code that leaves no trace in the notebook; what it printed."""
    message_id, text = kernel.execute_cell_input(code, allow_stdin=False), ""
    kernel.await_reply(message_id, timeout=30)
    while True:
        message = kernel.get_message(timeout=30, stream="iopub")
        if message["parent_header"].get("msg_id") != message_id:
            continue
        if message["msg_type"] == "stream":
            text += message["content"]["text"]
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return text


def with_outputs(nb, cells):
    """A copy of the notebook that holds what its cells put out."""
    nb = copy.deepcopy(nb)
    for cell, ran in zip((c for c in nb.cells if c.cell_type == "code"), cells):
        cell.outputs, cell.execution_count = ran.test_outputs, ran.cell_num + 1
        for output in cell.outputs:
            if "data" in output:
                output.setdefault("metadata", {})
    return nb


def store(cache: Path, path: Path, nb, seconds: float) -> None:
    """Put a notebook that ran into the cache that Jupyter Book reads."""
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    bundle = CacheBundleIn(nb, str(path), data={"execution_seconds": seconds})
    get_cache(cache).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def note_cost(file: Path, name: str, cost: dict) -> None:
    """Add one measurement to the file, which is never half written."""
    costs = json.loads(file.read_text(encoding="utf8")) if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(costs | {name: cost}, indent=1, sort_keys=True) + "\n", encoding="utf8")
    new.replace(file)
