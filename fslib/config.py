"""What decides a run, put into words: settings of networks, losses, functions and data, to be told apart later.

:func:`described` goes through anything that decides a training and gives its settings by their paths. Two runs are the
same if these agree, in whatever process they were put into words.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Settings = dict[str, str]

_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device)
# Their functions and classes are told apart by name; everybody else's by what they do.
_LIBRARIES = {"fslib", "torch", "torchvision", "numpy", "builtins", "functools", "math", "PIL", "scipy"}


def described(name: str, value: Any) -> Settings:
    """The settings in a value, as text by the path to each.

    Of a module these are its class, its plain attributes, and the shapes of its weights; the numbers in the weights are
    what training changes, and decide nothing here. Of a function of one's own it is what it does, what it is called
    with by default, and what it uses from around it. Of arrays it is a digest.

    Example:
        >>> from fslib.losses import SupConLoss
        >>> described("loss", SupConLoss(0.05))["loss.temperature"]
        '0.05'
    """
    return dict(_walk(name, value, {}))


def differences(was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Each setting that differs, as ``"way was 5 and is now 20"``."""
    return [
        f"{path} was {_brief(was.get(path))} and is now {_brief(now.get(path))}"
        for path in dict.fromkeys([*now, *was])
        if was.get(path) != now.get(path)
    ]


def _brief(text: str | None) -> str:
    return str(text) if len(str(text)) <= 60 else f"{str(text)[:57]}…"


def _walk(path: str, value: Any, seen: dict[int, tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """The settings of a value and of all that it holds; ``seen`` are the paths of those that had their turn."""
    if value is None or isinstance(value, _PLAIN):
        yield path, str(value)
        return
    if id(value) in seen:
        yield path, f"the same as {seen[id(value)][0]}"
        return
    seen[id(value)] = path, value
    if isinstance(value, Tensor | np.ndarray | np.generic):
        yield path, _digest(value)
    elif isinstance(value, functools.partial):
        yield from _walk(path, value.func, seen)
        yield from _parts(path, {"arguments": value.args, **value.keywords}, seen)
    elif isinstance(value, Mapping):
        yield path, type(value).__name__
        yield from _parts(path, {str(key): part for key, part in value.items()}, seen)
    elif isinstance(value, list | tuple):
        yield path, f"{type(value).__name__} of {len(value)}"
        yield from _parts(path, {str(i): part for i, part in enumerate(value)}, seen)
    elif isinstance(value, set | frozenset):
        yield path, str(sorted(map(str, value)))
    elif isinstance(value, nn.Module):
        yield from _module(path, value, seen)
    elif isinstance(value, types.MethodType):
        yield from _walk(path, value.__func__, seen)
        yield from _walk(f"{path}.self", value.__self__, seen)
    elif isinstance(value, types.FunctionType):
        yield from _function(path, value, seen)
    elif isinstance(value, type):
        yield from _class(path, value)
    elif isinstance(value, types.BuiltinFunctionType | types.ModuleType):
        yield path, value.__name__
    else:
        yield from _object(path, value, seen)


def _parts(path: str, parts: Mapping[str, Any], seen: dict) -> Iterator[tuple[str, str]]:
    for name, part in parts.items():
        yield from _walk(f"{path}.{name}", part, seen)


def _module(path: str, module: nn.Module, seen: dict) -> Iterator[tuple[str, str]]:
    yield from _class(path, type(module))
    kept = module.state_dict(keep_vars=True)
    for name, weight in (*module._parameters.items(), *module._buffers.items()):
        if weight is not None:  # numbers that no state holds, such as fixed maps, are settings
            fixed = isinstance(weight, nn.Parameter) and not weight.requires_grad
            told = str(tuple(weight.shape)) if name in kept else _digest(weight)
            yield f"{path}.{name}", told + " fixed" * fixed
    own = vars(nn.Module())
    settings = {name: part for name, part in vars(module).items() if name not in own}
    yield from _parts(path, settings, seen)
    yield from _parts(path, module._modules, seen)


def _object(path: str, value: Any, seen: dict) -> Iterator[tuple[str, str]]:
    """Data by its digest and its transform, other objects by class and, unless a library's, by what they hold."""
    yield from _class(path, type(value))
    if hasattr(value, "digest"):
        yield f"{path}.digest", str(value.digest)
        yield from _parts(path, {"transform": getattr(value, "transform", None)}, seen)
    elif not _of_a_library(type(value)):
        yield from _parts(path, getattr(value, "__dict__", {}), seen)


def _function(path: str, function: types.FunctionType, seen: dict) -> Iterator[tuple[str, str]]:
    """By name, and if it is no library's, by its code, its defaults and what it uses from around it."""
    yield path, function.__qualname__
    if _of_a_library(function):
        return
    yield f"{path}.code", _code(function.__code__)
    defaults = function.__defaults__ or (), function.__kwdefaults__ or {}
    around = function.__globals__
    used = {
        **dict(zip(function.__code__.co_freevars, map(_content, function.__closure__ or ()))),
        **{name: around[name] for name in _names(function.__code__) if name in around},
        **({"defaults": defaults} if any(defaults) else {}),
    }
    yield from _parts(path, used, seen)


def _class(path: str, kind: type) -> Iterator[tuple[str, str]]:
    yield path, kind.__qualname__
    if not _of_a_library(kind):
        parts = [p for base in kind.__mro__ if not _of_a_library(base) for p in vars(base).values()]
        functions = [getattr(p, "fget", getattr(p, "__func__", p)) for p in parts]
        codes = [_code(f.__code__) for f in functions if isinstance(f, types.FunctionType)]
        yield f"{path}.code", " ".join(codes)


def _of_a_library(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").partition(".")[0] in _LIBRARIES


def _code(code: types.CodeType) -> str:
    """A digest of what a function does, the same wherever it stands."""
    constants = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return _short(repr((code.co_code, code.co_names, code.co_varnames, constants)).encode())


def _names(code: types.CodeType) -> list[str]:
    """The names that a function, and the functions in it, look up around them."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [*code.co_names, *(name for c in inner for name in _names(c))]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _digest(value: Any) -> str:
    array = value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(np.array(value))
    numbers = array.contiguous().view(-1).view(torch.uint8) if array.numel() else array
    return f"{array.dtype} {tuple(array.shape)} {_short(numbers.numpy().tobytes())}"


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
