"""Render results from the ledger: no page types a number that we measured.

`{result}` is a role: the value of one record, as in {result}`omniglot/prototypical-5way-1shot-seed0`. `{lead}` is that
of one record over another, in points: their two ids with `over` between them.
`{ledger-table}` is a directive; each line is a row, a label with the keys its records have in common or, for somebody
else's figures, a list of cells. `{ledger-runs}` lists every command that has filled the ledger, and `{ledger-gaps}`
what records leave open: of which code they are, and in which precision. `{did-not-help}` is what was tried in vain, on
the validation classes or, with the word `test`, on those of the test.
"""

from collections import Counter
from typing import ClassVar

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective, SphinxRole

from fslib.book import ledger, tried


class Result(SphinxRole):
    def run(self):
        value = ledger.printed(ledger.read(self.text))
        return [nodes.inline("", value, classes=["result"])], []


class Lead(SphinxRole):
    def run(self):
        ours, theirs = ([ledger.read(id)] for id in self.text.split(" over "))
        return [nodes.inline("", f"{tried.points(ledger.lead(ours, theirs))} points", classes=["result"])], []


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
            f"| `{command}` | {r.get('train_split', '')} | {r['split']} | {_seconds(r)} | {r['device']} |"
            for command, r in runs.items()
        ]
        return "\n".join(lines)


def _seconds(record: ledger.Record) -> str:
    """How long the training of a record took, if there was one."""
    return f"{record['train_seconds']:,.0f} s" if "train_seconds" in record else ""


class DidNotHelp(MarkdownDirective):
    optional_arguments = 1

    def markdown(self) -> str:
        rows = tried.compared if self.arguments == ["test"] else tried.choosing
        return tried.folded(rows(ledger.find()))


class LedgerGaps(MarkdownDirective):
    def markdown(self) -> str:
        return gaps(ledger.find())


def gaps(records: list[ledger.Record]) -> str:
    """What records do not say: those of code that no commit holds by command, those without a precision counted."""
    open_code = Counter(
        (record["command"], record["commit"])
        for record in records
        if record["commit"].endswith("+") or not record["commit"]
    )
    silent = sum(not record.get("precision") and "bfloat16" not in record for record in records)
    lines = [
        f"{open_code.total():,} of {len(records):,} records were measured with a package that no commit holds: "
        "it had been changed since the commit that the record names, which is marked by a +, or there was none."
    ]
    lines += [""] + [
        f"- {number} of `{command}`, {commit or 'no commit'}"
        for (command, commit), number in sorted(open_code.items())
    ]
    lines += [
        "",
        f"{silent:,} of {len(records):,} records do not say in which precision the network was trained, for they are "
        "older than that rule. A mean is taken over such records or over others, never over both.",
    ]
    return "\n".join(lines)


def setup(app):
    app.add_role("result", Result())
    app.add_role("lead", Lead())
    app.add_directive("ledger-table", LedgerTable)
    app.add_directive("ledger-runs", LedgerRuns)
    app.add_directive("ledger-gaps", LedgerGaps)
    app.add_directive("did-not-help", DidNotHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
