"""A folder of submissions, graded in parallel. Each has a record of its own, from which a killed run goes on."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from fslib.book.grading import reports
from fslib.book.grading.assignment import Assignment, grade, load_assignment
from fslib.book.grading.namespaces import die_with_parent
from fslib.book.grading.process import Limits, readable
from fslib.files import atomic_write

# What Canvas calls a file that it hands out, and Moodle a folder.
_CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_")
_MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_file")


@dataclass(frozen=True)
class Student:
    """Who handed something in, as far as the name of the file or of its folder tells.

    Attributes:
        name: of the student.
        id: the number that Canvas or Moodle gave with it; empty otherwise.
        path: of the notebook, or of what was handed in for one.
    """

    name: str
    id: str
    path: Path

    @property
    def key(self) -> str:
        """A name for files, which no other has."""
        plain = re.sub(r"[^\w.-]+", "_", self.name)[:60]
        return f"{plain}-{hashlib.sha256(os.fsencode(f'{self.name}/{self.id}')).hexdigest()[:8]}"


def submissions(folder: str | Path) -> list[Student]:
    """What was handed in, one file a student, in the order of their names.

    A student has one file in the folder, as ``anna.ipynb``, or a folder in it. Names that Canvas and Moodle give are
    taken apart. Of several files the notebook with the highest number counts, as Canvas numbers what is handed in
    again. Links are not followed, since they could lead anywhere.

    Args:
        folder: holds them, or is the only one itself, a file.

    Raises:
        ValueError: if there is nothing.
    """
    folder, found = Path(folder), dict[tuple[str, str], list[Path]]()
    if folder.is_file():
        return [Student(_shown(folder.stem), "", folder)]
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder)
        if any(part.startswith((".", "__MACOSX")) for part in within.parts) or path.is_symlink() or not path.is_file():
            continue
        first = within.parts[0] if len(within.parts) > 1 else within.stem
        told = _CANVAS.match(within.name) or _MOODLE.match(first)
        found.setdefault((told["name"], told["id"]) if told else (first, ""), []).append(path)
    if not found:
        raise ValueError(f"There is nothing to grade in {folder}: it should hold a file or a folder of each student.")
    return [
        Student(_shown(name), id, max(paths, key=_turn))
        for (name, id), paths in sorted(found.items())
    ]


def _turn(path: Path) -> tuple[bool, int, str]:
    """What puts the files of a student in order."""
    number = re.search(r"-(\d{1,9})$", path.stem)
    return path.suffix == ".ipynb", int(number[1]) if number else 0, path.name


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf8", "backslashreplace")


def grade_folder(
    master: str | Path,
    folder: str | Path,
    output: str | Path,
    mode: str = "sandbox",
    key_file: str | Path | None = None,
    jobs: int = 1,
    limits: Limits | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Grade all that was handed in, and write lists of marks and a page for each student.

    What ``output/records/`` holds is not graded again, unless the submission, the master, the key, the mode or a limit
    is another; of what else the master reads, nothing is known, so remove the records when it changes.

    Args:
        master: the Python file that makes the assignment, see :func:`~fslib.book.grading.load_assignment`.
        folder: holds a file or a folder for each student, by whose name it goes; or it is the only file itself. Names
            that Canvas and Moodle give are taken apart.
        output: a folder for what is written.
        mode: ``"self-check"``, ``"sandbox"`` or ``"container"``.
        key_file: holds the key of the course.
        jobs: how many submissions are graded at once.
        limits: what a submission may take.
        progress: whether to show a bar.

    Returns:
        A record for each student, with ``student``, ``id``, ``file``, ``points``, ``of``, ``marks``, ``notes`` and
        ``mode``.

    Raises:
        ValueError: if the assignment cannot be graded like this, or its own solution does not get full marks.
        RuntimeError: if some submissions could not be graded, by no fault of theirs. The others are, and another run
            goes on with these.
    """
    key = Path(key_file).read_text(encoding="utf8").strip() if key_file else ""
    assignment, limits = load_assignment(master, key), limits or Limits()
    assignment.check(mode)
    if mode == "sandbox":
        _check_hidden([master, folder, output, *([key_file] if key_file else [])])
    students = submissions(folder)
    _check_solution(assignment, mode, limits)
    records = Path(output) / "records"
    one, problems = functools.partial(_grade_one, str(master), key, mode, limits, records), []
    with _mapped(jobs) as mapped:
        for student, problem in zip(students, tqdm(mapped(one, students), total=len(students), disable=not progress)):
            if problem:
                problems.append((student, problem))
    done = [student for student in students if student not in [failed for failed, _ in problems]]
    found = [json.loads((records / f"{student.key}.json").read_text(encoding="utf8")) for student in done]
    reports.write(output, assignment, found)
    if problems:
        (student, problem), *_ = problems
        raise RuntimeError(f"{len(problems)} of {len(students)} could not be graded. {student.name}: {problem}")
    return found


@contextmanager
def _mapped(jobs: int) -> Iterator[Callable[..., Iterable[str]]]:
    """As ``map``, in so many processes, which end when this one does."""
    if jobs == 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=die_with_parent) as pool:
        yield pool.map


_master = functools.cache(load_assignment)


def _grade_one(master: str, key: str, mode: str, limits: Limits, records: Path, student: Student) -> str:
    """Grade a submission and write its record, unless it has one that holds; what was in the way, if anything was."""
    parts = [Path(master).read_bytes(), repr((key, mode, limits)).encode(), student.path.read_bytes()]
    made_of = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    record = records / f"{student.key}.json"
    if record.exists() and json.loads(record.read_text(encoding="utf8"))["made_of"] == made_of:
        return ""
    try:
        report = grade(student.path, _master(master, key), mode, limits)
    except Exception as error:  # of the machine, or of the master
        return f"{type(error).__name__}: {error}"
    told = {"student": student.name, "id": student.id, "file": _shown(student.path.name), "points": report.points}
    with atomic_write(record) as temporary:
        text = json.dumps(told | {"of": report.of} | asdict(report) | {"made_of": made_of}, indent=1)
        temporary.write_text(text, encoding="utf8")
    return ""


def _check_solution(assignment: Assignment, mode: str, limits: Limits) -> None:
    if assignment.solution is None:
        return
    report = grade(assignment.solution, assignment, mode, limits)
    if wrong := [mark for mark in report.marks if not mark.points]:
        raise ValueError(
            f"The solution of {assignment.name} does not get full marks here, so nobody is graded. "
            f"{wrong[0].function}: {wrong[0].message} {' '.join(report.notes)}"
        )


def _check_hidden(places: list[Any]) -> None:
    """Make sure that what is private lies where no sandbox can read it."""
    for place in (Path(place).resolve() for place in places):
        for folder in map(Path, readable()):
            if place.is_relative_to(folder):
                raise ValueError(f"{place} lies in {folder}, which a submission can read; put it elsewhere.")
