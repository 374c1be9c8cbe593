"""Where the project lives, as the installed package knows it."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, metadata


@functools.cache
def project_address(name: str) -> str:
    """An address of the project, its ``"Repository"`` or ``"Documentation"``; empty if the package is not installed."""
    try:
        addresses = metadata("fslib").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    return next((each.partition(", ")[2] for each in addresses if each.startswith(f"{name}, ")), "")
