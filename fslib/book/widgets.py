"""Explorers: move a point, turn a margin, and see what a metric or a loss makes of it.

Each explorer has two halves. A *scene*, :class:`Comparison` or :class:`Batch`, holds the settings
and does the mathematics; a function draws it. Neither knows of a kernel, so any page can show the
same picture. :class:`Explorer` puts controls on top: when one of them moves, it draws a new scene.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from fslib import losses, metrics, mining
from fslib.book.plots import COLORS, MARKERS
from fslib.mining import Triplets

CLASSES = ("circles", "squares", "triangles")  # as MARKERS draws the classes 0, 1 and 2
LABELS = torch.arange(3).repeat_interleave(3)
INK, GREY, PALE = "#333333", "#777777", "#BBBBBB"


def _plane(*points: list[float]) -> Tensor:
    return torch.tensor(points, dtype=torch.float64)


# A query among three classes ---------------------------------------------------------------------

METRICS = {
    "squared_euclidean": "squared Euclidean distance",
    "euclidean": "Euclidean distance",
    "cosine_distance": "cosine distance",
    "mahalanobis": "Mahalanobis distance",
}
NEAREST = {"mean": "class mean", "example": "example"}
QUERY = torch.tensor([1.0, 0.2], dtype=torch.float64)
SUPPORT = _plane(
    [-0.4, -0.9], [0.2, -0.3], [0.8, -0.6],
    [1.5, 0.8], [2.5, 1.3], [2.4, 2.1],
    [-1.6, 1.5], [-0.9, 1.9], [-0.8, 1.1],
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Comparison:
    """A query in the plane, a support set of three classes, and the metric that compares them.

    Attributes:
        metric: ``"squared_euclidean"``, ``"euclidean"``, ``"cosine_distance"`` or
            ``"mahalanobis"``.
        nearest: what the query is compared with, the ``"mean"`` of each class or every
            ``"example"``.
        stretch: of the Mahalanobis metric: half the length of its unit ball; half the width is 1.
        angle: the direction of that length, in degrees.
        query: (2,)
        support: (n, 2)
        labels: class of each support point, 0, 1 or 2, none of them missing, (n,).
    """

    metric: str = "euclidean"
    nearest: str = "mean"
    stretch: float = 3.0
    angle: float = 150.0
    query: Tensor = QUERY
    support: Tensor = SUPPORT
    labels: Tensor = LABELS

    def __post_init__(self):
        _check_choice("metric", self.metric, METRICS)
        _check_choice("nearest", self.nearest, NEAREST)
        if self.stretch <= 0:
            raise ValueError(f"The stretch must be above zero, but is {self.stretch}.")
        if self.query.shape != (2,):
            raise ValueError(f"The query is a point (2,), but has shape {tuple(self.query.shape)}.")
        _check_batch(self.support, self.labels)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """By the chosen metric, (n, 2) and (m, 2) → (n, m)."""
        if self.metric == "mahalanobis":
            return metrics.mahalanobis(x, y, self.matrix)
        return getattr(metrics, self.metric)(x, y)

    @property
    def matrix(self) -> Tensor:
        """M of the Mahalanobis metric, (2, 2). A step along the stretch counts for less."""
        angle = torch.tensor(self.angle, dtype=torch.float64).deg2rad()
        along = torch.stack([angle.cos(), angle.sin()])
        across = torch.stack([-angle.sin(), angle.cos()])
        return along.outer(along) / self.stretch**2 + across.outer(across)

    @property
    def candidates(self) -> tuple[Tensor, Tensor]:
        """What the query is compared with, points (m, 2) and their classes (m,)."""
        if self.nearest == "example":
            return self.support, self.labels
        means = [self.support[self.labels == c].mean(0) for c in range(3)]
        return torch.stack(means), torch.arange(3)

    @property
    def distances(self) -> Tensor:
        """From the query to each candidate, (m,)."""
        return self.distance(self.query[None], self.candidates[0])[0]

    @property
    def class_distances(self) -> Tensor:
        """From the query to the nearest candidate of each class, (3,)."""
        labels = self.candidates[1]
        return torch.stack([self.distances[labels == c].min() for c in range(3)])

    @property
    def winner(self) -> int | None:
        """The class of the nearest candidate; none if two classes are equally near."""
        best, second = self.class_distances.sort().values[:2]
        return None if second - best < 1e-9 else int(self.class_distances.argmin())

    def sentence(self) -> str:
        """What the picture shows, in words."""
        names = [f"{name} ({d:.2f})" for name, d in zip(CLASSES, self.class_distances)]
        first, second, third = (names[c] for c in self.class_distances.argsort(stable=True))
        x, y = self.query.tolist()
        thing = {"mean": "the mean of the", "example": "an example of the"}[self.nearest]
        start = f"By {METRICS[self.metric]}, the query at ({x:.1f}, {y:.1f}) is"
        if self.winner is None:
            return f"{start} as near to {thing} {first} as of the {second}: no class wins."
        return f"{start} nearest to {thing} {first}, before the {second} and the {third}."


def metric_figure(comparison: Comparison) -> Figure:
    """Draw the balls of the metric around the query, and beside them the distances."""
    figure, (plane, bars) = _two_panels(width=4.7)
    _draw_balls(plane, comparison)
    _draw_links(plane, comparison)
    _draw_classes(plane, comparison.support, comparison.labels, size=50)
    if comparison.nearest == "mean":
        _draw_classes(plane, *comparison.candidates, size=190)
    plane.scatter(*comparison.query, s=150, marker="X", color="black", edgecolor="white", zorder=5)
    plane.annotate("query", comparison.query, (9, -4), textcoords="offset points", va="top")
    _draw_distances(bars, comparison)
    winner = comparison.winner
    verdict = "no class wins" if winner is None else f"the {CLASSES[winner]} win"
    plane.set_title(f"By {METRICS[comparison.metric]}, {verdict}")
    return figure


def _draw_balls(ax: Axes, comparison: Comparison) -> None:
    """Level sets around the query, and in colour the ball that just reaches the winner."""
    left, right, bottom, top = -3.0, 3.4, -2.0, 2.8
    across = torch.linspace(left, right, 129, dtype=torch.float64)
    upward = torch.linspace(bottom, top, 97, dtype=torch.float64)
    x, y = torch.meshgrid(across, upward, indexing="xy")
    places = torch.stack([x, y], -1).reshape(-1, 2)
    heights = comparison.distance(comparison.query[None], places).reshape(x.shape).numpy()

    reach = comparison.class_distances.min().item()
    color = PALE if comparison.winner is None else COLORS[comparison.winner]
    ax.contourf(x, y, heights, [-1, reach], colors=[color], alpha=0.18)
    step = 0.5 if comparison.metric == "cosine_distance" else 1.0
    levels = [step * k for k in range(1, 7) if heights.min() < step * k < heights.max()]
    if levels:  # the cosine of a query at the origin is the same everywhere
        styles = ["dashed" if level == 1 else "solid" for level in levels]
        widths = [1.6 if level == 1 else 0.7 for level in levels]
        rings = ax.contour(x, y, heights, levels, colors=GREY, linewidths=widths, linestyles=styles)
        ax.clabel(rings, fmt="%g", fontsize="small", colors=INK)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", anchor="NW")
    ax.set_xlabel("shaded: as near as the nearest; dashed: at distance 1")
    ax.grid(False)


def _draw_links(ax: Axes, comparison: Comparison) -> None:
    """From the query to each candidate; for the cosine, which sees directions, from the origin."""
    by_direction = comparison.metric == "cosine_distance"
    start = torch.zeros(2) if by_direction else comparison.query
    nearest = comparison.distances.min()
    for point, c, distance in zip(*comparison.candidates, comparison.distances):
        width, style = (2.2, "solid") if distance == nearest else (1.2, "dotted")
        ax.plot(*zip(start, point), color=COLORS[c], linewidth=width, linestyle=style, zorder=2)
    if by_direction:
        ax.plot(*zip(start, comparison.query), color="black", linewidth=2.2, zorder=2)


def _draw_distances(ax: Axes, comparison: Comparison) -> None:
    """A bar for each class, as long as the way to its nearest candidate; the others as points."""
    _, labels = comparison.candidates
    for c, nearest in enumerate(comparison.class_distances.tolist()):
        won = c == comparison.winner
        ax.barh(c, nearest, height=0.5, color=COLORS[c], alpha=1 if won else 0.35)
        distances = comparison.distances[labels == c]
        ax.scatter(distances, torch.full_like(distances, c), s=55, zorder=3, **_look(c))
        text = f"{nearest:.2f}" + (", nearest" if won else "")
        ax.annotate(text, (0, c), (1, 18), textcoords="offset points", va="bottom")
    ax.set(ylim=(2.5, -0.8), yticks=range(3), yticklabels=CLASSES)
    ax.set_xlim(0, max(1.0, 1.08 * comparison.distances.max().item()))
    ax.set_title(f"Distance to each {NEAREST[comparison.nearest]}", fontweight="normal")
    ax.grid(axis="y", visible=False)


# A batch going down the gradient -----------------------------------------------------------------


class Kind(NamedTuple):
    """What the explorer knows of a loss: its name, its usual margin, and a visible step."""

    name: str
    margin: float | None
    rate: float


LOSSES = {
    "contrastive": Kind("contrastive loss", 1.0, 2.0),
    "triplet": Kind("triplet loss", 0.5, 1.0),
    "n_pair": Kind("N-pair loss", None, 0.7),
    "arcface": Kind("ArcFace loss", 0.5, 0.2),
    "cosface": Kind("CosFace loss", 0.35, 0.2),
}
MINING = {
    "all": "all triplets",
    "batch_hard": "batch-hard",
    "semi_hard_band": "semi-hard band",
    "semi_hard_nearest": "semi-hard nearest",
}
POINTS = _plane(
    [-1.1, 0.5], [0.4, 1.0], [-0.4, -0.3],
    [1.2, 0.6], [0.0, 0.3], [0.9, -0.5],
    [-0.7, -1.0], [0.3, -0.9], [-0.9, 0.0],
)  # fmt: skip
WEIGHTS = _plane([-0.7, 0.7], [1.0, 0.1], [-0.3, -0.9])
SCALE = 8.0  # of ArcFace and CosFace. With three classes, 30 would leave all but the worst in peace


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of points in the plane, and the loss that moves them.

    ArcFace and CosFace see only directions, so they see points and class weights on a circle.

    Attributes:
        loss: ``"contrastive"``, ``"triplet"``, ``"n_pair"``, ``"arcface"`` or ``"cosface"``.
        mining: which triplets the triplet loss sees, ``"all"``, ``"batch_hard"``,
            ``"semi_hard_band"`` or ``"semi_hard_nearest"``. The other losses do not ask.
        margin: in the units of the loss; default, the usual one of that loss.
        points: embeddings, (n, 2).
        labels: class of each point, 0, 1 or 2, none of them missing, (n,).
        weights: of the classes, for ArcFace and CosFace, (3, 2).
        trail: the points as they were before each step so far.
    """

    loss: str = "triplet"
    mining: str = "all"
    margin: float = None  # type: ignore[assignment]  # the usual one, see __post_init__
    points: Tensor = POINTS
    labels: Tensor = LABELS
    weights: Tensor = WEIGHTS
    trail: tuple[Tensor, ...] = ()

    def __post_init__(self):
        _check_choice("loss", self.loss, LOSSES)
        _check_choice("mining", self.mining, MINING)
        _check_batch(self.points, self.labels)
        if self.weights.shape != (3, 2):
            raise ValueError(f"The weights are of shape (3, 2), not {tuple(self.weights.shape)}.")
        if self.loss == "n_pair" and self.labels.bincount().min() < 2:
            raise ValueError("The N-pair loss takes two points of each class, but one has less.")
        if self.margin is None:
            object.__setattr__(self, "margin", LOSSES[self.loss].margin or 0.0)
        elif self.margin < 0:
            raise ValueError(f"The margin must not be negative, but is {self.margin}.")

    @property
    def angular(self) -> bool:
        """Whether the loss sees only directions."""
        return self.loss in ("arcface", "cosface")

    @property
    def embeddings(self) -> Tensor:
        """The points as the loss sees them, (n, 2)."""
        return F.normalize(self.points, dim=1) if self.angular else self.points

    @property
    def directions(self) -> Tensor:
        """The class weights on the circle, (3, 2)."""
        return F.normalize(self.weights, dim=1)

    @property
    def distances(self) -> Tensor:
        """Between all points, (n, n)."""
        return metrics.euclidean(self.points, self.points)

    @property
    def triplets(self) -> Triplets:
        """Positions of the anchors, positives and negatives that the triplet loss sees."""
        if self.mining == "all":
            return mining.all_triplets(self.labels)
        options = {"margin": self.margin} if self.mining == "semi_hard_band" else {}
        return getattr(mining, self.mining)(self.distances, self.labels, **options)

    @property
    def n_pairs(self) -> tuple[Tensor, Tensor]:
        """Positions of an anchor and a positive of each class, its first two points; (3,) each."""
        firsts = [(self.labels == c).nonzero().flatten()[:2] for c in range(3)]
        anchor, positive = torch.stack(firsts, 1)
        return anchor, positive

    def costs(self, points: Tensor, reduction: losses.Reduction = "none") -> Tensor:
        """Of each pair (contrastive loss) or triplet (triplet loss) that the loss sees, (k,)."""
        distances, margin = metrics.euclidean(points, points), self.margin
        if self.loss == "contrastive":
            first, second, same = mining.all_pairs(self.labels)
            return losses.contrastive(distances[first, second], same, margin, reduction)
        anchor, positive, negative = self.triplets
        near, far = distances[anchor, positive], distances[anchor, negative]
        return losses.triplet(near, far, margin, reduction)

    def loss_at(self, points: Tensor, weights: Tensor) -> Tensor:
        """The loss if points (n, 2) and weights (3, 2) were these, the triplets the same."""
        if self.angular:
            cosines = metrics.cosine_similarity(points, weights)
            return getattr(losses, self.loss)(cosines, self.labels, self.margin, SCALE)
        if self.loss == "n_pair":
            anchor, positive = self.n_pairs
            return losses.n_pair(points[anchor] @ points[positive].mT)
        return self.costs(points, "mean")

    @property
    def value(self) -> float:
        """The loss."""
        return self.loss_at(self.embeddings, self.directions).item()

    @property
    def pushes(self) -> tuple[Tensor, Tensor]:
        """Minus the gradient of the loss, by the points (n, 2) and by the class weights (3, 2)."""
        places = [x.detach().requires_grad_() for x in (self.embeddings, self.directions)]
        gradients = torch.autograd.grad(self.loss_at(*places), places, materialize_grads=True)
        return -gradients[0], -gradients[1]

    @property
    def moves(self) -> tuple[Tensor, Tensor]:
        """What a step adds to the points (n, 2) and to the class weights (3, 2)."""
        rate = LOSSES[self.loss].rate
        return rate * self.pushes[0], rate * self.pushes[1]

    def step(self) -> Batch:
        """The batch after one step down the gradient. What was on the circle stays on it."""
        by, weights_by = self.moves
        points, weights = self.embeddings + by, self.directions + weights_by
        if self.angular:
            points, weights = F.normalize(points, dim=1), F.normalize(weights, dim=1)
        return replace(self, points=points, weights=weights, trail=(*self.trail, self.points))

    def lines(self) -> tuple[Tensor, Tensor]:
        """Pairs of positions (k, 2) that the loss pulls together, and those that it drives apart.

        Only pairs and triplets that cost something push.
        """
        if self.loss == "contrastive":
            first, second, same = mining.all_pairs(self.labels)
            pairs, costly = torch.stack([first, second], 1), self.costs(self.points) > 0
            return pairs[same & costly], pairs[~same & costly]
        if self.loss == "triplet":
            costly = self.costs(self.points) > 0
            anchor, positive, negative = (positions[costly] for positions in self.triplets)
            together = torch.stack([anchor, positive], 1)
            return together.unique(dim=0), torch.stack([anchor, negative], 1).unique(dim=0)
        anchor, positive = self.n_pairs
        pairs = torch.cartesian_prod(anchor, positive)
        same = self.labels[pairs[:, 0]] == self.labels[pairs[:, 1]]
        return pairs[same], pairs[~same]

    def sentence(self) -> str:
        """What the picture shows, in words."""
        start = _capital(LOSSES[self.loss].name)
        if self.loss == "triplet":
            start += f", {MINING[self.mining]}"
        if LOSSES[self.loss].margin is not None:
            start += f", margin {self.margin:.2f}"
        number = len(self.trail)
        after = f" after {number} step{'s' if number > 1 else ''}" if number else ""
        return f"{start}: {self.value:.3f}{after}. {self._seen()} {self._hardest_push()}"

    def _seen(self) -> str:
        if self.angular:
            nearest = metrics.cosine_similarity(self.points, self.weights).argmax(1)
            right = int((nearest == self.labels).sum())
            return f"{right} of {len(nearest)} points lie nearest to the weight of their class."
        if self.loss == "n_pair":
            return "It sees two points of each class, and no others."
        costs, every = self.costs(self.points), replace(self, mining="all").costs(self.points)
        things = {"contrastive": "pairs", "triplet": "triplets"}[self.loss]
        costly = int((costs > 0).sum())
        return f"It sees {len(costs)} of {len(every)} {things}; {costly} of them cost something."

    def _hardest_push(self) -> str:
        length, place = self.pushes[0].norm(dim=1).max(0)
        if length < 5e-4:
            return "No point is pushed."
        x, y = self.embeddings[place].tolist()
        name = CLASSES[self.labels[place]]
        return f"The hardest push, {length:.2f}, is on one of the {name}, at ({x:.1f}, {y:.1f})."


