"""The ledger: every measured result, with how it was measured.

Pages and chapters take their numbers from here; nobody types one. A record is one line of JSON with flat keys.
Accuracies are fractions, times are seconds.

An experiment has one file, ``results/<dataset>/<experiment>.jsonl``, its records in order of their ids. The data set
is what the ``id`` says before the stroke, the experiment is the ``method`` of the record: that of a recipe is its name.
That of a training is put together by ``experiments/running.py`` and comes in by :func:`write`. What was measured on
validation classes, to choose by it, stands apart, in ``<experiment>-choosing.jsonl``.
"""

from __future__ import annotations

import copy
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fslib import files
from fslib.evaluation import ci95

Record = dict[str, Any]

# What every record holds. A training run says its ``precision`` too, float32 or bfloat16; the oldest do not.
KEYS = (
    "id", "command", "method", "dataset", "split", "way", "shot", "query", "episodes", "seeds", "metric", "mean",
    "ci95", "seconds", "device", "versions", "commit",
)  # fmt: skip
# What may differ between records that are averaged: what came out, and where, when and from which seed. All else is a
# setting, but for times. The weights that a training starts from are of its seed; its recipe says whose they are.
_NO_SETTINGS = {
    "id", "command", "seeds", "mean", "ci95", "device", "threads", "versions", "commit", "train_start_weights",
}  # fmt: skip

# Of each file read so far, what tells that it has not changed since, and its records by id.
_known: dict[str, tuple[tuple[int, ...], dict[str, Record]]] = {}


def folder() -> Path:
    """The folder of the records: ``$FSLIB_RESULTS``, else ``results/`` of a checkout, else the copy in the package."""
    return files.results_dir()


def writable_folder(dataset: str) -> Path:
    """The folder of the records, where those of a data set can be written; to be asked before they are measured.

    Raises:
        ValueError: if it is part of an installed package.
        OSError: if nothing can be written there.
    """
    place = folder()
    if files.package_dir().absolute() in place.parents:
        raise ValueError(
            "An installed package keeps the records that came with it; name a folder for yours by FSLIB_RESULTS."
        )
    try:
        (place / dataset).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place / dataset).close()
    except OSError as error:
        raise _unwritable(place / dataset, error) from error
    return place


def _unwritable(path: Path, error: OSError) -> OSError:
    return OSError(
        f"Records cannot be written to {path}: {error.strerror or error}. "
        "Name another folder by FSLIB_RESULTS."
    )


def write(record: Record) -> Path:
    """Enter a record, in place of an older one of the same ``id``, and return the path of its file.

    Others may write to the same file meanwhile.

    Raises:
        ValueError: if a key is missing, a value is not a plain one, the file is damaged, or it belongs to an installed
            package.
        OSError: if the file cannot be written.
    """
    _check(record)
    line = _line(record)  # before the file is touched
    path = writable_folder(_dataset(record)) / _file(record)
    try:
        with files.locked(path):
            records = _read(path) if path.is_file() else {}
            lines = {id: _line(other) for id, other in records.items()} | {record["id"]: line}
            with files.atomic_write(path) as temporary:
                temporary.write_text("".join(lines[id] for id in sorted(lines)), encoding="utf8")
    except OSError as error:
        raise _unwritable(path, error) from error
    _known.pop(str(path), None)
    return path


def _check(record: Record) -> None:
    """Raise if a record lacks a key, is not flat, or has no place in the ledger."""
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
    for key, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"A record holds numbers, but {key} is {value}.")
    dataset, _, name = str(record["id"]).partition("/")
    if not dataset.strip(".") or not name.strip(".") or "/" in name:
        raise ValueError(
            f"The id of a record is the data set, a stroke and a name, but this is {record['id']!r}."
        )
    method = record["method"]
    if not isinstance(method, str) or not method.strip(".") or "/" in method:
        raise ValueError(f"The method of a record names its file, but this is {method!r}.")


def _dataset(record: Record) -> str:
    """The folder of a record: what its id says before the stroke."""
    return str(record["id"].partition("/")[0])


def _file(record: Record) -> str:
    """The file of a record, from the folder of the ledger."""
    choosing = "-choosing" if str(record["split"]).startswith("validation") else ""
    return f"{_dataset(record)}/{record['method']}{choosing}.jsonl"


def _line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def read(id: str) -> Record:
    """The record of that id, as in ``"omniglot/prototypical-5way-1shot-seed0"``."""
    records = _records()
    if id not in records:
        raise FileNotFoundError(f"The ledger holds no record {id!r}; its folder is {folder()}.")
    return copy.deepcopy(records[id])


