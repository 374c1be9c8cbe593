"""What decides a run, put into words: settings of networks, losses, functions and data, to be told apart later.

:func:`described` goes through anything that decides a training and gives its settings by their paths. Two runs are the
same if these agree, in whatever process they were put into words.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import math
import operator
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Settings = dict[str, str]

# Attributes of an image set that its digest stands for, or that decide nothing.
_OF_DIGEST = {"name", "images", "labels", "class_names", "class_groups", "domains"}
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device)
# Their functions and classes are told apart by name; everybody else's by what they do.
_LIBRARIES = {"fslib", "torch", "torchvision", "numpy", "builtins", "functools", "math", "PIL", "scipy"}


class Configured:
    """What is built again from what it was built with: keep each argument in an attribute of its name."""

    @property
    def config(self) -> dict[str, Any]:
        """What it was built with, by the names of the arguments, so that :func:`fslib.save` can build it again."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: getattr(self, name) for name in names}


def whole(name: str, value: Any, least: int = 1, below: float = math.inf) -> int:
    """A setting that must be a whole number, as an ``int``; NumPy's are taken too.

    Raises:
        ValueError: if it is none, or too small or large.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number < below or isinstance(value, bool | np.bool_):
        limit = "" if below == math.inf else f" and below {below}"
        raise ValueError(f"{name} must be a whole number, at least {least}{limit}, but is {value!r}.")
    return number


def weights_digest(module: torch.nn.Module) -> str:
    """First digits of a hash of all weights and buffers, by which two trained networks are told apart."""
    digest = hashlib.sha256()
    for name, weights in module.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


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
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, _PLAIN):
        yield path, str(value)
        return
    if id(value) in seen:
        yield path, f"the same as {seen[id(value)][0]}"
        return
    seen[id(value)] = path, value
    kind = next((kind for kind in _KINDS if isinstance(value, kind)), object)
    yield from _KINDS[kind](path, value, seen)


def _parts(path: str, parts: Mapping[str, Any], seen: dict) -> Iterator[tuple[str, str]]:
    for name, part in parts.items():
        yield from _walk(f"{path}.{name}", part, seen)


def _partial(path: str, value: functools.partial, seen: dict) -> Iterator[tuple[str, str]]:
    yield from _walk(path, value.func, seen)
    yield from _parts(path, {"arguments": value.args, **value.keywords}, seen)


def _mapping(path: str, value: Mapping, seen: dict) -> Iterator[tuple[str, str]]:
    yield path, type(value).__name__
    yield from _parts(path, {str(key): part for key, part in value.items()}, seen)


def _list(path: str, value: list | tuple, seen: dict) -> Iterator[tuple[str, str]]:
    yield path, f"{type(value).__name__} of {len(value)}"
    yield from _parts(path, {str(i): part for i, part in enumerate(value)}, seen)


def _set(path: str, value: set | frozenset, seen: dict) -> Iterator[tuple[str, str]]:
    yield path, str(sorted(str(described("", part)) for part in value))


def _array(path: str, value: Tensor | np.ndarray, seen: dict) -> Iterator[tuple[str, str]]:
    """By its content; a weight, which training changes, by its shape."""
    yield path, str(tuple(value.shape)) if isinstance(value, nn.Parameter) else _digest(value)


def _module(path: str, module: nn.Module, seen: dict) -> Iterator[tuple[str, str]]:
    yield path, type(module).__qualname__
    yield from _kind(path, module, seen)
    kept = module.state_dict(keep_vars=True)
    for name, weight in (*module._parameters.items(), *module._buffers.items()):
        if weight is not None:  # numbers that no state holds, such as fixed maps, are settings
            fixed = isinstance(weight, nn.Parameter) and not weight.requires_grad
            told = str(tuple(weight.shape)) if name in kept else _digest(weight)
            yield f"{path}.{name}", told + " fixed" * fixed
    own = vars(nn.Module())
    settings = {name: part for name, part in vars(module).items() if name not in own}
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    yield from _parts(path, settings | ({"hooks": hooks} if hooks else {}), seen)
    yield from _parts(path, module._modules, seen)


def _object(path: str, value: Any, seen: dict) -> Iterator[tuple[str, str]]:
    """By class and by what a copy would be made of; data by their digest and whatever a set of ours has not."""
    yield path, type(value).__qualname__
    yield from _kind(path, value, seen)
    if hasattr(value, "digest"):
        named = {name: part for name, part in vars(value).items() if name not in _OF_DIGEST}
        yield from _parts(path, {"digest": value.digest, **named}, seen)
        return
    try:
        _, arguments, *rest = value.__reduce_ex__(4)
    except Exception:  # what cannot be copied, as a generator or a lock, is told by its class alone
        return
    state, items, entries = (*rest, None, None, None)[:3]
    slots = state if isinstance(state, tuple) else (state,)  # attributes, and those in slots
    parts = {name: part for each in slots if isinstance(each, dict) for name, part in each.items()}
    others = [part for part in arguments if part is not type(value)], *(p for p in slots if p not in (None, parts))
    yield from _parts(path, {str(name): part for name, part in parts.items()}, seen)
    yield from _parts(path, {"made of": (*others, list(items or ()), dict(entries or ()))}, seen)


def _function(path: str, function: types.FunctionType, seen: dict) -> Iterator[tuple[str, str]]:
    """By name, and if it is no library's, by its code, its defaults and what it uses from around it."""
    yield path, function.__qualname__
    around = function.__globals__
    if _of_a_library(around.get("__name__", "")):
        yield from _parts(path, vars(function), seen)
        return
    yield f"{path}.code", _code(function.__code__)
    defaults = function.__defaults__ or (), function.__kwdefaults__ or {}
    used = {
        **dict(zip(function.__code__.co_freevars, map(_content, function.__closure__ or ()))),
        **{name: around[name] for name in _names(function.__code__) if name in around},
        **({"defaults": defaults} if any(defaults) else {}),
    }
    yield from _parts(path, used | vars(function), seen)