def loss_figure(batch: Batch) -> Figure:
    """Draw where each point will be pushed in the next step, and beside it what the loss sees."""
    figure, (plane, view) = _two_panels(width=3.6)
    if batch.angular:
        _draw_circle(plane, batch)
    else:
        _draw_lines(plane, batch)
    _draw_trail(plane, batch)
    _draw_classes(plane, batch.embeddings, batch.labels, size=70)
    _draw_arrows(plane, batch.embeddings, batch.moves[0])
    edge = max(1.4, 1.1 * (batch.embeddings + batch.moves[0]).abs().max().item())
    plane.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal", anchor="NW")
    plane.set_title(f"{_capital(LOSSES[batch.loss].name)} {batch.value:.2f}: where it pushes")
    VIEWS[batch.loss](view, batch)
    return figure


def _draw_arrows(ax: Axes, start: Tensor, moves: Tensor) -> None:
    """An arrow from each place to where the next step takes it; none where it hardly moves."""
    far = moves.norm(dim=1) > 0.015
    ax.quiver(
        *start[far].T, *moves[far].T, angles="xy", scale_units="xy", scale=1,
        color="black", width=0.009, headwidth=3.5, headlength=4, headaxislength=3.5, zorder=5,
    )  # fmt: skip


def _draw_lines(ax: Axes, batch: Batch) -> None:
    for pairs, color, style in zip(batch.lines()[::-1], (PALE, GREY), ("dashed", "solid")):
        ends = batch.points[pairs].numpy()
        lines = LineCollection(list(ends), colors=color, linestyles=style, linewidths=0.9)
        ax.add_collection(lines)
    ax.set_xlabel("solid: pulled together; dashed: driven apart")


