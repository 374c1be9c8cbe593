"""Say at the end what of the notebooks needs a look: claims that failed, and what cost too much.

    python -m tests.notebooks_report        # after a run; what it says changes nothing in its exit status
"""

import json
from pathlib import Path

REPORT = Path(__file__).parents[1] / "_build" / "notebooks.json"


def told(report: dict) -> list[str]:
    """A line for each failed cell and each excess, and what to do."""
    lines = []
    for name, notebook in sorted(report.items()):
        for failed in notebook["failed"]:
            where = f"{name}, code cell {failed['cell'] + 1}"
            lines.append(f"{where}: {failed['error']}" + (f", at: {failed['line']}" if failed["line"] else ""))
        lines += [f"{name} {fault}." for fault in notebook["faults"]]
    return lines


def main() -> None:
    report = json.loads(REPORT.read_text(encoding="utf8")) if REPORT.exists() else {}
    if not report:
        print("No notebook ran, so nothing is known of what the book claims.")
        return
    lines = told(report)
    if not lines:
        print("Every claim of every notebook held.")
        return
    print("\nThe book is built, but of its notebooks this needs a look:\n")
    print("\n".join(f"- {line}" for line in lines))
    print(
        "\nThe pages show what came out. A claim that fails on your machine is a fault of the book, not yours: please "
        "tell us,\nwith the lines above and what your machine is. `make test` is strict, and fails on each of them."
    )


if __name__ == "__main__":
    main()
