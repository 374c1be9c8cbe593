"""Exercises as data, and the verdict on an answer.

An answer is tried on fresh data. It is right if it gives what the right answer gives; if it gives what one of the known
wrong answers gives, the verdict says what is wrong with it. Nothing is printed: a notebook shows the verdict, a grader
asks it. On one fixed input it also says what the answer gives: the book's page lists which mistake gives which number.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import functools
import itertools
import math
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal

import torch
from torch import Tensor

from fslib.devices import default_device, seeded
from fslib.episodes import Episode

# Each press of a check draws from a seed of its own.
_presses = itertools.count()
_FIXED = 0  # the seed of a fixed input

#: What verdicts on all exercises say, by key.
COMMON = {
    "right": "✓ Right.",
    "wrong": "✗ Not yet: {problem}",
    "untouched": "○ Your turn: put your answer in the place of the three dots.",
    "nothing": "your function returned None: is there a return?",
    "function": "give the check the function itself, not what it returns.",
    "raised": "your answer raised {error}",
    "changed": "your function changes what it is given; work on a copy, or the caller's data are lost.",
    "no gradient": "training cannot follow this back; return the tensor itself, without float(), .item() or .detach().",
    "fixed": "On {given}, {answer} is {value}.",
    "input": "one fixed input",
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
    # Of an answer that runs in another process, as a grader has it do.
    "unreadable": "the notebook cannot be read: {problem}",
    "no function": "there is no function {name} in the notebook.{because}",
    "too long": "it was not done after {seconds} seconds; is there a loop that never ends?",
    "too much memory": "it wants more memory than there is for it, {limit}.",
    "large output": "it prints or writes too much; there is room for {limit}.",
    "large result": "it returns too much; there is room for {limit}.",
    "ended": "it ends the whole of Python ({how}) instead of returning something.",
    "no answer": "what came back is no answer that can be read.",
}
#: What a function does that holds nothing but words, and three dots.
STUB = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "COPY_FREE_VARS"}
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
        shown: what the answer gives on one fixed input, in a sentence, if it gives a number there.
    """

    right: bool
    message: str
    exercise: str
    because: str = "right"
    shown: str = ""

    @property
    def attempted(self) -> bool:
        """Whether there was an answer."""
        return self.because != "untouched"

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{self.message}\n{self.shown}".rstrip()


@dataclass(frozen=True)
class Wrong:
    """A mistake: what the verdict says of it, and answers that make it."""

    text: str
    answers: tuple[Any, ...]

    def __init__(self, text: str, *answers: Any):
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "answers", answers)


class Found(Exception):
    """A problem with an answer, by the key of its text and what fills the gaps of it; a call may raise it."""

    def __init__(self, key: str, **gaps: Any):
        self.key, self.gaps = key, gaps


@contextlib.contextmanager
def attempt(name: str) -> Iterator[None]:
    """Examples of what a function should give, as assertions with words. Their outcome is printed, and stops nothing.

    For coursework, whose notebooks hold no right answer to compare with.

    Args:
        name: of what is tried.
    """
    said = _word("right", COMMON["right"])
    try:
        yield
    except NotImplementedError as error:
        said = f"○ {error}"
    except AssertionError as error:
        said = _word("wrong", COMMON["wrong"]).format(problem=error)
    print(f"{name}: {said}")


