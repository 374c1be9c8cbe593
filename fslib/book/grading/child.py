"""The half of the grader that runs beside a submission, in a process of its own.

It is started as a script and needs the standard library alone: what is slow to import, the submission imports or the
first tensor does. It takes from the notebook what the graded functions need, calls them on the inputs that come over a
socket, and sends back plain values. It knows no reference and no mark, so nothing that a submission does to it is worth
more than another answer.

A message is two lengths, a header in JSON and the bytes of its tensors: nothing in it can be executed.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import json
import math
import os
import random
import re
import signal
import socket
import struct
import sys
import types
from collections.abc import Callable, Iterable
from typing import IO, Any

LENGTHS = struct.Struct("!QQ")
HEADER = 4 * 2**20  # bytes of JSON at most
_DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64"


# Values ---------------------------------------------------------------------------------------------------------


def pack(value: Any, buffers: list[bytes]) -> Any:
    """A value as what JSON can say; the bytes of tensors and arrays go into ``buffers``, in order.

    Of what is no plain value, only the name of its type is sent.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if value is ...:
        return ["ellipsis"]
    if isinstance(value, tuple | list):
        return ["tuple" if isinstance(value, tuple) else "list", *(pack(each, buffers) for each in value)]
    if isinstance(value, dict):
        return ["dict", *([pack(key, buffers), pack(each, buffers)] for key, each in value.items())]
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic):
        return pack(value.item(), buffers)
    if torch and isinstance(value, torch.Tensor):
        return ["tensor", *_packed(torch, value, buffers)]
    if torch and numpy and isinstance(value, numpy.ndarray) and value.dtype.kind in "biuf":
        return ["array", *_packed(torch, torch.from_numpy(numpy.array(value)), buffers)]
    if type(value).__name__ == "Episode":
        return ["episode", *(pack(each, buffers) for each in vars(value).values())]
    return ["other", type(value).__name__[:80]]


def _packed(torch: Any, tensor: Any, buffers: list[bytes]) -> tuple[str, list[int]]:
    plain = tensor.detach().cpu().contiguous()
    buffers.append(bytes(plain.flatten().view(torch.uint8).numpy()))
    return str(plain.dtype).removeprefix("torch."), list(plain.shape)


def unpack(tree: Any, payload: memoryview) -> Any:
    """The value that :func:`pack` packed, made of what is listed here and nothing else.

    Raises:
        Exception: of any kind, if it was packed by somebody else.
    """
    if not isinstance(tree, list):
        return tree
    used = 0

    def tensor(name: str, shape: list[int]) -> Any:
        nonlocal used
        import torch

        if name not in _DTYPES.split() or len(shape) > 16 or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("no tensor")
        dtype = getattr(torch, name)
        size = math.prod(shape) * dtype.itemsize
        part = bytearray(payload[used : used + size])
        used += size
        if len(part) != size:
            raise ValueError("bytes are missing")
        made = torch.frombuffer(part, dtype=dtype) if size else torch.empty(0, dtype=dtype)
        return made.reshape(shape)

    def value(tree: Any) -> Any:
        if not isinstance(tree, list):
            return tree
        kind, *parts = tree
        if kind == "tensor":
            return tensor(*parts)
        if kind == "array":
            return tensor(*parts).numpy()
        if kind == "other":
            return type(str(parts[0])[:80], (), {})()
        if kind == "ellipsis":
            return ...
        if kind == "dict":
            return {value(key): value(each) for key, each in parts}
        made = [value(part) for part in parts]
        if kind == "episode":
            from fslib.episodes import Episode

            return Episode(*made)
        return {"tuple": tuple, "list": list}[kind](made)

    return value(tree)


def send(channel: socket.socket, message: dict[str, Any], buffers: Iterable[bytes] = ()) -> None:
    """Send a message."""
    header, payload = json.dumps(message).encode(), b"".join(buffers)
    channel.sendall(LENGTHS.pack(len(header), len(payload)) + header + payload)


# The notebook ---------------------------------------------------------------------------------------------------


def statements(cells: list[str], notes: list[str]) -> list[tuple[int, ast.stmt]]:
    """All top-level statements with the numbers of their cells; ``notes`` gets what could not be read."""
    found = []
    for i, source in enumerate(cells, 1):
        # Lines for IPython, such as %matplotlib, !pip and fit?, are no Python.
        plain = re.sub(r"(?m)^([ \t]*)(?:[%!?].*|[\w.]+\?+)$", r"\1pass", source)
        for text in (source, plain):
            try:
                body = ast.parse(text).body
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                problem = f"Cell {i} is not Python: {getattr(error, 'msg', error)}, line {getattr(error, 'lineno', 1)}."
            else:
                found += [(i, statement) for statement in body]
                break
        else:
            notes.append(problem)
    return found


def needed(all_of_it: list[tuple[int, ast.stmt]], names: Iterable[str]) -> list[tuple[int, ast.stmt]]:
    """The statements that bind some names, and those that bind what these use, in their order.

    So no experiment is run again, no check, no picture: a call that stands alone binds nothing.
    """
    known = [_names(statement) for _, statement in all_of_it]
    wanted, chosen, grown = {*names, "*"}, set[int](), True
    while grown:
        more = {i for i, (bound, _) in enumerate(known) if bound & wanted} - chosen
        chosen |= more
        wanted = wanted.union(*(known[i][1] for i in more))
        grown = bool(more)
    return [all_of_it[i] for i in sorted(chosen)]


