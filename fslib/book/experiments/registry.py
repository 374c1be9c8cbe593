"""What a recipe is: a function that trains and measures, under a name, with settings that can be changed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Function = Callable[..., None]


@dataclass(frozen=True)
class Recipe:
    """A function and the settings it is called with.

    Attributes:
        name: the data set, a stroke, and what the records call the method.
        function: builds, trains and measures, by means of the ``Plan`` that it is given first.
        settings: what it is given by name, in the order in which a command and an id name them.
    """

    name: str
    function: Function
    settings: dict[str, Any]

    @property
    def dataset(self) -> str:
        """The name for :func:`fslib.data.load`."""
        return self.name.partition("/")[0]

    @property
    def method(self) -> str:
        """What the records call the method."""
        return self.name.partition("/")[2]

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with other settings.

        Raises:
            ValueError: if it has no such setting, or the value is not of the kind of the recipe's.
        """
        if unknown := [key for key in changes if key not in self.settings]:
            raise ValueError(
                f"The recipe has no setting {unknown[0]}; it has {', '.join(self.settings)}."
            )
        changes = {k: _of_kind(k, value, self.settings[k]) for k, value in changes.items()}
        return replace(self, settings=self.settings | changes)


RECIPES: dict[str, Recipe] = {}


def recipe(name: str, **settings: Any) -> Callable[[Function], Function]:
    """Let a function be a recipe. One function may be several, with settings of their own.

    Example:
        >>> @recipe("glyphs/an-example", scale=30.0, way=5, episodes=10)  # doctest: +SKIP
        ... def example(run, scale, **fit):
        ...     model = MatchingNetwork(Conv4(), scale=scale)
        ...     run.train(model, "train", **fit)
        ...     run.measure(model, on_tasks)
    """

    def register(function: Function) -> Function:
        if name in RECIPES:
            raise ValueError(f"There are two recipes {name}.")
        RECIPES[name] = Recipe(name, function, settings)
        return function

    return register


def find(name: str) -> Recipe:
    """The recipe of that name."""
    if name not in RECIPES:
        near = difflib.get_close_matches(str(name), RECIPES, n=1)
        lists = "python -m fslib.book.experiments lists them."
        hint = f"did you mean {near[0]}?" if near else lists
        raise ValueError(f"There is no recipe {name!r}; {hint}")
    return RECIPES[name]


def listed(settings: Mapping[str, Any]) -> str:
    """Settings as they are told in a sentence."""
    return ", ".join(f"{key}={spelled(value)}" for key, value in settings.items())


def spelled(value: Any) -> str:
    """The value of a setting as it stands in a command and in an id: 1 for 1.0, and 0 for False."""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).lower() if value is None else str(value).removesuffix(".0")


def _of_kind(name: str, value: Any, usual: Any) -> Any:
    """The value of a setting, if it is of the kind that the setting usually has."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(usual, bool):
        fits, wanted = value in (True, False), "true or false"
    elif isinstance(usual, int):
        fits, wanted = whole and value >= 1, "a whole number, 1 or more"
    elif isinstance(usual, float):
        fits = (whole or isinstance(value, float)) and 0 <= value < math.inf
        wanted = "a number, 0 or more"
    else:
        fits, wanted = value is None or isinstance(value, str), "a name"
    if not fits:
        raise ValueError(f"The setting {name} must be {wanted}, but is {value}.")
    return type(usual)(value) if isinstance(usual, bool | float) else value
