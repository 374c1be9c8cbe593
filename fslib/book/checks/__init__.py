"""Checks that a reader, or a grader, runs on an answer to an exercise.

``checks.ch01.nearest_neighbour(answer)``, or ``checks.nearest_neighbour(answer)`` for short, tries the answer on fresh
data and gives a :class:`~fslib.book.checks.exercise.Verdict`, which says what is wrong and not only that something is.
Each chapter has a file of exercises here; a new file is found by itself.
"""

import importlib
import pkgutil
from typing import Any

from fslib.book.checks.exercise import COMMON, Exercise, Verdict, Wrong, attempt, speak

__all__ = ["EXERCISES", "Exercise", "Verdict", "Wrong", "attempt", "speak", "texts"]

#: All exercises, by chapter and name.
EXERCISES: dict[str, Exercise] = {}

for _found in pkgutil.iter_modules(__path__):
    if _found.name.startswith("ch"):
        _chapter = importlib.import_module(f"{__name__}.{_found.name}")
        for _name, _exercise in vars(_chapter).items():
            if isinstance(_exercise, Exercise):
                _exercise.name = f"{_found.name}.{_name}"
                EXERCISES[_exercise.name] = _exercise


def texts() -> dict[str, str]:
    """All that verdicts can say, in English, by the keys that :func:`speak` takes."""
    return COMMON | {key: text for each in EXERCISES.values() for key, text in each.texts().items()}


def __getattr__(name: str) -> Any:
    """An exercise by its name alone, if only one chapter has one of that name."""
    found = [key for key in EXERCISES if key.partition(".")[2] == name]
    if len(found) == 1:
        return EXERCISES[found[0]]
    if found:
        raise AttributeError(f"Several chapters have an exercise {name}: write checks.{' or checks.'.join(found)}.")
    raise AttributeError(f"There is no exercise {name!r} in {__name__}.")


def __dir__() -> list[str]:
    return sorted({*globals(), *(name.partition(".")[2] for name in EXERCISES)})
