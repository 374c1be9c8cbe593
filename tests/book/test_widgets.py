"""The explorers show what the metrics and the losses say, and every control does what it says."""

import re
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot as plt
from matplotlib.quiver import Quiver
from torch.nn.functional import normalize

import fslib
from fslib import losses, mining
from fslib.book import widgets
from fslib.book.widgets import (
    Batch,
    Comparison,
    loss_explorer,
    loss_figure,
    metric_explorer,
    metric_figure,
)
from fslib.metrics import euclidean

matplotlib.use("agg")

COMPARISONS = [(metric, nearest) for metric in widgets.METRICS for nearest in widgets.NEAREST]
TRIPLETS = [("triplet", choice) for choice in widgets.MINING]
BATCHES = [*TRIPLETS, *((loss, "all") for loss in widgets.LOSSES if loss != "triplet")]
each_comparison = pytest.mark.parametrize("metric, nearest", COMPARISONS)
each_batch = pytest.mark.parametrize("loss, choice", BATCHES)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    with plt.rc_context({"axes.titlelocation": "center"}):  # where Axes.title is, whatever the style
        yield
    plt.close("all")


def drawn(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()


def words(explorer):
    return re.sub(r"<[^>]+>", "", explorer.words.value)


# Figures -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("query", [(1.0, 0.2), (0.0, 0.0), (0.2, -0.6), (-0.4, -0.9), (3.0, 2.5)])
@each_comparison
def test_metric_figure_draws_anything(metric, nearest, query):
    comparison = Comparison(metric, nearest, query=torch.tensor(query, dtype=torch.float64))
    drawn(metric_figure(comparison))
    assert comparison.sentence()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
@each_batch
def test_loss_figure_draws_anything(loss, choice, margin):
    start = Batch(loss, choice, margin)
    for points in (start.points, 0 * start.points, 100 * start.points, start.points[:1].repeat(9, 1)):
        batch = replace(start, points=points)
        drawn(loss_figure(batch.step().step()))
        assert torch.isfinite(torch.tensor(batch.value)) and batch.sentence()


def test_points_may_come_in_any_number_and_order():
    torch.manual_seed(0)
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 2])
    points = torch.randn(7, 2, dtype=torch.float64)
    drawn(metric_figure(Comparison(support=points, labels=labels)))
    for loss, choice in BATCHES:
        drawn(loss_figure(Batch(loss, choice, points=points, labels=labels)))


@pytest.mark.parametrize("scene", [Comparison("mahalanobis", "example"), Batch("arcface")], ids=["metric", "loss"])
def test_redrawing_is_quick(scene):
    """What is drawn takes no more than a few times what Matplotlib takes for two empty axes."""
    draw = metric_figure if isinstance(scene, Comparison) else loss_figure
    size = draw(scene).get_size_inches()

    def seconds(figure):
        start = time.process_time()
        widgets._rendered(figure(), "png")
        return time.process_time() - start

    empty = min(seconds(lambda: plt.subplots(1, 2, figsize=size)[0]) for _ in range(4))
    assert min(seconds(lambda: draw(scene)) for _ in range(4)) < 5 * empty


# Comparison --------------------------------------------------------------------------------------


def distance(metric, a, b, stretch, angle):
    """One distance by its definition."""
    a, b, angle = np.array(a), np.array(b), np.deg2rad(angle)
    along, across = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ (a - b)
    return {
        "squared_euclidean": ((a - b) ** 2).sum(),
        "euclidean": ((a - b) ** 2).sum() ** 0.5,
        "cosine_distance": 1 - a @ b / (a @ a * (b @ b)) ** 0.5,
        "mahalanobis": ((along / stretch) ** 2 + across**2) ** 0.5,
    }[metric]


