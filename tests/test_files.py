"""Nothing is ever half written, and folders are where they are said to be."""

import errno
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from fslib import files
from fslib.book import ledger


def test_writes_a_file_and_the_folders_above_it(tmp_path):
    path = tmp_path / "a" / "b" / "numbers.txt"
    with files.atomic_write(str(path)) as temporary:
        temporary.write_text("1 2 3")
        assert not path.exists()
    assert path.read_text() == "1 2 3"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    with pytest.raises(error), files.atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_file_is_a_neighbour(tmp_path):
    # Only within one file system can a file be put in place in one step.
    with files.atomic_write(tmp_path / "numbers.txt") as temporary:
        temporary.touch()
        assert temporary.parent == tmp_path


def test_writers_of_one_file_keep_apart(tmp_path):
    # Threads share a process number, and so do the containers that write to one volume.
    path = tmp_path / "numbers.txt"
    first, second = files.atomic_write(path), files.atomic_write(path)
    with first.__enter__().open("wb") as a, second.__enter__().open("wb") as b:
        a.write(b"A" * 1000)
        b.write(b"B" * 600)
    first.__exit__(None, None, None)
    assert path.read_bytes() == b"A" * 1000
    second.__exit__(None, None, None)
    assert path.read_bytes() == b"B" * 600
    assert list(tmp_path.iterdir()) == [path]


def test_many_threads_never_leave_half_a_file(tmp_path):
    path, seen, errors = tmp_path / "deep" / "numbers.txt", set(), []

    def write(letter):
        try:
            for _ in range(20):
                with files.atomic_write(path) as temporary:
                    temporary.write_text(letter * 5000)
                seen.add(path.read_text())
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and seen <= {letter * 5000 for letter in "abcdefgh"}
    assert list(path.parent.iterdir()) == [path]


def test_a_written_file_has_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        (tmp_path / "usual").touch()
        with files.atomic_write(tmp_path / "ours") as temporary:
            temporary.touch()
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path):
    old, new, other = (tmp_path / name for name in (".a[1].txt.7.part", ".a[1].txt.8.part", ".b.txt.7.part"))
    for left in (old, new, other):
        left.touch()
    for left in (old, other):
        os.utime(left, (time.time() - 90_000,) * 2)
    with files.atomic_write(tmp_path / "a[1].txt") as temporary:
        temporary.touch()
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a[1].txt", new, other])


