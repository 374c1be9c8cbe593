"""How to cite the book: the directive `{cite-this-book}` says what CITATION.cff says, in words and in BibTeX."""

from pathlib import Path

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

BIBTEX = """\
@software{{learning_to_compare,
  author  = {{{author}}},
  title   = {{{title}}},
  version = {{{version}}},
  year    = {{{year}}},
  url     = {{{url}}},
}}"""


def bibtex(citation: dict, year: str) -> str:
    """The entry; a group's name is in braces, so that it is not taken apart."""
    names = (
        f"{{{one['name']}}}" if "name" in one else f"{one['family-names']}, {one['given-names']}"
        for one in citation["authors"]
    )
    return BIBTEX.format(**citation, author=" and ".join(names), year=year)


class CiteThisBook(SphinxDirective):
    def run(self):
        file = Path(self.env.srcdir, "CITATION.cff")
        self.env.note_dependency(str(file))
        citation = yaml.safe_load(file.read_text(encoding="utf8"))
        code = bibtex(citation, self.config.copyright)
        return [
            nodes.paragraph("", citation["message"]),
            nodes.literal_block(code, code, language="bibtex"),
        ]


def setup(app):
    app.add_directive("cite-this-book", CiteThisBook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