@pytest.mark.parametrize("seed", range(5))
@each_comparison
def test_winner_is_the_class_of_the_nearest(metric, nearest, seed):
    random = np.random.default_rng(seed)
    support, query = random.normal(size=(9, 2)), random.normal(size=2)
    stretch, angle = random.uniform(1, 5), random.uniform(0, 180)
    comparison = Comparison(metric, nearest, stretch, angle, torch.tensor(query), torch.tensor(support))

    classes = support.reshape(3, 3, 2)
    candidates = classes.mean(1, keepdims=True) if nearest == "mean" else classes
    expected = [min(distance(metric, query, p, stretch, angle) for p in points) for points in candidates]
    assert comparison.class_distances.tolist() == pytest.approx(expected, abs=1e-9)
    winner = int(np.argmin(expected))
    assert comparison.winner == winner
    name = widgets.CLASSES[winner]
    assert f"nearest to {'the mean' if nearest == 'mean' else 'an example'} of the {name}" in comparison.sentence()
    assert f"{name} ({expected[winner]:.2f})" in comparison.sentence()
    assert metric_figure(comparison).axes[0].title.get_text().endswith(f"the {name} win")


def test_metrics_disagree_about_the_first_picture():
    winners = [Comparison(metric).winner for metric in ("euclidean", "cosine_distance", "mahalanobis")]
    assert sorted(winners) == [0, 1, 2]


def test_a_tie_is_called_one():
    tied = Comparison("cosine_distance", query=torch.zeros(2, dtype=torch.float64))
    assert tied.winner is None and "no class wins" in tied.sentence()


# Batch -------------------------------------------------------------------------------------------


def loss_of(batch, points, weights):
    """The loss of a batch by the modules of fslib.losses."""
    labels, distances = batch.labels, euclidean(batch.points, batch.points)
    if batch.loss == "contrastive":
        first, second, same = mining.all_pairs(labels)
        return losses.ContrastiveLoss(batch.margin)(points[first], points[second], same)
    if batch.loss == "triplet":
        anchor, positive, negative = {
            "all": lambda: mining.all_triplets(labels),
            "batch_hard": lambda: mining.batch_hard(distances, labels),
            "semi_hard_band": lambda: mining.semi_hard_band(distances, labels, batch.margin),
            "semi_hard_nearest": lambda: mining.semi_hard_nearest(distances, labels),
        }[batch.mining]()
        return losses.TripletLoss(batch.margin)(points[anchor], points[positive], points[negative])
    if batch.loss == "n_pair":
        return losses.NPairLoss()(points[[0, 3, 6]], points[[1, 4, 7]])
    Loss = {"arcface": losses.ArcFaceLoss, "cosface": losses.CosFaceLoss}[batch.loss]
    module = Loss(3, 2, batch.margin, widgets.SCALE)
    del module.weight
    module.weight = weights
    return module(points, labels)


@each_batch
def test_arrows_are_minus_the_gradient(loss, choice):
    batch = Batch(loss, choice)
    circle = loss in ("arcface", "cosface")
    points, weights = (normalize(x, dim=1) if circle else x for x in (batch.points, batch.weights))
    points, weights = points.clone().requires_grad_(), weights.clone().requires_grad_()
    value = loss_of(batch, points, weights)
    value.backward()
    assert batch.value == pytest.approx(value.item(), abs=1e-9)
    torch.testing.assert_close(batch.pushes[0], -points.grad, rtol=0, atol=1e-9)
    if circle:
        torch.testing.assert_close(batch.pushes[1], -weights.grad, rtol=0, atol=1e-9)

    figure = loss_figure(batch)
    arrows = [a for a in figure.axes[0].collections if isinstance(a, Quiver)][-1]
    shown = torch.tensor(np.stack([arrows.U, arrows.V], 1))
    expected = -widgets.LOSSES[loss].rate * points.grad
    long = expected.norm(dim=1) > 0.015  # shorter ones are not drawn
    torch.testing.assert_close(shown, expected[long], rtol=0, atol=1e-9)
    starts = torch.tensor(np.array(arrows.get_offsets()))
    torch.testing.assert_close(starts, points.detach()[long], rtol=0, atol=1e-9)