def _names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """The global names that a top-level statement binds, or of which it sets a part; and those that it uses."""
    bound, used = set[str](), set[str]()
    for node in ast.walk(statement):
        if isinstance(node, ast.alias) and node.name == "*":
            bound.add("*")
        while isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            node = node.value
            if isinstance(node, ast.Name):
                bound.add(node.id)
    try:
        codes = [_compiled(statement)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return bound, used  # and running it will say why
    while codes:
        code = codes.pop()
        codes += [each for each in code.co_consts if isinstance(each, types.CodeType)]
        for step in dis.get_instructions(code):
            if step.opname in ("STORE_NAME", "STORE_GLOBAL"):
                bound.add(step.argval)
            elif step.opname.startswith(("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")):
                used.add(step.argval)
    return bound, used


def _compiled(statement: ast.stmt, name: str = "") -> types.CodeType:
    return compile(ast.Module([statement], []), name, "exec", dont_inherit=True)


def run(cells: list[str], names: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The names of a notebook that some names need, and what went wrong on the way."""
    notes: list[str] = []
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module  # where dataclasses and pickle look
    for i, statement in needed(statements(cells, notes), names):
        try:
            exec(_compiled(statement, f"<cell {i}>"), vars(module))
        except BaseException as error:
            notes.append(f"Cell {i}, line {statement.lineno}, raised {_named(error)}")
    return vars(module), notes


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


# Answers --------------------------------------------------------------------------------------------------------


def answer(function: Callable[..., Any], request: dict[str, Any], payload: memoryview, buffers: list[bytes]) -> dict:
    """What a function gives, as a message: its result, or the error that it raised."""
    given = unpack(request["given"], payload)
    leaves = [given[i].requires_grad_() for i in request["leaves"]]
    seed(request["seed"])
    try:
        result = function(*given)
        if result is None or result is ...:
            return {"result": [pack(result, buffers)], "steps": _steps(function)}
        # A function that changes what it was given is told by the bytes of it.
        again: list[bytes] = []
        changed = pack(given, again) != request["given"] or b"".join(again) != payload
        slopes = _slopes(result, leaves) if leaves else []
        return {"result": [pack(each, buffers) for each in (result, *slopes)], "changed": changed}
    except BaseException as error:
        buffers.clear()
        return {"error": [type(error).__name__[:80], str(error)[:500]]}


def _slopes(result: Any, leaves: list[Any]) -> list[Any]:
    """The gradients of a number with regard to what it was made of; none, if it cannot be followed back."""
    torch = sys.modules["torch"]
    if not (isinstance(result, torch.Tensor) and result.requires_grad and result.numel() == 1):
        return []
    return [*torch.autograd.grad(result, leaves, allow_unused=True, materialize_grads=True)]


def seed(number: int | None) -> None:
    """Start all generators that an answer may draw from; ``None`` lets them run on."""
    if number is not None:
        random.seed(number)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed(number)
        if torch := sys.modules.get("torch"):
            torch.manual_seed(number)


def _steps(function: Any) -> list[str]:
    """What a function consists of, by which a stub is told from one that forgets its return."""
    if not isinstance(function, types.FunctionType):
        return ["no function"]
    return sorted({step.opname for step in dis.get_instructions(function)})


# The process ----------------------------------------------------------------------------------------------------


def limit(limits: dict[str, int]) -> None:
    """Set the limits of this process and of all that it starts: bytes of memory and of a file, processes."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # who prints without end is ended
    kinds = {"memory": resource.RLIMIT_AS, "output": resource.RLIMIT_FSIZE, "core": resource.RLIMIT_CORE}
    for name, kind in (kinds | {"processes": resource.RLIMIT_NPROC}).items():
        if name in limits:
            most = resource.getrlimit(kind)[1]
            value = limits[name] if most == resource.RLIM_INFINITY else min(limits[name], most)
            with contextlib.suppress(*[] if sys.platform == "linux" else [ValueError, OSError]):
                resource.setrlimit(kind, (value, value))


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], memoryview]:
    """A message of the parent; ends the process if the parent has gone."""
    head = stream.read(LENGTHS.size)
    if len(head) < LENGTHS.size:
        os._exit(0)
    header, payload = LENGTHS.unpack(head)
    return json.loads(stream.read(header)), memoryview(stream.read(payload))


def serve(channel: socket.socket, largest: int) -> None:
    """Answer one request after another."""
    own, stream = os.getpid(), channel.makefile("rb")
    known: dict[str, Any] = {}
    send(channel, {"token": "ready"})
    while True:
        request, payload = receive(stream)
        buffers: list[bytes] = []
        if "cells" in request:
            known, notes = run(request["cells"], request["names"])
            found = [name for name in request["names"] if callable(known.get(name))]
            reply: dict[str, Any] = {"found": found, "notes": notes[:20]}
        else:
            reply = answer(known[request["name"]], request, payload, buffers)
        if os.getpid() != own:  # a fork of the submission has come back
            os._exit(1)
        try:
            large = sum(map(len, buffers)) > largest or len(json.dumps(reply)) > HEADER
        except ValueError:  # a number of thousands of digits
            large = True
        if large:
            reply, buffers = {"large": True}, []
        send(channel, reply | {"token": request["token"]}, buffers)


if __name__ == "__main__":
    _limits = json.loads(sys.argv[2])
    limit(_limits)
    serve(socket.socket(fileno=int(sys.argv[1])), _limits["result"])
