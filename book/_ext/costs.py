"""Say what each chapter costs: a line under its title; `{status}`, a table of all; and the role `{reading}`.

The line also leads to the pages that explain words and symbols.

A notebook declares its cost in its metadata, `{"fslib": {"cost": {"units": 20, "memory_mb": 900, "download_mb": 0}}}`.
A unit is a CPU second of a plain machine (`tests/notebooks_cost.py`). `tests/notebooks_plugin.py` measures it at each
run, leaves the measurement in `_build/notebooks.json`, and fails the notebook that costs much more than it says.
What a chapter costs its reader is counted: {reading}`01_the_few_shot_problem` is a number of minutes.
"""

import json
from pathlib import Path

from address import CELL_ID, TITLE_ID, complete, in_words
from docutils import nodes
from sphinx.util.docutils import SphinxDirective, SphinxRole

HEADINGS = [
    "Chapter",
    "CPU seconds, declared",
    "measured",
    "Memory MB, declared",
    "measured",
    "Download MB",
]

WORDS_A_MINUTE = 200
NOT_READ = {"remove-cell", "remove-input", "hide-cell", "hide-input"}


def reading_minutes(source: Path) -> int:
    """How long a notebook takes to read, its text and the code that shows, in minutes; to the nearest five."""
    words = 0
    for cell in json.loads(source.read_text(encoding="utf8"))["cells"]:
        if cell.get("id") not in (TITLE_ID, CELL_ID) and not NOT_READ & {*cell["metadata"].get("tags", [])}:
            words += len("".join(cell["source"]).split())
    return max(5, 5 * round(words / WORDS_A_MINUTE / 5))


class Reading(SphinxRole):
    """`{reading}`: how many minutes it takes to read a chapter."""

    def run(self):
        source = Path(self.env.srcdir) / "chapters" / f"{self.text}.ipynb"
        self.env.note_dependency(str(source))
        return [nodes.Text(str(reading_minutes(source)))], []


def declared(source: Path) -> dict:
    """What the notebook says it costs; nothing if it does not say, or is no notebook."""
    if source.suffix != ".ipynb":
        return {}
    metadata = json.loads(source.read_text(encoding="utf8"))["metadata"]
    return metadata.get("fslib", {}).get("cost", {})


def measured(book: Path) -> dict:
    """What each notebook took when it last ran, by its path in the book."""
    file = book / "_build" / "notebooks.json"
    return json.loads(file.read_text(encoding="utf8")) if file.exists() else {}


def cost_line(app, doctree) -> None:
    """Put the cost under the title of a chapter, if all of it is declared."""
    cost = declared(Path(app.env.doc2path(app.env.docname)))
    title = next(doctree.findall(nodes.title), None)
    if complete(cost) and title:
        # Raw, for what a search engine or a shared link shows of a chapter begins with its first paragraph.
        line = f'<p class="cost">{" · ".join([in_words(cost), *explained(app)])}</p>'
        title.parent.insert(title.parent.index(title) + 1, nodes.raw("", line, format="html"))


def explained(app) -> list[str]:
    """Links to the pages that explain words and symbols, as far as there are such pages."""
    return [
        f'<a href="{app.builder.get_relative_uri(app.env.docname, page)}">{words}</a>'
        for page, words in (("book/glossary", "glossary"), ("book/notation", "notation"))
        if page in app.env.found_docs
    ]


class StatusTable(nodes.General, nodes.Element):
    """Where the table will stand, once all titles are known."""


class Status(SphinxDirective):
    """`{status}`: a table of all chapters and their costs."""

    def run(self):
        return [StatusTable()]


def fill_status(app, doctree, docname) -> None:
    """Replace each `{status}` by its table."""
    for place in list(doctree.findall(StatusTable)):
        place.replace_self(status_table(app, docname))


def status_table(app, docname: str) -> nodes.Node:
    ran = measured(Path(app.srcdir))
    rows = []
    for chapter in sorted(name for name in app.env.found_docs if name.startswith("chapters/")):
        says, took = declared(Path(app.env.doc2path(chapter))), ran.get(f"{chapter}.ipynb", {})
        link = nodes.reference(
            "",
            app.env.titles[chapter].astext(),
            refuri=app.builder.get_relative_uri(docname, chapter),
            internal=True,
        )
        numbers = [
            says.get("units"),
            took.get("units"),
            says.get("memory_mb"),
            took.get("memory_mb"),
            says.get("download_mb"),
        ]
        rows.append([link, *(nodes.Text("–" if n is None else f"{n:,.0f}") for n in numbers)])
    return table([[nodes.Text(h) for h in HEADINGS]], rows)


def table(head: list, body: list) -> nodes.Node:
    """A table whose first column is words and the others numbers."""

    def rows(content):
        for cells in content:
            row = nodes.row()
            for i, cell in enumerate(cells):
                row += nodes.entry(
                    "", nodes.paragraph("", "", cell), classes=["number"] if i else []
                )
            yield row

    columns = len(head[0])
    group = nodes.tgroup("", cols=columns)
    group += [nodes.colspec(colwidth=1) for _ in range(columns)]
    group += nodes.thead("", *rows(head))
    group += nodes.tbody("", *rows(body))
    return nodes.table("", group, classes=["numbers"])


def setup(app):
    app.add_node(StatusTable)
    app.add_directive("status", Status)
    app.add_role("reading", Reading())
    app.connect("doctree-read", cost_line)
    app.connect("doctree-resolved", fill_status)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
