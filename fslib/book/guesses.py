"""Guess before you look: at most two questions a chapter, asked before their figure is shown.

On the book's site the page waits with the figure for a guess, or for *Show me*; guesses stay in the reader's own
browser, and the page *Your intuition* says how good they were. In a notebook the same question is a cell that nothing
waits for:

>>> from fslib import guesses
>>> guesses.ask("seeds-apart")     # doctest: +SKIP

All questions are here, each with where the right answer comes from: the ledger, or what the cells that follow print.
"""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fslib.book import ledger
from fslib.book.figures.shown import Still, joined, widget_class

# A number as a cell prints it, with its interval where it has one.
_NUMBER = r"([+-]?\d[\d,]*(?:\.\d+)?)(?: ?%)?(?: ± (\d+(?:\.\d+)?))?"


@dataclass(frozen=True)
class Number:
    """A question whose answer is a number, guessed by a slider.

    Args:
        text: the question.
        truth: gives the number and the half-width of its 95 % interval, from the ledger; or a line that the cells after
            the question print, with ``{}`` in place of the number and ``…`` for whatever stands between.
        low, high, step: of the slider.
        unit: what is said after the number.
    """

    text: str
    truth: Callable[[], tuple[float, float]] | str
    low: float
    high: float
    step: float = 1
    unit: str = "%"

    def asked(self) -> dict[str, Any]:
        """All that a page needs to ask, and to say what came out."""
        told = {"text": self.text, "low": self.low, "high": self.high, "step": self.step, "unit": self.unit}
        if isinstance(self.truth, str):
            return told | {"pattern": pattern(self.truth)}
        value, half = self.truth()
        return told | {"truth": round(value, 2), "half": round(half, 2)}


@dataclass(frozen=True)
class Choice:
    """A question whose answer is one of a few.

    Args:
        text: the question.
        truth: gives the right option, from the ledger; or a line that the cells after the question print, as for
            :class:`Number`, in which one of the options stands in place of ``{}``.
        options: to choose from.
    """

    text: str
    truth: Callable[[], str] | str
    options: tuple[str, ...]

    def asked(self) -> dict[str, Any]:
        """All that a page needs to ask, and to say what came out."""
        told = {"text": self.text, "options": list(self.options)}
        if isinstance(self.truth, str):
            return told | {"pattern": pattern(self.truth)}
        return told | {"truth": self.truth()}


def pattern(line: str) -> str:
    """A regular expression, of Python and of JavaScript, that finds the number in a printed line."""
    written = {"{}": _NUMBER, "…": "[^\\n]*?", " ": " +"}
    return "".join(written.get(part, re.escape(part)) for part in re.split(r"(\{\}|…| +)", line))


def ask(name: str) -> Any:
    """Ask a question of the book in a notebook, before its figure.

    Args:
        name: one of ``QUESTIONS``.

    Returns:
        The question, to be shown by the cell that it ends; nothing waits for an answer. Its ``guess`` is what the
        reader guessed, or None.

    Raises:
        ValueError: if there is no such question.
    """
    if name not in QUESTIONS:
        raise ValueError(f"There is no question {name!r}; there are {', '.join(QUESTIONS)}.")
    asked = QUESTIONS[name].asked()
    still = (
        f'<guess-first id="guess-{name}" name="{name}" data-question="{html.escape(json.dumps(asked))}">\n'
        f"<p>{html.escape(asked['text'])}</p>\n</guess-first>"
    )
    try:
        widget = _widget()
    except ImportError:
        return Still(still)
    return widget(question=asked, still=still)


@functools.cache
def _widget() -> type:
    """The widget of a question.

    Raises:
        ImportError: if anywidget is not installed.
    """
    import traitlets

    question = traitlets.Dict().tag(sync=True)
    guess = traitlets.Any(None, allow_none=True).tag(sync=True)
    return widget_class("Guess", _esm=joined("guess.mjs"), question=question, guess=guess)


# The questions ----------------------------------------------------------------------------------------------


