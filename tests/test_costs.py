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


def test_a_page_shows_the_time(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "01_one.ipynb").write_text(json.dumps({"cells": [cell(3000)]}), encoding="utf8")
    (tmp_path / "index.md").write_text("# Page\n\nSome {reading}`01_one` minutes.\n", encoding="utf8")
    conf = f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
    conf += "extensions = ['myst_parser', 'costs']\nhtml_theme = 'basic'\n"
    (tmp_path / "conf.py").write_text(conf, encoding="utf8")
    assert build_main(["-q", "-W", str(tmp_path), str(tmp_path / "site")]) == 0
    assert "Some 15 minutes." in (tmp_path / "site" / "index.html").read_text(encoding="utf8")
