"""Former names, which work for one release more and say what to write now."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def renamed(**former: str | tuple[str, Mapping[Any, Any]]) -> Callable[[F], F]:
    """Let a function go on taking arguments by their former names, with a warning.

    Args:
        former: by the old name, the new one; or the new one and, by each old value, the new.

    Raises:
        ValueError: of the function, if both are given.

    Example:
        >>> @renamed(reach="max_displacement")
        ... def blur(max_displacement): ...
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            for old in [name for name in options if name in former]:
                positions = inspect.signature(function).bind_partial(*arguments).arguments
                new, values = (*([former[old]] if isinstance(former[old], str) else former[old]), {})[:2]
                value = options.pop(old)
                value = values.get(value, value) if isinstance(value, Hashable) else value
                if new in positions or new in options:
                    raise ValueError(f"{old} is the former name of {new}; give one of them.")
                _warn(f"{old}=", f"{new}={value!r}" if values else f"{new}=")
                options[new] = value
            return function(*arguments, **options)

        return called  # type: ignore[return-value]

    return decorate


def renamed_in(module: str, contents: Mapping[str, Any], **former: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module: what went by a former name, with a warning."""

    def find(name: str) -> Any:
        if name not in former:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name}", former[name])
        return contents[former[name]]

    return find


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} has become {new}; the former name goes with the next release.", FutureWarning, 3)
