"""What the pages say a chapter costs its reader."""

import json
import re
import sys
from pathlib import Path

import pytest
from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import costs  # noqa: E402

HOW_TO_USE = (ROOT / "book" / "how_to_use.md").read_text(encoding="utf8")


def cell(words, tags=(), **more):
    return {"source": ["word " * words], "metadata": {"tags": [*tags]}, **more}


@pytest.mark.parametrize("words, minutes", [(0, 5), (1000, 5), (1400, 5), (1600, 10), (4000, 20)])
def test_minutes_to_read_are_counted_by_words_that_show(tmp_path, words, minutes):
    cells = [cell(words // 2), cell(words - words // 2, ["remove-stderr"])]
    cells += [cell(9000, ["remove-cell"]), cell(9000, ["remove-input"]), cell(9000, id="title")]
    (tmp_path / "notebook.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf8")
    assert costs.reading_minutes(tmp_path / "notebook.ipynb") == minutes


def test_every_chapter_has_its_time_and_what_it_builds_on():
    names = [path.stem for path in sorted(ROOT.glob("chapters/*.ipynb"))]
    assert re.findall(r"^\| \[.*?/(\w+)\.ipynb\).*?\{reading\}`\1` \|$", HOW_TO_USE, re.MULTILINE) == names


def page_beside(tmp_path, text, cells, **metadata):
    """What is shown of a page of that text, on a site with a notebook `chapters/01_one`."""
    (tmp_path / "chapters").mkdir()
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "chapters" / "01_one.ipynb").write_text(json.dumps(notebook), encoding="utf8")
    (tmp_path / "index.md").write_text(text, encoding="utf8")
    conf = f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
    conf += "extensions = ['myst_nb', 'costs']\nhtml_theme, nb_execution_mode = 'basic', 'off'\n"
    conf += f"exclude_patterns = {[] if 'toctree' in text else ['chapters']}\n"
    (tmp_path / "conf.py").write_text(conf, encoding="utf8")
    assert build_main(["-q", "-W", str(tmp_path), str(tmp_path / "site")]) == 0
    return (tmp_path / "site" / "index.html").read_text(encoding="utf8")


def test_a_page_shows_the_time(tmp_path):
    assert "Some 15 minutes." in page_beside(tmp_path, "# Page\n\nSome {reading}`01_one` minutes.\n", [cell(3000)])


@pytest.mark.parametrize(
    "cost, shown",
    [
        ({"units": 7, "memory_mb": 900, "download_mb": 0}, "7 CPU seconds · 900 MB of memory · no data"),
        ({"units": 7}, None),
        ({}, None),
    ],
)
def test_a_chapter_shows_what_it_costs_once_all_of_it_is_declared(tmp_path, cost, shown):
    text = "# Page\n\n```{status}\n```\n\n```{toctree}\nchapters/01_one\n```\n"
    title = {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": ["# One"]}
    page = page_beside(tmp_path, text, [title], fslib={"cost": cost})
    chapter = (tmp_path / "site" / "chapters" / "01_one.html").read_text(encoding="utf8")
    assert shown in chapter if shown else 'class="cost"' not in chapter
    assert page.count("–") == 5 - len(cost)  # of the five numbers of a row, what no one declared or measured


def test_a_chapter_leads_to_the_pages_that_explain_its_words(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "glossary.md").write_text("---\norphan: true\n---\n\n# Glossary\n", encoding="utf8")
    title = {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": ["# One"]}
    cost = {"units": 7, "memory_mb": 900, "download_mb": 0}
    page_beside(tmp_path, "# Page\n\n```{toctree}\nchapters/01_one\n```\n", [title], fslib={"cost": cost})
    chapter = (tmp_path / "site" / "chapters" / "01_one.html").read_text(encoding="utf8")
    (line,) = re.findall('<p class="cost">(.*?)</p>', chapter)
    assert line.endswith(' · no data to download · <a href="../book/glossary.html">glossary</a>')
