"""Run each notebook once, as a test, and build the book from that very run.

A pytest plugin on top of nbval:

    python -m pytest -p tests.notebooks_plugin --nbval-lax --nbval-build=_build chapters

Each notebook goes into the cache that Jupyter Book reads, as it came, failed cells too: the book is built whatever
happens. What failed and what a notebook cost is in `_build/notebooks.json`, and `python -m tests.notebooks_report` says
it again at the end of `make book`. Here a notebook fails, with its last cell, if it says nothing of its cost, or cost
too much more than it says. The pin of nbval is for its private parts: `test_outputs`, `cell_num`, `parent.nb`,
`parent.kernel`, `RunningKernel`.
"""

import copy
import json
import os
import re
import time
from pathlib import Path

import pytest
from nbval.kernel import RunningKernel

from tests import colab, notebooks_cost
from tests.notebooks_cost import USED, WORK, overspent

DONE = pytest.StashKey[str]()  # what to say of the notebook that ended last
_ANSI = re.compile(r"\x1b\[[0-9;]*m")



def execute_as_a_reader(self, code, allow_stdin=None):
    """nbval keeps its cells out of the history, where IPython looks for the semicolon that hides a value."""
    return self.kc.execute(code, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_as_a_reader


def pytest_addoption(parser):
    parser.addoption("--nbval-build", metavar="DIR", type=Path, help="the book's build folder")
    parser.addoption("--nbval-before", metavar="FILE", type=Path, help="code that runs before the first cell, unseen")
    parser.addoption("--nbval-told", metavar="FILE", type=Path, help="only say here what came of it, and build nothing")
    parser.addoption("--nbval-root", metavar="DIR", type=Path, help="what holds chapters/, if not the book")


def is_cell(item) -> bool:
    return hasattr(item, "test_outputs")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if is_cell(item) and not hasattr(item.parent, "started"):
        item.parent.started, item.parent.failed = time.time(), []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    if is_cell(item) and not hasattr(item.parent, "work"):
        if before := item.config.getoption("--nbval-before"):
            run_hidden(item.parent.kernel, before.read_text(encoding="utf8"))
        item.parent.work = run_hidden(item.parent.kernel, WORK)
    yield
    if is_cell(item) and not hasattr(item.parent, "first"):
        item.parent.first = run_hidden(item.parent.kernel, USED)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if not is_cell(item) or call.when != "call":
        return
    notebook = item.parent
    if report.outcome != "passed":
        notebook.failed.append(failure(item))
    cells = [other for other in item.session.items if other.parent is notebook]
    build, file = (item.config.getoption(option) for option in ("--nbval-build", "--nbval-told"))
    if item is not cells[-1] or not (build or file):
        return

    declared = notebook.nb.metadata.get("fslib", {}).get("cost", {})
    used, work = run_hidden(notebook.kernel, USED), run_hidden(notebook.kernel, WORK)
    cost = notebooks_cost.cost(used, notebook.work, work, notebook.first)
    missing = [f"fslib.cost.{key}" for key in notebooks_cost.KEYS if key not in declared]
    silent = f"declares no cost: its metadata needs {', '.join(missing)}; this run cost {cost}"
    faults = [silent] if missing else overspent(cost, declared)
    if item.config.getoption("nbval_kernel_name") == colab.NAME:
        faults += colab.faults(run_hidden(notebook.kernel, colab.INSTALLED))
    seconds = round(time.time() - notebook.started, 1)
    item.config.stash[DONE] = f"{item.path.name}: {seconds:.0f} s, {cost['units']:.0f} units"
    came_of_it = cost | {"seconds": seconds, "failed": notebook.failed, "faults": faults}
    root = item.config.getoption("--nbval-root") or (build or item.path.parent / "_build").resolve().parent
    name = item.path.resolve().relative_to(root.resolve()).as_posix()
    if file:
        note(file, name, came_of_it)
        return
    build = build.resolve()
    note(build / "notebooks.json", name, came_of_it)
    if len(cells) == sum(cell.cell_type == "code" for cell in notebook.nb.cells):
        store(build / ".jupyter_cache", item.path, with_outputs(notebook.nb, cells), seconds)
    if faults and report.outcome == "passed":
        report.outcome, report.longrepr = "failed", "\n".join(f"{item.path.name} {fault}." for fault in faults)


class Progress:
    """A line for each notebook that has come to its end."""

    def __init__(self, config):
        self.config, self.said = config, ""

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self):
        line = self.config.stash.get(DONE, "")
        if line != self.said:
            self.said, terminal = line, self.config.pluginmanager.get_plugin("terminalreporter")
            terminal.ensure_newline()
            terminal.write_line(line)


def pytest_configure(config):
    config.pluginmanager.register(Progress(config))


def failure(item) -> dict:
    """Of a cell that failed: where it is, and what was claimed, or the error."""
    errors = [output for output in item.test_outputs or [] if output.output_type == "error"]
    if not errors:
        return {"cell": item.cell_num, "error": "it did not come to an end", "line": ""}
    (*_, error) = errors
    (*_, line) = ["", *re.findall(r"^-+> *\d+ (.*)$", _ANSI.sub("", "\n".join(error.traceback)), re.MULTILINE)]
    return {"cell": item.cell_num, "error": f"{error.ename}: {error.evalue}".strip(": "), "line": line.strip()}


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


def note(file: Path, name: str, told: dict) -> None:
    """Add what is told of one notebook to the file, which is never half written."""
    known = json.loads(file.read_text(encoding="utf8")) if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(known | {name: told}, indent=1, sort_keys=True) + "\n", encoding="utf8")
    new.replace(file)
