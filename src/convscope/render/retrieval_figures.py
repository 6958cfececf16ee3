"""Retrieval: bars for features, pixels and chance; the confusion table; the queries with the worst neighbors."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Array, Retrieval
from .colors import color_map
from .labeled_tiles import draw_tile, thumbnail, write_under
from .style import (
    ACCENT,
    INK,
    LINE,
    PALE,
    SOFT,
    WRONG,
    drawable,
    heading,
    headline,
    new_figure,
    plain_axes,
    short_label,
    short_name,
    text,
)  # fmt: skip

CLASSES = 20
CASES, CASE_NEIGHBORS = 6, 5
COLORS = {"feature": ACCENT, "pixel": PALE, "chance": LINE}


def draw_retrieval(ax: Axes, result: Retrieval) -> None:
    """The means over the classes: a group of bars per measure, a bar per space."""
    titles = {
        "accuracy": f"the {result.k} nearest vote for the right label",
        "precision": f"share of the {result.k} nearest with the right label",
        "average_precision": "average precision of the whole ranking",
    }
    means = result.macro
    step = len(result.spaces) + 1.3
    for group, (measure, title) in enumerate(titles.items()):
        top = group * step
        ax.text(0, top - 0.62, title, va="bottom", **text(size=8))
        for place, space in enumerate(result.spaces):
            value = means[space][measure]
            ax.barh(top + place, value, height=0.8, color=COLORS[space])
            ax.text(value + 0.012, top + place, f"{value:.2f}", va="center", **text(size=7.5))
            ax.text(-0.015, top + place, space, va="center", ha="right", **text(size=7.5, color=SOFT))
    for top in (group * step for group in range(len(titles))):
        ax.vlines((0, 0.5, 1), top - 0.55, top + len(result.spaces) - 0.45, color=LINE, linewidth=0.6, zorder=0)
    plain_axes(ax)
    ax.set(xlim=(0, 1.08), ylim=(2 * step + len(result.spaces) - 0.4, -1.5), xticks=(0, 0.5, 1), yticks=())
    heading(ax, "Mean over the classes")


def draw_confusion(ax: Axes, result: Retrieval) -> None:
    """For each true class, the share of its queries voted for as each class; counts are written where they fit."""
    chosen = shown_classes(result)
    counts = result.confusion[np.ix_(chosen, chosen)]
    shares = counts / np.maximum(result.confusion[chosen].sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap=color_map("Blues"), vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    small = len(chosen) > 12
    if len(chosen) <= CLASSES:
        for i, j in np.argwhere(counts > 0):
            color = "white" if shares[i, j] > 0.55 else INK
            ax.text(
                j, i, str(counts[i, j]), ha="center", va="center", **text(size=5.5 if small else 7, color=color)
            )
    names = [drawable(short_label(result.classes[c], 16)) for c in chosen]
    ax.set_xticks(range(len(chosen)), names, rotation=90 if len(chosen) > 4 else 0)
    ax.set_yticks(range(len(chosen)), names)
    plain_axes(ax)
    ax.tick_params(labelsize=6 if small else 7.5)
    ax.spines[["top", "right", "left", "bottom"]].set(visible=True, color=LINE)
    ax.set_xlabel("voted by the neighbors", **text(size=7.5, color=SOFT))
    ax.set_ylabel("true", **text(size=7.5, color=SOFT))
    heading(ax, "Confusion, in feature space", "number of queries; darker is a larger share of the row")


def shown_classes(result: Retrieval) -> Array:
    """The classes in the confusion table: all, or the 20 with the most mistakes, in their order."""
    mistakes = result.confusion.sum(axis=0) + result.confusion.sum(axis=1) - 2 * result.confusion.diagonal()
    return np.sort(np.argsort(-mistakes, kind="stable")[:CLASSES])


def draw_worst(ax: Axes, result: Retrieval) -> None:
    """The queries whose neighbors agree least, two in a row, each with its nearest images."""
    shown = min(CASE_NEIGHBORS, result.worst_neighbors.shape[1])
    width = 1.35 + 1.08 * shown + 0.55
    cases = n_cases(result)
    for case in range(cases):
        left, top = (case % 2) * width, (case // 2) * 1.55
        query = int(result.worst[case])
        draw_tile(ax, left, top, thumbnail(result.thumbnails, query))
        n_right = round(float(result.worst_shares[case]) * result.k)
        write_under(
            ax, left, top, short_label(str(result.labels[query]), 14), f"{n_right} of {result.k} agree", INK
        )
        for place, i in enumerate(result.worst_neighbors[case, :shown]):
            is_wrong = result.labels[i] != result.labels[query]
            x = left + 1.35 + 1.08 * place
            draw_tile(ax, x, top, thumbnail(result.thumbnails, int(i)), WRONG if is_wrong else None)
            label = short_label(str(result.labels[i]), 14)
            write_under(ax, x, top, label, short_name(result.names[i], 14), WRONG if is_wrong else INK)
    ax.set(xlim=(-0.05, 2 * width - 0.5), ylim=(-(-cases // 2) * 1.55 - 0.05, -0.05), aspect="equal", anchor="NW")
    ax.set_axis_off()
    all_agree = bool((result.worst_shares == 1).all())
    title = "All neighbors agree; the lowest average precision" if all_agree else "Where the neighbors agree least"
    heading(ax, title, "left: the query; orange: not its label")


def n_cases(result: Retrieval) -> int:
    """How many of the worst queries to show: those with a neighbor that disagrees, but at least two."""
    return min(CASES, max(2, int((result.worst_shares < 1).sum())), len(result.worst))


def compose_retrieval(result: Retrieval) -> Figure:
    """Bars and confusion table side by side, the worst queries below."""
    rows = -(-n_cases(result) // 2)
    n = min(CLASSES, len(result.classes))
    upper = 3.4 + 0.1 * max(0, n - 6)
    figure = new_figure(11.0, 1.1 + upper + 1.25 * rows)
    parts = figure.add_gridspec(2, 1, height_ratios=[upper, 1.25 * rows + 0.3])
    top = parts[0].subgridspec(1, 2, width_ratios=[1.25, 1], wspace=0.06)
    draw_retrieval(figure.add_subplot(top[0]), result)
    draw_confusion(figure.add_subplot(top[1]), result)
    draw_worst(figure.add_subplot(parts[1]), result)
    title = f"Retrieval: do the {result.k} nearest have the same label?"
    notes = [f"{int(result.counts.sum())} queries in {len(result.classes)} classes; no query is its own neighbor."]
    if n < len(result.classes):
        notes.append(f"The table shows the {n} of {len(result.classes)} classes with the most mistakes.")
    headline(figure, title, result, notes)
    return figure
