"""The command ``python -m fslib.book.experiments``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from fslib.book.experiments.registry import RECIPES
from fslib.book.experiments.running import run


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fslib.book.experiments", description="Train and measure by recipe."
    )
    parser.add_argument("recipe", nargs="?", help="leave it out for a list")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--validate", action="store_true", help="train on train, measure on validation classes"
    )
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        type=setting,
        default=[],
        metavar="NAME=VALUE",
        help="another setting, as in --set episodes=1000 margin=0.2; only with --validate",
    )
    chosen = parser.parse_args(arguments)
    if chosen.recipe is None:
        for name, recipe in RECIPES.items():
            print(name, recipe.settings)
        return
    changes = dict(chosen.set)
    if len(changes) < len(chosen.set):
        parser.error("argument --set: a setting is given twice")
    try:
        run(chosen.recipe, chosen.seed, chosen.validate, changes)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error


def setting(text: str) -> tuple[str, Any]:
    """``margin=0.5`` as a pair; the value may be a number, true, false, none, or a name."""
    key, _, value = (part.strip() for part in text.partition("="))
    if not key or not value:
        raise argparse.ArgumentTypeError(
            f"a setting is name=number or name=word, but this is {text!r}"
        )
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return key, words[value.lower()]
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            pass
    return key, value
