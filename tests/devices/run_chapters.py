"""Run the code cells of chapters on the GPU at hand, real or pretended:

    python -m tests.devices.run_chapters                                        # all chapters
    python -m tests.devices.run_chapters chapters/07_relation_networks.ipynb    # one

Trainings are cut to three steps, and evaluations to twenty episodes, whose results are repeated as often as it takes:
what is tried is whether the code runs there, and not what comes out. So an `assert` of the chapter's own may fail; such
*claims* are counted, and are no fault. Everything else that stops a cell is one, and so is a step of a training that
waits for the GPU, but for what an objective of the chapter's own does. The command fails if there is a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import itertools
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from fslib import evaluation, training
from tests.colab import address
from tests.devices.gpus import REAL, gpu_at_hand
from tests.pretend_gpu import MISSING, Wait, waits_of_steps

LOOP = f"{Path(inspect.getfile(training.fit)).name}:"
STEPS, EPISODES = 3, 20  # of a training, of an evaluation
# For each of two processes: one core, and figures that nobody sees.
QUIET = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


@dataclass
class Report:
    """What came of a chapter.

    Attributes:
        chapter: its file without the ending.
        cells: cells of code.
        stopped: what stopped a cell, but for claims.
        claims: what the chapter asserts, and does not hold after so short a training.
        steps: steps of trainings that were watched.
        waits: what they waited for.
        own: what they waited for in an objective that the chapter wrote itself, as one must that lists triplets.
        seconds: it took.
    """

    chapter: str
    cells: int = 0
    stopped: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    steps: int = 0
    waits: list[Wait] = field(default_factory=list)
    own: list[Wait] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        waits = " + ".join(
            f"{len(part) / max(1, self.steps):.1f}"
            for part in (self.waits, self.own)
            if part or part is self.waits
        )
        line = (
            f"{self.chapter:39} {self.cells:3} cells, {len(self.stopped)} stopped, {len(self.claims)} claims open, "
            f"{waits} waits a step, {self.seconds:.0f} s"
        )
        places = sorted({f"{wait.what} at {wait.where}" for wait in self.waits})
        return "\n    ".join(
            [line, *self.stopped, *(f"a training step waits: {place}" for place in places)]
        )


def run(path: Path) -> Report:
    """Run one chapter in this process."""
    report, began = Report(path.stem + ", solutions" * ("solutions" in path.parts)), time.perf_counter()
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    report.cells = len(sources)
    space: dict[str, Any] = {"__name__": "__main__", "display": lambda *_, **__: None}
    with gpu_at_hand() as gpu, _cut_short(gpu, report), contextlib.redirect_stdout(io.StringIO()):
        for number, source in enumerate(sources):
            _run_cell(source, f"cell {number}", space, report)
    report.seconds = time.perf_counter() - began
    return report


def _run_cell(source: str, name: str, space: dict[str, Any], report: Report) -> None:
    code = compile(source, name, "exec")
    try:
        exec(code, space)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        by_chapter = isinstance(error, AssertionError) and frames[-1].filename.startswith("cell ")
        (report.claims if by_chapter else report.stopped).append(_told(error, frames, source, name))


def _told(error: Exception, frames: Any, source: str, name: str) -> str:
    """What stopped a cell: its line, the innermost of the package, and the error."""
    line = source.splitlines()[frames[0].lineno - 1].strip()
    ours = [frame for frame in frames if "fslib" in frame.filename]
    inside = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    message = next(iter(str(error).strip().splitlines()), "")
    return f"{name}, {line}: {type(error).__name__}{inside}: {message}"


@contextlib.contextmanager
def _cut_short(gpu: Any, report: Report) -> Iterator[None]:
    """Shorten trainings and evaluations, and watch for what the steps of trainings wait."""
    fit, evaluate = training.fit, evaluation.evaluate

    def short_fit(*arguments: Any, **options: Any) -> Any:
        options |= {"episodes": min(options.get("episodes", STEPS), STEPS), "progress": False}
        with waits_of_steps(gpu) as steps:
            history = fit(*arguments, **options)
        watched = steps[1:]  # the bar reads after the first
        report.steps += len(watched)
        for wait in itertools.chain(*watched):
            (report.own if _by_chapter(wait) else report.waits).append(wait)
        return history

    def short_evaluate(*arguments: Any, **options: Any) -> Any:
        wanted = options.get("episodes", 10_000)
        if not isinstance(wanted, int):
            return evaluate(*arguments, **options)
        accuracy = evaluate(*arguments, **options | {"episodes": min(wanted, EPISODES)})
        few = accuracy.per_episode
        return dataclasses.replace(
            accuracy, per_episode=few.repeat(-(-wanted // len(few)))[:wanted]
        )

    with (
        mock.patch.object(training, "fit", short_fit),
        mock.patch.object(evaluation, "evaluate", short_evaluate),
    ):
        yield


def _by_chapter(wait: Wait) -> bool:
    """Whether the training loop came to a wait through code of the chapter."""
    within = itertools.takewhile(lambda line: not line.startswith(LOOP), wait.callers)
    return any(line.startswith("cell ") for line in within)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.devices.run_chapters", description=__doc__.splitlines()[0]
    )
    parser.add_argument("chapters", nargs="*", type=Path, help="notebooks (default: all chapters)")
    chosen = parser.parse_args(arguments).chapters or address().notebooks()
    if MISSING and not REAL:
        print(f"The chapters were not tried on a GPU: {MISSING}")
        return
    os.environ.update(QUIET)
    began, reports = time.perf_counter(), []
    with ProcessPoolExecutor(
        2, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for report in pool.map(run, chosen):
            print(report, flush=True)
            reports.append(report)
    kind = "the GPU" if REAL else "the pretend GPU"
    print(f"{len(reports)} chapters on {kind}: {time.perf_counter() - began:.0f} s")
    sys.exit(any(report.stopped or report.waits for report in reports))


if __name__ == "__main__":
    main()
