"""Two embeddings side by side: linked maps, what classes share, and the images whose neighbors changed most."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import StoreComparison
from .colors import OTHER
from .labeled_tiles import draw_tile, thumbnail, write_under
from .projection_figures import label_styles
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

NUMBERED = 8  # images with a number on both maps
ROWS, COLUMNS = 6, 5  # images whose neighbors are shown, and how many of these
CLASSES = 16
_GAP = 0.12  # between the two maps, of the width of one


def draw_store_comparison(ax: Axes, result: StoreComparison) -> None:
    """Both maps in the same colors; the images whose neighbors changed most have the same number on both."""
    styles, classes = label_styles(result.labels), np.array(result.labels, dtype=object)
    size = float(np.abs(result.coordinates).max()) or 1.0
    numbered = result.queries[result.changed[:NUMBERED]]
    for which, (points, encoder) in enumerate(zip(result.coordinates, result.encoders, strict=True)):
        x, y = (points[:, axis] / size + (which * (2 + 2 * _GAP) if axis == 0 else 0) for axis in (0, 1))
        for name in [None, *styles]:
            members = np.flatnonzero(classes == name)
            color, marker = styles.get(name or "", (OTHER, "o"))
            told = name is not None and color != OTHER and which == 0 and len(members)
            ax.scatter(
                x[members], y[members], s=16, c=color, marker=marker, linewidths=0.4, edgecolors="white",
                label=drawable(short_label(name or "", 24)) if told else None,
            )  # fmt: skip
        for number, i in enumerate(numbered, 1):
            ax.scatter(x[i], y[i], s=70, facecolors="none", edgecolors=INK, linewidths=1.1, zorder=3)
            near, style = (x[i], y[i]), text(size=7, weight="bold")
            ax.annotate(str(number), near, (5, 4), textcoords="offset points", zorder=4, **style)
        title = f"{'ab'[which]}: {short_label(encoder, 64)}"
        ax.text(which * (2 + 2 * _GAP) - 1, 1.1, drawable(title), va="bottom", **text(size=8))
    ax.plot([1 + _GAP] * 2, [-1.05, 1.05], color=LINE, linewidth=0.8)
    ax.set(xlim=(-1.06, 3.06 + 2 * _GAP), ylim=(-1.08, 1.25), aspect="equal")
    ax.set_axis_off()
    if any(color != OTHER for color, _ in styles.values()):
        legend = ax.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1), frameon=False, fontsize=7.5, handletextpad=0.2
        )
        for entry in legend.get_texts():
            entry.set_parse_math(False)


def draw_class_shares(ax: Axes, result: StoreComparison) -> None:
    """The share of neighbors in common for each class, the lowest first; a line for unrelated embeddings."""
    shares = result.class_shared
    told = [int(c) for c in np.argsort(shares, kind="stable") if np.isfinite(shares[c])][:CLASSES]
    rows = [("all", float(result.shared.mean())), *((result.classes[c], float(shares[c])) for c in told)]
    for row, (name, value) in enumerate(rows):
        ax.barh(row, value, height=0.72, color=PALE if row else ACCENT)
        ax.text(value + 0.012, row, f"{value:.0%}", va="center", **text(size=7))
        ax.text(-0.015, row, drawable(short_label(name, 20)), va="center", ha="right", **text(size=7, color=SOFT))
    ax.axvline(result.chance, color=WRONG, linewidth=1, linestyle=":")
    ax.text(result.chance + 0.01, len(rows) - 0.35, "chance", va="top", **text(size=6.5, color=WRONG))
    plain_axes(ax)
    ax.set(xlim=(0, 1.1), ylim=(len(rows), -0.7), xticks=(0, 0.5, 1), yticks=())
    ax.set_xticklabels(["0 %", "50 %", "100 %"])
    k = result.neighbors_a.shape[1]
    note = "by class, the lowest first" if told else ""
    heading(ax, f"Share of the {k} nearest in both", note)


def draw_facts(ax: Axes, result: StoreComparison) -> None:
    """CKA, the accuracy of either vote, and the classes that only one of them confuses."""
    k = result.neighbors_a.shape[1]
    lines = [("linear CKA (1: the same up to turning)", f"{result.cka:.3f}")]
    lines.append(("the same without bias (0: unrelated)", f"{result.cka_unbiased:.3f}"))
    lines.append(("maps differ by (Procrustes, 0: the same)", f"{result.disparity:.2f}"))
    if result.classes:
        a, b = result.accuracies
        lines.append((f"right label by the vote of the {k} nearest", f"a {a:.1%}   b {b:.1%}"))
    changes = result.confusion_changes[:6]
    lines += [
        (f"{short_label(one.true, 16)} taken for {short_label(one.voted, 16)}", f"a {one.n_a}   b {one.n_b}")
        for one in changes
    ]
    for row, (what, value) in enumerate(lines):
        ax.text(0, row, drawable(what), va="center", **text(size=7.5, color=SOFT))
        ax.text(1, row, value, va="center", ha="right", **text(size=7.5))
    ax.set(xlim=(0, 1), ylim=(max(len(lines), 8) - 0.4, -0.7))
    ax.set_axis_off()
    heading(ax, "As a whole", "below: classes that one confuses more often than the other" if changes else "")


def n_rows(result: StoreComparison) -> int:
    """How many changed images are shown with their neighbors."""
    return min(ROWS, len(result.changed))


def draw_changed(ax: Axes, result: StoreComparison) -> None:
    """An image in each row, with its neighbors in the first embedding and in the second; framed if only in one."""
    columns = min(COLUMNS, result.neighbors_a.shape[1])
    places = {int(image): t for t, image in enumerate(result.shown)}
    height, width = 1.62 if result.thumbnails.size else 0.62, 1.06 * columns + 0.35
    for row, q in enumerate(result.changed[: n_rows(result)]):
        top, image = (row + 1) * height - 1.62, int(result.queries[q])
        _tile(ax, result, places, image, (0, top), INK)
        ax.text(0, top + 1.35, f"{row + 1}: shares {result.shared[q]:.0%}", va="top", **text(size=7))
        lists = (result.neighbors_a[q], result.neighbors_b[q])
        for side, (near, others) in enumerate((lists, lists[::-1])):
            for column, i in enumerate(map(int, near[:columns])):
                place = (1.4 + side * width + 1.06 * column, top)
                is_wrong = None not in (pair := (result.labels[i], result.labels[image])) and pair[0] != pair[1]
                frame = None if i in others else ACCENT
                _tile(ax, result, places, i, place, WRONG if is_wrong else INK, frame)
    bottom = n_rows(result) * height
    for side in (0, 1):
        ax.text(1.4 + side * width, -0.12, f"nearest in {'ab'[side]}", va="bottom", **text(size=7.5, color=SOFT))
    ax.set(xlim=(-0.05, 1.4 + 2 * width - 0.3), ylim=(bottom, -0.4), aspect="equal", anchor="NW")
    ax.set_axis_off()
    heading(ax, "Whose neighbors changed most", "blue frame: a neighbor in this one only; orange: another label")


def _tile(
    ax: Axes,
    result: StoreComparison,
    places: dict[int, int],
    image: int,
    place: tuple[float, float],
    color: str,
    frame: str | None = None,
) -> None:
    """An image with its label and its name below."""
    if result.thumbnails.size:
        draw_tile(ax, *place, thumbnail(result.thumbnails, places[image]), frame)
    label, name = result.labels[image], short_name(PurePath(result.names[image]).stem, 11)
    write_under(ax, *place, short_label(label, 12) if label else name, name if label else "", color)


def compose_store_comparison(result: StoreComparison) -> Figure:
    """Maps above, shares and numbers below them, then the images whose neighbors changed most."""
    rows, has_pictures = n_rows(result), bool(result.thumbnails.size)
    n_bars = 1 + min(CLASSES, len(result.classes))
    middle = max(2.2, 0.24 * n_bars + 0.8)
    lower = 0.8 + (1.05 if has_pictures else 0.4) * rows
    figure = new_figure(11.0, 0.9 + 4.3 + middle + lower)
    parts = figure.add_gridspec(3, 1, height_ratios=[4.3, middle, lower])
    draw_store_comparison(figure.add_subplot(parts[0]), result)
    sides = parts[1].subgridspec(1, 2, width_ratios=[1, 1], wspace=0.1)
    draw_class_shares(figure.add_subplot(sides[0]), result)
    draw_facts(figure.add_subplot(sides[1]), result)
    draw_changed(figure.add_subplot(parts[2]), result)
    notes = ["Maps: the second is turned onto the first; a number is the same image on both."]
    title = f"Two embeddings of {len(result.names):,} images"
    headline(figure, title, result, notes)
    return figure
