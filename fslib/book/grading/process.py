"""The child process of a submission, seen from the grader: starting it, asking it, ending it."""

from __future__ import annotations

import functools
import json
import os
import secrets
import signal
import site
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fslib.book.checks.exercise import Found
from fslib.book.grading import child, namespaces
from fslib.files import came_with, package_dir

#: The modes, and what each of them promises.
MODES = {
    "self-check": "Your own work on your own machine: a process of its own, and limits, but no sandbox.",
    "sandbox": "Someone else's work: it sees no network, no other process, and of the files only Python and its "
    "packages; it runs as a user without rights.",
    "container": "The platform's container is the boundary: inside of it a submission may read everything, so nothing "
    "hidden is put in.",
}
_GREETING = 120  # seconds in which Python starts, on a machine that is busy


@dataclass(frozen=True)
class Limits:
    """What a submission may take. They hold in all modes, but for the processes, which only a sandbox can count.

    Attributes:
        seconds: of the clock, for a graded function and all its inputs together.
        loading: seconds of the clock for what the notebook imports and defines.
        memory: bytes of addresses in one process; PyTorch alone takes three gigabytes of them.
        output: bytes that may be printed, and of one file that is written; a sandbox has room for twice as much.
        result: bytes of tensors in one result.
        processes: and threads, at one time.
    """

    seconds: float = 20.0
    loading: float = 60.0
    memory: int = 6 * 2**30
    output: int = 16 * 2**20
    result: int = 64 * 2**20
    processes: int = 32


