"""What is shown of marks: lists for Canvas, Moodle and Gradescope, and a page for each student."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fslib.book.grading.assignment import Assignment
from fslib.book.grading.process import MODES
from fslib.files import atomic_write

Record = dict[str, Any]
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}"
    "td,th{text-align:left;vertical-align:top;padding:.4rem 1rem .4rem 0}td:last-child{white-space:pre-line}"
)


def write(output: str | Path, assignment: Assignment, records: Sequence[Record]) -> None:
    """Write ``canvas.csv``, ``moodle.csv`` and ``feedback/``; of a single submission ``results.json``, too."""
    output = Path(output)
    of = sum(graded.points for graded in assignment.functions)
    _table(output / "canvas.csv", canvas(assignment.name, of, records))
    _table(output / "moodle.csv", moodle(of, records))
    names = set[str]()
    for record in records:
        name = f"{record['student']}-{record['id']}".replace("/", "_").strip("-.")[:80] or "student"
        while name in names:
            name += "_"
        names.add(name)
        _text(output / "feedback" / f"{name}.html", page(assignment.name, record))
    if len(records) == 1:
        _text(output / "results.json", json.dumps(gradescope(records[0]), indent=1))


def canvas(name: str, of: float, records: Iterable[Record]) -> list[list[str]]:
    """The gradebook that Canvas takes in. It goes by the number in ``ID``, which is that of the file's name."""
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", name]
    return [
        head,
        ["    Points Possible", "", "", "", "", f"{of:g}"],
        *([record["student"], record["id"], "", "", "", f"{record['points']:g}"] for record in records),
    ]


def moodle(of: float, records: Iterable[Record]) -> list[list[str]]:
    """The worksheet for offline grading of Moodle, which goes by the number of the participant."""
    rows = [["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade", "Grade can be changed",
             "Last modified (submission)", "Last modified (grade)", "Feedback comments"]]  # fmt: skip
    for record in records:
        said = "\n".join(f"{mark['function']}: {mark['message']}" for mark in record["marks"])
        points = [f"{record['points']:g}", f"{of:g}", "Yes"]
        rows.append([f"Participant {record['id']}", record["student"], "", "", *points, "-", "-", said])
    return rows


def gradescope(record: Record) -> dict[str, Any]:
    """What Gradescope reads of an autograder."""
    tests = [
        {"name": mark["function"], "score": mark["points"], "max_score": mark["of"], "output": mark["message"],
         "status": "passed" if mark["points"] else "failed"}
        for mark in record["marks"]
    ]  # fmt: skip
    said = [*record["notes"], f"Mode {record['mode']}. {MODES[record['mode']]}"]
    return {"score": record["points"], "output": "\n".join(said), "tests": tests}


def page(name: str, record: Record) -> str:
    """The page for a student. Whatever the submission says stands there as text."""
    title = escape(f"{name}: {record['points']:g} of {record['of']:g} points")
    rows = [
        f"<tr><th scope='row'><code>{escape(mark['function'])}</code></th><td>{mark['points']:g} of {mark['of']:g}</td>"
        f"<td>{escape(mark['message'])}</td></tr>"
        for mark in record["marks"]
    ]
    notes = [f"<li>{escape(note)}</li>" for note in record["notes"]]
    seeds = "; ".join(f"{mark['function']} {', '.join(map(str, mark['seeds']))}" for mark in record["marks"])
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{escape(record['student'])}, {escape(record['file'])}</p>"
        f"<table><tr><th>Function</th><th>Points</th><th>What there is to say</th></tr>{''.join(rows)}</table>"
        + (f"<p>On the way through the notebook:</p><ul>{''.join(notes)}</ul>" if notes else "")
        + f"<p><small>Mode {escape(record['mode'])}. Seeds of the inputs: {escape(seeds)}.</small></p></html>\n"
    )


def _table(path: Path, rows: Iterable[Iterable[str]]) -> None:
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf8", errors="replace") as file:
        csv.writer(file).writerows([_no_formula(text) for text in row] for row in rows)


def _no_formula(text: str) -> str:
    """A text that no spreadsheet computes: names of files, and so of students, are chosen by them."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and text != "-" else text


def _text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf8", errors="replace")
