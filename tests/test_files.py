"""Nothing is ever half written, and folders are where they are said to be."""

from pathlib import Path

import pytest

from fslib import files


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
