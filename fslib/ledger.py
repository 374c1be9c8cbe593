"""The ledger: every measured result, one JSON file each, with how it was measured.

Pages and chapters take their numbers from here; nobody types one. A record lies at ``results/<id>.json`` and its
keys are flat. Accuracies are fractions, times are seconds.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fslib import files
from fslib.evaluation import ci95

Record = dict[str, Any]

KEYS = (
    "id", "command", "method", "dataset", "split", "way", "shot", "query", "episodes", "seeds", "metric", "mean",
    "ci95", "seconds", "device", "versions", "commit",
)  # fmt: skip


def folder() -> Path:
    """The folder of the records: ``results/`` of a checkout, else the copy in the installed package."""
    package = Path(__file__).parent
    checkout = package.parent / "results"
    return checkout if checkout.is_dir() else package / "results"


def write(record: Record) -> Path:
    """Store a record, replacing an older one of the same ``id``, and return its path.

    Raises:
        ValueError: if a key is missing or a value is not a plain one.
    """
    if missing := [key for key in KEYS if key not in record]:
        raise ValueError(f"A record needs the keys {', '.join(missing)}.")
    if nested := [
        key
        for key, value in record.items()
        if not isinstance(value, str | int | float | list | None)
    ]:
        raise ValueError(
            f"A record is flat, but {', '.join(nested)} is not a number, a text or a list."
        )
    path = folder() / f"{record['id']}.json"
    with files.atomic_write(path) as temporary:
        temporary.write_text(
            json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf8"
        )
    return path


def read(id: str) -> Record:
    """The record of that id, as in ``"omniglot/prototypical-5way-1shot-seed0"``."""
    path = folder() / f"{id}.json"
    if not path.is_file():
        raise FileNotFoundError(f"The ledger holds no record {id!r}.")
    return json.loads(path.read_text(encoding="utf8"))


def find(**wanted: Any) -> list[Record]:
    """All records whose keys have the values wanted, in order of their ids.

    Example:
        >>> [r["seeds"] for r in find(dataset="omniglot", method="prototypical", way=5, shot=1)]  # doctest: +SKIP
        [[0]]
    """
    records = (
        json.loads(path.read_text(encoding="utf8")) for path in sorted(folder().glob("*/*.json"))
    )
    return [r for r in records if all(r.get(key) == value for key, value in wanted.items())]


def over_seeds(records: Iterable[Record]) -> tuple[float, float]:
    """Mean of several training runs, and the half-width of its 95 % interval.

    With one run the interval is the one over its episodes. With several it is Student's over the runs, which
    holds the luck of training as well as that of the episodes.
    """
    records = list(records)
    if not records:
        raise ValueError("There is no record to average.")
    means = torch.tensor([r["mean"] for r in records], dtype=torch.float64)
    if len(means) == 1:
        return records[0]["mean"], records[0]["ci95"]
    return means.mean().item(), ci95(means)


def percent(mean: float, ci95: float) -> str:
    """An accuracy as it is printed: ``98.43 ± 0.05 %``."""
    return f"{100 * mean:.2f} ± {100 * ci95:.2f} %"


class Table(str):
    """A Markdown table that a notebook shows as a table."""

    def _repr_markdown_(self) -> str:
        return str(self)


def table(
    rows: Mapping[str, Mapping[str, Any] | Sequence[str]],
    tasks: Sequence[tuple[int, int] | str] = ((5, 1), (5, 5), (20, 1), (20, 5)),
) -> Table:
    """Accuracies in percent with 95 % intervals, one row for each label and one column for each task.

    Args:
        rows: label → what the records of the row have in common, as for :func:`find`; or, for a row of somebody
            else's figures, the cells as they are to be printed.
        tasks: of each column, way and shot, or a measure that has none, such as ``"recall@1"``.

    Raises:
        ValueError: if the ledger holds no record for a cell.
    """
    columns: list[dict[str, Any]] = [
        {"metric": task}
        if isinstance(task, str)
        else {"metric": "accuracy", "way": task[0], "shot": task[1]}
        for task in tasks
    ]
    heads = [  # with hyphens that no line ends at
        f"{column['way']}\u2011way {column['shot']}\u2011shot"
        if "way" in column
        else column["metric"]
        for column in columns
    ]
    lines = ["| | " + " | ".join(heads) + " | runs |"]
    lines.append("|:--|" + "--:|" * (len(tasks) + 1))
    for label, wanted in rows.items():
        if not isinstance(wanted, Mapping):
            lines.append(f"| {label} | {' | '.join(wanted)} | |")
            continue
        cells = [find(**wanted, **column) for column in columns]
        if not all(cells):
            raise ValueError(f"The ledger lacks a record for the row {label!r}: {dict(wanted)}.")
        printed = [percent(*over_seeds(cell)).removesuffix(" %") for cell in cells]
        lines.append(f"| {label} | {' | '.join(printed)} | {len(cells[0])} |")
    return Table("\n".join(lines))


def printed(record: Record) -> str:
    """The value of a record as it is printed: an accuracy in percent, a ratio of times as it is."""
    if record["metric"] == "ratio of times":
        return f"{record['mean']:.2f} ± {record['ci95']:.2f}"
    return percent(record["mean"], record["ci95"])


def circumstances(device: torch.device) -> Record:
    """Device, versions and commit of a measurement made now."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads"
    )
    packages = ("torch", "torchvision", "numpy", "matplotlib")
    return {
        "device": name,
        "versions": ", ".join(
            [f"python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]
        ),
        "commit": _git("rev-parse", "--short", "HEAD")
        + ("+" if _git("status", "--porcelain", ".") else ""),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


# A result is a percentage, a ± interval, a measured time or a speed ratio.
_RESULT = re.compile(
    r"\d[\d,.]*\s?(?:%|percent\b|points?\b|±|[×x]\s+(?:faster|slower)|times\s+(?:faster|slower|as\s+fast)"
    r"|(?:ms|milliseconds?|seconds?|minutes?|hours?)\b)|±\s?\d"
)
# What is not a result of ours: mathematics, code, the level of an interval, and markup.
_NOT_OURS = re.compile(
    r"\$\$.*?\$\$|\$[^$\n]+\$|```.*?```|`[^`\n]+`|<[^>]+>|\b95\s?%\s+(?:confidence\s+)?interval",
    re.DOTALL,
)
_CITATION = re.compile(r"\{cite|\]\(https?://(?:arxiv\.org|doi\.org|proceedings\.|openreview\.net)")


def typed_results(text: str) -> list[str]:
    """Results that stand in a Markdown text as typed numbers instead of coming from code or a record.

    A figure is taken for somebody else's, and let through, if its paragraph or table row cites a paper.

    Returns:
        The offending passages, each with a few words around it.
    """
    plain = _NOT_OURS.sub(lambda match: " " if "\n\n" not in match[0] else "\n\n", text)
    offending = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*\|)", plain):
        if not _CITATION.search(paragraph):
            offending += [_around(paragraph, match) for match in _RESULT.finditer(paragraph)]
    return offending


def _around(paragraph: str, match: re.Match[str]) -> str:
    return " ".join(paragraph[max(0, match.start() - 30) : match.end() + 20].split())