def _draw_circle(ax: Axes, batch: Batch) -> None:
    ax.add_patch(plt.Circle((0, 0), 1, fill=False, color=GREY, linewidth=0.9))
    for c, direction in enumerate(batch.directions):
        x, y = direction.tolist()
        ax.plot([0, x], [0, y], color=COLORS[c], linewidth=3, alpha=0.5, zorder=1)
        ax.scatter(x, y, s=240, alpha=0.4, zorder=2, **_look(c))
    _draw_arrows(ax, batch.directions, batch.moves[1])
    ax.set_xlabel("large and pale: the class weights")


def _draw_trail(ax: Axes, batch: Batch) -> None:
    """The way that the points have come."""
    colors = [COLORS[c] for c in batch.labels]
    places = torch.stack([*batch.trail, batch.points], 1)
    if batch.angular:
        places = F.normalize(places, dim=-1)
    way = LineCollection(list(places.numpy()), colors=colors, alpha=0.5, linewidths=1.2)
    ax.add_collection(way)


def _see_pairs(ax: Axes, batch: Batch) -> None:
    """Each pair by its distance and its cost."""
    first, second, same = mining.all_pairs(batch.labels)
    distances, costs = batch.distances[first, second], batch.costs(batch.points)
    grid = torch.linspace(0, max(2.0, 1.05 * distances.max().item()), 100)
    ax.plot(grid, grid.square(), color=INK, linewidth=1.2, label="same class: d²")
    other = (batch.margin - grid).clamp_min(0).square()
    ax.plot(grid, other, color=GREY, linewidth=1.2, label="two classes: max(0, m − d)²")
    ax.scatter(distances[same], costs[same], s=26, color=INK, zorder=3)
    ax.scatter(distances[~same], costs[~same], s=26, color="white", edgecolor=GREY, zorder=3)
    ax.set(xlabel="distance d of a pair", ylabel="cost", xlim=(0, grid[-1].item()))
    ax.set_ylim(-0.1, max(3.6, 1.1 * costs.max().item()))
    ax.set_title("What each pair costs", fontweight="normal")
    ax.legend(loc="upper left", fontsize="small")


