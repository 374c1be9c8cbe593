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
    for name in ("pyproject.toml", "CHANGELOG.md", *release.address.FILES):
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
            release.git("init", "-q", "-b", release.address.BRANCH)
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
    release.git("tag", "v2-draft"), release.git("tag", "v9"), release.git("tag", "v9.9.9-rc.1")  # are no releases
    make("1.0.0", monkeypatch)
    with pytest.raises(SystemExit, match="already"):
        make("1.0.0", monkeypatch)
    with pytest.raises(SystemExit, match="later release"):
        make("0.10.0", monkeypatch)
    with pytest.raises(SystemExit, match="nothing under"):
        make("1.10.0", monkeypatch)  # all that is new was released


@pytest.mark.parametrize("branch", ["draft", None])
def test_a_release_is_made_on_its_branch_alone(project, monkeypatch, branch):
    release.git("checkout", "-q", *(["-b", branch] if branch else ["--detach"]))
    with pytest.raises(SystemExit, match=f"made on the branch main, and this is {branch or 'none'}"):
        make("1.0.0", monkeypatch)


@pytest.fixture
def before(project):
    """What the project holds: its files, its last commit, its tags, and what is staged."""

    def state():
        files = [path for path in project.rglob("*") if path.is_file() and ".git" not in path.parts]
        told = [release.git(*words.split()) for words in ("rev-parse HEAD", "tag", "status --porcelain")]
        return {path: path.read_bytes() for path in files}, told

    held = state()
    return lambda: state() == held


def fails(error, first=None):
    """What stands for a step of the release that does something, and fails."""

    def step(*_, **__):
        if first:
            first()
        raise error

    return step


@pytest.mark.parametrize(
    "error, why",
    [
        (subprocess.CalledProcessError(1, "pip"), "pip"),
        (SystemExit("With it, chapter 1 did not come to its end."), "chapter 1 did not"),
        (OSError("No space left"), "No space left"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
@pytest.mark.parametrize("step", ["checked_wheel", "address.main", "address._write_if_new"])
def test_whatever_stops_it_all_is_as_it_was(project, before, monkeypatch, step, error, why):
    monkeypatch.setattr(f"release.{step}", fails(error))
    with pytest.raises(SystemExit, match=rf"There is no release 1\.0\.0, and the files are as they were: .*{why}"):
        make("1.0.0", monkeypatch)
    assert before()


def hook(project, name, script):
    path = project / ".git" / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("name, script", [("pre-commit", ""), ("reference-transaction", "! grep -q refs/tags/ ||")])
def test_what_git_refuses_is_said_in_its_words_and_undone(project, before, monkeypatch, name, script):
    """A commit, and a tag on a commit that was made."""
    hook(project, name, f'{script} {{ echo "the hook says no" >&2; exit 1; }}')
    with pytest.raises(SystemExit, match=r"(?s)no release 1\.0\.0, .* as they were: git (commit|tag) failed.*says no"):
        make("1.0.0", monkeypatch)
    (project / ".git" / "hooks" / name).unlink()
    assert before()


def test_an_interrupt_after_the_tag_takes_all_back(project, before, monkeypatch):
    git = release.git

    def interrupted(*words, **where):
        said = git(*words, **where)
        if words[:2] == ("tag", "--annotate"):
            raise KeyboardInterrupt
        return said

    monkeypatch.setattr(release, "git", interrupted)
    with pytest.raises(SystemExit, match="There is no release"):
        make("1.0.0", monkeypatch)
    assert before()


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_an_edit_made_meanwhile_is_neither_discarded_nor_released(project, monkeypatch, staged, error):
    def edit():
        (project / "book" / "notation.md").write_text("an edit")
        if staged:
            release.git("add", "book/notation.md")

    monkeypatch.setattr(release, "checked_wheel", fails(error, edit) if error else edit)
    if error:
        with pytest.raises(SystemExit, match="There is no release"):
            make("1.0.0", monkeypatch)
    else:
        make("1.0.0", monkeypatch)
        assert "an edit" not in release.git("show", "v1.0.0:book/notation.md")
    assert (project / "book" / "notation.md").read_text() == "an edit"
    assert release.git("status", "--porcelain") == f"{'M ' if staged else ' M'} book/notation.md\n"


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_nor_is_one_of_what_is_released(project, monkeypatch, error):
    def edit():
        (project / "CITATION.cff").write_text("an edit")

    monkeypatch.setattr(release, "checked_wheel", fails(error, edit) if error else edit)
    with pytest.raises(SystemExit, match=r"as they were, but for CITATION\.cff, changed meanwhile: "):
        make("1.0.0", monkeypatch)
    assert (project / "CITATION.cff").read_text() == "an edit" and not release.git("tag")
    assert release.git("status", "--porcelain") == " M CITATION.cff\n"


def test_a_commit_made_meanwhile_is_not_released(project, monkeypatch):
    def commit():
        (project / "book" / "notation.md").write_text("an edit")
        release.git("commit", "-qm", "theirs", "book/notation.md")

    monkeypatch.setattr(release, "checked_wheel", commit)
    with pytest.raises(SystemExit, match="changed meanwhile"):
        make("1.0.0", monkeypatch)
    assert release.git("log", "-1", "--format=%s") == "theirs\n" and not release.git("tag")
    assert not release.git("status", "--porcelain")


def test_the_repository_of_a_hook_is_not_released(project, monkeypatch, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    release.git("init", "-q", str(other))
    for name, path in {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index"}.items():
        monkeypatch.setenv(name, str(other / path))
    make("1.0.0", monkeypatch)
    assert release.git("tag") == "v1.0.0\n" and not release.git("tag", root=other)


def test_what_is_new_gets_its_heading():
    text = release.released("# C\n\n## Unreleased\n\n- new\n\n## 0.1.0 (2026-01-01)\n\n- old\n", "0.2.0", "2026-02-02")
    assert text == "# C\n\n## Unreleased\n\n## 0.2.0 (2026-02-02)\n\n- new\n\n## 0.1.0 (2026-01-01)\n\n- old\n"