def _method(path: str, method: types.MethodType, seen: dict) -> Iterator[tuple[str, str]]:
    yield from _walk(path, method.__func__, seen)
    yield from _walk(f"{path}.self", method.__self__, seen)


def _kind(path: str, value: Any, seen: dict) -> Iterator[tuple[str, str]]:
    """The class of an object, unless its name says all."""
    if not _of_a_library(type(value).__module__):
        yield from _walk(f"{path}.class", type(value), seen)


def _class(path: str, kind: type, seen: dict) -> Iterator[tuple[str, str]]:
    """By name, and if it is no library's, by its attributes, methods among them."""
    yield path, kind.__qualname__
    for base in kind.__mro__:
        if not _of_a_library(base.__module__):
            own = {n: p for n, p in vars(base).items() if n == "__call__" or not n.startswith("__")}
            yield from _parts(path, {name: _unbound(part) for name, part in own.items()}, seen)


def _unbound(part: Any) -> Any:
    """The function in a property, a class method or the like."""
    for name in ("fget", "__func__", "func"):
        if isinstance(getattr(part, name, None), types.FunctionType):
            return getattr(part, name)
    return part


def _named(path: str, value: Any, seen: dict) -> Iterator[tuple[str, str]]:
    """What is built in, by its name; of a module of one's own, also its plain settings."""
    yield path, value.__name__
    if isinstance(value, types.ModuleType) and not _of_a_library(value.__name__):
        plain = {n: p for n, p in vars(value).items() if isinstance(p, _PLAIN) and not n.startswith("__")}
        yield from _parts(path, plain, seen)


_KINDS: dict[type, Callable[..., Iterator[tuple[str, str]]]] = {
    Tensor: _array,
    np.ndarray: _array,
    functools.partial: _partial,
    Mapping: _mapping,
    list: _list,
    tuple: _list,
    set: _set,
    frozenset: _set,
    nn.Module: _module,
    types.MethodType: _method,
    types.FunctionType: _function,
    functools._lru_cache_wrapper: lambda path, value, seen: _walk(path, value.__wrapped__, seen),
    type: _class,
    types.BuiltinFunctionType: _named,
    types.ModuleType: _named,
    object: _object,
}


def _of_a_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES


def _code(code: types.CodeType) -> str:
    """A digest of what a function does, the same wherever it stands and in every process."""
    constants = [_code(c) if isinstance(c, types.CodeType) else _constant(c) for c in code.co_consts]
    return _short(repr((code.co_code, code.co_names, code.co_varnames, constants)).encode())


def _constant(constant: Any) -> str:
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


def _names(code: types.CodeType) -> list[str]:
    """The global names that a function, and the functions in it, look up."""
    looked_up = [i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [*looked_up, *(name for c in inner for name in _names(c))]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _digest(value: Tensor | np.ndarray) -> str:
    """Type, shape and content of an array; of a tensor without content, type and shape."""
    told = f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, Tensor):
        if value.is_meta:
            return told
        dense = value.detach().to_dense() if value.layout != torch.strided else value.detach()
        value = dense.cpu().contiguous().flatten().view(torch.uint8).numpy() if dense.numel() else np.empty(0)
    content = repr(value.tolist()).encode() if value.dtype.hasobject else np.ascontiguousarray(value).tobytes()
    return f"{told} {_short(content)}"


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
