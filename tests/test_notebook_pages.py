"""What a page makes of a notebook that must also stand alone."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import notebook_pages  # noqa: E402
from jupyter_cache import get_cache  # noqa: E402
from jupyter_cache.base import CacheBundleIn  # noqa: E402

SITE = "https://c.org/d/"


@pytest.mark.parametrize(
    "link, inside",
    [
        ("https://c.org/d/chapters/02_episodes.html", "02_episodes.ipynb"),
        ("https://c.org/d/chapters/02_episodes.html#the-interval", "02_episodes.ipynb#the-interval"),
        ("https://c.org/d/chapters/04_losses.html#margin-plane?margin=0.2", "#margin-plane?margin=0.2"),
        ("https://c.org/d/book/results.html#omniglot", "../book/results.md#omniglot"),
        ("https://c.org/d/_static/live/conv4.mjs", "_static/live/conv4.mjs"),
        ("https://example.org/chapters/02_episodes.html", "https://example.org/chapters/02_episodes.html"),
    ],
)
def test_links_to_the_site_stay_within_it(link, inside):
    assert notebook_pages.within(f"[a]({link}).", SITE, "chapters/04_losses") == f"[a]({inside})."


def solved(*cells):
    """A notebook of solutions: text is Markdown, a list is code with the tag."""
    made = [
        nbformat.v4.new_markdown_cell(cell) if isinstance(cell, str) else
        nbformat.v4.new_code_cell(cell[0], metadata={"tags": cell[1:]})
        for cell in cells
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel})


def test_solutions_go_by_their_exercises_and_say_what_they_printed(tmp_path):
    notebook = solved("## Exercise 1: one", ["needed = 1"], ["print(1)", "solution"], "Why.", "## Exercise 2: two",
                      ["two = 2", "solution"])  # fmt: skip
    nbformat.write(notebook, tmp_path / "a.ipynb")
    alone = notebook_pages.solutions(tmp_path / "a.ipynb", tmp_path / "cache")
    assert alone == {"Exercise 1: one": "```python\nprint(1)\n```", "Exercise 2: two": "```python\ntwo = 2\n```"}
    ran = nbformat.from_dict(notebook.copy())
    ran.cells[2].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    bundle = CacheBundleIn(ran, str(tmp_path / "a.ipynb"))
    get_cache(tmp_path / "cache").cache_notebook_bundle(bundle, check_validity=False)
    found = notebook_pages.solutions(tmp_path / "a.ipynb", tmp_path / "cache")
    assert found["Exercise 1: one"] == "```python\nprint(1)\n```\n\n```text\n1\n```"


def test_a_solution_that_uses_what_is_not_shown_says_where_it_is(tmp_path):
    notebook = solved(["early = 0"], "## Exercise 1: one", ["def hidden(x):\n    y = x\n    return y"],
                      ["y = 1\nprint(y, early)", "solution"],
                      "## Exercise 2: two", ["hidden(2)", "solution"])  # fmt: skip
    nbformat.write(notebook, tmp_path / "a.ipynb")
    found = notebook_pages.solutions(tmp_path / "a.ipynb", tmp_path / "cache")
    assert [notebook_pages.SET_UP in text for text in found.values()] == [False, True]


def test_each_solution_comes_at_the_end_of_its_exercise():
    texts = ["## Exercises\n\n### Exercise 1: one", "code 1", "### Exercise 2: two", "code 2", "## Summary", "code 3"]
    cells = [{"cell_type": "code" if t.startswith("code") else "markdown", "source": [t]} for t in texts]
    made = notebook_pages.with_solutions(cells, {"Exercise 1: one": "ONE", "Exercise 2: two": "TWO"})
    order = ["".join(cell["source"]).split("\n")[0].lstrip("# ") for cell in made]
    folded = '<details class="solution"><summary>Show the solution</summary>'
    assert order == ["Exercises", "code 1", folded, "Exercise 2: two", "code 2", folded, "Summary", "code 3"]
    assert "ONE" in made[2]["source"][0] and "TWO" in made[5]["source"][0]


def test_a_progress_bar_that_stands_still_goes():
    bar = "  0%|          | 0/40 [00:00<?, ?it/s]"

    def cell(*texts):
        given = nodes.container(nb_element="cell_code_output")
        for text in texts:
            given += nodes.container("", nodes.container("", nodes.literal_block(text, text)), nb_element="mime_bundle")
        return nodes.container("", given, nb_element="cell_code")

    page = new_document("a page")
    page += [cell(bar, "5 % right", bar), cell(bar), nodes.literal_block(bar, bar)]
    notebook_pages.without_bars(None, page)
    assert page[0].astext() == "5 % right" and len(page[0][0]) == 1
    assert not page[1].children and page[2].astext() == bar  # a bar that a text quotes stays


# Which mistake gives which number -------------------------------------------------------------------------------


def exercise(name, tags=()):
    source = f"def f(x):\n    ...  # your answer\n\n\nchecks.{name}(f)"
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": [source]}


def test_mistakes_come_after_the_answer_and_before_the_solution():
    asked = {"cell_type": "markdown", "source": ["### Exercise 1: one"]}
    cells = notebook_pages.with_mistakes([asked, exercise("cosines", ["wide"])])
    made = notebook_pages.with_solutions(cells, {"Exercise 1: one": "ONE"})
    question, answer, wrong, solution = made
    assert question == asked and answer == exercise("cosines", ["wide"])  # or its run would not be found
    assert wrong["source"][0].startswith('<details class="mistakes"><summary>If you got …</summary>')
    assert "ONE" in solution["source"][0]


def test_a_chapter_may_be_named_and_other_cells_stay():
    plain = {"cell_type": "code", "metadata": {}, "source": ["checks.cosines(f)"]}
    made = notebook_pages.with_mistakes([plain, exercise("ch03.cosines")])
    assert made[0] == plain and len(made) == 3


SHOWN = [each for each in notebook_pages.checks.EXERCISES.values() if each.shows is not None]


@pytest.mark.parametrize("check", SHOWN, ids=lambda check: check.name)
def test_each_number_stands_once_and_no_right_one(check):
    """Nor does a text tell it: it is the same for all inputs."""
    listed = re.findall(r"\*\*([^*]+)\*\*", notebook_pages.mistakes(check))
    assert sorted(listed) == sorted(check.mistakes()) and check.value(check.right) not in listed
    assert not [wrong for wrong in check.wrong.values() if "{right" in wrong.text or "{answer" in wrong.text]


def test_an_input_that_can_be_typed_is_told():
    checks = notebook_pages.checks
    assert "gives on (0.08, 0.003), as the check prints it:" in notebook_pages.mistakes(checks.episodes_needed)
    assert "What your answer gives" not in notebook_pages.mistakes(checks.weights_per_picture)


def test_what_shows_no_number_has_no_list():
    made = notebook_pages.with_mistakes([exercise("before_storing")])
    assert made == [exercise("before_storing")]


def test_texts_say_in_markdown_what_they_say():
    assert notebook_pages.plain("N_k * [2] $s$ `x` <b>") == r"N\_k \* \[2\] \$s\$ \`x\` \<b\>"


def test_a_comment_in_code_is_no_heading():
    """It neither ends an exercise, nor begins one; and a heading after the code does."""
    text = "### Exercise 1: one\n\n```python\n# a comment\n```"
    hint = "A hint:\n\n```python\n# a comment\n## Exercise 2: two\n```\n"
    cells = [{"cell_type": "markdown", "source": [source]} for source in (text, hint, f"{hint}\n## Summary")]
    cells.insert(2, {"cell_type": "code", "source": ["# your answer\n## Exercise 2: two"]})
    made = notebook_pages.with_solutions(cells, {"Exercise 1: one": "ONE", "Exercise 2: two": "TWO"})
    assert [cell["source"] for cell in made[:3] + made[4:]] == [cell["source"] for cell in cells]
    assert len(made) == 5 and "ONE" in made[3]["source"][0]


def test_a_comment_in_a_solution_begins_no_other(tmp_path):
    notebook = solved("## Exercise 1: one", ["1", "solution"], "```python\n## Exercise 2: two\n```", ["2", "solution"])
    notebook.cells[1].source += "\n## Exercise 3: three"
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert list(notebook_pages.solutions(tmp_path / "a.ipynb", tmp_path / "cache")) == ["Exercise 1: one"]