@each_batch
def test_a_step_lowers_the_loss_and_follows_the_arrows(loss, choice):
    batch = Batch(loss, choice)
    after = batch.step()
    assert after.value < batch.value
    if not batch.angular:
        torch.testing.assert_close(after.points, batch.points + batch.moves[0])
    else:
        torch.testing.assert_close(after.points.norm(dim=1), torch.ones(9, dtype=torch.float64))
    assert len(after.trail) == 1 and "after 1 step." in after.sentence()
    for _ in range(30):
        after = after.step()
    assert after.value < 0.2 * batch.value


@pytest.mark.parametrize("loss, choice", [*TRIPLETS, ("contrastive", "all")])
def test_lines_and_words_are_the_pairs_that_push(loss, choice):
    batch = Batch(loss, choice)
    pull, push = (set(map(tuple, pairs.tolist())) for pairs in batch.lines())
    d = torch.cdist(batch.points, batch.points)
    if loss == "contrastive":
        pairs = list(zip(*(x.tolist() for x in mining.all_pairs(batch.labels))))
        costly = [(i, j, same) for i, j, same in pairs if same or d[i, j] < batch.margin]
        assert pull == {(i, j) for i, j, same in costly if same}
        assert push == {(i, j) for i, j, same in costly if not same}
        assert f"36 of 36 pairs; {len(costly)} of them" in batch.sentence()
    else:
        seen = list(zip(*(x.tolist() for x in batch.triplets)))
        costly = [(a, p, n) for a, p, n in seen if d[a, p] - d[a, n] + batch.margin > 0]
        assert pull == {(a, p) for a, p, n in costly} and push == {(a, n) for a, p, n in costly}
        assert f"{len(seen)} of 108 triplets; {len(costly)} of them" in batch.sentence()


def test_n_pair_sees_the_first_two_of_each_class():
    batch = Batch("n_pair")
    assert batch.lines()[0].tolist() == [[0, 1], [3, 4], [6, 7]]
    assert (batch.pushes[0][[2, 5, 8]] == 0).all()


def test_nothing_is_pushed_where_nothing_costs():
    far = Batch("triplet", points=normalize(widgets.WEIGHTS, dim=1).repeat_interleave(3, 0) * 5)
    assert far.value == 0 and "No point is pushed" in far.sentence()


# Bad settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scene, settings, fault",
    [
        (Comparison, {"metric": "manhattan"}, 'The metric must be one of "squared_euclidean", '),
        (Comparison, {"nearest": "neighbour"}, 'The nearest must be one of "mean", "example"'),
        (Comparison, {"stretch": 0.0}, "stretch must be above zero"),
        (Comparison, {"query": torch.zeros(3)}, r"query is a point \(2,\)"),
        (Comparison, {"support": torch.zeros(9, 3)}, r"9 labels need points of shape \(9, 2\)"),
        (Comparison, {"labels": torch.arange(9)}, "labels must be 0, 1 and 2"),
        (Batch, {"loss": "hinge"}, 'The loss must be one of "contrastive", '),
        (Batch, {"mining": "easy"}, 'The mining must be one of "all", '),
        (Batch, {"margin": -0.1}, "margin must not be negative"),
        (Batch, {"points": torch.zeros(8, 2)}, r"9 labels need points of shape \(9, 2\)"),
        (Batch, {"weights": torch.zeros(2, 2)}, r"shape \(3, 2\)"),
        (Batch, {"loss": "n_pair", "points": torch.zeros(3, 2), "labels": torch.arange(3)}, "two points"),
    ],
)
def test_bad_settings_are_told_in_a_sentence(scene, settings, fault):
    with pytest.raises(ValueError, match=fault) as error:
        scene(**settings)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


# Explorers ---------------------------------------------------------------------------------------


def test_each_control_of_the_metric_explorer_changes_what_it_shows():
    explorer = metric_explorer()
    seen = [(explorer.picture.value, words(explorer))]
    for name, value in [
        ("metric", "mahalanobis"), ("stretch", 1.5), ("angle", 90.0), ("nearest", "example"),
        ("x", -1.0), ("y", 1.2),
    ]:  # fmt: skip
        explorer.controls[name].value = value
        seen.append((explorer.picture.value, words(explorer)))
        assert words(explorer) == explorer.scene.sentence()
    assert explorer.scene.query.tolist() == [-1.0, 1.2]
    assert all(a != b and c != d for (a, c), (b, d) in pairwise(seen))
    assert bytes(seen[0][0]).startswith(b"\x89PNG")


