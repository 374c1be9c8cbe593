"""The first cell of each chapter says what the run will take, and the last compares it with the book's.

Nothing is sent anywhere. What is printed can be pasted into a message as it stands.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch

from fslib.book import ledger
from fslib.book.address import project_address
from fslib.devices import default_device
from fslib.evaluation import Accuracy, ci95

#: Where the weights are the book's, all that is left between two machines is rounding.
SAME = 0.001
#: Recipes whose network was trained anew in this process, so that it need not give what the ledger says.
ANEW: set[str] = set()
BEYOND, UNTOLD = "differs beyond chance", "differs; by chance or not, the book's one training cannot tell"
_began = time.time(), time.process_time()


def begin(units: float) -> None:
    """Print the device that was found, and what the notebook takes.

    Args:
        units: CPU seconds that it takes on a plain machine of two cores; on a GPU nobody has timed it yet.
    """
    device = default_device()
    print(f"Device: {ledger.device_name(device)}." + " No GPU was found, and none is needed." * (device.type == "cpu"))
    print(f"All cells together take about {units:g} seconds of a plain CPU.")


def agrees(accuracy: Accuracy, id: str) -> bool:
    """Whether an accuracy is that of a record of the ledger, to within a tenth of a point.

    Of a network that was trained anew nothing of the kind is asked. Where the two disagree, both are printed.

    Args:
        accuracy: measured on the weights that the record was measured on, and on its episodes.
        id: of the record, as in ``"glyphs/prototypical-5way-1shot-seed0"``.
    """
    record = ledger.read(id)
    if _is_anew(record) or abs(accuracy.mean - record["mean"]) <= SAME:
        return True
    yours, books = _printed(accuracy.mean, accuracy.ci95), _printed(record["mean"], record["ci95"])
    print(f"{id}: yours {yours}, the book's {books}. {_please_tell()}")
    return False


def report(title: str, numbers: Mapping[str, tuple[Accuracy, str]], took: str = "") -> None:
    """Print a run beside the book's: each number, the time, the machine, and what differs beyond chance.

    Two accuracies differ by chance if their difference lies within the 95 % interval that the episodes of both give
    it, and, where the ledger has several trainings, the variation of one more training. Where it has one, nobody knows
    how much a network that was trained anew may differ.

    Args:
        title: of the chapter, or of the training.
        numbers: what each is called → the reader's, and the id of the record that it is compared with.
        took: how long it took, in words; default, the time since the first cell of the chapter.

    Example:
        >>> report("An example", {"5-way 1-shot": (accuracy, "glyphs/matching-5way-1shot-seed0")})  # doctest: +SKIP
        Your run against the book: An example
          5-way 1-shot  yours 90.65 % ± 0.15  the book's 90.65 % ± 0.15  the same
        ...
    """
    print(f"Your run against the book: {title}")
    wide, verdicts = max(map(len, numbers), default=0), {}
    for name, (yours, id) in numbers.items():
        record = ledger.read(id)
        verdicts[name] = _verdict(yours, record)
        print(f"  {name:{wide}}  yours {_printed(yours.mean, yours.ci95)}", end="  ")
        print(f"the book's {_printed(record['mean'], record['ci95'])}  {verdicts[name]}")
    wall, cpu = time.time() - _began[0], time.process_time() - _began[1]
    here = ledger.circumstances(default_device())
    took = took or f"{wall:.0f} seconds, {cpu:.0f} of processor time"
    print(f"  it took {took}, on {here['device']}")
    print(f"  {here['versions']}")
    if beyond := [name for name, verdict in verdicts.items() if verdict == BEYOND]:
        print(f"Beyond chance: {', '.join(beyond)}. {_please_tell()}")
    else:
        told = ", as far as can be told" if UNTOLD in verdicts.values() else ""
        print(f"Nothing differs beyond chance{told}.")


def _please_tell() -> str:
    return f"If you changed nothing, please tell us, with these lines: {project_address('Repository')}/issues"


def _is_anew(record: ledger.Record) -> bool:
    return f"{record['dataset']}/{record['method']}" in ANEW


def _verdict(yours: Accuracy, record: ledger.Record) -> str:
    apart, luck = abs(yours.mean - record["mean"]), _luck(record)
    if apart <= SAME:
        return "the same"
    if apart <= math.hypot(yours.ci95, record["ci95"], luck):
        return "differs by chance"
    return UNTOLD if _is_anew(record) and not luck else BEYOND


def _luck(record: ledger.Record) -> float:
    """Half the width of the interval in which one more training lands, or 0 where there was but one."""
    same = ("dataset", "method", "split", "metric", "way", "shot", "query", "episodes")
    runs = ledger.find(**{key: record.get(key) for key in same})
    means = torch.tensor([run["mean"] for run in runs if ledger.difference(run, record) is None])
    if len(means) < 2:
        return 0.0
    return ci95(means) * math.sqrt(len(means) + 1)


def _printed(mean: float, ci95: float) -> str:
    return f"{100 * mean:.2f} % ± {100 * ci95:.2f}"
