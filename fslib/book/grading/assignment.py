"""What is graded, and the marks of one submission."""

from __future__ import annotations

import hashlib
import math
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fslib.book.checks.exercise import Exercise
from fslib.book.grading.process import MODES, Limits, check_mode
from fslib.book.grading.submission import Submission


@dataclass(frozen=True)
class Graded:
    """A function that students write, and what judges it.

    Where a part of an answer is worth points of its own, such as the empty class, the function stands several times,
    each time with an exercise that draws the inputs of that part.

    Attributes:
        function: its name in the notebook.
        exercise: draws inputs from a seed, knows the reference and the usual mistakes, and says what is wrong.
        points: for being right on all inputs.
    """

    function: str
    exercise: Exercise
    points: float = 1.0

    def __post_init__(self) -> None:
        if not (self.function.isidentifier() and 0 < self.points < math.inf):
            raise ValueError(f"{self.function!r} with {self.points} points is not a function's name and its points.")
        if self.exercise.given is None:
            raise ValueError(f"The exercise of {self.function} gives it no inputs, so no call can be graded.")


@dataclass(frozen=True)
class Assignment:
    """What is graded in a notebook.

    Attributes:
        name: as it stands in the lists of marks.
        functions: what is graded.
        key: of the course: other inputs are drawn with each. An assignment that has one is hidden from students, and is
            graded in a sandbox alone.
        draws: how many times inputs are drawn for each function; its points are for being right each time.
        solution: a notebook that must get full marks before others get any, so that no broken machine can cost them.
    """

    name: str
    functions: tuple[Graded, ...]
    key: str = ""
    draws: int = 3
    solution: Path | None = None

    def seeds(self, graded: Graded) -> list[int]:
        """The seeds from which the inputs of a function are drawn."""
        texts = [f"{self.key}/{self.name}/{graded.function}/{i}" for i in range(self.draws)]
        return [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in texts]

    def check(self, mode: str) -> None:
        """Make sure that it may be graded in a mode, and that the mode works here.

        Raises:
            ValueError: if not.
        """
        check_mode(mode)
        if self.key and mode != "sandbox":
            raise ValueError(
                f"{self.name} has a course key, and in the mode {mode} a submission could read it: {MODES[mode]} "
                "Grade in the mode sandbox, or without the key."
            )


@dataclass(frozen=True)
class Mark:
    """The verdict on one graded function, and its points.

    Attributes:
        function: its name.
        points: that it has got.
        of: that there are.
        message: the verdict, in a sentence.
        because: the key of what is wrong, ``"right"`` if nothing is.
        seeds: on which it was tried; the last of them is the one that it failed on, if it did.
    """

    function: str
    points: float
    of: float
    message: str
    because: str
    seeds: list[int]


@dataclass(frozen=True)
class Report:
    """The marks of a submission.

    Attributes:
        marks: one for each graded function.
        notes: what of the notebook could not be read or run.
        mode: in which it was graded.
    """

    marks: list[Mark]
    notes: list[str]
    mode: str

    @property
    def points(self) -> float:
        """All points that it has got."""
        return sum(mark.points for mark in self.marks)

    @property
    def of(self) -> float:
        """All points that there are."""
        return sum(mark.of for mark in self.marks)


def grade(path: str | Path, assignment: Assignment, mode: str = "sandbox", limits: Limits | None = None) -> Report:
    """The marks of one notebook.

    Args:
        path: of the notebook, or of what was handed in for one.
        assignment: what is graded.
        mode: ``"self-check"``, ``"sandbox"`` or ``"container"``; marks are the same in all of them.
        limits: what the submission may take.

    Raises:
        ValueError: if the assignment cannot be graded in this mode, or the mode does not work here.
        OSError: if a process cannot be started. Neither is a fault of the submission.
    """
    assignment.check(mode)
    names = [graded.function for graded in assignment.functions]
    with Submission(path, names, mode, limits or Limits()) as submission:
        marks = [_mark(graded, submission, assignment.seeds(graded)) for graded in assignment.functions]
        return Report(marks, submission.notes, mode)


def _mark(graded: Graded, submission: Submission, seeds: list[int]) -> Mark:
    tried = []
    for seed in seeds:
        tried.append(seed)
        verdict = graded.exercise(submission.function(graded.function, seed), seed)
        if submission.fault is not None:
            raise submission.fault
        if not verdict:
            break
    points = graded.points if verdict else 0.0
    return Mark(graded.function, points, graded.points, repr(verdict)[:2000], verdict.because, tried)


def load_assignment(path: str | Path, key: str = "") -> Assignment:
    """The assignment that a file of Python makes: ``assignment(key)`` there returns it.

    Raises:
        ValueError: if the file makes none.
    """
    make: Callable[[str], Any] | None = runpy.run_path(str(path)).get("assignment")
    made = make(key) if callable(make) else None
    if not isinstance(made, Assignment):
        raise ValueError(f"{path} makes no assignment: it should define assignment(key), which returns an Assignment.")
    return made
