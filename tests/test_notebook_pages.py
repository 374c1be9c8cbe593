"""What a page makes of a notebook that must also stand alone."""

import sys
from pathlib import Path

import nbformat
import pytest

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


def test_each_solution_comes_at_the_end_of_its_exercise():
    texts = ["## Exercises\n\n### Exercise 1: one", "code 1", "### Exercise 2: two", "code 2", "## Summary", "code 3"]
    cells = [{"cell_type": "code" if t.startswith("code") else "markdown", "source": [t]} for t in texts]
    made = notebook_pages.with_solutions(cells, {"Exercise 1: one": "ONE", "Exercise 2: two": "TWO"})
    order = ["".join(cell["source"]).split("\n")[0].lstrip("# ") for cell in made]
    folded = '<details class="solution"><summary>Show the solution</summary>'
    assert order == ["Exercises", "code 1", folded, "Exercise 2: two", "code 2", folded, "Summary", "code 3"]
    assert "ONE" in made[2]["source"][0] and "TWO" in made[5]["source"][0]
