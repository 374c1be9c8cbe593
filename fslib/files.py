"""Where files live, and how to write them so that neither a killed run nor one of several at once loses anything."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:  # on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

_STALE = 24 * 3600  # seconds after which nobody is writing to a temporary file any more


def cache_dir() -> Path:
    """The folder for what can be made again: ``$FSLIB_CACHE``, else ``fslib`` in the user's cache folder.

    A user without a home folder, as in many containers, gets a temporary one, with a warning.

    Raises:
        ValueError: if ``$FSLIB_CACHE`` names the home folder of nobody.
    """
    if chosen := _chosen("FSLIB_CACHE"):
        return chosen
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fslib"
    except RuntimeError:  # no home folder
        user = os.getuid() if hasattr(os, "getuid") else ""
        folder = Path(tempfile.gettempdir(), f"fslib-{user}")
        warnings.warn(
            f"There is no home folder, so {folder} is the cache; set FSLIB_CACHE to a folder that lasts.",
            stacklevel=2,
        )
        return folder


def data_dir() -> Path:
    """The folder for downloaded data sets: ``$FSLIB_DATA``, else ``data`` in :func:`cache_dir`.

    Raises:
        ValueError: if ``$FSLIB_DATA`` names the home folder of nobody.
    """
    return _chosen("FSLIB_DATA") or cache_dir() / "data"


def results_dir() -> Path:
    """The folder of records and trained weights: ``$FSLIB_RESULTS``, else that which came with the package.

    Raises:
        ValueError: if ``$FSLIB_RESULTS`` names the home folder of nobody.
    """
    return (_chosen("FSLIB_RESULTS") or came_with("")).absolute()


def came_with(name: str) -> Path:
    """A file of ``results/`` that came with the package: beside it in a checkout, in it where it is installed."""
    package = package_dir()
    in_checkout = not (package / "results").is_dir() and (package.parent / "pyproject.toml").is_file()
    return (package.parent if in_checkout else package) / "results" / name


def package_dir() -> Path:
    """The folder of the package itself."""
    return Path(__file__).parent


def _chosen(variable: str) -> Path | None:
    """The folder that an environment variable names, if it is set."""
    if not (folder := os.environ.get(variable)):
        return None
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{variable} is {folder}, but there is no such home folder; set it to a full path."
        ) from error


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write to a temporary neighbour of ``path``, and put it in place only when all of it is written.

    An interrupted write leaves the old file, and the folders above it, as they were. Each writer has a temporary file
    of its own, so of several at once the last to finish wins. What a killed writer left lying is removed by a later
    write of the same file, once it is a day old.

    Who changes what the file holds, instead of writing it anew, takes :func:`locked` around both reading and writing.

    Raises:
        OSError: naming ``path``, if a file cannot be written there.

    Example:
        >>> with atomic_write("numbers.txt") as temporary:
        ...     _ = temporary.write_text("1 2 3")
    """
    path = Path(path)
    made = [folder for folder in path.parents if not os.path.exists(folder)]
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # A process number would not do: threads share it, and in containers it is mostly 1.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
        except OSError as error:  # names a folder, or a file that nobody has heard of
            raise OSError(error.errno, error.strerror, str(path)) from error
        _sweep(path)
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # where its folder could not be made
            temporary.unlink()
        for folder in made:
            with suppress(OSError):  # somebody else may have filled it
                folder.rmdir()
        raise


def _sweep(path: Path) -> None:
    """Remove temporary files of ``path`` whose writers must be dead."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):  # somebody else may have removed it
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Make others who ask for the same ``path``, threads or processes, wait until the block ends.

    The lock is a file of its own beside ``path``, whose folder must be there: ``path`` itself may be replaced
    meanwhile. It is gone afterwards, and that of a killed process keeps nobody out. Where the file system knows no
    locks, nobody waits.

    Example:
        >>> with locked("numbers.txt"):
        ...     with atomic_write("numbers.txt") as temporary:
        ...         _ = temporary.write_text("1 2 3 4")
    """
    lock = Path(path).with_name(f".{Path(path).name}.lock")
    while True:
        with open(lock, "a") as held:
            if fcntl is not None:
                with suppress(OSError):
                    fcntl.flock(held, fcntl.LOCK_EX)
            # Who had it before has removed it, and the next to come would lock a new one.
            if not _is_at(held, lock):
                continue
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps a file that is open
                    lock.unlink()
            return


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
