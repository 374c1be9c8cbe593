"""The command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fslib.book.grading.classroom import grade_folder
from fslib.book.grading.process import MODES, Limits


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade a folder. The exit status is 1 if something could not be graded."""
    told = Limits()
    parser = argparse.ArgumentParser(
        prog="python -m fslib.book.grading",
        description="Grade a folder of notebooks. A run that was interrupted goes on where it was.",
        epilog=" ".join(f"{mode}: {words}" for mode, words in MODES.items()),
    )
    parser.add_argument("master", help="Python file whose assignment(key) returns what is graded")
    parser.add_argument("folder", help="holds what was handed in, a file or a folder for each student; or one file")
    parser.add_argument("-o", "--output", required=True, help="folder for marks, pages and records")
    parser.add_argument("--mode", choices=MODES, default="sandbox", help="default: %(default)s")
    parser.add_argument("--key", metavar="FILE", help="holds the key of the course")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=told.seconds, help="for a function (default: %(default)g)")
    parser.add_argument("--memory", type=float, default=told.memory / 2**30, help="in GB (default: %(default)g)")
    chosen = parser.parse_args(arguments)
    limits = Limits(seconds=chosen.seconds, memory=int(chosen.memory * 2**30))
    try:
        records = grade_folder(
            chosen.master, chosen.folder, chosen.output, chosen.mode, chosen.key, max(chosen.jobs, 1), limits
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"fslib.book.grading: {error}", file=sys.stderr)
        return 1
    mean = sum(record["points"] for record in records) / len(records)
    print(f"{len(records)} graded, {mean:.2f} points in the mean: {chosen.output}. {MODES[chosen.mode]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
