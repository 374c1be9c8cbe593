"""Exercises as data, and the verdict on an answer.

An answer is tried on fresh data. It is right if it gives what the right answer gives; if it gives what one of the known
wrong answers gives, the verdict says what is wrong with it. Nothing is printed: a notebook shows the verdict, a grader
asks it.
"""

from __future__ import annotations

import copy
import dis
import functools
import itertools
import math
import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from fslib.devices import default_device, seeded
from fslib.episodes import Episode

# Each press of a check draws from a seed of its own.
_presses = itertools.count()

#: What verdicts on all exercises say, by key.
COMMON = {
    "right": "✓ Right.",
    "wrong": "✗ Not yet: {problem}",
    "untouched": "Not answered yet.",
    "nothing": "your function returns nothing; end it with return and the answer.",
    "function": "give the check the function itself, not what it returns.",
    "raised": "your answer raised {error}",
    "kind": "the answer should be {wanted}, but is a {kind}.",
    "tensor": "a tensor",
    "episode": "an Episode",
    "number": "a number",
    "shape": "the shape should be {shape}, but is {found}.",
    "parts": "return {count} things, {parts}.",
    "count 2": "two",
    "count 3": "three",
    "and": "{first} and {last}",
    "part": "{part}: {problem}",
}
_words: dict[str, str] = {}  # of another language


def speak(words: Mapping[str, str]) -> None:
    """Let verdicts use other words, by the keys that :func:`fslib.book.checks.texts` gives; others stay English.

    Raises:
        ValueError: if there is no such key, or a text has a gap that the English one has not.
    """
    from fslib.book.checks import texts  # which imports this module

    english = texts()
    for key, text in words.items():
        if key not in english:
            raise ValueError(f"There is no text {key!r}; checks.texts() gives all of them.")
        if unknown := _gaps(text) - _gaps(english[key]):
            raise ValueError(f"The text {key!r} has a gap {{{min(unknown)}}}, but the English one is: {english[key]}")
    _words.clear()
    _words.update(words)


def _gaps(text: str) -> set[str]:
    """The names in braces."""
    try:
        return {re.split(r"[.\[]", name)[0] for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{text!r} is no text for a verdict: {error}.") from error


@dataclass(frozen=True)
class Verdict:
    """What a check finds. It is true if the answer is right, and is shown by its message.

    Attributes:
        right: whether the answer is right.
        message: one sentence for the reader.
        exercise: the name of the exercise, such as ``ch01.nearest_neighbour``.
        because: the key of what is wrong, the same in all languages; ``untouched`` if nothing was answered yet.
    """

    right: bool
    message: str
    exercise: str
    because: str = "right"

    @property
    def attempted(self) -> bool:
        """Whether there was an answer."""
        return self.because != "untouched"

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Wrong:
    """A mistake: what the verdict says of it, and answers that make it."""

    text: str
    answers: tuple[Any, ...]

    def __init__(self, text: str, *answers: Any):
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "answers", answers)


class _Found(Exception):
    """A problem with an answer, by the key of its text and what fills the gaps of it."""

    def __init__(self, key: str, **gaps: Any):
        self.key, self.gaps = key, gaps


