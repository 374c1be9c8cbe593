"""The glossary explains the words of the book, and no others.

A term is what a chapter sets in bold where it defines it: at most four words, without a mark at the end, which the
heading of a paragraph has. Singular and plural are one word, and so are 5-way and N-way.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "book" / "glossary.md"
PAGES = sorted([*ROOT.glob("chapters/*.ipynb"), *ROOT.glob("book/*.md")])

# Words that mean something here that they mean nowhere else. A page may use one only if the glossary has it.
OWN = [
    "CPU second", "glyphs", "ledger", "line-up", "local matching", "pad", "recipe", "ruler", "tempered", "view", "vote",
    "warp", "way around",
]  # fmt: skip

BOLD = re.compile(r"\*\*(?!\s)((?:[^*]|\*(?!\*))+?)\*\*")
NO_WORDS = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`|<[^>]*>|(?<=\])\([^)\s]*\)|https?://\S+", re.DOTALL)
LINK = re.compile(r"\]\(((?:\.\./chapters/)?[\w-]+\.(?:ipynb|md))\)")
MOST_WORDS = 4


def prose(path: Path) -> str:
    """The text of a page; of a notebook, its Markdown cells."""
    text = path.read_text(encoding="utf8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return text


def singular(word: str) -> str:
    if re.search("(ss|x|ch|sh)es$", word):
        return word[:-2]
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if re.search("[^su]s$", word) else word


def plain(text: str) -> str:
    """The words of a text, between spaces, in the singular and in small letters."""
    text = re.sub(r"\b\d+-way\b", "N-way", re.sub(r"\b\d+-shot\b", "K-shot", text))
    words = re.findall(r"[\w@%]+(?:[-'’][\w@%]+)*", text.lower())
    return f" {' '.join(map(singular, words))} "


def in_bold(text: str) -> list[str]:
    """The terms that a text sets in bold; no sentences, no headings at the start of a paragraph, no lone characters."""
    found = [" ".join(match.strip("* ").split()) for match in BOLD.findall(NO_WORDS.sub(" ", text))]
    words = [each for each in found if re.search("[A-Za-z]", each)]
    return [each for each in words if len(each.split()) <= MOST_WORDS and each[-1] not in ".?!:…"]


def entries(text: str) -> list[tuple[list[str], str]]:
    """The entries of a glossary: the terms of each, which begin their lines, and what it says, which is set in."""
    (block,) = re.findall(r"^```\{glossary\}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    found = []
    for paragraph in block.strip().split("\n\n"):
        lines = paragraph.split("\n")
        terms = [line for line in lines if not line.startswith(" ")]
        found.append((terms, "\n".join(lines[len(terms) :])))
        assert terms and found[-1][1] and all(line.startswith("  ") for line in lines[len(terms) :]), paragraph
    return found


def names(text: str) -> set[str]:
    return {plain(term) for terms, _ in entries(text) for term in terms}


def unexplained(pages: dict[str, str], glossary: str) -> list[str]:
    """What a chapter sets in bold and the glossary lacks."""
    return [
        f"{page}: **{term}** is set in bold, and is not in the glossary"
        for page, text in pages.items()
        if page.endswith(".ipynb")
        for term in in_bold(text)
        if plain(term) not in names(glossary)
    ]


def private(pages: dict[str, str], glossary: str) -> list[str]:
    """Words of our own that a page uses and the glossary lacks."""
    return [
        f"{page}: “{word}” is a word of our own; use the field's, or put it into the glossary"
        for page, text in pages.items()
        for word in OWN
        if plain(word) in plain(NO_WORDS.sub(" ", text)) and plain(word) not in names(glossary)
    ]


def unused(pages: dict[str, str], glossary: str) -> list[str]:
    """Terms of the glossary that stand on no page."""
    texts = [plain(NO_WORDS.sub(" ", text)) for text in pages.values()]
    return [
        f"“{term}” is in the glossary, and on no other page"
        for terms, _ in entries(glossary)
        for term in terms
        if not any(plain(term) in text for text in texts)
    ]


def misled(pages: dict[str, str], glossary: str) -> list[str]:
    """Entries that lead to no page, or to one that does not use any of their terms."""
    wrong = []
    for terms, says in entries(glossary):
        led = [link.rpartition("/")[2] for link in LINK.findall(says)]
        wrong += [] if led else [f"“{terms[0]}” leads to no chapter or page"]
        for link in led:
            text = plain(NO_WORDS.sub(" ", pages.get(link, "")))
            if not any(plain(term) in text for term in terms):
                wrong.append(f"“{terms[0]}” leads to {link}, which does not use it")
    return wrong


@pytest.fixture(scope="module")
def book() -> dict[str, str]:
    return {path.name: prose(path) for path in PAGES if path != GLOSSARY}


@pytest.fixture(scope="module")
def glossary() -> str:
    return GLOSSARY.read_text(encoding="utf8")


@pytest.mark.parametrize("fault", [unexplained, private, unused, misled])
def test_glossary_and_pages_agree(fault, book, glossary):
    found = fault(book, glossary)
    assert not found, "\n".join(["", *found])


def test_entries_are_in_order_and_none_is_there_twice(glossary):
    first = [terms[0].lower() for terms, _ in entries(glossary)]
    assert first == sorted(first) and len(first) > 50
    assert len(names(glossary)) == sum(len(terms) for terms, _ in entries(glossary))


# The test tells faults from none -------------------------------------------------------------------------------

TOY = """# Glossary

```{glossary}
interval
95 % interval
  A range ([one](one.md)).

N-way K-shot
  A size ([one](one.md)).

prototype
  A mean ([two](../chapters/02_two.ipynb)).
```
"""
PAGE = """A **5-way 1-shot** task has a
**95 % interval**, or **intervals**, $m$ or not. **Note.** **Why $m$?** **What no term has so many words of.**
***ჭ***"""


def test_whatever_is_set_in_bold_is_asked_for():
    pages = {"one.md": "", "02_two.ipynb": f"**Prototypes** {PAGE}"}
    assert not unexplained(pages, TOY)
    pages["02_two.ipynb"] += "a **new\nterm $n$**"
    (found,) = unexplained(pages, TOY)
    assert found == "02_two.ipynb: **new term** is set in bold, and is not in the glossary"


def test_a_term_that_stands_nowhere_is_found_and_one_that_leads_astray():
    pages = {"one.md": PAGE, "02_two.ipynb": "Prototypes."}
    assert not unused(pages, TOY) and not misled(pages, TOY)
    pages["02_two.ipynb"] = "`prototype`"
    assert unused(pages, TOY) == ["“prototype” is in the glossary, and on no other page"]
    assert misled(pages, TOY) == ["“prototype” leads to 02_two.ipynb, which does not use it"]
    nowhere = TOY.replace("[two](../chapters/02_two.ipynb)", "two")
    assert misled(pages, nowhere) == ["“prototype” leads to no chapter or page"]


def test_a_word_of_our_own_is_asked_for():
    (found,) = private({"one.md": "All rulers lie, and `view` is code."}, TOY)
    assert found.startswith("one.md: “ruler”")
    assert not private({"one.md": "A metric, and [a link](https://example.org/ruler)."}, TOY)
    assert not private({"one.md": "Rulers."}, TOY.replace("prototype\n", "ruler\n"))
