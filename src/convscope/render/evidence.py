"""Evidence about maps: curves and margins of methods, the cascade of a sanity check, the grid of a mask study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.patches import Rectangle

from ..results import CONTROLS, Array, Comparison, Evaluation, counted
from .colors import IMPORTANCE, Scale, fit_scale
from .overlays import overlay
from .style import (
    ACCENT,
    INK,
    LINE,
    SOFT,
    WRONG,
    fold,
    heading,
    headline,
    in_words,
    new_figure,
    plain_axes,
    plain_labels,
    printable,
    short_label,
    short_name,
    show,
    text,
)  # fmt: skip

TILES = 9  # in a row
SHOWN = 2  # images of a comparison
# Lines that can be told apart by every kind of eye (Okabe and Ito, without the yellow), then gray.
LINES = (ACCENT, WRONG, "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = {"random": (0, (1, 1)), "center": (0, (4, 2))}


def tile(image: Array, values: Array, *, signed: bool) -> Array:
    """A map over its photo, on a scale of its own."""
    return overlay(image, values, map_scale(values, signed=signed))


def map_scale(values: Array, *, signed: bool) -> Scale:
    return fit_scale(values, IMPORTANCE, signed=True if signed else None)


def frame(ax: Axes, color: str = ACCENT) -> None:
    """A frame around a picture."""
    ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, edgecolor=color, linewidth=3))


def draw_margins(ax: Axes, names: Sequence[str], means: Array, margins: Array, tied: Sequence[str]) -> None:
    """A dot a method with its 95 % interval, the first at the top."""
    places = np.arange(len(names))
    for place, name, mean, margin in zip(places, names, means, margins, strict=True):
        color = SOFT if name in CONTROLS else ACCENT if name in tied else INK
        if np.isfinite(margin):
            ax.plot((mean - margin, mean + margin), (place, place), color=color, linewidth=1.4, alpha=0.55)
        ax.plot(mean, place, "o", color=color, markersize=5, mfc="white" if name in CONTROLS else color)
    ax.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    plain_axes(ax, grid="x")
    ax.set_yticks(places, [printable(in_words(name)) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    plain_labels(ax)


def draw_curves(ax: Axes, result: Evaluation, kind: str) -> None:
    """The mean curves of "deletion" or "insertion", the mean over the images and the baselines."""
    chosen = [c for c, name in enumerate(result.curve_names) if name.startswith(kind)]
    lines = result.curves[:, chosen].mean(axis=(1, 2))
    shares = np.linspace(0, 1, lines.shape[1])
    for m, (name, line) in enumerate(zip(result.methods, lines, strict=True)):
        color = LINES[m] if m < len(LINES) and name not in CONTROLS else SOFT
        ax.plot(shares, line, color=color, linewidth=1.4, linestyle=DASHES.get(name, "-"), label=in_words(name))
    plain_axes(ax, grid="y")
    ax.set_xticks((0, 0.5, 1), ("0", "half", "all"))
    better = "lower is better" if kind == "deletion" else "higher is better"
    what = "highest pixels taken away" if kind == "deletion" else "highest pixels put in"
    ax.set_xlabel(what, **text(size=7.5, color=SOFT))
    heading(ax, f"Score along {kind}", better)


def draw_evaluation(ax: Axes, result: Evaluation) -> None:
    """By how much each method beats the map of chance in the first measure."""
    order = np.argsort(-np.nan_to_num(result.gains[:, 0], nan=-np.inf), kind="stable")
    names = [result.methods[m] for m in order]
    draw_margins(ax, names, result.gains[order, 0], result.gain_margins[order, 0], ())
    heading(ax, f"{in_words(result.measures[0])}: better than chance by", "mean and 95 % interval over the images")


def compose_evaluation(result: Evaluation) -> Figure:
    """Curves above, and for each measure by how much every method beats the map of chance."""
    has_curves = result.curves.shape[-1] > 0
    # Measures that the controls have none of, as completeness, stand in the table alone.
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
        "Curves: the mean over the images and the baselines. Below: to the right is better, whichever way the "
        "measure goes; mean and 95 % interval; hollow: maps of chance."
    ]
    if len(compared) < len(result.measures):
        rest = [in_words(m) for k, m in enumerate(result.measures) if k not in compared]
        notes.append(f"Without a map of chance to compare with, in the table alone: {', '.join(rest)}.")
    headline(figure, f"How good are the maps? {counted(len(result.names), 'image')}", result, notes)
    return figure


def _legend(ax: Axes, source: Axes) -> None:
    ax.set_axis_off()
    handles, labels = source.get_legend_handles_labels()
    ax.legend(handles, labels, loc="center left", frameon=False, prop={"family": "DejaVu Sans", "size": 7})
    plain_labels(ax)


def draw_comparison(ax: Axes, result: Comparison) -> None:
    """Insertion minus deletion of every method, the best first, with seconds beside."""
    names = [*result.ranking, *CONTROLS]
    at = [result.methods.index(name) for name in names]
    is_one = len(result.names) == 1  # no interval, and nothing to tie
    draw_margins(ax, names, result.advantage[at], result.advantage_margins[at], () if is_one else result.tied)
    for place, m in enumerate(at):
        if np.isfinite(result.seconds[m]):
            seconds = f"{result.seconds[m] / max(1, len(result.names)):.2f} s"
            ax.annotate(
                seconds, (1, place), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                va="center", **text(size=7, color=SOFT),
            )  # fmt: skip
    what = "one image" if is_one else "mean and 95 % interval; blue: not worse than the best"
    heading(ax, "Insertion minus deletion", f"{what}; seconds an image")


def compose_comparison(result: Comparison) -> Figure:
    """The ranking, and the maps of the first images, best method first."""
    n_images = min(SHOWN, len(result.images))
    rows_each = -(-(len(result.ranking) + 1) // TILES)
    columns = -(-(len(result.ranking) + 1) // rows_each)
    upper = 0.8 + 0.2 * (len(result.ranking) + len(CONTROLS))
    lower = 1.45 * rows_each * n_images
    figure = new_figure(max(9.0, 1.3 * columns + 0.4), upper + lower + 1.1)
    parts = figure.add_gridspec(2, 1, height_ratios=[upper, lower])
    above = parts[0].subgridspec(1, 2, width_ratios=[2, 1])
    draw_comparison(figure.add_subplot(above[0]), result)
    words = figure.add_subplot(above[1])
    words.set_axis_off()
    words.text(0, 1, fold(result.verdict, 38), va="top", linespacing=1.5, **text(size=9))
    _draw_maps(figure, parts[1], result, n_images, rows_each, columns)
    title = f"{counted(len(result.ranking), 'method')} compared on {counted(len(result.names), 'image')}"
    headline(figure, title, result, ["Each map has its own color scale; best method first."])
    return figure


def _draw_maps(
    figure: Figure, part: SubplotSpec, result: Comparison, n_images: int, rows_each: int, columns: int
) -> None:
    grid = part.subgridspec(n_images * rows_each, columns)
    for i in range(n_images):
        tiles: list[tuple[str, str, Array]] = [
            (short_name(result.names[i], 18), short_label(result.targets[i], 18), result.images[i])
        ]
        for place, name in enumerate(result.ranking):
            m = result.methods.index(name)
            picture = tile(result.images[i], result.maps[m, i], signed=result.signed[m])
            tiles.append((in_words(name), f"{place + 1}", picture))
        for n, (name, note, picture) in enumerate(tiles):
            ax = figure.add_subplot(grid[i * rows_each + n // columns, n % columns])
            show(ax, picture)
            ax.set_title(printable(name), loc="left", pad=3, **text(size=6.5, color=INK if n else SOFT))
            if not n:
                ax.annotate(
                    printable(note), (0, 0), (0, -8), xycoords="axes fraction", textcoords="offset points",
                    **text(size=6.5, color=SOFT),
                )  # fmt: skip
