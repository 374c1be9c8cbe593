"""Figures of the book: one message each, said in the title; classes told apart by shape as well as colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fslib.data import ImageSet
from fslib.episodes import Episode
from fslib.labels import as_labels

# Paul Tol's bright scheme: told apart by readers of every kind of colour vision.
COLORS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#AA3377", "#66CCEE", "#BBBBBB")
MARKERS = ("o", "s", "^", "D", "P", "v", "X")


def use_style() -> None:
    """Set the look of all figures: crisp vector output in a notebook, open axes, quiet grid."""
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "lines.linewidth": 2,
            "svg.hashsalt": "fslib",  # the same figure gives the same file
        }
    )
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        set_matplotlib_formats("svg")


def show_images(
    images: Tensor,
    columns: int = 10,
    titles: Sequence[str] | None = None,
    title: str = "",
    size: float = 0.7,
) -> Figure:
    """Show pictures in a grid.

    Args:
        images: uint8, white = 255, or network input, float, where white = 0; (n, 1, h, w), (n, 3, h, w) in colour,
            or (n, h, w); on any device.
        columns: pictures a row.
        titles: one a picture.
        title: of the figure.
        size: of a picture, in inches.

    Raises:
        ValueError: if these are no pictures, or the titles are not one a picture.
    """
    if not len(images) or columns < 1:
        raise ValueError(
            f"A grid needs pictures and columns, but there are {len(images)} and {columns}."
        )
    titles = [] if titles is None else list(titles)
    if titles and len(titles) != len(images):
        raise ValueError(
            f"There must be one title for each of the {len(images)} pictures, but there are {len(titles)}."
        )
    rows = -(-len(images) // columns)
    height = size * rows * (1.35 if titles else 1) + (0.35 if title else 0)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, height), squeeze=False)
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < len(images):
            _picture(ax, images[i])
            if titles:
                ax.set_title(titles[i], fontsize="small", fontweight="normal", loc="center")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize="medium")
    return figure


def show_episode(data: ImageSet, episode: Episode, queries: int = 5, title: str = "") -> Figure:
    """Show one task: a row for each class, its support examples left of the line and some of its queries right."""
    if episode.classes.ndim != 1:
        raise ValueError("One episode is shown, but this is a stack; an index takes one from it.")
    support = episode.support.reshape(episode.way, -1)
    query = episode.query.reshape(episode.way, -1)[:, :queries]
    width = support.shape[1] + query.shape[1]
    figure, axes = plt.subplots(
        episode.way, width + 1, squeeze=False, figsize=(0.7 * (width + 0.4) + 0.6, 0.7 * episode.way + 0.6),
        width_ratios=[1] * support.shape[1] + [0.35] + [1] * query.shape[1],
    )  # fmt: skip
    for c in range(episode.way):
        gap = axes[c, support.shape[1]]
        gap.axvline(0.5, color="#888888", linewidth=1)
        gap.set_xlim(0, 1)
        for ax, index in zip(np.delete(axes[c], support.shape[1]), [*support[c], *query[c]]):
            _picture(ax, data.images[int(index)])
        for ax in axes[c]:
            ax.axis("off")
        axes[c, 0].text(-0.15, 0.5, f"{c}", transform=axes[c, 0].transAxes, ha="right", va="center")
    axes[0, 0].set_title("support", fontweight="normal")
    axes[0, support.shape[1] + 1].set_title("query", fontweight="normal")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize="medium")
    return figure


def show_regions(
    ax: Axes,
    classify: Callable[[Tensor], Tensor],
    points: Tensor,
    labels: Tensor,
    limits: tuple[float, float, float, float] = (-3, 3, -2, 2),
) -> None:
    """Paint which class a classifier gives to each point of the plane, and the examples on top.

    Args:
        ax: where to paint.
        classify: from points (n, 2), on the device of the examples, to scores (n, classes).
        points: examples, (n, 2).
        labels: their classes, (n,); each the number of its column of scores, or names in the order of these.
        limits: left, right, bottom, top.
    """
    points, labels = torch.as_tensor(points).detach(), as_labels(labels).cpu()
    left, right, bottom, top = limits
    x, y = torch.meshgrid(
        torch.linspace(left, right, 241), torch.linspace(bottom, top, 161), indexing="xy"
    )
    plane = torch.stack([x, y], -1).reshape(-1, 2).to(points.device)
    winner = classify(plane).argmax(-1).reshape(x.shape).cpu().numpy()
    rgb = np.array([plt.matplotlib.colors.to_rgb(color) for color in COLORS])
    ax.imshow(
        0.75 + 0.25 * rgb[winner % len(COLORS)],
        extent=limits,
        origin="lower",
        aspect="equal",
        interpolation="nearest",
    )
    points = points.cpu()
    for c in labels.unique().tolist():
        x, y = points[labels == c].T
        color, marker = _look(c)
        ax.scatter(x, y, s=45, color=color, marker=marker, edgecolor="white", label=f"class {c}")
    ax.grid(False)
    ax.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])


def show_accuracies(
    accuracies: Mapping[str, Any], title: str, chance: float | None = None
) -> Figure:
    """Show accuracies with their 95 % intervals as points on one scale.

    Args:
        accuracies: name → something with ``mean`` and ``ci95``, as :func:`fslib.evaluation.evaluate` returns.
        title: the message.
        chance: accuracy of guessing, drawn as a line.
    """
    figure, ax = plt.subplots(figsize=(6.4, 0.5 * len(accuracies) + 1.1))
    names = list(accuracies)[::-1]
    for row, accuracy in enumerate(accuracies[name] for name in names):
        ax.errorbar(
            100 * accuracy.mean, row, xerr=100 * accuracy.ci95, fmt="o", capsize=4, color=COLORS[0]
        )
        ax.annotate(
            f"{100 * accuracy.mean:.1f}",
            (100 * accuracy.mean, row),
            (0, 7),
            textcoords="offset points",
            ha="center",
        )
    if chance is not None:
        ax.axvline(100 * chance, color="#888888", linestyle="--", linewidth=1.2)
        ax.text(
            100 * chance + 1,
            0.98,
            "chance",
            transform=ax.get_xaxis_transform(),
            va="top",
            color="#555555",
        )
    ax.set(
        yticks=range(len(names)),
        yticklabels=names,
        xlim=(0, 100),
        xlabel="accuracy, %",
        title=title,
    )
    ax.set_ylim(-0.5, len(accuracies) - 0.4)
    ax.grid(axis="y", visible=False)
    return figure


def _look(number: int) -> tuple[str, str]:
    """Colour and marker of a class; after a round of the colours, each meets another marker."""
    turn, place = divmod(number, len(COLORS))
    return COLORS[place], MARKERS[(place + turn) % len(MARKERS)]


def _picture(ax: Axes, image: Tensor) -> None:
    """Show one picture, (h, w), (1, h, w) or, in colour, (3, h, w)."""
    image = torch.as_tensor(image).detach().cpu()
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or len(image) not in (1, 3):
        raise ValueError(
            "A picture has shape (h, w), (1, h, w) or (3, h, w), "
            f"but this one has {tuple(image.shape)}."
        )
    ink = image.float() if image.is_floating_point() else 1 - image.float() / 255
    if len(ink) == 1:
        ax.imshow(ink[0], cmap="gray_r", vmin=0, vmax=1)
    else:
        ax.imshow((1 - ink).clamp(0, 1).permute(1, 2, 0))