def _see_triplets(ax: Axes, batch: Batch) -> None:
    """Each triplet by its two distances: hard, semi-hard (the band) or easy."""
    edge, margin = max(3.0, 1.05 * batch.distances.max().item()), batch.margin
    ends = np.array([0, edge])
    ax.fill_between(ends, 0, ends, color=COLORS[1], alpha=0.15, linewidth=0)
    ax.fill_between(ends, ends, ends + margin, color=COLORS[3], alpha=0.25, linewidth=0)
    every, chosen = replace(batch, mining="all").triplets, batch.triplets
    for (anchor, positive, negative), color, size in ((every, "white", 14), (chosen, INK, 20)):
        near, far = batch.distances[anchor, positive], batch.distances[anchor, negative]
        ax.scatter(near, far, s=size, color=color, edgecolor=GREY, linewidth=0.7, zorder=3)
    ax.set(xlim=(0, edge), ylim=(0, edge), aspect="equal", anchor="NW")
    ax.set(xlabel="d(anchor, positive)", ylabel="d(anchor, negative)")
    ax.text(0.02, 0.98, "easy", transform=ax.transAxes, va="top")
    ax.text(0.98, 0.02, "hard", transform=ax.transAxes, ha="right")
    if margin / edge > 0.12:  # else the words do not fit
        middle = (0.03 * edge, 0.03 * edge + margin / 2)
        ax.text(*middle, "semi-hard", rotation=45, rotation_mode="anchor", va="center")
    ax.set_title(f"Dark: the triplets it sees ({MINING[batch.mining]})", fontweight="normal")