def test_exception_leaves_no_folders_that_were_made_for_the_file(tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(ValueError), files.atomic_write(tmp_path / "here" / "a" / "b" / "numbers.txt"):
        raise ValueError
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


@pytest.mark.parametrize(
    "environment, cache, data",
    [
        ({}, "~/.cache/fslib", "~/.cache/fslib/data"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/fslib", "/x/fslib/data"),
        ({"XDG_CACHE_HOME": "/x", "FSLIB_CACHE": "/c"}, "/c", "/c/data"),
        ({"FSLIB_CACHE": "~/c", "FSLIB_DATA": "~/d"}, "~/c", "~/d"),
        ({"FSLIB_CACHE": "", "FSLIB_DATA": ""}, "~/.cache/fslib", "~/.cache/fslib/data"),
    ],
)
def test_folders_follow_the_environment(monkeypatch, environment, cache, data):
    for name in ("XDG_CACHE_HOME", "FSLIB_CACHE", "FSLIB_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert files.cache_dir() == Path(cache).expanduser()
    assert files.data_dir() == Path(data).expanduser()


@pytest.fixture
def nobody(monkeypatch):
    """A user without a home folder and without a name, as in many containers."""
    pwd = pytest.importorskip("pwd")  # on Windows, a user has both

    def unknown(user):
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("HOME", "USERPROFILE", "HOMEPATH", "XDG_CACHE_HOME", "FSLIB_CACHE", "FSLIB_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_what_came_with_the_package_is_beside_it_or_in_it(monkeypatch, tmp_path):
    monkeypatch.delenv("FSLIB_RESULTS", raising=False)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "fslib" / "files.py"))
    (tmp_path / "results").mkdir()  # somebody else's, where packages lie side by side
    assert files.came_with("a/b.npy") == tmp_path / "fslib" / "results" / "a" / "b.npy"
    (tmp_path / "pyproject.toml").touch()  # a checkout
    assert files.came_with("a/b.npy") == tmp_path / "results" / "a" / "b.npy"
    assert files.results_dir() == ledger.folder() == tmp_path / "results"
    (tmp_path / "fslib" / "results").mkdir(parents=True)
    assert files.came_with("a/b.npy") == tmp_path / "fslib" / "results" / "a" / "b.npy"
    assert files.results_dir() == ledger.folder() == tmp_path / "fslib" / "results"


def test_what_came_with_the_package_stays_there_when_records_lie_elsewhere(monkeypatch, tmp_path):
    came = files.came_with("a/b.npy")
    monkeypatch.setenv("FSLIB_RESULTS", str(tmp_path))
    assert files.results_dir() == tmp_path and files.came_with("a/b.npy") == came


def test_without_a_home_folder_the_cache_is_temporary(nobody, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for where in (files.cache_dir, lambda: files.data_dir().parent):
        with pytest.warns(UserWarning, match="no home folder, so .* set FSLIB_CACHE"):
            assert where().parent == tmp_path


@pytest.mark.parametrize(
    "name, folder",
    [("FSLIB_CACHE", files.cache_dir), ("FSLIB_DATA", files.data_dir), ("FSLIB_RESULTS", files.results_dir)],
)
def test_the_home_folder_of_nobody_is_refused(monkeypatch, name, folder):
    monkeypatch.setenv(name, "~nosuchuser/x")
    with pytest.raises(ValueError, match=f"{name} is ~nosuchuser/x, but there is no such home folder"):
        folder()


@pytest.mark.parametrize("name", ["folder", "file/numbers.txt", "file/a/b/numbers.txt", "n" * 250])
def test_where_nothing_can_be_written_the_path_asked_for_is_named(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(OSError) as caught, files.atomic_write(path):
        pytest.fail("nothing can be written here")
    assert caught.value.filename == str(path) and ".part" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file", tmp_path / "folder"]


def test_a_folder_that_may_not_be_written_to_is_no_hidden_name(tmp_path, monkeypatch):
    def denied(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", denied)
    path = tmp_path / "new" / "numbers.txt"
    with pytest.raises(PermissionError) as caught, files.atomic_write(path):
        pytest.fail("nothing can be written here")
    assert caught.value.filename == str(path) and not path.parent.exists()


# Locks ------------------------------------------------------------------------------------------------------


def test_of_several_only_one_is_within(tmp_path):
    path, within = tmp_path / "numbers.txt", []
    path.write_text("0")

    def count():
        for _ in range(25):
            with files.locked(path):
                within.append(1)
                assert len(within) == 1
                number = int(path.read_text())
                time.sleep(0.0005)
                with files.atomic_write(path) as temporary:
                    temporary.write_text(str(number + 1))
                within.pop()

    with ThreadPoolExecutor(8) as threads:
        for counted in [threads.submit(count) for _ in range(8)]:
            counted.result()
    assert path.read_text() == "200" and list(tmp_path.iterdir()) == [path]


def test_a_lock_is_gone_after_a_mistake(tmp_path):
    with pytest.raises(ZeroDivisionError), files.locked(tmp_path / "a"):
        _ = 1 / 0
    assert not list(tmp_path.iterdir())
    with files.locked(tmp_path / "a"):
        pass


def test_what_a_killed_process_leaves_keeps_nobody_out(tmp_path):
    told = "import os, sys; from fslib import files\nwith files.locked(sys.argv[1]): os._exit(9)"
    killed = subprocess.run([sys.executable, "-c", told, str(tmp_path / "a")])
    assert killed.returncode == 9 and [path.name for path in tmp_path.iterdir()] == [".a.lock"]
    with files.locked(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), None])
def test_without_locks_nobody_waits(monkeypatch, tmp_path, error):
    def flock(*_):
        raise error

    monkeypatch.setattr(files, "fcntl", error and SimpleNamespace(flock=flock, LOCK_EX=2))
    with files.locked(tmp_path / "a"):
        (tmp_path / "a").write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
