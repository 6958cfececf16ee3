"""Predictions as bars; a visualization as its picture and the curve of its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Prediction, Visualization
from .style import (
    ACCENT,
    LINE,
    SOFT,
    cut_note,
    decimal,
    heading,
    headline,
    new_figure,
    pick,
    plain_axes,
    printable,
    short_label,
    short_name,
    show,
    text,
)  # fmt: skip

LIMIT = 12
FRAMES = 6


def draw_prediction(ax: Axes, result: Prediction, *, n: int = 0, k: int = 5) -> None:
    """The k most probable classes of one image; the score stands beside the probability."""
    (n,) = pick(n, len(result.scores), 1)
    ranked = result.top(k)[n]
    for place, entry in enumerate(ranked):
        ax.barh(place, 1, height=0.34, color="#f0f0f2")
        ax.barh(place, entry.probability, height=0.34, color=ACCENT)
        ax.text(0, place - 0.24, printable(short_label(entry.label, 44)), va="bottom", **text(size=8))
        numbers = f"{entry.probability:.1%}   score {decimal(entry.score)}"
        ax.text(1, place - 0.24, numbers, va="bottom", ha="right", **text(size=7, color=SOFT))
    ax.set(xlim=(0, 1), ylim=(len(ranked) - 0.7, -0.75))
    ax.set_axis_off()
    heading(ax, short_name(result.names[n], 40))


def compose_prediction(result: Prediction, *, n: int | Sequence[int] | None = None, k: int = 5) -> Figure:
    """One panel an image, two side by side."""
    images = pick(n, len(result.scores), LIMIT)
    columns = min(2, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(4.2 * columns, 0.9 + rows * (0.5 + 0.42 * min(k, result.scores.shape[1])))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, i in zip(axes, images, strict=False):
        draw_prediction(ax, result, n=i, k=k)
    for ax in axes[len(images) :]:
        ax.set_axis_off()
    notes = cut_note(len(images), len(result.scores), "images") if n is None else []
    headline(figure, "Prediction", result, notes)
    return figure


def draw_visualization(ax: Axes, result: Visualization) -> None:
    """The picture alone."""
    show(ax, result.image)
    scores = [decimal(score) for score in result.scores]
    note = f"score {scores[0]} → {scores[-1]}" if scores else ""
    heading(ax, short_label(result.target), note)


def draw_scores(ax: Axes, result: Visualization) -> None:
    """The score that each step went up from, and the finished picture's."""
    steps = np.arange(len(result.scores))
    ax.plot(steps, result.scores, color=ACCENT, linewidth=1.6, solid_capstyle="round")
    ax.plot(steps[-1:], result.scores[-1:], "o", color=ACCENT, markersize=4)
    plain_axes(ax, grid="y")
    ax.spines["bottom"].set(visible=True, color=LINE)
    ax.set_xlabel("step", **text(size=7.5, color=SOFT))
    heading(ax, "score of the target")


def compose_visualization(result: Visualization) -> Figure:
    """The picture, the curve beside it, and where frames were kept the way to it below."""
    has_frames = len(result.frames) > 0
    figure = new_figure(7.6, 6.0 if has_frames else 4.4)
    parts = figure.add_gridspec(1 + has_frames, 1, height_ratios=[3.6, 1.2][: 1 + has_frames])
    upper = parts[0].subgridspec(1, 2, width_ratios=[3.6, 3.2], wspace=0.12)
    draw_visualization(figure.add_subplot(upper[0]), result)
    draw_scores(figure.add_subplot(upper[1]), result)
    if has_frames:
        lower = parts[1].subgridspec(1, FRAMES)
        chosen = np.linspace(0, len(result.frames) - 1, FRAMES).round().astype(int)
        for place, i in enumerate(np.unique(chosen)):
            _draw_frame(figure.add_subplot(lower[place]), result, int(i))
    headline(figure, "Visualization: what the target would like to see", result)
    return figure


def _draw_frame(ax: Axes, result: Visualization, i: int) -> None:
    show(ax, result.frames[i])
    ax.annotate(
        f"frame {i + 1}", (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
        **text(size=7, color=SOFT),
    )  # fmt: skip