def find(**wanted: Any) -> list[Record]:
    """All records whose keys have the values wanted, in order of their ids.

    Example:
        >>> [
        ...     record["seeds"]
        ...     for record in find(dataset="omniglot", method="prototypical", split="test", way=5, shot=1)
        ... ]  # doctest: +SKIP
        [[0], [1], [2]]
    """
    return [copy.deepcopy(record) for record in _matching(_records().values(), wanted)]


def _records() -> dict[str, Record]:
    """All records by id, in order. Not to be changed."""
    place = folder()
    found: dict[str, Record] = {}
    for entry in (
        entry
        for data in (os.scandir(place) if place.is_dir() else ())
        if data.is_dir()
        for entry in os.scandir(data.path)
        if entry.name.endswith(".jsonl") and entry.is_file()
    ):
        for id, record in _unchanged(entry.path, entry.stat()).items():
            if id in found:
                raise ValueError(f"{entry.path} holds a record {id!r}, and so does another file.")
            found[id] = record
    return dict(sorted(found.items()))


def _matching(records: Iterable[Record], wanted: Mapping[str, Any]) -> list[Record]:
    return [r for r in records if all(r.get(key) == value for key, value in wanted.items())]


def _unchanged(path: str, status: os.stat_result) -> dict[str, Record]:
    """The records in a file, which is read at most once, unless it has changed since. Not to be changed."""
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    if path not in _known or _known[path][0] != stamp:
        _known[path] = stamp, _read(Path(path))
    return _known[path][1]


def _read(path: Path) -> dict[str, Record]:
    """The records in a file, by id."""
    records: dict[str, Record] = {}
    try:
        lines = path.read_text(encoding="utf8").split("\n")
    except ValueError as error:
        raise ValueError(f"{path} holds no records, or is damaged: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}, is damaged: {error}.") from error
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            raise ValueError(f"{path}, line {number}, is no record, which has keys and an id.")
        if record["id"] in records:
            raise ValueError(f"{path}, line {number}, holds a second record {record['id']!r}.")
        records[record["id"]] = record
    return records


def difference(a: Record, b: Record) -> str | None:
    """The first key in which two records differ in a setting, or None if they are of the same settings.

    Settings are all keys but what came out (mean, interval, times), and where, when and from which seed. A key that
    is missing is the same as one that is ``None``.
    """
    return next(
        (
            key
            for key in {**a, **b}
            if key not in _NO_SETTINGS and not key.endswith("seconds") and a.get(key) != b.get(key)
        ),
        None,
    )


def over_seeds(records: Iterable[Record]) -> tuple[float, float]:
    """Mean of several training runs, and the half-width of its 95 % interval.

    With one run the interval is the one over its episodes. With several it is Student's over the runs, which
    covers the variation between trainings as well as that between episodes.

    Raises:
        ValueError: if there is no record, or they are not runs of one training under seeds of their own.
    """
    records = list(records)
    if not records:
        raise ValueError("There is no record to average.")
    first = records[0]
    for other in records[1:]:
        if key := difference(first, other):
            values = [
                repr(r[key]) if r.get(key) is not None else "not said" for r in (first, other)
            ]
            raise ValueError(
                f"Only runs of the same settings can be averaged, but {key} is {values[0]} in {_name(first)} "
                f"and {values[1]} in {_name(other)}; ask for one of them."
            )
    held: dict[Any, Record] = {}
    for record in records:
        for seed in record.get("seeds", []):
            if seed in held and len(records) > 1:
                raise ValueError(
                    "Only runs of seeds of their own can be averaged, but "
                    f"{_name(held[seed])} and {_name(record)} both hold seed {seed}."
                )
            held[seed] = record
    means = torch.tensor([r["mean"] for r in records], dtype=torch.float64)
    if len(means) == 1:
        return first["mean"], first["ci95"]
    return means.mean().item(), ci95(means)


@dataclass(frozen=True)
class Lead:
    """By how much one training leads another.

    Args:
        mean: difference of the accuracies, a fraction.
        ci95: half-width of its 95 % interval.
        paired: whether it is one over differences, seed by seed; else it is made of the intervals of both sides.
    """

    mean: float
    ci95: float
    paired: bool