def _see_n_pairs(ax: Axes, batch: Batch) -> None:
    """How probable each positive is for each anchor."""
    anchor, positive = batch.n_pairs
    probabilities = (batch.points[anchor] @ batch.points[positive].mT).softmax(1).numpy()
    ax.imshow(probabilities, cmap="Greys", vmin=0, vmax=2)
    for (row, column), p in np.ndenumerate(probabilities):
        ax.text(column, row, f"{p:.2f}", ha="center", va="center")
    ax.set(xticks=range(3), yticks=range(3), xticklabels=CLASSES, yticklabels=CLASSES)
    ax.set(xlabel="positive of the", ylabel="anchor of the", anchor="NW")
    ax.set_title("Whose positive? Softmax of a·p", fontweight="normal")
    ax.grid(False)


def _see_angles(ax: Axes, batch: Batch) -> None:
    """The score of each point's own class after the margin, and the best score of another."""
    cosines = metrics.cosine_similarity(batch.points, batch.weights)
    own = cosines.gather(1, batch.labels[:, None])[:, 0].clamp(-1, 1).arccos()
    rival = cosines.scatter(1, batch.labels[:, None], -torch.inf).amax(1)
    grid = torch.linspace(0, torch.pi, 181, dtype=torch.float64)
    lowered = _with_margin(batch, grid)
    ax.plot(grid.rad2deg(), grid.cos(), color=PALE, linewidth=1.2, label="cos θ")
    ax.plot(grid.rad2deg(), lowered, color=INK, linewidth=1.2, label="with the margin")
    ax.scatter([], [], marker="_", color=GREY, s=60, label="best other class")
    for c in range(3):
        mine = batch.labels == c
        x, y = own[mine].rad2deg(), _with_margin(batch, own[mine])
        ax.vlines(x, y, rival[mine], color=COLORS[c], linewidth=1)
        ax.scatter(x, rival[mine], s=60, marker="_", color=COLORS[c])
        ax.scatter(x, y, s=50, zorder=3, **_look(c))
    ax.set(xlim=(0, 180), xticks=range(0, 181, 45), ylim=(min(-1.8, lowered.min().item()), 1.1))
    ax.set(xlabel="angle θ to the own class weight, degrees", ylabel="score")
    ax.set_title("The margin lowers the score of one's class", fontweight="normal")
    ax.legend(loc="lower left", fontsize="small")


