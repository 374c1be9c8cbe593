"""Measure ratios of times side by side, and enter them into the ledger."""

import statistics
import time
from collections.abc import Callable

from fslib.book import ledger
from fslib.devices import default_device, has_fast_bfloat16

DEVICE = default_device()


def timed(function, *arguments, **options) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - start


def side_by_side(
    theirs: Callable[[], float], ours: Callable[[], float], rounds: int
) -> list[float]:
    """Seconds of theirs over seconds of ours, one ratio a round; the two take turns in going first."""
    ratios = []
    for turn in range(rounds):
        seconds = {run: run() for run in ((theirs, ours) if turn % 2 else (ours, theirs))}
        ratios.append(seconds[theirs] / seconds[ours])
    return ratios


def enter(ratios: list[float], seconds: float, **keys) -> None:
    """Write the median of the ratios, with half their range as its interval, and print it.

    Args:
        ratios: one for each round.
        seconds: that the whole measurement took.
        keys: the other keys of the record.
    """
    record = {
        "seeds": [0],
        "metric": "ratio of times",
        "mean": round(statistics.median(ratios), 2),
        "ci95": round((max(ratios) - min(ratios)) / 2, 2),
        "seconds": round(seconds, 1),
        **ledger.circumstances(DEVICE),
        "precision": "bfloat16" if keys.get("bfloat16", has_fast_bfloat16(DEVICE)) else "float32",
        **keys,
    }
    ledger.write(record)
    print(
        f"{record['id']}: {record['mean']}, rounds from {min(ratios):.2f} to {max(ratios):.2f}",
        flush=True,
    )
