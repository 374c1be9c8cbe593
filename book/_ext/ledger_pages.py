"""Render results from the ledger: no page types a number that we measured.

`{result}` is a role: the value of one record, as in {result}`omniglot/prototypical-5way-1shot-seed0`.
`{ledger-table}` is a directive; each line is a row, a label with the keys its records have in common or, for somebody
else's figures, a list of cells. `{ledger-runs}` lists every command that has filled the ledger.
"""

from typing import ClassVar

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective, SphinxRole

from fslib import ledger


class Result(SphinxRole):
    def run(self):
        value = ledger.printed(ledger.read(self.text))
        return [nodes.inline("", value, classes=["result"])], []


class MarkdownDirective(SphinxDirective):
    """A directive that writes Markdown and has it parsed in place."""

    has_content = True

    def run(self):
        node = nodes.container(classes=["numbers"])
        self.state.nested_parse(StringList(self.markdown().splitlines()), self.content_offset, node)
        return [node]


class LedgerTable(MarkdownDirective):
    option_spec: ClassVar = {"tasks": yaml.safe_load}

    def markdown(self) -> str:
        rows = yaml.safe_load("\n".join(self.content))
        tasks = self.options.get("tasks")
        return ledger.table(rows, tasks) if tasks else ledger.table(rows)


class LedgerRuns(MarkdownDirective):
    def markdown(self) -> str:
        runs = {}
        for record in ledger.find(metric="accuracy"):
            runs.setdefault(record["command"], record)
        lines = [
            "| command | trained on | measured on | training | device |",
            "|:--|:--|:--|--:|:--|",
        ]
        lines += [
            f"| `{command}` | {r['train_split']} | {r['split']} | {r['train_seconds']:,.0f} s | {r['device']} |"
            for command, r in runs.items()
        ]
        return "\n".join(lines)


def setup(app):
    app.add_role("result", Result())
    app.add_directive("ledger-table", LedgerTable)
    app.add_directive("ledger-runs", LedgerRuns)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
