"""What stands in the chapters on their exercises is in step with `fslib.book.checks` (`make address`)."""

import json
import re
import sys
from pathlib import Path

import pytest

from fslib.book import checks

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_tools"))
import exercises  # noqa: E402

CHAPTERS = exercises.chapters()


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf8"))


def questions(notebook):
    """The cells that ask an exercise, as text."""
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    return [text for text in texts if exercises.HEADING.search(text)]


def test_chapters_are_in_step(notebook):
    assert exercises.in_step(notebook) == notebook, "run `make address`"


def test_each_exercise_says_how_hard_it_is_and_has_all_its_hints(notebook):
    for text in questions(exercises.in_step(notebook)):
        heading, label, *_ = text[exercises.HEADING.search(text).start() :].split("\n\n")
        assert exercises.LABEL.fullmatch(label), heading
        summaries = re.findall(r"<summary>Hint (\d) of (\d)</summary>", text)
        assert summaries == [(str(i), str(len(summaries))) for i in range(1, len(summaries) + 1)], heading
        assert text.count("<details") == text.count("</details>") == len(summaries) >= 2, heading


COSINES = "## Exercises\n\nPut it there.\n\n### Exercise 1: all cosines\n\nReturn the *cosine*.\n\n- of rows"
HINTS = '\n\n<details class="hint"><summary>Hint</summary>\n\nAn old one.\n\n</details>'


def test_what_an_author_wrote_stays():
    made = exercises.written(COSINES + HINTS, checks.cosines)
    before, _, after = made.partition("\n\n*Easy, about 8 minutes*\n\n")
    assert before == "## Exercises\n\nPut it there.\n\n### Exercise 1: all cosines"
    assert after.startswith('Return the *cosine*.\n\n- of rows\n\n<details class="hint"><summary>Hint 1 of 3</summary>')
    assert "An old one." not in made and made.endswith("</details>\n\n</details>")
    assert exercises.written(made, checks.cosines) == made == exercises.written(COSINES, checks.cosines)


def test_the_next_hint_lies_in_the_one_before():
    first, second, third = exercises.hints(checks.cosines).split('<details class="hint">')[1:]
    assert "</details>" not in first + second and third.count("</details>") == 3


def test_a_cell_that_asks_no_exercise_stays():
    cells = [
        {"cell_type": "markdown", "source": ["## Exercise your patience\n", "\n", "Wait."]},
        {"cell_type": "code", "source": ["wait()"]},
        {"cell_type": "markdown", "source": ["### Exercise 1: all cosines\n", "\n", "Return it."]},
        {"cell_type": "code", "source": ["def f(x): ...  # your answer\n", "\n", "\n", "checks.ch03.cosines(f)"]},
    ]
    made = exercises.in_step({"cells": cells, "metadata": {}})["cells"]
    assert made[:2] == cells[:2] and made[3] == cells[3] and "*Easy, about 8 minutes*\n" in made[2]["source"]
