"""Visualizations: the picture, the frames on the way to it, and the curve of its score."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Visualization
from .style import ACCENT, LINE, SOFT, decimal, heading, headline, new_figure, plain_axes, short_label, show, text

FRAMES = 6


def draw_visualization(ax: Axes, result: Visualization) -> None:
    """The finished picture."""
    show(ax, result.image)
    scores = [decimal(score) for score in result.scores]
    note = f"score {scores[0]} → {scores[-1]}" if scores else ""
    heading(ax, short_label(result.target), note)


def draw_scores(ax: Axes, result: Visualization) -> None:
    """The score before each step, and that of the finished picture."""
    steps = np.arange(len(result.scores))
    ax.plot(steps, result.scores, color=ACCENT, linewidth=1.6, solid_capstyle="round")
    ax.plot(steps[-1:], result.scores[-1:], "o", color=ACCENT, markersize=4)
    plain_axes(ax, grid="y")
    ax.spines["bottom"].set(visible=True, color=LINE)
    ax.set_xlabel("step", **text(size=7.5, color=SOFT))
    heading(ax, "score of the target")


def compose_visualization(result: Visualization) -> Figure:
    """The picture, the curve beside it, and below, if frames were kept, the way to it."""
    has_frames, has_original = len(result.frames) > 0, result.original.size > 0
    figure = new_figure(7.6 + 3.4 * has_original, 6.0 if has_frames else 4.4)
    parts = figure.add_gridspec(1 + has_frames, 1, height_ratios=[3.6, 1.2][: 1 + has_frames])
    widths = [3.6] * has_original + [3.6, 3.2]
    upper = parts[0].subgridspec(1, len(widths), width_ratios=widths, wspace=0.12)
    if has_original:
        before = figure.add_subplot(upper[0])
        show(before, result.original)
        heading(before, "original", " ")
    draw_visualization(figure.add_subplot(upper[-2]), result)
    draw_scores(figure.add_subplot(upper[-1]), result)
    if has_frames:
        lower = parts[1].subgridspec(1, FRAMES)
        chosen = np.linspace(0, len(result.frames) - 1, FRAMES).round().astype(int)
        for place, i in enumerate(np.unique(chosen)):
            _draw_frame(figure.add_subplot(lower[place]), result, int(i))
    changed = "An image, changed toward what the target likes"
    title = changed if has_original else "Visualization: an input that the target likes"
    headline(figure, title, result, [result.trust] if result.trust else [])
    return figure


def _draw_frame(ax: Axes, result: Visualization, i: int) -> None:
    show(ax, result.frames[i])
    ax.annotate(
        f"frame {i + 1}", (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
        **text(size=7, color=SOFT),
    )  # fmt: skip