@dataclass(kw_only=True, eq=False)
class Exercise:
    """What is asked, a right answer, and what is wrong with wrong ones. Call it with an answer for a verdict.

    Attributes:
        asks: what to return, in a clause.
        level: how hard it is.
        minutes: that it takes a reader who knows the chapter.
        right: an answer that is right: a function of what is given, or a value if nothing is.
        also: other answers that are as right.
        wrong: known mistakes, by key. The verdict on any of their answers is their text.
        otherwise: what is said of an answer that makes none of them. Like all texts of an exercise it may have gaps for
            ``{answer}``, ``{right}`` and ``{given}``.
        given: what an answer is called with, a tuple, or a list of several, each to be answered rightly; or a function
            that draws one or the other.
        hints: from the gentlest on, as Markdown.
        parts: what the several things are that an answer returns, in order.
        tolerance: how far a number may be off, relatively; a number in a tensor also absolutely.
        same: whether two results agree; default, by that tolerance.
        judge: asked about a result of the right kind and shape that is none of the known ones, with what was given:
            ``judge(*given, result)`` gives the key of a mistake, ``"right"``, or None.
        judged: whether the judge alone decides, as where answers draw; then ``call`` sees to the kind of the result.
        call: calls an answer with what is given; default, once.
        fixed: the fixed input, of numbers, on which a check shows what an answer gives; default, one that is given.
        shows: where in the result the number stands that is shown, such as ``(0, 1)`` for ``answer[0][1]``; several
            numbers there are summed, and of two parts the second is taken off the first. None, if right answers differ.
        name: chapter and name, given by :mod:`fslib.book.checks`.
    """

    asks: str
    level: Literal["easy", "medium", "hard"]
    minutes: int
    right: Any
    also: tuple[Any, ...]
    otherwise: str
    wrong: Mapping[str, Wrong] = field(default_factory=dict)
    given: Callable[[], tuple | list[tuple]] | list[tuple] | None = None
    hints: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    tolerance: float = 1e-4
    same: Callable[[Any, Any], bool] | None = None
    judge: Callable[..., str | None] | None = None
    judged: bool = False
    call: Callable[..., Any] | None = None
    fixed: tuple | None = None
    shows: tuple[int, ...] | None = ()
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
        except Found as found:
            return self._verdict(answer, found.key, found.gaps)
        return self._verdict(answer, "right", {})

    def value(self, answer: Any) -> str:
        """The number that an answer gives on the fixed input, to three digits; empty if it gives none."""
        return self._on_fixed(answer)[1]

    def _on_fixed(self, answer: Any) -> tuple[str, str]:
        """What is shown, as code, and its value; no value, if there is none."""
        if self.shows is None:
            return "", ""
        with seeded(_FIXED, default_device()), torch.device("cpu"):
            given = self.fixed or next(iter(self._cases()))
            result, right = (_outcome(self._called, each, given) for each in (answer, self.right))
        try:
            if not isinstance(right, tuple):
                shown, number = self._shown_of("answer", result, right)
            else:
                parts = [
                    self._shown_of(f"answer[{i}]", *each) for i, each in enumerate(zip(result, right, strict=True))
                ]
                (first, number), (second, less) = parts
                shown, number = f"{first} − {second}", number - less
            return shown, _to_three_digits(number)
        except Exception:  # what has no number there shows none
            return "", ""

    def _shown_of(self, name: str, result: Any, right: Any) -> tuple[str, float]:
        for i in self.shows or ():
            name, result, right = f"{name}[{i}]", result[i], right[i]
        if isinstance(right, Tensor) and right.ndim:
            return f"{name}.sum()", result.double().sum().item()
        if isinstance(result, str):
            raise TypeError("A text is no number.")
        return name, float(result)

    def mistakes(self) -> dict[str, list[str]]:
        """What is wrong, by the number that the mistake gives on the fixed input, where no right answer gives it."""
        found: dict[str, list[str]] = {}
        # Nor one that differs from a right one by its sign alone, which would tell it.
        right = {"", *(self.value(each).removeprefix("-") for each in (self.right, *self.also))}
        for key, wrong in self.wrong.items():
            said = self._said(key, {"given": self.fixed})
            for value in dict.fromkeys(map(self.value, wrong.answers)):
                if value.removeprefix("-") not in right:
                    found.setdefault(value, []).append(said)
        return dict(sorted(found.items(), key=lambda item: (item[0] == "nan", float(item[0]))))

    @property
    def fixed_input(self) -> str:
        """The fixed input in words, which are its numbers if a reader can type them."""
        if self.fixed is None:
            return _word("input", COMMON["input"])
        return f"({', '.join(map(str, self.fixed))})"

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
            result = _outcome(self._called, answer, given)
            if isinstance(result, Found):
                raise result
            right = None if self.judged else self._called(self.right, given)
            if not self.judged and self._agree(result, right):
                continue
            gaps = dict(answer=_number(result, right), right=right, given=given)
            for key, wrong in ({} if self.judged else self.wrong).items():
                if any(self._agree(result, _outcome(self._called, each, given)) for each in wrong.answers):
                    raise Found(key, **gaps)
            if isinstance(result, BaseException):
                raise Found("raised", error=f"{type(result).__name__}: {result}")
            self._check_kind(result, right)
            key = self._judged(given, result)
            if key != "right":
                raise Found(key, **gaps)

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
            raise Found("function")
        copied = copy.deepcopy(given)
        try:
            result = (self.call or _call)(answer, *copied)
        except NotImplementedError:
            raise Found("untouched") from None
        if result is None:
            raise Found("untouched" if _is_empty(answer) else "nothing")
        result = _on_cpu(result)
        if not all(map(_unchanged, given, copied)):
            raise Found("changed")
        return result

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
        if isinstance(a, str | bool):
            return False
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
                except Found as found:
                    if not self.parts:
                        raise
                    problem = self._said(found.key, found.gaps)
                    raise Found("part", part=self._own(f"part {i}", self.parts[i - 1]), problem=problem) from None
        elif isinstance(right, Tensor) and right.ndim:
            if not isinstance(result, Tensor):
                raise not_a("tensor", result)
            if result.shape != right.shape:
                raise Found("shape", shape=tuple(right.shape), found=tuple(result.shape))
        elif isinstance(right, int | float | Tensor) and not isinstance(_number(result, right), float):
            raise not_a("number", result)

    def _found_parts(self, count: int) -> None:
        parts = [self._own(f"part {i}", part) for i, part in enumerate(self.parts, 1)]
        listed = _word("and", COMMON["and"]).format(first=", ".join(parts[:-1]), last=parts[-1])
        raise Found("parts", count=_word(f"count {count}", COMMON[f"count {count}"]), parts=listed)

    def _verdict(self, answer: Any, key: str, gaps: Mapping[str, Any]) -> Verdict:
        said = self._said(key, gaps)
        if key not in ("right", "untouched"):
            said = _word("wrong", COMMON["wrong"]).format(problem=said)
        shown = "" if self.given is None or key in ("untouched", "nothing", "function") else self._sentence(answer)
        return Verdict(key == "right", said, self.name, key, shown)

    def _sentence(self, answer: Any) -> str:
        """What an answer gives on the fixed input; nothing if it gives no number."""
        shown, value = self._on_fixed(answer)
        if not value:
            return ""
        return _word("fixed", COMMON["fixed"]).format(given=self.fixed_input, answer=shown, value=value)

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