@dataclass(kw_only=True, eq=False)
class Exercise:
    """What is asked, a right answer, and what is wrong with wrong ones. Call it with an answer for a verdict.

    Attributes:
        asks: what to return, in a clause.
        right: an answer that is right: a function of what is given, or a value if nothing is.
        wrong: known mistakes, by key. The verdict on any of their answers is their text.
        otherwise: what is said of an answer that makes none of them. Like all texts of an exercise it may have gaps for
            ``{answer}``, ``{right}`` and ``{given}``.
        given: what an answer is called with, a tuple, or a list of several, each to be answered rightly; or a function
            that draws one or the other.
        hints: from the gentlest on.
        parts: what the several things are that an answer returns, in order.
        tolerance: how far a number may be off, relatively; a number in a tensor also absolutely.
        same: whether two results agree; default, by that tolerance.
        judge: asked about a result of the right kind and shape that is none of the known ones, with what was given:
            ``judge(*given, result)`` gives the key of a mistake, ``"right"``, or None.
        call: calls an answer with what is given; default, once.
        name: chapter and name, given by :mod:`fslib.book.checks`.
    """

    asks: str
    right: Any
    otherwise: str
    wrong: Mapping[str, Wrong] = field(default_factory=dict)
    given: Callable[[], tuple | list[tuple]] | list[tuple] | None = None
    hints: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    tolerance: float = 1e-4
    same: Callable[[Any, Any], bool] | None = None
    judge: Callable[..., str | None] | None = None
    call: Callable[..., Any] | None = None
    name: str = ""

    def __call__(self, answer: Any, seed: int | None = None) -> Verdict:
        """Try an answer, and leave all random generators as they were.

        Args:
            answer: a function of what is given, or a value.
            seed: of what is given and of what the answer draws; default, another one each time.
        """
        seed = next(_presses) if seed is None else seed
        try:
            with seeded(seed, default_device()), torch.device("cpu"):
                self._try(answer)
        except _Found as found:
            return self._verdict(found.key, found.gaps)
        return Verdict(True, _word("right", COMMON["right"]), self.name)

    def texts(self) -> dict[str, str]:
        """All that can be said of this exercise, by key."""
        texts = {"asks": self.asks, "otherwise": self.otherwise}
        texts |= {key: wrong.text for key, wrong in self.wrong.items()}
        texts |= {f"part {i}": part for i, part in enumerate(self.parts, 1)}
        texts |= {f"hint {i}": hint for i, hint in enumerate(self.hints, 1)}
        return {f"{self.name}.{key}": text for key, text in texts.items()}

    def _try(self, answer: Any) -> None:
        """Raise what is wrong with an answer, if anything is."""
        for given in self._cases():
            right = self._called(self.right, given)
            result = _outcome(self._called, answer, given)
            if self._agree(result, right):
                continue
            gaps = dict(answer=_number(result, right), right=right, given=given)
            for key, wrong in self.wrong.items():
                if any(self._agree(result, _outcome(self._called, each, given)) for each in wrong.answers):
                    raise _Found(key, **gaps)
            if isinstance(result, BaseException):
                raise _Found("raised", error=f"{type(result).__name__}: {result}")
            self._check_kind(result, right)
            key = self._judged(given, result)
            if key != "right":
                raise _Found(key, **gaps)

    def _judged(self, given: tuple, result: Any) -> str:
        """What is wrong with a result of the right kind and shape; of what cannot be judged, nothing is known."""
        try:
            return (self.judge(*given, result) if self.judge else None) or "otherwise"
        except Exception:
            return "otherwise"

    def _cases(self) -> Iterable[tuple]:
        if callable(self.given):
            given = self.given()
            return given if isinstance(given, list) else [given]
        return [()] if self.given is None else self.given

    def _called(self, answer: Any, given: tuple) -> Any:
        """What an answer gives, on the CPU; raises if it is not there yet."""
        if self.given is None or answer is ... or answer is None:
            return _on_cpu(answer)
        if not callable(answer):
            raise _Found("function")
        try:
            result = (self.call or _call)(answer, *copy.deepcopy(given))
        except NotImplementedError:
            raise _Found("untouched") from None
        if result is None:
            raise _Found("untouched" if _is_empty(answer) else "nothing")
        return _on_cpu(result)

    def _agree(self, result: Any, other: Any) -> bool:
        if isinstance(result, BaseException) or isinstance(other, BaseException):
            return type(result) is type(other) and str(result) == str(other)
        try:
            return bool((self.same or self._close)(result, other))
        except Exception:  # what cannot be compared is not the same
            return False

    def _close(self, a: Any, b: Any) -> bool:
        """Whether two results are the same but for the tolerance, whatever they are."""
        if isinstance(b, Tensor) and b.ndim:
            return isinstance(a, Tensor) and a.shape == b.shape and self._near(a.double(), b.double())
        if isinstance(b, tuple | list):
            return isinstance(a, tuple | list) and len(a) == len(b) and all(map(self._close, a, b))
        if isinstance(b, Episode):
            return isinstance(a, Episode) and a == b
        try:
            return math.isclose(float(a), float(b), rel_tol=self.tolerance, abs_tol=1e-9)
        except (TypeError, ValueError, RuntimeError):
            return False

    def _near(self, a: Tensor, b: Tensor) -> bool:
        return torch.allclose(a, b, atol=self.tolerance, rtol=self.tolerance, equal_nan=True)

    def _check_kind(self, result: Any, right: Any) -> None:
        """Raise if a result is not of the kind and shape of the right one."""
        if isinstance(right, tuple | list):
            if not isinstance(result, tuple | list) or len(result) != len(right):
                self._found_parts(len(right))
            for i, (each, wanted) in enumerate(zip(result, right), 1):
                try:
                    self._check_kind(each, wanted)
                except _Found as found:
                    if not self.parts:
                        raise
                    problem = self._said(found.key, found.gaps)
                    raise _Found("part", part=self._own(f"part {i}", self.parts[i - 1]), problem=problem) from None
        elif isinstance(right, Tensor) and right.ndim:
            if not isinstance(result, Tensor):
                raise _Found("kind", wanted=_word("tensor", COMMON["tensor"]), kind=type(result).__name__)
            if result.shape != right.shape:
                raise _Found("shape", shape=tuple(right.shape), found=tuple(result.shape))
        elif isinstance(right, Episode) and not isinstance(result, Episode):
            raise _Found("kind", wanted=_word("episode", COMMON["episode"]), kind=type(result).__name__)
        elif isinstance(right, int | float | Tensor) and not isinstance(_number(result, right), float):
            raise _Found("kind", wanted=_word("number", COMMON["number"]), kind=type(result).__name__)

    def _found_parts(self, count: int) -> None:
        parts = [self._own(f"part {i}", part) for i, part in enumerate(self.parts, 1)]
        listed = _word("and", COMMON["and"]).format(first=", ".join(parts[:-1]), last=parts[-1])
        raise _Found("parts", count=_word(f"count {count}", COMMON[f"count {count}"]), parts=listed)

    def _verdict(self, key: str, gaps: Mapping[str, Any]) -> Verdict:
        said = self._said(key, gaps)
        if key != "untouched":
            said = _word("wrong", COMMON["wrong"]).format(problem=said)
        return Verdict(False, said, self.name, key)

    def _said(self, key: str, gaps: Mapping[str, Any]) -> str:
        if key in COMMON:
            return _word(key, COMMON[key]).format(**gaps)
        return self._own(key, self.texts()[f"{self.name}.{key}"]).format(**gaps)

    def _own(self, key: str, text: str) -> str:
        return _word(f"{self.name}.{key}", text)