def test_sliders_move_the_chosen_point_only():
    explorer = metric_explorer()
    explorer.controls["move"].value = 4  # the query is 0, so this is the first square
    assert (explorer.controls["x"].value, explorer.controls["y"].value) == (1.5, 0.8)
    assert torch.equal(explorer.scene.support, widgets.SUPPORT)
    explorer.controls["x"].value = 0.9
    moved = widgets.SUPPORT.clone()
    moved[3, 0] = 0.9
    assert torch.equal(explorer.scene.support, moved)
    assert torch.equal(explorer.scene.query, widgets.QUERY)


def test_reset_brings_the_points_back():
    explorer = metric_explorer()
    before = explorer.picture.value, words(explorer)
    explorer.controls["x"].value = -2.0
    explorer.controls["move"].value = 7
    explorer.controls["y"].value = 0.0
    explorer.controls["reset"].click()
    assert (explorer.picture.value, words(explorer)) == before
    assert explorer.controls["y"].value == widgets.SUPPORT[6, 1]


def test_stretch_and_angle_are_for_mahalanobis():
    explorer = metric_explorer()
    assert explorer.controls["stretch"].disabled and explorer.controls["angle"].disabled
    explorer.controls["metric"].value = "mahalanobis"
    assert not explorer.controls["stretch"].disabled and not explorer.controls["angle"].disabled


def test_each_control_of_the_loss_explorer_changes_what_it_shows():
    explorer = loss_explorer()
    seen = [(explorer.picture.value, words(explorer))]
    for name, value in [("margin", 0.8), ("mining", "batch_hard"), ("mining", "all"), ("loss", "cosface")]:
        explorer.controls[name].value = value
        seen.append((explorer.picture.value, words(explorer)))
        assert words(explorer) == explorer.scene.sentence()
    assert all(a != b and c != d for (a, c), (b, d) in pairwise(seen))


def test_a_loss_starts_with_its_usual_margin_and_locks_what_does_not_apply():
    explorer = loss_explorer()
    for loss, kind in widgets.LOSSES.items():
        explorer.controls["loss"].value = loss
        assert explorer.scene.loss == loss
        assert explorer.controls["mining"].disabled == (loss != "triplet")
        assert explorer.controls["margin"].disabled == (kind.margin is None)
        if kind.margin is not None:
            assert explorer.scene.margin == explorer.controls["margin"].value == kind.margin


@pytest.mark.parametrize("loss", widgets.LOSSES)
def test_step_lowers_the_loss_and_reset_restores(loss):
    explorer = loss_explorer()
    explorer.controls["loss"].value = loss
    before = explorer.picture.value, words(explorer)
    values = [explorer.scene.value]
    for name in ("step", "10 steps"):
        explorer.controls[name].click()
        values.append(explorer.scene.value)
    assert values[0] > values[1] > values[2] and "after 11 steps" in words(explorer)
    explorer.controls["reset"].click()
    assert (explorer.picture.value, words(explorer)) == before


def test_a_look_at_the_circle_moves_no_point():
    explorer = loss_explorer()
    before = explorer.picture.value
    for loss in ("arcface", "triplet"):
        explorer.controls["loss"].value = loss
    assert explorer.picture.value == before


# In a notebook, and without one ------------------------------------------------------------------


@pytest.mark.parametrize("make", [metric_explorer, loss_explorer])
def test_a_notebook_stores_the_picture_beside_the_widget(make):
    explorer = make()
    data, _ = DisplayFormatter().format(explorer)
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id
    assert "<svg" in data["image/svg+xml"]
    assert data["text/plain"] == words(explorer)
    assert not plt.get_fignums()  # an open figure would be shown a second time


def test_the_rest_of_the_package_needs_no_ipywidgets():
    files = set(Path(fslib.__file__).parent.rglob("*.py")) - {Path(widgets.__file__)}
    assert not [f for f in files if re.search(r"ipywidgets|import widgets", f.read_text(encoding="utf8"))]