def not_a(wanted: str, result: Any) -> Found:
    """The problem that a result is of another kind than a ``"tensor"``, an ``"episode"`` or a ``"number"``."""
    return Found("kind", wanted=_word(wanted, COMMON[wanted]), kind=type(result).__name__)


def _call(answer: Callable[..., Any], *given: Any) -> Any:
    return answer(*given)


def _outcome(call: Callable[[Any, tuple], Any], answer: Any, given: tuple) -> Any:
    """What an answer gives, or the error or the problem that it raises."""
    try:
        return call(answer, given)
    except (Exception, SystemExit) as error:
        return error


def _unchanged(given: Any, copied: Any) -> bool:
    if isinstance(given, Tensor):
        same = given.shape == copied.shape and ((given == copied) | ((given != given) & (copied != copied))).all()
        return bool(same)  # NaN is not equal to itself
    return given == copied or not isinstance(given, list)


def _to_three_digits(number: float) -> str:
    if not 0 < abs(number) < 1:
        return f"{number:.3f}".rstrip("0").rstrip(".")
    return f"{number:.3g}"


def with_gradient(answer: Callable[..., Any], first: Tensor, *others: Any) -> Any:
    """Call an answer that is a loss, of which training must be able to follow the gradient back to ``first``."""
    loss = answer(first.requires_grad_(), *others)
    if isinstance(loss, float) or (isinstance(loss, Tensor) and not loss.requires_grad):
        raise Found("no gradient")
    return loss


def _is_empty(answer: Any) -> bool:
    """Whether a function holds nothing but what a placeholder does: words, and ``...``."""
    answer = answer.func if isinstance(answer, functools.partial) else getattr(answer, "__func__", answer)
    if not isinstance(answer, FunctionType):
        return False
    return {step.opname for step in dis.get_instructions(answer)} <= STUB


def _on_cpu(result: Any) -> Any:
    """A result, with its tensors on the CPU; raises if all of it is still the placeholder."""
    if result is ... or result is None:
        raise Found("untouched")
    if isinstance(result, Tensor):
        return result.detach().cpu()
    if isinstance(result, Episode):
        return type(result)(*map(_on_cpu, vars(result).values()))
    if isinstance(result, tuple | list):
        if result and all(part is ... or part is None for part in result):
            raise Found("untouched")
        parts = [part if part is ... or part is None else _on_cpu(part) for part in result]
        return parts if isinstance(result, list) else tuple(parts)
    return result