def _number(result: Any, right: Any) -> Any:
    """A result as a plain number, if one is wanted and it is one."""
    if isinstance(right, int | float) or (isinstance(right, Tensor) and not right.ndim):
        try:
            return result if isinstance(result, str) else float(result)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            pass
    return result


def _word(key: str, text: str) -> str:
    return _words.get(key, text)


def _call(answer: Callable[..., Any], *given: Any) -> Any:
    return answer(*given)


def _outcome(call: Callable[[Any, tuple], Any], answer: Any, given: tuple) -> Any:
    """What an answer gives, or the error that it raises; that it is not there yet is raised."""
    try:
        return call(answer, given)
    except _Found:
        raise
    except (Exception, SystemExit) as error:
        return error


def _is_empty(answer: Any) -> bool:
    """Whether a function holds nothing but what a placeholder does: words, and ``...``."""
    answer = answer.func if isinstance(answer, functools.partial) else getattr(answer, "__func__", answer)
    if not isinstance(answer, FunctionType):
        return False
    steps = {step.opname for step in dis.get_instructions(answer)}
    return steps <= {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "COPY_FREE_VARS"}


def _on_cpu(result: Any) -> Any:
    """A result, with its tensors on the CPU; raises if all of it is still the placeholder."""
    if result is ... or result is None:
        raise _Found("untouched")
    if isinstance(result, Tensor):
        return result.detach().cpu()
    if isinstance(result, Episode):
        return Episode(*map(_on_cpu, vars(result).values()))
    if isinstance(result, tuple | list):
        if result and all(part is ... or part is None for part in result):
            raise _Found("untouched")
        return [part if part is ... or part is None else _on_cpu(part) for part in result]
    return result
