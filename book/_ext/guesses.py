"""Questions that a page asks before it shows a figure, and the page that says how good the guesses were.

A cell of a chapter asks one, by `guesses.ask("…")`, and names in its metadata the last cell that waits for the answer,
`"guess": {"until": "…"}`; of a text only the first paragraph waits, for a lesson must not hang on an answer. What waits
stands in an element that a line of script hides before it is seen. Without JavaScript, on paper, and after *Show me* it
is simply there. The directive `{intuition}` lists all questions that the chapters ask; without JavaScript that is all.
"""

import html
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from fslib.book.guesses import QUESTIONS

ASKS = re.compile(r'^guesses\.ask\("([\w-]+)"\)$', re.MULTILINE)
HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
# Hides what waits, unless its question is answered or *Show me* was pressed, and makes room for the question above it.
HIDE = (
    "<script>(e => { let k = {}; "
    "try { k = JSON.parse(localStorage.getItem('learning-to-compare.guesses')) ?? {}; } catch {} "
    "e.hidden = !(k.show || k.guesses?.[e.dataset.guess]); "
    "e.previousElementSibling?.querySelector('guess-first')?.classList.toggle('asking', e.hidden); "
    "})(document.currentScript.parentElement)</script>"
)
SHOW = "document.querySelectorAll('.after-guess').forEach((part) => (part.hidden = false))"


def covered(cells: list[dict]) -> list[dict]:
    """The cells of a page, with those in an element that wait for a guess."""
    made, until = [], None
    for cell in cells:
        text, prose = "".join(cell["source"]), cell["cell_type"] == "markdown"
        last = until is not None and cell.get("id") == until
        paragraph, _, stays = text.partition("\n\n") if last and prose else (text, "", "")
        if until and prose and HEADING.search(paragraph):
            raise ValueError(f"What waits for a guess must end with {until}, but there is none in its section.")
        made.append({**cell, "source": [paragraph]} if last else cell)
        if last:
            made.append(markdown("</div>", f"{until}-end"))
            if stays:
                made.append(markdown(stays, f"{until}-after"))
            until = None
        elif not prose and (asks := ASKS.search(text)):
            until = cell["metadata"]["guess"]["until"]
            waits = f'<div class="after-guess" data-guess="{asks[1]}">\n{HIDE}'
            made.append(markdown(waits, f"{cell['id']}-waits"))
    if until:
        raise ValueError(f"What waits for a guess must end with {until}, but there is no such cell after it.")
    return made


def markdown(text: str, id: str) -> dict:
    return {"cell_type": "markdown", "id": id, "metadata": {}, "source": [text]}


def cover(app, docname: str, source: list[str]) -> None:
    if "guesses.ask" in source[0] and app.env.doc2path(docname).endswith(".ipynb"):
        notebook = json.loads(source[0])
        notebook["cells"] = covered(notebook["cells"])
        source[0] = json.dumps(notebook)


def asked(chapters: Path) -> list[tuple[str, str, str]]:
    """Of each question that a chapter asks: the chapter's file, its title with the number, and the question's name."""
    found = []
    for path in sorted(chapters.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf8"))["cells"]
        title = "".join(cells[0]["source"]).partition("\n")[0].removeprefix("# ")
        for cell in cells:
            name = ASKS.search("".join(cell["source"]))
            if cell["cell_type"] == "code" and name:
                found.append((path.stem, f"{int(path.stem[:2])} {title}", name[1]))
    return found


class Intuition(SphinxDirective):
    """`{intuition}`: all questions with links to where they are asked, and what the reader guessed."""

    def run(self):
        chapters = Path(self.env.srcdir) / "chapters"
        for path in chapters.glob("*.ipynb"):
            self.env.note_dependency(str(path))
        here = self.env.app.builder.get_target_uri(self.env.docname)
        questions, lines = [], []
        for chapter, title, name in asked(chapters):
            link = f"{'../' * here.count('/')}chapters/{chapter}.html#guess-{name}"
            told = QUESTIONS[name].asked()
            for spoiler in ("truth", "half", "pattern"):
                told.pop(spoiler, None)
            questions.append({"name": name, "chapter": title, "link": link, **told})
            lines.append(f'<li>{html.escape(title)}: <a href="{link}">{html.escape(told["text"])}</a></li>')
        data = html.escape(json.dumps(questions))
        inside = f'<your-intuition data-questions="{data}">\n<ul>\n' + "\n".join(lines) + "\n</ul>\n</your-intuition>"
        return [nodes.raw("", inside, format="html")]


def enliven(app, pagename, templatename, context, doctree) -> None:
    body = context.get("body", "")
    if "<guess-first" in body:
        app.add_js_file("live/guess.mjs", type="module", onerror=SHOW)
    if "<your-intuition" in body:
        app.add_js_file("live/intuition.mjs", type="module")


def setup(app):
    app.add_directive("intuition", Intuition)
    app.connect("source-read", cover, priority=600)  # after the page is made of the notebook
    app.connect("html-page-context", enliven)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
