"""What a submitted file holds: the code of its cells, whatever became of the rest of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGEST = 20 * 2**20  # bytes; a notebook with its pictures has a few million


def code_cells(path: str | Path) -> tuple[list[str], str]:
    """The code of a notebook, cell by cell, and its language; ``"python"`` if it does not say.

    Cells are told from each other by nothing but their order. Metadata, ids and outputs may be gone, and bytes that are
    no UTF-8 cost no more than the characters they stand for. Notebooks of format 3 are read, too.

    Raises:
        ValueError: in one sentence for the student, if the file is no notebook.
    """
    path = Path(path)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"the file is larger than {LARGEST >> 20} MB; clear the outputs of the notebook and save it.")
    raw = path.read_bytes()
    if not raw.strip():
        raise ValueError("the file is empty; save the notebook and hand it in again.")
    try:
        notebook = json.loads(raw.decode(json.detect_encoding(raw), "replace"))
        sheets = notebook.get("worksheets") or [notebook]
        cells = [_code(cell) for sheet in sheets for cell in sheet["cells"] if cell.get("cell_type") == "code"]
    except (ValueError, RecursionError):
        raise ValueError("the file is not JSON, as notebooks are; hand in the .ipynb file itself.") from None
    except (AttributeError, KeyError, TypeError):
        raise ValueError("the file is JSON, but has no list of cells; hand in the .ipynb file itself.") from None
    return cells, _language(notebook)


def _code(cell: dict[str, Any]) -> str:
    """The source of a cell, which is a text or a list of lines."""
    source = cell.get("source", cell.get("input", ""))
    return source if isinstance(source, str) else "".join(map(str, source))


def _language(notebook: dict[str, Any]) -> str:
    found = notebook.get("metadata")
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        told = found.get(key) if isinstance(found, dict) else None
        if isinstance(told, dict) and isinstance(told.get(name), str) and told[name]:
            return told[name].lower()[:40]
    return "python"
