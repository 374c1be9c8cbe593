"""From strokes to pictures: by a plain loop over all pixels and pieces, and a filter written out."""

import math

import numpy as np
import pytest

from fslib.data import strokes


def wandering(seed, count=2):
    """Strokes that wander over the frame, and now and then off it."""
    random = np.random.default_rng(seed)
    return [random.uniform(0, 105, 2) + random.normal(0, 12, (8, 2)).cumsum(0) for _ in range(count)]


def covered(drawing, pen):
    """How much of each pixel of the frame the pen covers, pixel by pixel."""
    frame = np.zeros((105, 105))
    pieces = [(a, b) for stroke in drawing for a, b in zip(stroke, stroke[1:] if len(stroke) > 1 else stroke)]
    for y in range(105):
        for x in range(105):
            for (ax, ay), (bx, by) in pieces:
                length = math.hypot(bx - ax, by - ay)
                along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length**2 if length else 0
                along = min(1, max(0, along))
                away = math.dist((x, y), (ax + along * (bx - ax), ay + along * (by - ay)))
                frame[y, x] = max(frame[y, x], min(1, max(0, pen / 2 + 0.5 - away)))
    return frame


def triangle_filter(frame=105, side=28):
    """The weight of each old pixel in each new one: a triangle as wide as two new pixels."""
    scale = frame / side
    centres = (np.arange(side)[:, None] + 0.5) * scale
    weights = np.clip(1 - abs(np.arange(frame) + 0.5 - centres) / scale, 0, None)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("drawing", [wandering(0), [np.array([[50.0, 50.5]])], [[(10, 10), (10, 10), (200, -30)]]])
@pytest.mark.parametrize("pen", [5, 8.5])
def test_each_pixel_is_what_a_plain_loop_makes_it(drawing, pen):
    shrink = triangle_filter()
    picture = strokes.rasterize(drawing, pen)
    assert picture.dtype == np.float32 and 0 < picture.max() <= 1
    np.testing.assert_allclose(picture, shrink @ covered(drawing, pen) @ shrink.T, atol=1e-6)


def test_what_lies_off_the_frame_leaves_no_ink():
    for place in ([-50, 50], [50, 999], [1e5, 1e5]):
        assert not strokes.rasterize([np.array([place, place])]).any()


@pytest.mark.parametrize("seed", range(3))
def test_centred_is_in_the_middle_and_of_the_usual_size(seed):
    """Wherever and however large it was drawn, and in the same proportions."""
    drawing = wandering(seed)
    points = np.concatenate(strokes.centred(drawing))
    low, high = points.min(0), points.max(0)
    np.testing.assert_allclose((low + high) / 2, [52, 52])
    assert (high - low).max() == pytest.approx(strokes.USUAL_SIZE)
    elsewhere = strokes.centred([0.3 * stroke + [7, -20] for stroke in drawing])
    np.testing.assert_allclose(np.concatenate(elsewhere), points)


def test_a_dot_is_moved_and_stays_a_dot():
    np.testing.assert_array_equal(strokes.centred([[(3, 4), (5, 4)]]), [[(51, 52), (53, 52)]])
