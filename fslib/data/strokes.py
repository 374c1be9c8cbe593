"""From the strokes of a pen to a picture, as the drawing pad of the book does it.

A drawing is a list of strokes, a stroke a list of points (x, y), in Omniglot's frame of 105 × 105 with y downwards. The
pad has the same in ``raster.mjs``, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from fslib.data.transforms import SIDE

FRAME = 105
PEN = 5.0  # how wide it draws
USUAL_SIZE = 70  # the longer side of most drawings in Omniglot, or a little more

Drawing = Sequence[np.ndarray]  # strokes, each (points, 2)


def rasterize(drawing: Drawing, pen: float = PEN) -> np.ndarray:
    """Draw with a round pen, and shrink as the training pictures were shrunk.

    Args:
        drawing: strokes, each (points, 2); what lies off the frame is cut off.
        pen: how wide it draws.

    Returns:
        Network input, float32 (28, 28), ink = 1 and paper = 0.
    """
    ink = np.zeros((FRAME, FRAME))
    for stroke in drawing:
        points = np.asarray(stroke, np.float64)
        for start, end in zip(points, points[1:] if len(points) > 1 else points):
            _draw(ink, start, end, pen / 2 + 0.5)  # the edge is soft, and ends half a pixel beyond the pen
    small = Image.fromarray(ink.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.array(small)


def _draw(ink: np.ndarray, start: np.ndarray, end: np.ndarray, reach: float) -> None:
    """Cover with ink what is near a piece of a stroke."""
    low = np.floor(np.minimum(start, end) - reach).clip(0, FRAME).astype(int)
    high = np.ceil(np.maximum(start, end) + reach + 1).clip(0, FRAME).astype(int)
    (left, top), (right, bottom) = low, high
    x, y = np.arange(left, right) - start[0], np.arange(top, bottom)[:, None] - start[1]
    dx, dy = end - start
    along = ((x * dx + y * dy) / (dx * dx + dy * dy or 1)).clip(0, 1)
    distance = np.hypot(x - along * dx, y - along * dy)
    window = ink[top:bottom, left:right]
    np.maximum(window, (reach - distance).clip(0, 1), out=window)


def centred(drawing: Drawing) -> list[np.ndarray]:
    """A drawing moved to the middle of the frame and brought to the usual size; a dot is only moved."""
    points = np.concatenate([np.asarray(stroke, np.float64) for stroke in drawing])
    low, high = points.min(0), points.max(0)
    size = (high - low).max()
    factor = USUAL_SIZE / size if size > PEN else 1.0
    return [(np.asarray(stroke) - (low + high) / 2) * factor + (FRAME - 1) / 2 for stroke in drawing]
