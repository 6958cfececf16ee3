"""Sanity checks: what becomes of a map as the network's weights become random."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import CHANGED, SAME, Array, SanityCheck
from .map_panels import note_on_planes, peak_depth, show_input, show_map
from .overlays import map_scale
from .style import (
    ACCENT,
    FONT,
    LINE,
    PALE,
    SOFT,
    WRONG,
    capital,
    drawable,
    heading,
    headline,
    in_words,
    new_figure,
    plain_axes,
    plain_labels,
    short_label,
    short_name,
    text,
)  # fmt: skip

TILES = 5  # maps in a row


def draw_sanity_check(ax: Axes, result: SanityCheck) -> None:
    """The similarity to the original map along the cascade, and with each stage alone at random."""
    places = np.arange(len(result.stages))
    ax.axhspan(-CHANGED, CHANGED, color=ACCENT, alpha=0.06, linewidth=0)
    for low, high in ((SAME, 1), (-1, -SAME)):
        ax.axhspan(low, high, color=WRONG, alpha=0.06, linewidth=0)
    ax.plot(
        places, result.cascading[:, 0], "o-", color=ACCENT, linewidth=1.6, markersize=4, label="with all above it"
    )
    ax.plot(places, result.independent[:, 0], "o", color=SOFT, mfc="white", markersize=4, label="this stage alone")
    ax.plot(
        places,
        result.cascading[:, 1],
        color=PALE,
        linewidth=1.2,
        linestyle="--",
        label="SSIM, with all above it",
    )
    ax.axhline(0, color=LINE, linewidth=0.8)
    plain_axes(ax, grid="y")
    ax.set_xticks(places, [drawable(short_name(name, 16)) for name in result.stages], rotation=30, ha="right")
    ax.set_ylim(_lowest(result.cascading, result.independent) - 0.05, 1.03)
    ax.legend(frameon=False, prop={"family": FONT, "size": 7}, loc="upper right")
    plain_labels(ax)
    note = "random layers; red: much the same map, or its negative"
    heading(ax, "Rank correlation with the map of the trained network", note)


def compose_sanity_check(result: SanityCheck) -> Figure:
    """The photo and the maps along the cascade; below, the curves and the maps of other classes."""
    n_tiles = len(result.maps) + 1
    rows = -(-n_tiles // TILES)
    columns = -(-n_tiles // rows)
    figure = new_figure(1.75 * columns + 0.4, 2.0 * rows + 4.0)
    parts = figure.add_gridspec(2, 1, height_ratios=[2.0 * rows, 3.1])
    grid = parts[0].subgridspec(rows, columns)
    titles = ["trained", *(f"+ {short_name(stage, 14)}" for stage in result.stages)]
    notes = ["the original", *(f"rank correlation {value:.2f}" for value in result.cascading[:, 0])]
    ax, depth = figure.add_subplot(grid[0, 0]), peak_depth(result.maps[0])
    show_input(ax, result.image, depth)
    heading(ax, short_name(result.name, 20), short_label(result.target, 22))
    for n, (title, note, values) in enumerate(zip(titles, notes, result.maps, strict=True), start=1):
        ax = figure.add_subplot(grid[n // columns, n % columns])
        show_map(ax, result.image, values, map_scale(values, signed=result.signed), depth)
        heading(ax, title, note)
    below = parts[1].subgridspec(1, 2, width_ratios=[1.9, 1])
    draw_sanity_check(figure.add_subplot(below[0]), result)
    _draw_labels(figure.add_subplot(below[1]), result)
    caption = f"From left to right, more layers are random, starting with the last one. {result.verdict}."
    notes = [caption, *note_on_planes(result.maps[0], "the original map")]
    headline(figure, f"{capital(in_words(result.checked))}: does the map depend on the network?", result, notes)
    return figure


def _draw_labels(ax: Axes, result: SanityCheck) -> None:
    places = np.arange(len(result.label_names))
    ax.barh(places, result.labels[:, 0], height=0.55, color=ACCENT)
    ax.axvline(0, color=LINE, linewidth=0.8)
    plain_axes(ax, grid="x")
    ax.set_yticks(places, [drawable(short_label(name, 18)) for name in result.label_names])
    for place in places[np.isnan(result.labels[:, 0])]:
        ax.text(0.02, place, "a flat map", va="center", **text(size=7, color=SOFT))
    ax.set(xlim=(_lowest(result.labels) - 0.05, 1), ylim=(len(places) - 0.4, -0.6))
    plain_labels(ax)
    heading(ax, "With the maps of other classes", "rank correlation")


def _lowest(*similarities: Array) -> float:
    """The least value, but at most -0.3; flat maps have no similarity."""
    return min(-0.3, *(float(np.nanmin(s, initial=0)) for s in similarities))
