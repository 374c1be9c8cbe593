"""What the prose must keep to: no result typed by hand, and every paper in the bibliography."""

import json
import re
import sys
from pathlib import Path

import pytest
from pybtex.database import parse_file, parse_string

from fslib.book import ledger

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from author_year import label  # noqa: E402

PAGES = sorted([*ROOT.glob("book/*.md"), *ROOT.glob("chapters/*.ipynb"), ROOT / "README.md"])
PAPER = re.compile(r"https?://(?:arxiv\.org|doi\.org)/[^\s)\"]+")


def prose(path):
    """The text of a page; of a notebook, the Markdown cells and the words for figures."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf8")
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    return "\n\n".join(texts)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_result_is_typed(path):
    assert ledger.typed_results(prose(path)) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_paper_linked_is_in_the_bibliography(path):
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf8")
    assert [url for url in PAPER.findall(prose(path)) if f"{{{url}}}" not in bibliography] == []


def test_a_citation_is_found_in_the_bibliography_by_its_words():
    entries = parse_file(str(ROOT / "book" / "references.bib")).entries.values()
    labels = {entry.fields["url"]: label(entry) for entry in entries if "url" in entry.fields}
    assert len(set(map(label, entries))) == len(entries)
    text = "\n".join(map(prose, PAGES))
    cited = re.findall(r"\[([^\]]*\b\d{4})\]\((https?://(?:arxiv\.org|doi\.org)/[^\s)]+)\)", text)
    assert len(cited) > 30
    assert not {(words, labels[url]) for words, url in cited if " ".join(words.split()) != labels[url]}


@pytest.mark.parametrize(
    "fields, words",
    [
        ("title={The {MNIST} data}, year={1999}", "The MNIST data, 1999"),
        ("author={Snell, Jake}, title={T}", "Snell, n.d."),
        ("editor={Doe, J}, title={T}, year={2000}", "Doe, 2000"),
        ("note={N}", "key, n.d."),
    ],
)
def test_an_entry_without_author_or_year_has_a_label(fields, words):
    (entry,) = parse_string(f"@misc{{key, {fields}}}", "bibtex").entries.values()
    assert label(entry) == words


def test_a_typed_result_in_a_chapter_would_be_found(tmp_path):
    chapter = json.loads((ROOT / "chapters" / "02_episodes.ipynb").read_text(encoding="utf8"))
    chapter["cells"].append({"cell_type": "markdown", "source": ["Our network reaches 98.4 %."]})
    changed = tmp_path / "chapter.ipynb"
    changed.write_text(json.dumps(chapter), encoding="utf8")
    assert len(ledger.typed_results(prose(changed))) == 1
