"""A release: what is refused, and what it leaves behind when a check fails."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_tools"))
import release  # noqa: E402


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small repository to release, whose wheel is not checked."""
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "chapters", tmp_path / "chapters")
    shutil.copytree(ROOT / "book", tmp_path / "book")
    for module in (release, release.address):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(release.address.project, "__defaults__", (tmp_path,))
    monkeypatch.setattr(release.address.notebooks, "__defaults__", (tmp_path,))
    monkeypatch.setattr(release.git, "__kwdefaults__", {"root": tmp_path})
    monkeypatch.setattr(release.refused, "__defaults__", (tmp_path,))
    monkeypatch.setattr(release, "checked_wheel", lambda: None)
    for setting in ("user.name a", "user.email a@b", "commit.gpgsign false", "tag.gpgsign false"):
        if not (tmp_path / ".git").exists():
            release.git("init", "-q")
        release.git("config", *setting.split())
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    release.git("add", "-A")
    release.git("commit", "-qm", "all")
    return tmp_path


def make(version, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["release.py", version])
    release.main()


def test_a_release_is_in_step_committed_and_tagged(project, monkeypatch, capsys):
    make("7.0.1", monkeypatch)
    assert release.git("tag").split() == ["v7.0.1"] and not release.git("status", "--porcelain")
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "chapters/02_episodes.ipynb"):
        assert "7.0.1" in release.git("show", f"v7.0.1:{name}"), name
    assert "git push origin main v7.0.1" in capsys.readouterr().out


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "", "1.0.0; rm"])
def test_what_is_no_version_is_refused(project, monkeypatch, version):
    with pytest.raises(SystemExit, match="three numbers, as in"):
        make(version, monkeypatch)


def test_what_would_mix_or_turn_back_is_refused(project, monkeypatch):
    (project / "CITATION.cff").write_text("changed")
    with pytest.raises(SystemExit, match="no commit holds"):
        make("1.0.0", monkeypatch)
    release.git("checkout", "-q", "--", ".")
    make("1.0.0", monkeypatch)
    with pytest.raises(SystemExit, match="already"):
        make("1.0.0", monkeypatch)
    with pytest.raises(SystemExit, match="later release"):
        make("0.10.0", monkeypatch)
    with pytest.raises(SystemExit, match="nothing under"):
        make("1.10.0", monkeypatch)  # all that is new was released


def test_when_a_check_fails_all_is_as_it_was(project, monkeypatch):
    def fails():
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(release, "checked_wheel", fails)
    before = {path: path.read_bytes() for path in project.glob("*") if path.is_file()}
    with pytest.raises(SystemExit, match=r"There is no release 1\.0\.0"):
        make("1.0.0", monkeypatch)
    assert {path: path.read_bytes() for path in project.glob("*") if path.is_file()} == before
    assert not release.git("tag") and not release.git("status", "--porcelain")


def test_what_is_new_gets_its_heading():
    text = release.released("# C\n\n## Unreleased\n\n- new\n\n## 0.1.0 (2026-01-01)\n\n- old\n", "0.2.0", "2026-02-02")
    assert text == "# C\n\n## Unreleased\n\n## 0.2.0 (2026-02-02)\n\n- new\n\n## 0.1.0 (2026-01-01)\n\n- old\n"