def _points(ours: str, theirs: str, split: str = "test", **task: Any) -> tuple[float, float]:
    """By how many points a method of glyphs leads another one on test classes, and the half-width of the interval."""
    first, second = (
        ledger.find(dataset="glyphs", split=split, method=method, **task) for method in (ours, theirs)
    )
    lead = ledger.lead(first, second)
    return 100 * lead.mean, 100 * lead.ci95


def _percent(method: str, split: str, **task: Any) -> tuple[float, float]:
    """What a method of glyphs reaches, and the half-width of the interval."""
    mean, half = ledger.over_seeds(ledger.find(dataset="glyphs", method=method, split=split, **task))
    return 100 * mean, 100 * half


def _best(methods: dict[str, Any], split: str = "test", **task: Any) -> str:
    """Which of some methods of glyphs is the most accurate; each is called by its key, and may come with settings."""

    def accuracy(name: str) -> float:
        method = methods[name] if isinstance(methods[name], dict) else {"method": methods[name]}
        found = ledger.find(dataset="glyphs", split=split, **method, **task)
        return ledger.over_seeds(found)[0]

    return max(methods, key=accuracy)


_LOSSES = {
    "contrastive": "loss-contrastive",
    "triplet, all": "loss-triplet-all",
    "triplet, batch-hard": "loss-triplet-hard",
    "ArcFace": "loss-arcface",
    "SupCon": "loss-supcon",
    "Prototypical Network": "loss-prototypical",
}
_BLOCKS = {
    "squeeze and excitation": "conv4-se",
    "CBAM": "conv4-cbam",
    "self-attention": "conv4-self",
    "no block, but all distances divided by 16": "prototypical-tempered",
}
_INGREDIENTS = {
    "gentle warps": {"method": "augmented", "train_by": "half-warps"},
    "mirrors as new classes": {"method": "new-classes", "train_by": "mirrors", "train_but_existing": True},
    "the relations of a better teacher": {"method": "distilled", "train_by": "relations", "train_weight": 0.97},
    "weight decay": {"method": "decayed", "train_weight_decay": 0.05},
    "training twice as long": {"method": "longer", "train_episodes": 2000},
}
_ONE_SHOT: dict[str, Any] = dict(way=5, shot=1)
_HARDER: dict[str, Any] = dict(way=20, shot=1)

