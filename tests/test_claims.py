"""Each claim of a chapter is in the list, with the sentence it checks; none comes or goes unsaid.

A line of `tests/claims.jsonl`: the chapter, the test of an assert, the sentence of the page that it checks, what the
test was when chapters still trained all their networks themselves, and why it differs.
"""

import json
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from tests.notebooks_claims import claims

ROOT = Path(__file__).parents[1]
LINES = [json.loads(line) for line in (ROOT / "tests" / "claims.jsonl").read_text(encoding="utf8").splitlines()]


@pytest.fixture(params=sorted((ROOT / "chapters").glob("*.ipynb")), ids=lambda path: path.stem)
def chapter(request):
    """The name of a chapter, its cells and those of its solutions, and its lines of the list."""
    beside = request.param.parent / "solutions" / request.param.name
    cells = [cell for path in (request.param, beside) for cell in nbformat.read(path, as_version=4).cells]
    return request.param.stem, cells, [line for line in LINES if line["chapter"] == request.param.stem]


def test_the_list_holds_every_claim(chapter):
    _, cells, lines = chapter
    made = Counter(claims([cell.source for cell in cells if cell.cell_type == "code"]))
    listed = Counter(line["claim"] for line in lines if line["claim"])
    assert made == listed, f"not in the list: {[*(made - listed)]}; in the list alone: {[*(listed - made)]}"


def read(text):
    """A text as it is read: on one line, and links without where they lead to."""
    return re.sub(r"\]\([^)]*\)", "]", " ".join(text.split()))


def test_each_claim_checks_a_sentence_of_the_page(chapter):
    _, cells, lines = chapter
    page = read("\n".join(cell.source for cell in cells))
    missing = [line["sentence"] for line in lines if line["claim"] and read(line["sentence"]) not in page]
    assert not missing and all(line["sentence"] for line in lines if line["claim"])


def test_what_changed_has_a_reason(chapter):
    _, _, lines = chapter
    assert not [line for line in lines if line["claim"] != line["before"] and len(line["why"]) < 4]
    assert all(set(line) == {"chapter", "claim", "sentence", "before", "why"} for line in lines)


def test_claims_are_found_wherever_they_stand():
    cells = ["assert a\nassert checks.b(c)", "def f():\n    for d in e:\n        assert d > 1, 'no'\n\nassert  x <y"]
    assert sorted(claims(cells)) == ["a", "d > 1", "x < y"]
    assert not re.search("checks", " ".join(claims(cells)))
