"""Make a release, which a course can hold on to: its notebooks fetch the package of the same release for ever.

    make release VERSION=0.2.0

The version goes into pyproject.toml, and from there into each notebook and CITATION.cff; what the changelog has under
*Unreleased* becomes this release. A wheel is built, and the first chapter runs with it where only Colab's packages are
around. Then all of it is committed and tagged. If anything fails, the files are as they were. What else changes in the
meantime is neither released nor touched.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import address  # noqa: E402

UNRELEASED = "## Unreleased\n"


def released(changelog: str, version: str, day: str) -> str:
    """The changelog with what was unreleased under a heading of its own.

    Raises:
        ValueError: if nothing is unreleased.
    """
    before, found, after = changelog.partition(UNRELEASED)
    if not found or not after.partition("\n## ")[0].strip():
        raise ValueError("CHANGELOG.md has nothing under “## Unreleased”: say there what is new.")
    return f"{before}{UNRELEASED}\n## {version} ({day})\n{after}"


def refused(version: str, root: Path = ROOT) -> str:
    """Why there can be no such release now; empty if there can."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        return f"A version is three numbers, as in 0.2.0, and not {version!r}."
    branch = git("branch", "--show-current", root=root).strip()
    if branch != address.BRANCH:
        return f"A release is made on the branch {address.BRANCH}, and this is {branch or 'none'}."
    if git("status", "--porcelain", root=root):
        return "There are changes that no commit holds: commit or stash them first."
    tags = [tag for tag in git("tag", root=root).split() if re.fullmatch(r"v\d+\.\d+\.\d+", tag)]
    if f"v{version}" in tags:
        return f"There is a release {version} already."
    later = [tag for tag in tags if numbers(tag[1:]) > numbers(version)]
    return f"{later[0][1:]} is a later release than {version}." if later else ""


def numbers(version: str) -> list[int]:
    """By which versions are in order."""
    return [int(part) for part in re.findall(r"\d+", version)]


def git(*words: str, root: Path = ROOT) -> str:
    """What git says; the program ends with its own words if it fails."""
    # Within a hook, git tells of the repository that it runs for, which may be another one.
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    env = {key: value for key, value in os.environ.items() if key not in others}
    done = subprocess.run(["git", *words], cwd=root, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"git {words[0]} failed. {(done.stderr or done.stdout).strip()}")
    return done.stdout


def checked_wheel() -> None:
    """Build the wheel of the files at hand, and run the first chapter with it."""
    folder = ROOT / "_build" / "dist"
    for old in folder.glob("*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    subprocess.run(pip, cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "tests.colab", "wheel", str(wheel)], cwd=ROOT, check=True)


def read(files: Iterable[Path]) -> dict[Path, bytes | None]:
    """What each file holds; None if it is not there."""
    return {file: file.read_bytes() if file.exists() else None for file in files}


def undo(version: str, head: str, before: dict[Path, bytes], written: dict[Path, bytes]) -> list[str]:
    """Take back a release, whole or in part: tag, commit and files.

    Args:
        version: of the release.
        head: the commit on which it was to stand.
        before: what the files held that the release changes.
        written: what it made them hold; empty if it did not come to its end with that.

    Returns:
        Those of the files that somebody changed since, which stay so.
    """
    now = read(before)
    theirs = [file for file in before if written and now[file] != written[file]]
    for file in before:
        if file not in theirs and now[file] != before[file]:
            file.write_bytes(before[file])
    if git("tag", "--list", f"v{version}"):
        git("tag", "--delete", f"v{version}")
    if git("log", "-1", "--format=%P %s").strip() == f"{head} Release {version}":
        git("reset", "--quiet", "--soft", head)
    git("reset", "--quiet", "--", *map(str, before))
    return [file.relative_to(ROOT).as_posix() for file in theirs]


def release(version: str, news: str) -> None:
    """Write, check, commit and tag; or leave all as it was.

    Args:
        version: three numbers.
        news: the changelog with them.
    """
    project, changes = ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"
    before = read([project, changes, *(ROOT / name for name in address.FILES), *address.notebooks()])
    head, written = git("rev-parse", "HEAD").strip(), {}
    try:
        text = project.read_text(encoding="utf8")
        text = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', text, count=1)
        project.write_text(text, encoding="utf8")
        changes.write_text(news, encoding="utf8")
        address.main()
        written = read(before)
        checked_wheel()
        if read(before) != written or git("rev-parse", "HEAD").strip() != head:
            sys.exit("What was to be released was changed meanwhile.")
        git("commit", "--quiet", "--message", f"Release {version}", "--only", "--", *map(str, before))
        git("tag", "--annotate", "--message", f"Release {version}", f"v{version}")
    except BaseException as error:
        changed = undo(version, head, before, written)
        but = f", but for {', '.join(changed)}, changed meanwhile" if changed else ""
        why = str(error) or type(error).__name__
        sys.exit(f"There is no release {version}, and the files are as they were{but}: {why}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version")
    version = parser.parse_args().version
    if why_not := refused(version):
        sys.exit(why_not)
    try:
        text = (ROOT / "CHANGELOG.md").read_text(encoding="utf8")
        news = released(text, version, datetime.date.today().isoformat())
    except ValueError as error:
        sys.exit(str(error))
    release(version, news)
    print(f"Release {version} is here. To publish it: git push origin {address.BRANCH} v{version}")


if __name__ == "__main__":
    main()
