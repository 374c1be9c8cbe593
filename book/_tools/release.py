"""Make a release, which a course can hold on to: its notebooks fetch the package of the same release for ever.

    make release VERSION=0.2.0

The version goes into pyproject.toml, and from there into each notebook and CITATION.cff; what the changelog has under
*Unreleased* becomes this release. A wheel is built, and the first chapter runs with it where only Colab's packages are
around. Then all of it is committed and tagged. If anything fails, the files are as they were.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
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
    if git("status", "--porcelain", root=root):
        return "There are changes that no commit holds: commit or stash them first."
    tags = git("tag", "--list", "v*", root=root).split()
    if f"v{version}" in tags:
        return f"There is a release {version} already."
    later = [tag for tag in tags if numbers(tag[1:]) > numbers(version)]
    return f"{later[0][1:]} is a later release than {version}." if later else ""


def numbers(version: str) -> list[int]:
    """By which versions are in order."""
    return [int(part) for part in re.findall(r"\d+", version)]


def git(*words: str, root: Path = ROOT) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


def checked_wheel() -> None:
    """Build the wheel of the files at hand, and run the first chapter with it."""
    folder = ROOT / "_build" / "dist"
    for old in folder.glob("*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    subprocess.run(pip, cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "tests.colab", "wheel", str(wheel)], cwd=ROOT, check=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version")
    version = parser.parse_args().version
    if why_not := refused(version):
        sys.exit(why_not)
    project, changes = ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"
    try:
        news = released(changes.read_text(encoding="utf8"), version, datetime.date.today().isoformat())
    except ValueError as error:
        sys.exit(str(error))
    try:
        text = project.read_text(encoding="utf8")
        text = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', text, count=1)
        project.write_text(text, encoding="utf8")
        changes.write_text(news, encoding="utf8")
        address.main()
        checked_wheel()
        git("commit", "--quiet", "--all", "--message", f"Release {version}")
    except (subprocess.CalledProcessError, KeyboardInterrupt) as error:
        git("checkout", "--quiet", "--", ".")
        sys.exit(f"There is no release {version}, and the files are as they were: {error}")
    git("tag", "--annotate", "--message", f"Release {version}", f"v{version}")
    print(f"Release {version} is here. To publish it: git push origin {address.BRANCH} v{version}")


if __name__ == "__main__":
    main()
