"""The functions of a submission, as the grader calls them: the child computes, and only values come back."""

from __future__ import annotations

import builtins
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fslib.book.checks.exercise import STUB, Found
from fslib.book.grading import child
from fslib.book.grading.notebook import code_cells
from fslib.book.grading.process import Child, Limits


class Submission:
    """A notebook that was handed in, and the process that runs it. Use it in a ``with``, which ends the process.

    All functions share one process. After one of them has ended it, or was not done in time, the others get a new one;
    if it is in loading them that the process ends, each gets one of its own.

    Args:
        path: of the notebook.
        names: of its graded functions.
        mode: one of :data:`~fslib.book.grading.process.MODES`.
        limits: what it may take.
    """

    def __init__(self, path: str | Path, names: Sequence[str], mode: str, limits: Limits):
        self.names, self.mode, self.limits = list(dict.fromkeys(names)), mode, limits
        self.notes: list[str] = []  # what of the notebook could not be run
        self.fault: Exception | None = None  # of the assignment
        self._lost: dict[str, Found] = {}  # functions that are not called any more, and why
        self._left = dict.fromkeys(self.names, limits.seconds)
        self._together, self._loaded = True, set[str]()
        self._child: Child | None = None
        self._seed: int | None = None
        self._cells: list[str] = []
        try:
            self._cells, language = code_cells(path)
            if "python" not in language:
                self.notes.append(f"The notebook says that it is written in {language}.")
        except ValueError as error:
            self._lost = dict.fromkeys(self.names, Found("unreadable", problem=str(error)))

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def function(self, name: str, seed: int) -> Callable[..., Any]:
        """A graded function, to be called as if it were here.

        Args:
            name: one of ``names``.
            seed: from which the inputs are drawn. The function draws from another, which it cannot tell this one by.

        Raises:
            OSError: if no process can be started, which is no fault of the submission.
        """
        if name not in self._lost and (self._child is None or name not in self._loaded):
            self._start(name)
        self._seed = int.from_bytes(hashlib.sha256(f"answer {seed}".encode()).digest()[:4])
        return lambda *given: self._call(name, given)

    def _start(self, name: str) -> None:
        """A new process, with all functions that can still be called, or with this one alone."""
        names = [each for each in self.names if each not in self._lost] if self._together else [name]
        self._end()
        self._child = Child(self.mode, self.limits)
        try:
            reply, _ = self._child.ask({"cells": self._cells, "names": names}, (), self.limits.loading)
            found, notes = {*map(str, reply["found"])}, [str(note)[:500] for note in reply["notes"][:20]]
        except Exception as error:
            self._end()
            if len(names) > 1:
                self._together = False
                return self._start(name)
            self._lost[name] = _problem(error, self.limits.loading)
            return
        self._loaded = set(names)
        self.notes = list(dict.fromkeys(self.notes + notes))
        for each in {*names} - found:
            self._lost[each] = Found("no function", name=each, because=self._because(each))

    def _because(self, name: str) -> str:
        """Why a function may be missing: the note on a cell that would define it."""
        cells = [i for i, source in enumerate(self._cells, 1) if re.search(rf"\b{name}\b", source)]
        why = [note for i in cells for note in self.notes if re.match(rf"Cell {i}\b", note)]
        return f" {why[-1]}" if why else ""

    def _call(self, name: str, given: tuple) -> Any:
        if name in self._lost:
            raise self._lost[name]
        assert self._child is not None
        buffers: list[bytes] = []
        packed = child.pack(given, buffers)
        if '["other", ' in json.dumps(packed):
            self.fault = TypeError(f"{name} is given what cannot be sent to it: give it numbers, tensors and texts.")
            raise self.fault
        leaves = [i for i, each in enumerate(given) if isinstance(each, Tensor) and each.requires_grad]
        message = {"name": name, "given": packed, "leaves": leaves, "seed": self._seed}
        self._seed = None  # only the first call starts the generators
        started = time.monotonic()
        try:
            reply, payload = self._child.ask(message, buffers, self._left[name])
            outcome = _outcome(reply, payload, [given[i] for i in leaves], self.limits)
        except Exception as error:
            self._end()
            self._lost[name] = _problem(error, self.limits.seconds)
            raise self._lost[name] from None
        self._left[name] -= time.monotonic() - started
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _end(self) -> None:
        if self._child is not None:
            self._child.close()
        self._child, self._loaded = None, set()


def _problem(error: Exception, seconds: float) -> Found:
    """What is said of a process that is of no more use; whatever else it sent, it was no answer."""
    if not isinstance(error, Found):
        return Found("no answer")
    return Found("too long", seconds=f"{seconds:g}") if error.key == "too long" else error


def _outcome(reply: dict[str, Any], payload: memoryview, leaves: list[Tensor], limits: Limits) -> Any:
    """The result that a reply holds, or the error, or the problem. Raises anything if it is no reply."""
    if "error" in reply:
        name, text = map(str, reply["error"])
        if name == "MemoryError" or "can't allocate memory" in text:
            return Found("too much memory", limit=f"{limits.memory / 2**30:g} GB")
        return _error(name[:80], text[:500])
    result, *slopes = child.unpack(["list", *reply["result"]], payload)
    if result is None:
        return Found("untouched" if {*reply["steps"]} <= STUB else "nothing")
    if reply.get("changed"):
        return Found("changed")
    return _Followed.apply(result, slopes, *leaves) if slopes and isinstance(result, Tensor) else result


def _error(name: str, text: str) -> Exception:
    """An error of that name: one of Python's, or one that is only called so."""
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = type(name, (Exception,), {})
    try:
        return kind(text)
    except TypeError:  # some want more than a text
        return type(name, (Exception,), {})(text)


class _Followed(torch.autograd.Function):
    """A number that was computed elsewhere, with its gradients: training can follow it back."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, slopes: list[Tensor], *leaves: Tensor) -> Tensor:
        ctx.slopes = slopes
        return result

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple:
        return None, None, *(outer[0] * slope for slope in ctx.slopes)
