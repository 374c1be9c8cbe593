"""The one place that knows where the project lives is `[project.urls]` in pyproject.toml.

As a Sphinx extension this puts the address into the buttons and links of the site. As a program
(`make address`) it writes the address where it cannot be looked up: into the first cell of each
notebook, which must find the package from a bare Colab, and into CITATION.cff.
"""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BRANCH = "main"
CELL_ID = "first-cell"

FIRST_CELL = """\
# Threads that wait leave the processor to other work; PyTorch reads this only once.
# And Colab does not have the book's package yet: fetch it. Elsewhere it is there.
import importlib.util
import os
import subprocess
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if importlib.util.find_spec("fslib") is None:
    package = "fslib @ git+{repository}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", package]
    if subprocess.run(command).returncode:
        sys.exit("fslib could not be installed. Is the network on?")"""


def urls(root: Path = ROOT) -> tuple[str, str]:
    """The addresses of the repository and of the site; the latter ends in a slash."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf8"))["project"]["urls"]
    return table["Repository"].rstrip("/"), table["Documentation"].rstrip("/") + "/"


def first_cell(repository: str) -> str:
    """The source of the first code cell, the same in all notebooks."""
    return FIRST_CELL.format(repository=repository)


def with_first_cell(notebook: dict, repository: str) -> dict:
    """The notebook with its first cell in step, put on top where there is none."""
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "id": CELL_ID,
        "metadata": {"tags": ["remove-cell"]},
        "outputs": [],
        "source": first_cell(repository).splitlines(keepends=True),
    }
    others = [c for c in notebook["cells"] if c.get("id") != CELL_ID]
    return {**notebook, "cells": [cell, *others]}


def citation(text: str, repository: str, site: str) -> str:
    """CITATION.cff with its two addresses in step."""
    text = re.sub(r"(?m)^url:.*$", f"url: {site}", text)
    return re.sub(r"(?m)^repository-code:.*$", f"repository-code: {repository}", text)


def main() -> None:
    """Bring every notebook and CITATION.cff in step with pyproject.toml."""
    repository, site = urls()
    for path in sorted(ROOT.glob("chapters/*.ipynb")):
        old = path.read_text(encoding="utf8")
        new = (
            json.dumps(with_first_cell(json.loads(old), repository), indent=1, ensure_ascii=False)
            + "\n"
        )
        _write_if_new(path, old, new)
    path = ROOT / "CITATION.cff"
    old = path.read_text(encoding="utf8")
    _write_if_new(path, old, citation(old, repository, site))


def _write_if_new(path: Path, old: str, new: str) -> None:
    if new != old:
        path.write_text(new, encoding="utf8")
        print(f"{path.relative_to(ROOT)}: now in step")


def configure(app, config) -> None:
    repository, site = urls()
    buttons = {f"use_{name}_button": True for name in ("repository", "issues", "edit_page")}
    config.html_theme_options |= {
        "repository_url": repository,
        "repository_branch": BRANCH,
        **buttons,
    }
    config.html_baseurl = config.ogp_site_url = site


def setup(app):
    # Before the theme and the other extensions read their settings.
    app.connect("config-inited", configure, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    main()
