"""Where files live, and how to write them so that a killed run loses nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """The folder for what can be made again: ``$FSLIB_CACHE``, else ``fslib`` in the user's cache folder."""
    if chosen := os.environ.get("FSLIB_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fslib"


def data_dir() -> Path:
    """The folder for downloaded data sets: ``$FSLIB_DATA``, else ``data`` in :func:`cache_dir`."""
    if chosen := os.environ.get("FSLIB_DATA"):
        return Path(chosen).expanduser()
    return cache_dir() / "data"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write to a temporary neighbour of ``path``, and put it in place only when all of it is written.

    An interrupted write leaves the old file as it was.

    Example:
        >>> with atomic_write("numbers.txt") as temporary:
        ...     _ = temporary.write_text("1 2 3")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