def _with_margin(batch: Batch, angles: Tensor) -> Tensor:
    """The score of the right class at these angles, before the scale."""
    margin = torch.tensor(batch.margin, dtype=angles.dtype)
    if batch.loss == "cosface":
        return angles.cos() - margin
    beyond = angles > torch.pi - margin  # see fslib.losses.arcface
    return torch.where(beyond, angles.cos() - margin * margin.sin(), (angles + margin).cos())


VIEWS: dict[str, Callable[[Axes, Batch], None]] = {
    "contrastive": _see_pairs,
    "triplet": _see_triplets,
    "n_pair": _see_n_pairs,
    "arcface": _see_angles,
    "cosface": _see_angles,
}


# The explorers -----------------------------------------------------------------------------------


class Explorer(ipywidgets.VBox):
    """Controls above a picture and a sentence that says the same.

    Where no kernel runs, and so no control can move, the picture stands for it all: the output
    that a notebook stores holds the picture beside the reference to the widget.

    Args:
        rows: what a reader moves, by name, a mapping for each row of controls.
        draw: from a scene to its figure.
        scene: what to show first.

    Attributes:
        controls: all of them, by name.
        scene: what is shown, a :class:`Comparison` or a :class:`Batch`.
        picture: the widget with the figure.
        words: the widget with the sentence.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, ipywidgets.Widget]],
        draw: Callable[[Any], Figure],
        scene: Any,
    ):
        size = {"width": "800px", "max_width": "100%"}
        self.picture = ipywidgets.Image(format="png", layout=size)
        self.words = ipywidgets.HTML()
        wrap = {"flex_flow": "row wrap"}
        boxes = [ipywidgets.HBox(list(row.values()), layout=wrap) for row in rows]
        super().__init__([*boxes, self.picture, self.words])
        self.controls = {name: control for row in rows for name, control in row.items()}
        self.draw = draw
        self.show(scene)

    def show(self, scene: Any) -> None:
        """Draw a scene, and say what it shows."""
        self.scene = scene
        self.picture.value = _rendered(self.draw(scene), "png")
        self.words.value = f'<p role="status">{html.escape(scene.sentence())}</p>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {
            "application/vnd.jupyter.widget-view+json": view,
            "image/svg+xml": _rendered(self.draw(self.scene), "svg").decode(),
            "text/plain": self.scene.sentence(),
        }

    _ipython_display_ = None  # ipywidgets 7 has one, and it would come before the method above


def metric_explorer() -> Explorer:
    """Move a query and the points of three classes, and see whom each metric calls nearest."""
    start = Comparison()
    places = torch.cat([start.query[None], start.support])  # what the sliders move
    numbered = [f"{CLASSES[c][:-1]} {i % 3 + 1}" for i, c in enumerate(start.labels)]
    metric = _dropdown("metric", METRICS, start.metric)
    nearest = _dropdown("nearest", NEAREST, start.nearest)
    stretch = _slider("stretch", start.stretch, 1, 5, 0.5)
    angle = _slider("angle", start.angle, 0, 180, 5)
    point = _dropdown("move", dict(enumerate(["query", *numbered])), 0)
    x = _slider("x", places[0, 0].item(), -3, 3, 0.1)
    y = _slider("y", places[0, 1].item(), -2, 2.5, 0.1)
    reset = ipywidgets.Button(description="Reset")

    def scene() -> Comparison:
        stretch.disabled = angle.disabled = metric.value != "mahalanobis"
        query, support = places[0].clone(), places[1:].clone()
        return Comparison(metric.value, nearest.value, stretch.value, angle.value, query, support)

    def take(_: Any) -> None:
        x.value, y.value = places[point.value].tolist()

    def move(change: Any) -> None:
        axis = (x, y).index(change.owner)
        if places[point.value, axis] != change.new:  # else the slider only followed its point
            places[point.value, axis] = change.new
            explorer.show(scene())

    def back(_: Any) -> None:
        places.copy_(torch.cat([start.query[None], start.support]))
        take(None)
        explorer.show(scene())

    rows = [
        {"metric": metric, "stretch": stretch, "angle": angle},
        {"move": point, "x": x, "y": y},
        {"nearest": nearest, "reset": reset},
    ]
    explorer = Explorer(rows, metric_figure, scene())
    for control in (metric, stretch, angle, nearest):
        control.observe(lambda _: explorer.show(scene()), names="value")
    point.observe(take, names="value")
    x.observe(move, names="value")
    y.observe(move, names="value")
    reset.on_click(back)
    return explorer


def loss_explorer() -> Explorer:
    """Choose a loss, its margin and its mining, and send a batch down the gradient."""
    start = Batch()
    loss = _dropdown("loss", {key: kind.name for key, kind in LOSSES.items()}, start.loss)
    choice = _dropdown("mining", MINING, start.mining)
    margin = _slider("margin", start.margin, 0, 2, 0.05)
    step, steps, reset = (
        ipywidgets.Button(description=words) for words in ("Step", "10 steps", "Reset")
    )

    def choose(change: Any) -> None:
        usual = LOSSES[loss.value].margin
        margin.disabled, choice.disabled = usual is None, loss.value != "triplet"
        if change.owner is loss and usual not in (None, margin.value):
            margin.value = usual  # calls this function again
        else:
            settings = {"loss": loss.value, "mining": choice.value, "margin": margin.value}
            explorer.show(replace(explorer.scene, **settings))

    def walk(button: Any) -> None:
        batch = explorer.scene
        for _ in range(10 if button is steps else 1):
            batch = batch.step()
        explorer.show(batch)

    def back(_: Any) -> None:
        explorer.show(replace(explorer.scene, points=start.points, weights=start.weights, trail=()))

    rows = [
        {"loss": loss, "mining": choice, "margin": margin},
        {"step": step, "10 steps": steps, "reset": reset},
    ]
    explorer = Explorer(rows, loss_figure, start)
    for control in (loss, choice, margin):
        control.observe(choose, names="value")
    for button in (step, steps):
        button.on_click(walk)
    reset.on_click(back)
    return explorer


# Small parts -------------------------------------------------------------------------------------


def _dropdown(name: str, choices: Mapping[Any, str], value: Any) -> ipywidgets.Dropdown:
    options = [(words, key) for key, words in choices.items()]
    return ipywidgets.Dropdown(options=options, value=value, description=name)


def _slider(
    name: str, value: float | None, low: float, high: float, step: float
) -> ipywidgets.FloatSlider:
    return ipywidgets.FloatSlider(
        value, min=low, max=high, step=step, description=name, continuous_update=False
    )


def _two_panels(width: float) -> tuple[Figure, Any]:
    """Two axes in fixed places, so that nothing jumps when a setting changes."""
    figure, axes = plt.subplots(
        1, 2, figsize=(8, 3.9), layout="none", width_ratios=[width, 7.4 - width]
    )
    figure.subplots_adjust(left=0.07, right=0.97, bottom=0.13, top=0.92, wspace=0.3)
    return figure, axes


def _draw_classes(ax: Axes, points: Tensor, labels: Tensor, size: float) -> None:
    for c in range(3):
        x, y = points[labels == c].T
        ax.scatter(x, y, s=size, linewidth=1.2, zorder=4, **_look(c))


def _look(c: int) -> dict[str, Any]:
    return {"color": COLORS[c], "marker": MARKERS[c], "edgecolor": "white"}


def _rendered(figure: Figure, form: str) -> bytes:
    """The figure as a file, and closed: else the notebook would show it a second time."""
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)
    plt.close(figure)
    return file.getvalue()


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _check_choice(name: str, value: str, choices: Mapping[str, Any]) -> None:
    if value not in choices:
        known = ", ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"The {name} must be one of {known}, but is {value!r}.")


def _check_batch(points: Tensor, labels: Tensor) -> None:
    if points.ndim != 2 or points.shape != (len(labels), 2):
        raise ValueError(
            f"{len(labels)} labels need points of shape {(len(labels), 2)}, "
            f"but got {tuple(points.shape)}."
        )
    if labels.unique().tolist() != [0, 1, 2]:
        raise ValueError(f"The labels must be 0, 1 and 2, but are {labels.unique().tolist()}.")
