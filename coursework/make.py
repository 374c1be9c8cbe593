"""Make what an assignment consists of: the students' notebook, the solution, the notes for the instructor.

Each assignment is one file, `week_*.py`, its master. This program needs four things of it:

- `varied(key)`: what differs from course to course, by name. `{{cap}}` in a text stands for what is called `cap` there;
- `PAGE`: the notebook, as Markdown. A fence with `python solution` is what students write, any other `python` they get;
- `NOTES`: what a person needs who marks the rest, as Markdown;
- `assignment(key)`: what the grader grades.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import runpy
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from fslib.book.grading import Assignment, grade
from fslib.files import atomic_write

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from address import METADATA, first_cell, lines, project  # noqa: E402

FENCE = re.compile(r"^```python( solution)?\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
STUB = '    # ... your answer, in place of the next line\n    raise NotImplementedError("not written yet: {name}")'
UNDER_TITLE = """
Coursework to [*Learning to Compare*]({site}), an executable book on few-shot learning. In Colab, choose *File*,
*Upload notebook*, and this file. Hand in the notebook itself, the `.ipynb` file. The functions are found by
their names, so keep these; cells may be added, moved and copied. What a function needs should stand at the top level
of a cell.
"""


def made(master: Path, key: str) -> dict[str, str]:
    """The files of an assignment, by name."""
    of = runpy.run_path(str(master))
    page, notes = (filled(of[name], of["varied"](key)) for name in ("PAGE", "NOTES"))
    return {
        "student.ipynb": notebook(page, solved=False),
        "solution.ipynb": notebook(page, solved=True),
        "notes.md": notes.strip() + "\n\n" + known_mistakes(of["assignment"](key)),
    }


def filled(text: str, values: dict[str, object]) -> str:
    """A text with the values in it.

    Raises:
        ValueError: if there is no such value.
    """
    if unknown := set(re.findall(r"\{\{(\w+)\}\}", text)) - set(values):
        raise ValueError(f"varied() gives no {min(unknown)!r}, which a text of the master wants.")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: str(values[found[1]]), text)


def notebook(page: str, solved: bool) -> str:
    """A page as a notebook, which begins with the cell that fetches the package; with solutions, or with stubs."""
    title, *parts = FENCE.split(page)
    heading, _, rest = title.strip().partition("\n")
    cells = [
        cell("markdown", f"{heading}\n{UNDER_TITLE.format(site=project().site)}", "title"),
        cell("code", first_cell(project(), units=20), "first-cell"),
        cell("markdown", rest.strip(), "cell-0"),
    ]
    for i in range(0, len(parts), 3):
        solution, code, text = parts[i : i + 3]
        cells.append(cell("code", stub(code) if solution and not solved else code, f"cell-{i + 1}"))
        if text.strip():
            cells.append(cell("markdown", text.strip(), f"cell-{i + 2}"))
    return (
        json.dumps(
            {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}, indent=1
        )
        + "\n"
    )


def cell(kind: str, source: str, name: str) -> dict:
    """A cell of a notebook."""
    code = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": name, "metadata": {}, "source": lines(source)} | code


def stub(code: str) -> str:
    """What students find in place of a solution: of a function, its head and its docstring."""
    functions = [each for each in ast.parse(code).body if isinstance(each, ast.FunctionDef)]
    written = code.splitlines()
    heads = ["\n".join(written[each.lineno - 1 : each.body[0].end_lineno]) for each in functions]
    stubs = [
        f"{head}\n{STUB.format(name=each.name)}"
        for head, each in zip(heads, functions, strict=True)
    ]
    return "\n\n\n".join(stubs) or "...  # your answer"


def known_mistakes(assignment: Assignment) -> str:
    """What the grader knows of each function, and what it says."""
    listed = []
    for graded in assignment.functions:
        listed.append(
            f"### `{graded.function}`, {graded.points:g} points\n\nIt returns {graded.exercise.asks}.\n"
        )
        listed += [f"- *{key}*: {wrong.text}" for key, wrong in graded.exercise.wrong.items()]
        listed.append(f"- *anything else*: {graded.exercise.otherwise}\n")
    return "## What the grader says of wrong answers\n\n" + "\n".join(listed)


def check(files: dict[str, str], assignment: Assignment) -> None:
    """Make sure that the solution gets all points and the students' notebook none.

    Raises:
        ValueError: if not; then the master has a mistake.
    """
    # Both are our own work, which needs no sandbox; without a key, others than the hidden inputs are drawn.
    assignment = replace(assignment, key="")
    with tempfile.TemporaryDirectory() as folder:
        for name, all_or_nothing in (("solution.ipynb", 1), ("student.ipynb", 0)):
            path = Path(folder, name)
            path.write_text(files[name], encoding="utf8")
            report = grade(path, assignment, "self-check")
            if report.points != all_or_nothing * report.of:
                said = "\n".join(f"{mark.function}: {mark.message}" for mark in report.marks)
                raise ValueError(
                    f"{name} of {assignment.name} gets {report.points:g} of {report.of:g} points.\n{said}"
                )


def main(arguments: list[str] | None = None) -> int:
    """Make all assignments of a folder. The exit status is 1 if one has a mistake."""
    parser = argparse.ArgumentParser(
        description="Make notebooks and notes from the masters of assignments."
    )
    parser.add_argument(
        "--masters",
        type=Path,
        default=Path(__file__).parent,
        help="their folder (default: this one)",
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="holds the key of the course (default: none, a sample)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=ROOT / "_build" / "coursework",
        help="default: %(default)s",
    )
    chosen = parser.parse_args(arguments)
    try:
        key = chosen.key.read_text(encoding="utf8").strip() if chosen.key else ""
        masters = sorted(chosen.masters.glob("week_*.py"))
        if not masters:
            raise ValueError(
                f"There is no master in {chosen.masters}: put files named week_*.py there."
            )
        for master in masters:
            files = made(master, key)
            check(files, runpy.run_path(str(master))["assignment"](key))
            for name, text in files.items():
                with atomic_write(chosen.output / master.stem / name) as temporary:
                    temporary.write_text(text, encoding="utf8")
            print(f"{chosen.output / master.stem}: {', '.join(files)}")
    except (ValueError, OSError) as error:
        print(f"coursework/make.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
