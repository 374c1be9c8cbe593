"""Chapter 3: a cosine with a scale and without."""

from __future__ import annotations

from typing import Any

from fslib.book.experiments.measures import on_tasks
from fslib.book.experiments.networks import GLYPHS, prototypical_conv4
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan


@recipe("glyphs/cosine", metric="cosine_distance", temperature=0.1, **GLYPHS)
@recipe("glyphs/cosine-unscaled", metric="cosine_distance", temperature=1.0, **GLYPHS)
def cosine(run: Plan, metric: str, temperature: float, **fit: Any) -> None:
    """A Prototypical Network that compares by cosines, at a scale of one over the temperature."""
    model = prototypical_conv4(metric, temperature)
    run.train(model, "train", **fit)
    run.save_weights(model)
    run.measure(model, on_tasks)
