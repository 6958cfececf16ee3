"""Evaluations: deletion and insertion curves, and how much better than chance each method is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import CONTROLS, Array, Evaluation
from ..texts import counted
from .style import (
    ACCENT,
    FONT,
    INK,
    LINE,
    LINE_COLORS,
    SOFT,
    drawable,
    heading,
    headline,
    in_words,
    new_figure,
    plain_axes,
    plain_labels,
    text,
)  # fmt: skip

DASHES = {"random": (0, (1, 1)), "center": (0, (4, 2))}


def draw_margins(ax: Axes, names: Sequence[str], means: Array, margins: Array, tied: Sequence[str]) -> None:
    """A dot and its 95 % interval for each method, the first method at the top."""
    places = np.arange(len(names))
    for place, name, mean, margin in zip(places, names, means, margins, strict=True):
        color = SOFT if name in CONTROLS else ACCENT if name in tied else INK
        if np.isfinite(margin):
            ax.plot((mean - margin, mean + margin), (place, place), color=color, linewidth=1.4, alpha=0.55)
        ax.plot(mean, place, "o", color=color, markersize=5, mfc="white" if name in CONTROLS else color)
    ax.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    plain_axes(ax, grid="x")
    ax.set_yticks(places, [drawable(in_words(name)) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    plain_labels(ax)


def draw_curves(ax: Axes, result: Evaluation, kind: str) -> None:
    """The curve of each method for "deletion" or "insertion": the mean over the images and the baselines."""
    chosen = [c for c, name in enumerate(result.curve_names) if name.startswith(kind)]
    lines = result.curves[:, chosen].mean(axis=(1, 2))
    shares = np.linspace(0, 1, lines.shape[1])
    for m, (name, line) in enumerate(zip(result.methods, lines, strict=True)):
        color = LINE_COLORS[m] if m < len(LINE_COLORS) and name not in CONTROLS else SOFT
        ax.plot(shares, line, color=color, linewidth=1.4, linestyle=DASHES.get(name, "-"), label=in_words(name))
    plain_axes(ax, grid="y")
    ax.set_xticks((0, 0.5, 1), ("0", "half", "all"))
    better = "lower is better" if kind == "deletion" else "higher is better"
    what = "strongest pixels removed" if kind == "deletion" else "strongest pixels inserted"
    ax.set_xlabel(what, **text(size=7.5, color=SOFT))
    heading(ax, f"Score along {kind}", better)


def draw_evaluation(ax: Axes, result: Evaluation) -> None:
    """How much better than a random map each method is, by the first measure."""
    order = np.argsort(-np.nan_to_num(result.gains[:, 0], nan=-np.inf), kind="stable")
    names = [result.methods[m] for m in order]
    draw_margins(ax, names, result.gains[order, 0], result.gain_margins[order, 0], ())
    heading(ax, f"{in_words(result.measures[0])}: better than chance by", "mean and 95 % interval over the images")


def compose_evaluation(result: Evaluation) -> Figure:
    """The curves, and below them how much better than a random map each method is by each measure."""
    has_curves = result.curves.shape[-1] > 0
    # Measures that the controls lack, such as completeness, appear in the table only.
    compared = [k for k in range(len(result.measures)) if np.isfinite(result.gains[:, k]).any()]
    n_columns = max(1, min(4, len(compared)))
    n_rows = -(-len(compared) // n_columns)
    height = 0.7 + 0.19 * len(result.methods)
    figure = new_figure(max(7.5, 2.9 * n_columns + 1), (3.0 if has_curves else 0) + n_rows * height + 1.0)
    ratios = [*([3.0] if has_curves else []), *([n_rows * height] if compared else [])] or [1.0]
    parts = figure.add_gridspec(len(ratios), 1, height_ratios=ratios)
    if has_curves:
        above = parts[0].subgridspec(1, 3, width_ratios=[1, 1, 0.5])
        axes = [figure.add_subplot(above[0, c]) for c in range(3)]
        draw_curves(axes[0], result, "deletion")
        draw_curves(axes[1], result, "insertion")
        _legend(axes[2], axes[1])
    below = parts[-1].subgridspec(max(1, n_rows), n_columns)
    for place, k in enumerate(compared):
        ax = figure.add_subplot(below[place // n_columns, place % n_columns])
        draw_margins(ax, result.methods, result.gains[:, k], result.gain_margins[:, k], ())
        if place % n_columns:
            ax.set_yticklabels([])
        heading(ax, in_words(result.measures[k]), "better than chance by")
    notes = [
        "Curves: means over the images and the baselines. Below: means with 95 % intervals; further right is "
        "better, whichever way the measure goes. Hollow dots: controls, which know nothing of the network."
    ]
    if len(compared) < len(result.measures):
        rest = [in_words(m) for k, m in enumerate(result.measures) if k not in compared]
        notes.append(f"Not drawn, as random maps have no such value: {', '.join(rest)} (see the table).")
    headline(figure, f"How good are the maps? {counted(len(result.names), 'image')}", result, notes)
    return figure


def _legend(ax: Axes, source: Axes) -> None:
    ax.set_axis_off()
    handles, labels = source.get_legend_handles_labels()
    ax.legend(handles, labels, loc="center left", frameon=False, prop={"family": FONT, "size": 7})
    plain_labels(ax)
