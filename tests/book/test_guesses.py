"""Questions before a figure: each is asked once, in a place that exists, and its answer is measured."""

import json
import re
import sys
from pathlib import Path

import pytest

from fslib.book import guesses
from fslib.book.figures.shown import Still
from fslib.book.guesses import QUESTIONS, Choice

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import guesses as pages  # noqa: E402  # what makes the pages

CHAPTERS = ROOT / "chapters"
ASKED = pages.asked(CHAPTERS)


def code(*lines, **keys):
    return {"cell_type": "code", "id": "c", "metadata": {}, "source": list(lines), **keys}


def text(*lines, **keys):
    return {"cell_type": "markdown", "id": "t", "metadata": {}, "source": list(lines), **keys}


ASKS = code('guesses.ask("square")', id="guess-square", metadata={"guess": {"until": "end"}})


def sources(cells):
    return [re.sub("<script>.*</script>", "", "".join(cell["source"])).strip() for cell in cells]


def test_what_waits_ends_where_it_says_after_one_paragraph():
    """A lesson after it stays, whether or not there was a guess."""
    lesson = "A lesson.\n\n## Next\nMore."
    cells = [code("a"), ASKS, code("b"), text("Why,\n", "and how.\n", "\n", lesson, id="end"), code("c")]
    made = pages.covered(cells)
    waits = '<div class="after-guess" data-guess="square">'
    assert sources(made) == ["a", 'guesses.ask("square")', waits, "b", "Why,\nand how.", "</div>", lesson, "c"]
    ids = [cell["id"] for cell in made if cell["cell_type"] == "markdown"]
    assert len(set(ids)) == len(ids) == 4
    assert sources(pages.covered([ASKS, code("b", id="end")])) == ['guesses.ask("square")', waits, "b", "</div>"]


@pytest.mark.parametrize(
    "cells",
    [
        [ASKS, code("b")],
        [ASKS, text("## Next"), code("b", id="end")],
        [ASKS, code("b"), text("## Next", id="end")],
    ],
)
def test_what_waits_for_ever_is_refused(cells):
    with pytest.raises(ValueError, match="must end with end"):
        pages.covered(cells)


def test_every_question_is_asked_once_and_at_most_two_a_chapter():
    assert [name for _, _, name in ASKED] == list(QUESTIONS)
    chapters = [chapter for chapter, _, _ in ASKED]
    assert all(1 <= chapters.count(chapter) <= 2 for chapter in chapters) and len(set(chapters)) == 13


@pytest.mark.parametrize("chapter, name", [(chapter, name) for chapter, _, name in ASKED])
def test_what_waits_holds_the_answer_and_no_figure_that_would_wake(chapter, name):
    """The words around a printed answer stand in the code that waits."""
    made = pages.covered(json.loads((CHAPTERS / f"{chapter}.ipynb").read_text(encoding="utf8"))["cells"])
    (start,) = [i for i, cell in enumerate(made) if f'data-guess="{name}"' in "".join(cell["source"])]
    end = next(i for i in range(start, len(made)) if made[i]["source"] == ["</div>"])
    waiting = "\n".join("".join(c["source"]) for c in made[start + 1 : end] if c["cell_type"] == "code")
    assert waiting and "figures.show" not in waiting
    if isinstance(QUESTIONS[name].truth, str):
        words = [part.strip() for part in re.split(r"\{\}|…", QUESTIONS[name].truth)]
        flat = " ".join(waiting.split())
        assert [part for part in words if part and part not in flat] == []


@pytest.mark.parametrize("name", [name for name, question in QUESTIONS.items() if callable(question.truth)])
def test_answers_of_the_ledger_can_be_guessed(name):
    question, asked = QUESTIONS[name], QUESTIONS[name].asked()
    if isinstance(question, Choice):
        assert asked["truth"] in question.options and len(set(question.options)) == len(question.options)
    else:
        assert question.low < asked["truth"] < question.high and asked["half"] > 0


@pytest.mark.parametrize(
    "line, printed, number, half",
    [
        ("accuracy: {}", "accuracy:   59.56 % ± 11.03 (3 episodes)", "59.56", "11.03"),
        ("{} of … others", "807 of 7,240 images of others", "807", None),
        ("{} triplets", "120 images, 68,400 triplets", "68,400", None),
        ("by {} points", "better by -1.60 ± 1.75 points", "-1.60", "1.75"),
        ("from 1…scale {}", "from 1   ends at scale  2.13\nfrom 30 ends at scale 39.25", "2.13", None),
        ("votes…class in {}", "votes name the first class in 29%; the others", "29", None),
    ],
)
def test_a_printed_number_is_found(line, printed, number, half):
    assert re.search(guesses.pattern(line), printed).groups() == (number, half)
    assert not re.search(guesses.pattern(line), printed.replace(number, "many"))


def test_a_question_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no question 'nothing'; there are new-images"):
        guesses.ask("nothing")


def test_a_question_is_an_element_on_a_page_and_lives_where_a_widget_can(monkeypatch):
    shown = guesses.ask("best-loss")
    (data,) = re.findall(r'data-question="([^"]+)"', shown.still)
    assert '"truth": "SupCon"' in data.replace("&quot;", '"') and '<guess-first id="guess-best-loss"' in shown.still
    assert shown._repr_mimebundle_()[0]["text/html"] == shown.still and shown.guess is None
    monkeypatch.setitem(sys.modules, "anywidget", None)
    guesses._widget.cache_clear()
    assert guesses.ask("best-loss") == Still(shown.still)
    guesses._widget.cache_clear()
