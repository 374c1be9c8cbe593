"""Write into the chapters what is known of their exercises: how hard each is, how long it takes, and its hints.

All of it is data, in `fslib.book.checks`; in a notebook it must stand as text (`make address`).
"""

import json
import re
import sys
import textwrap
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from fslib.book import checks

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from notebook_pages import CHECKED  # noqa: E402

HEADING = re.compile(r"^#{2,3} Exercise .*$", re.MULTILINE)
LABEL = re.compile(r"^\*(?:Easy|Medium|Hard), about \d+ minutes\*$", re.MULTILINE)
HINTS = re.compile(r'<details class="hint">.*', re.DOTALL)  # to the end of the cell


def chapters(root: Path = ROOT) -> list[Path]:
    """The notebooks that ask exercises."""
    return sorted(root.glob("chapters/*.ipynb"))


def label(exercise: checks.Exercise) -> str:
    """How hard it is and how long it takes."""
    return f"*{exercise.level.capitalize()}, about {exercise.minutes} minutes*"


def hints(exercise: checks.Exercise) -> str:
    """Each hint folded, the next one inside it, so that they come one at a time."""
    several, folded = len(exercise.hints), ""
    for i, hint in reversed(list(enumerate(exercise.hints, 1))):
        summary = f"Hint {i} of {several}"
        text = textwrap.fill(hint, 118, break_long_words=False, break_on_hyphens=False)
        folded = f'<details class="hint"><summary>{summary}</summary>\n\n{text}\n\n{folded}</details>\n\n'
    return folded.rstrip()


def written(text: str, exercise: checks.Exercise) -> str:
    """The text that asks an exercise, with its label under the heading and its hints at the end.

    Args:
        text: a Markdown cell; what stands before the heading, as the introduction to all exercises, stays.
        exercise: what its check knows.
    """
    heading = HEADING.search(text)
    question = HINTS.sub("", LABEL.sub("", text[heading.end() :])).strip()
    return "\n\n".join([text[: heading.end()], label(exercise), question, hints(exercise)])


def in_step(notebook: dict) -> dict:
    """The notebook with all that is written here in step; the cell after a question holds its check."""
    cells = list(notebook["cells"])
    for i, (cell, after) in enumerate(pairwise(cells)):
        text, check = "".join(cell["source"]), CHECKED.search("".join(after["source"]))
        if cell["cell_type"] == "markdown" and HEADING.search(text) and check:
            source = written(text, attrgetter(check[1])(checks)).splitlines(keepends=True)
            cells[i] = cell | {"source": source}
    return notebook | {"cells": cells}


def main() -> None:
    """Bring every chapter in step with the checks."""
    for path in chapters():
        old = path.read_text(encoding="utf8")
        new = json.dumps(in_step(json.loads(old)), indent=1, ensure_ascii=False) + "\n"
        if new != old:
            path.write_text(new, encoding="utf8")
            print(f"{path.relative_to(ROOT)}: now in step")


if __name__ == "__main__":
    main()
