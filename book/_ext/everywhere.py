"""The directive `{everywhere}`: under what circumstances each chapter held what it claims.

`make everywhere` plays them, and leaves a line for each run in `tests/everywhere.jsonl`. A run counts as long as the
code that ran is the chapter's of now.
"""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
from costs import table  # noqa: E402

from tests.everywhere import CHAPTERS, TOLD, digest, told  # noqa: E402

# What a row is called, and the runs that count in it.
KINDS = {
    "all runs": lambda run: True,
    "instructions as of SSE4": lambda run: run["processor"] == "SSE4",
    "AVX2": lambda run: run["processor"] == "AVX2",
    "AVX-512": lambda run: run["processor"] == "AVX512",
    "one thread": lambda run: run["threads"] == 1,
    "four threads": lambda run: run["threads"] == 4,
    "other seeds": lambda run: run["seeds"],
    "oldest versions": lambda run: "oldest" in run["circumstance"],
    "a pretended GPU": lambda run: run["device"] != "CPU",
    "a busy machine": lambda run: run["load"] == "busy",
    "bfloat16": lambda run: run.get("bfloat16"),
    "a wrong number in each claim": lambda run: run.get("planted"),
}


class Everywhere(SphinxDirective):
    """`{everywhere}`: for each chapter, how many runs of each kind held every claim, of how many."""

    def run(self):
        self.env.note_dependency(str(TOLD))
        runs = [run for run in told() if run["digest"] == digest(run["what"])]
        columns = [*(path.stem for path in CHAPTERS), "tests"]
        rows = [
            [nodes.Text(kind)]
            + [nodes.Text(held(run for run in runs if run["what"] == what and counts(run))) for what in columns]
            for kind, counts in KINDS.items()
        ]
        head = [nodes.Text(word) for word in ("chapter", *(what.partition("_")[0].lstrip("0") for what in columns))]
        return [nodes.paragraph("", "", nodes.Text(when(runs))), table([head], rows)]


def held(runs) -> str:
    """How many of some runs held every claim: of all of them, one number."""
    failed = [bool(run["failed"]) for run in runs]
    if not failed:
        return "–"
    return f"{len(failed)}" if not any(failed) else f"{failed.count(False)} of {len(failed)}"


def when(runs) -> str:
    if not runs:
        return "No run of the chapters as they are now is on record."
    days = sorted({run["day"] for run in runs})
    between = " to ".join(dict.fromkeys((days[0], days[-1])))
    versions = "; ".join(sorted({run["versions"] for run in runs}))
    return f"{len(runs)} runs, {sum(bool(run['failed']) for run in runs)} with a failed claim; {between}; {versions}."


def setup(app):
    app.add_directive("everywhere", Everywhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
