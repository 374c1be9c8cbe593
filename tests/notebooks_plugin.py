"""Run each notebook once, as a test, and build the book from that very run.

A pytest plugin on top of nbval:

    python -m pytest -p tests.notebooks_plugin --nbval-lax --nbval-build=_build chapters

Each notebook goes into the cache that Jupyter Book reads, as it came, failed cells too, and as far as it came where a
cell took too long or the kernel died: the book is built whatever happens. What failed and what a notebook cost is in
`_build/notebooks.json`, and `python -m tests.notebooks_report` says it again at the end of `make book`. Here a notebook
fails, with its last cell, if it says nothing of its cost, or cost too much more than it says. The pin of nbval is for
its private parts: `test_outputs`, `cell_num`, `parent.nb`, `parent.kernel`, `RunningKernel`.
"""

import copy
import json
import os
import re
import time
from pathlib import Path
from queue import Empty

import pytest
from nbformat.v4 import new_output
from nbval.kernel import RunningKernel

from tests import colab, notebooks_cost
from tests.notebooks_cost import USED, WORK, overspent

DONE = pytest.StashKey[str]()  # what to say of the notebook that ended last
DIED = "the kernel died, perhaps for want of memory"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def execute_as_a_reader(self, code, allow_stdin=None):
    """nbval keeps its cells out of the history, where IPython looks for the semicolon that hides a value."""
    return self.kc.execute(code, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


def await_reply_of_the_living(self, message_id, timeout):
    """nbval waits for a kernel that died until the time of the cell is up, and calls that a timeout."""
    ends = time.monotonic() + timeout
    while (left := ends - time.monotonic()) > 0:
        try:
            return await_reply(self, message_id, timeout=min(left, 1))
        except Empty:
            if not self.is_alive():
                self.stop()
                raise RuntimeError(DIED) from None
    raise Empty


await_reply = RunningKernel.await_reply
RunningKernel.await_reply = await_reply_of_the_living
RunningKernel.execute_cell_input = execute_as_a_reader


def pytest_addoption(parser):
    parser.addoption("--nbval-build", metavar="DIR", type=Path, help="the book's build folder")
    parser.addoption("--nbval-before", metavar="FILE", type=Path, help="code that runs before the first cell, unseen")
    parser.addoption("--nbval-told", metavar="FILE", type=Path, help="only say here what came of it, and build nothing")
    parser.addoption("--nbval-root", metavar="DIR", type=Path, help="what holds chapters/, if not the book")


def is_cell(item) -> bool:
    return hasattr(item, "test_outputs")


def cells(notebook, session) -> list:
    return [item for item in session.items if item.parent is notebook]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    notebook = item.parent
    if is_cell(item) and not hasattr(notebook, "started"):
        notebook.started, notebook.failed, notebook.gone = time.time(), [], False
        notebook.work = notebook.first = ""  # what the kernel said before the first cell, and after it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not is_cell(item):
        return (yield)
    notebook, is_first = item.parent, item is cells(item.parent, item.session)[0]
    if notebook.gone:
        pytest.skip("the kernel is gone")
    if is_first:
        if before := item.config.getoption("--nbval-before"):
            code = before.read_text(encoding="utf8") + "\nprint('begun')"
            if "begun\n" not in run_hidden(notebook.kernel, code):
                raise RuntimeError(f"{before.name} did not come to its end")
        notebook.work = run_hidden(notebook.kernel, WORK)
    try:
        return (yield)
    finally:
        if is_first:
            notebook.first = run_hidden(notebook.kernel, USED)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if not is_cell(item) or call.when == "teardown" or (call.when == "setup" and report.passed):
        return
    notebook = item.parent
    if report.failed and not notebook.gone:
        notebook.failed.append(failure(item, call))
        notebook.gone = not (notebook.kernel and notebook.kernel.is_alive())
    if item is cells(notebook, item.session)[-1]:
        faults = ended(notebook, item.session)
        if faults and not report.failed:
            report.outcome, report.longrepr = "failed", "\n".join(f"{item.path.name} {fault}." for fault in faults)


def ended(notebook, session) -> list[str]:
    """Keep what came of a notebook that came to its end, or as far as it could; what is wrong with what it cost."""
    build, file, root = (session.config.getoption(f"--nbval-{name}") for name in ("build", "told", "root"))
    if not (build or file):
        return []
    cost, faults = ({}, []) if notebook.gone else measured(notebook)
    seconds = round(time.time() - notebook.started, 1)
    units = f"{cost['units']:.0f} units" if cost else "cost unknown"
    session.config.stash[DONE] = f"{notebook.path.name}: {seconds:.0f} s, {units}"
    root = root or (build or notebook.path.parent / "_build").resolve().parent
    name = notebook.path.resolve().relative_to(root.resolve()).as_posix()
    came_of_it = cost | {"seconds": seconds, "failed": notebook.failed, "faults": faults}
    note(file or build.resolve() / "notebooks.json", name, came_of_it)
    ran = cells(notebook, session)
    if not file and len(ran) == sum(cell.cell_type == "code" for cell in notebook.nb.cells):
        store(build.resolve() / ".jupyter_cache", notebook.path, with_outputs(notebook.nb, ran), seconds)
    return [] if file else faults


def measured(notebook) -> tuple[dict, list[str]]:
    """What a notebook cost, and what is wrong with that."""
    used, work = run_hidden(notebook.kernel, USED), run_hidden(notebook.kernel, WORK)
    try:
        cost = notebooks_cost.cost(used, notebook.work, work, notebook.first)
    except ValueError:
        return {}, ["cannot be asked what it cost: its kernel gave no answer"]
    declared = notebook.nb.metadata.get("fslib", {}).get("cost", {})
    missing = [f"fslib.cost.{key}" for key in notebooks_cost.KEYS if key not in declared]
    silent = f"declares no cost: its metadata needs {', '.join(missing)}; this run cost {cost}"
    faults = [silent] if missing else overspent(cost, declared)
    if notebook.config.getoption("nbval_kernel_name") == colab.NAME:
        faults += colab.faults(run_hidden(notebook.kernel, colab.INSTALLED))
    return cost, faults


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


def failure(item, call) -> dict:
    """Of a cell that failed: where it is, and what was claimed, or the error."""
    why = str(call.excinfo.value)
    errors = [output for output in item.test_outputs or [] if output.output_type == "error"]
    if not errors:  # the kernel could not say it, so the page has it from here
        errors = [new_output("error", ename="Stopped", evalue=why, traceback=[f"Stopped: {why}"])]
        item.test_outputs = [*(item.test_outputs or []), *errors]
    (*_, error) = errors
    (*_, line) = ["", *re.findall(r"^-+> *\d+ (.*)$", _ANSI.sub("", "\n".join(error.traceback)), re.MULTILINE)]
    said = why if error.ename == "KeyboardInterrupt" else error.evalue  # of a cell that took too long
    return {"cell": item.cell_num, "error": f"{error.ename}: {said}".strip(": "), "line": line.strip()}


def run_hidden(kernel, code: str) -> str:
    """Run code that leaves no trace in the notebook; what it printed, or nothing if no answer came."""
    if not kernel.is_alive():
        return ""
    message_id, text = kernel.execute_cell_input(code, allow_stdin=False), ""
    try:
        kernel.await_reply(message_id, timeout=300)  # on a busy machine
        while True:
            message = kernel.get_message(timeout=30, stream="iopub")
            if message["parent_header"].get("msg_id") != message_id:
                continue
            if message["msg_type"] == "stream":
                text += message["content"]["text"]
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return text
    except (Empty, RuntimeError):
        return ""


def with_outputs(nb, cells):
    """A copy of the notebook that holds what its cells put out."""
    nb = copy.deepcopy(nb)
    for cell, ran in zip((c for c in nb.cells if c.cell_type == "code"), cells):
        cell.outputs, cell.execution_count = ran.test_outputs or [], ran.cell_num + 1
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