def lead(ours: Iterable[Record], theirs: Iterable[Record]) -> Lead:
    """By how much the runs of one training lead those of another, on one task.

    Where both have several runs, from the same seeds, the interval is Student's over the differences seed by seed.

    Raises:
        ValueError: as :func:`over_seeds`, of either side.
    """
    ours, theirs = list(ours), list(theirs)
    (first, wide), (second, wider) = over_seeds(ours), over_seeds(theirs)
    by_seed = [{tuple(record["seeds"]): record["mean"] for record in side} for side in (ours, theirs)]
    if len(ours) > 1 and by_seed[0].keys() == by_seed[1].keys():
        gains = [by_seed[0][seed] - by_seed[1][seed] for seed in by_seed[0]]
        return Lead(first - second, ci95(torch.tensor(gains, dtype=torch.float64)), paired=True)
    return Lead(first - second, math.hypot(wide, wider), paired=False)


def _name(record: Record) -> str:
    return str(record.get("id", "a record without an id"))


def percent(mean: float, ci95: float) -> str:
    """An accuracy as it is printed: ``98.43 ± 0.05 %``, or ``98.43 ± ∞ %`` where one episode or run tells no interval.

    Raises:
        ValueError: if there is no mean, or an interval that is none.
    """
    if not math.isfinite(mean) or not ci95 >= 0:
        raise ValueError(f"An accuracy of {mean} ± {ci95} is none, and cannot be printed.")
    half = f"{100 * ci95:.2f}" if math.isfinite(ci95) else "∞"
    return f"{100 * mean:.2f} ± {half} %"


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
        ValueError: if the ledger holds no record for a cell, or several that must not be averaged.
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
    records = list(_records().values())
    for label, wanted in rows.items():
        if isinstance(wanted, Mapping):
            try:
                cells, runs = _row(records, wanted, columns)
            except ValueError as error:
                raise ValueError(f"Row {label!r}: {error}") from error
        else:
            cells, runs = list(wanted), ""
        if len(cells) != len(tasks):
            raise ValueError(f"Row {label!r} has {len(cells)} cells for {len(tasks)} tasks.")
        lines.append(f"| {' | '.join([label, *cells])} |{f' {runs}' if runs else ''} |")
    return Table("\n".join(lines))


def _row(
    records: list[Record], wanted: Mapping[str, Any], columns: list[dict[str, Any]]
) -> tuple[list[str], str]:
    """The cells of a row, one a column, and over how many runs they are."""
    cells, runs = [], set()
    for column in columns:
        if taken := wanted.keys() & column.keys():
            raise ValueError(f"The columns say {', '.join(sorted(taken))}; leave it out.")
        found = _matching(records, {**wanted, **column})
        if not found:
            raise ValueError(f"The ledger lacks a record for {dict(wanted) | column}.")
        mean, half = over_seeds(found)
        cells.append(printed(found[0] | {"mean": mean, "ci95": half}).removesuffix(" %"))
        runs.add(len(found))
    return cells, "–".join(map(str, sorted({min(runs), max(runs)})))


def printed(record: Record) -> str:
    """The value of a record as it is printed: an accuracy in percent, a ratio of times as it is."""
    if record["metric"] == "ratio of times":
        return percent(record["mean"] / 100, record["ci95"] / 100).removesuffix(" %")
    return percent(record["mean"], record["ci95"])


def device_name(device: torch.device) -> str:
    """What a record calls the device: the name of a GPU, or how many threads a CPU has."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return f"{device.type}, {platform.machine()}"


def circumstances(device: torch.device) -> Record:
    """Device, versions and commit of a measurement made now."""
    packages = ("torch", "torchvision", "numpy", "matplotlib")
    return {
        "device": device_name(device),
        "versions": ", ".join(
            [f"python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]
        ),
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the package, with a + if its folder holds what no commit does; empty if it is in no repository.

    A package that is installed, or copied, may lie somewhere below another repository, whose commit says nothing of
    it. So only a repository counts that has the package at its top and its files under version control.
    """
    package = files.package_dir().resolve()
    if _git("rev-parse", "--show-prefix") != f"{package.name}/":
        return ""
    head = _git("rev-parse", "--short", "HEAD") if _git("ls-files", "book") else ""
    return head + "+" if head and _git("status", "--porcelain", ".") else head


def _git(*arguments: str) -> str:
    """What git answers in the folder of the package; nothing if it fails, or is not there."""
    # Within a hook, git tells of the repository that it runs for, which may be another one.
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=files.package_dir().resolve(),
            env={key: value for key, value in os.environ.items() if key not in others},
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
    r"\$\$.*?\$\$|\$[^$\n]+\$|```.*?```|`[^`\n]+`|<[^>]+>|\b95\s?%\s+(?:confidence\s+)?interval"
    r"|^\*\w+, about \d+ minutes\*$",  # what an exercise takes
    re.DOTALL | re.MULTILINE,
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
