"""Enter measured ratios of times into the ledger."""

import statistics

from fslib import ledger
from fslib.devices import default_device

DEVICE = default_device()


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
        **keys,
    }
    ledger.write(record)
    print(
        f"{record['id']}: {record['mean']} times as fast, rounds from {min(ratios):.2f} to {max(ratios):.2f}",
        flush=True,
    )