#: By name, in the order of the chapters.
QUESTIONS: dict[str, Number | Choice] = {
    "new-images": Number(
        "After forty steps the network makes no mistake on its 50 images. How many of the new images of the same ten "
        "characters does it get right?",
        "accuracy on new …: {}", 0, 100,
    ),
    "nearer-strangers": Number(
        "Move one character three pixels to the right. By pixels, how many of the 7,240 images of other characters "
        "are nearer to it than its own moved image?",
        "{} of … of other characters", 0, 7240, 20, "images",
    ),
    "seen-classes": Number(
        "How many points of accuracy does the network gain on the classes that it was trained on, compared with new "
        "ones?",
        "by {} points", 0, 30, 0.5, "points",
    ),
    "seeds-apart": Number(
        "You have seen how narrow the interval over 10,000 episodes is. How far apart are the best and the worst of "
        "three networks that differ in nothing but the seed?",
        "spread over seeds: {} points", 0, 5, 0.1, "points",
    ),
    "scale-of-cosine": Number(
        "With a scale of 10 instead of none in front of the cosine, how many points of 5-way 1-shot accuracy does the "
        "same training gain?",
        lambda: _points("cosine", "cosine-unscaled", **_ONE_SHOT), -10, 40, 1, "points",
    ),
    "triplets": Choice(
        "How many triplets of an anchor, a positive and a negative are there in such a batch of 120 images?",
        "{} triplets", ("2,280", "6,840", "68,400", "684,000"),
    ),
    "best-loss": Choice(
        "Which of these leads after the same training, 20-way 1-shot?",
        lambda: _best(_LOSSES, **_HARDER), tuple(_LOSSES),
    ),
    "attention-or-scale": Choice(
        "What gains most over the plain Conv-4, 20-way 1-shot?",
        lambda: _best(_BLOCKS, **_HARDER, seeds=[0]), tuple(_BLOCKS),
    ),
    "inverted-queries": Number(
        "Now the queries are inverted, white ink on black paper, and the support set is not. What is left of the "
        "accuracy in five ways?",
        "queries inverted…{}", 0, 100,
    ),
    "square": Number(
        "The paper squares the distance. Leave the square out: by how many points does the 5-way 1-shot accuracy "
        "change?",
        lambda: _points("prototypical-unsquared", "prototypical", **_ONE_SHOT), -15, 15, 0.5, "points",
    ),
    "pens-and-fonts": Number(
        "A network that was trained on pen strokes alone meets Lao letters from fonts, 5-way 1-shot. How often is it "
        "right?",
        "trained on Omniglot: {}", 20, 100,
    ),
    "learned-comparison": Number(
        "After 400 episodes each, by how many points does the learned comparison lead, or trail, the plain distance "
        "of a Prototypical Network with a temperature, 5-way 1-shot?",
        lambda: _points("relation", "prototypical-tempered", **_ONE_SHOT, seeds=[0]), -25, 25, 1, "points",
    ),
    "own-statistics": Number(
        "Normalised by the statistics of the test episode itself, by how many points is our network better, or "
        "worse, than by the stored ones?",
        "the test…'s…: {}", -15, 15, 0.5, "points",
    ),
    "learned-scale": Number(
        "The scale is learned like any weight, and starts at 1. Where does it stand after 400 episodes?",
        "learned, from 1…ends at scale {}", 1, 40, 0.5, "",
    ),
    "many-examples": Number(
        "One of five classes has nine examples, each other class one, and each is right for a fifth of the queries. In "
        "how many of its answers does the vote name the large class?",
        "votes…name…the first class in {}", 0, 100,
    ),
    "wrong-labels": Number(
        "Three of the ten examples of each class get a wrong label. How many points of accuracy does the nearest "
        "example lose?",
        "nearest example…lost with three of ten labels wrong: {}", 0, 60, 1, "points",
    ),
    "lead-of-five": Number(
        "Over ten thousand common episodes the Prototypical Network of one pair of trainings is clearly ahead. By how "
        "many points does it lead in the mean of five pairs?",
        "mean {}…the next pair ±", -1, 2, 0.1, "points",
    ),
    "mirrored-images": Number(
        "In training, each image is mirrored with probability one half. By how many points does the 20-way 1-shot "
        "accuracy on new characters change?",
        lambda: _points("augmented-mirrors", "loss-supcon", **_HARDER), -10, 10, 0.1, "points",
    ),
    "best-ingredient": Choice(
        "Each of these is added by itself to a training with SupCon. Which gains most, 20-way 1-shot, in single runs?",
        lambda: _best(_INGREDIENTS, split="validation", **_HARDER), tuple(_INGREDIENTS),
    ),
    "face-in-embedding": Number(
        "A linear classifier is fitted to the embeddings of training characters, to tell the family of their face, one "
        "of three. How often is it right about new characters? Who guesses is right for 33 %.",
        lambda: _percent("as-it-is", "test, across families", metric="family, linear"), 33, 100,
    ),
    "leace-across-families": Number(
        "LEACE takes from the embedding all that a linear classifier could read of the family. By how many points does "
        "the accuracy across families change?",
        lambda: _points("leace", "as-it-is", "test, across families", **_HARDER), -10, 10, 0.1, "points",
    ),
    "sure-strangers": Number(
        "None of these letters is among the eight classes of the predictor. How many of its answers have a probability "
        "above 0.9?",
        "of the strangers' answers {} are surer than 0.9", 0, 100,
    ),
    "strangers-let-in": Number(
        "The threshold lets in few strangers of the held-out classes, letters of four scripts. Of the pictures of "
        "eight other letters of our own script, how many does it let in?",
        "strangers let in {}", 0, 100,
    ),
}  # fmt: skip