class Child:
    """A process that runs the code of a submission. What fails is said by :class:`~fslib.book.checks.exercise.Found`.

    Args:
        mode: one of :data:`MODES`.
        limits: what it may take.

    Raises:
        OSError: if Python does not start there, which is no fault of the submission.
    """

    def __init__(self, mode: str, limits: Limits):
        self.limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="fslib-grading-", ignore_cleanup_errors=True)
        self._printed = tempfile.TemporaryFile()
        self._channel, theirs = socket.socketpair()
        told = {name: value for name, value in asdict(limits).items() if isinstance(value, int)} | {"core": 0}
        if mode != "sandbox":
            del told["processes"]  # of this user there are others
        program = [sys.executable, "-P", child.__file__, str(theirs.fileno()), json.dumps(told)]
        if mode == "sandbox":
            program = _in_sandbox(program, self._folder.name, 2 * limits.output)
        with theirs:
            self._process = subprocess.Popen(
                program, cwd=self._folder.name, env=_environment(mode, self._folder.name), stdin=subprocess.DEVNULL,
                stdout=self._printed, stderr=self._printed, pass_fds=[theirs.fileno()], start_new_session=True,
                preexec_fn=namespaces.die_with_parent,
            )  # fmt: skip
        try:
            self._receive("ready", time.monotonic() + _GREETING)
        except Found:
            self.close()
            raise OSError(f"Python does not start in the mode {mode}: {self._last_words()}") from None

    def ask(self, message: dict[str, Any], buffers: Iterable[bytes], seconds: float) -> tuple[dict, memoryview]:
        """The answer to a message, and the bytes of its tensors.

        Raises:
            Found: if none comes in time, or none of the right form; the process is then of no more use.
        """
        token = secrets.token_hex(16)
        deadline = time.monotonic() + seconds
        try:
            self._channel.settimeout(max(seconds, 0.001))
            child.send(self._channel, message | {"token": token}, buffers)
        except OSError as error:
            raise self._why(error) from None
        return self._receive(token, deadline)

    def _receive(self, token: str, deadline: float) -> tuple[dict, memoryview]:
        header, payload = child.LENGTHS.unpack(self._read(child.LENGTHS.size, deadline))
        if header > child.HEADER + 1000 or payload > self.limits.result:
            raise Found("no answer")
        told, rest = self._read(header, deadline), self._read(payload, deadline)
        try:
            reply = json.loads(bytes(told))
        except (ValueError, RecursionError):
            raise Found("no answer") from None
        if not isinstance(reply, dict) or reply.get("token") != token:
            raise Found("no answer")
        if reply.get("large"):
            raise Found("large result", limit=_megabytes(self.limits.result))
        return reply, rest

    def _read(self, size: int, deadline: float) -> memoryview:
        """So many bytes, or what has become of the process."""
        read, into = 0, memoryview(bytearray(size))
        while read < size:
            try:
                self._channel.settimeout(max(deadline - time.monotonic(), 0.001))
                got = self._channel.recv_into(into[read:])
            except OSError as error:
                raise self._why(error) from None
            if not got:
                raise self._why()
            read += got
        return into

    def _why(self, error: OSError | None = None) -> Found:
        """What there is to say of a process that does not answer."""
        if isinstance(error, TimeoutError):
            return Found("too long", seconds=f"{self.limits.seconds:g}")
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return Found("no answer")  # it closed the connection, and lives on
        number = -code if code < 0 else code - 128  # of a signal, told by Python or as a shell does
        if number == signal.SIGXFSZ:
            return Found("large output", limit=_megabytes(self.limits.output))
        if number in set(signal.Signals):
            return Found("ended", how=signal.Signals(number).name)
        return Found("ended", how=f"exit status {code}")

    def _last_words(self) -> str:
        self._printed.seek(max(0, self._printed.seek(0, os.SEEK_END) - 2000))
        lines = self._printed.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it says nothing."

    def close(self) -> None:
        """End the process, and all that it has started where they can be found; remove what it wrote."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._channel.close()
        self._folder.cleanup()


def check_mode(mode: str) -> None:
    """Make sure that a mode exists, and works here.

    Raises:
        ValueError: if there is no such mode, or what it needs is missing.
    """
    if mode not in MODES:
        raise ValueError(f"There is no mode {mode!r}; the modes are {', '.join(MODES)}.")
    if os.name != "posix":
        raise ValueError("Grading needs Linux or macOS; the checks in the notebooks work on Windows, too.")
    if mode == "sandbox" and (problem := _no_sandbox()):
        raise ValueError(
            f"There is no sandbox here: {problem} Being root is none either. Grade on a Linux that allows user "
            "namespaces, or in a container, by the mode container, which hides nothing from a submission."
        )


@functools.cache
def _no_sandbox() -> str:
    """Why there can be no sandbox on this machine; empty if there can."""
    if sys.platform != "linux":
        return "it is made of Linux namespaces."
    with tempfile.TemporaryDirectory() as room:
        program = _in_sandbox([sys.executable, "-I", "-c", ""], room, 2**20)
        done = subprocess.run(program, capture_output=True, text=True, errors="replace")
    if done.returncode == 0:
        return ""
    return f"{(done.stderr.strip().splitlines() or ['it does not start'])[-1].rstrip('.')}."


def readable() -> list[str]:
    """What a submission can read in a sandbox: the system's programs, Python, its packages, and this one."""
    system = ["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts"]
    packages = [sys.prefix, sys.base_prefix, *site.getsitepackages(), *(p for p in sys.path if "-packages" in p)]
    ours = map(str, [package_dir(), package_dir().parent / "pyproject.toml", came_with("")])
    named = [os.path.abspath(path) for path in (*system, "/sys/devices/system/cpu", *packages, *ours)]
    found = {path for name in named for path in (name, os.path.realpath(name)) if os.path.exists(path)}
    return sorted(path for path in found if not any(str(above) in found for above in Path(path).parents))


def _in_sandbox(program: list[str], room: str, size: int) -> list[str]:
    told = json.dumps({"readable": readable(), "room": room, "bytes": size})
    return [sys.executable, "-I", namespaces.__file__, told, *program]


def _environment(mode: str, folder: str) -> dict[str, str]:
    """Nothing of ours but what Python needs to find its packages."""
    home = "/tmp" if mode == "sandbox" else folder
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return kept | {
        "PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "MPLCONFIGDIR": home, "MPLBACKEND": "Agg",
        "USER": "student", "LANG": "C.UTF-8", "PYTHONPATH": str(package_dir().parent), "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
        "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip


def _megabytes(size: int) -> str:
    return f"{size / 2**20:g} MB"
