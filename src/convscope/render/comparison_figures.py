"""Comparisons: methods ranked, with their maps of a few images."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from ..results import CONTROLS, Comparison
from ..texts import counted
from .attribution_figures import CALLED
from .evaluation_figures import draw_margins
from .map_panels import note_on_planes, peak_depth, show_input, show_map
from .overlays import map_scale
from .style import (
    INK,
    SOFT,
    drawable,
    fold,
    heading,
    headline,
    in_words,
    new_figure,
    short_label,
    short_name,
    text,
)  # fmt: skip

TILES = 9  # maps in a row
SHOWN = 2  # images


def draw_comparison(ax: Axes, result: Comparison) -> None:
    """Insertion minus deletion of every method, best first, with the seconds that one image or signal takes."""
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
    one = CALLED[result.maps.ndim - 2]
    what = f"one {one}" if is_one else "mean and 95 % interval; blue: not worse than the best"
    heading(ax, "Insertion minus deletion", f"{what}; seconds for each {one}")


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
    is_by_layer = any(" @ " in name for name in result.ranking)
    rows = (
        f"{len(result.ranking)} pairs of method and layer"
        if is_by_layer
        else counted(len(result.ranking), "method")
    )
    title = f"{rows} compared on {counted(len(result.names), CALLED[result.maps.ndim - 2])}"
    notes = ["Each map has its own color scale; best method first."]
    headline(figure, title, result, [*notes, *note_on_planes(result.maps[0, 0], "the best method's map")])
    return figure


def _draw_maps(
    figure: Figure, part: SubplotSpec, result: Comparison, n_images: int, rows_each: int, columns: int
) -> None:
    """What the network saw, and the map of each method, best first."""
    grid = part.subgridspec(n_images * rows_each, columns)
    at = [result.methods.index(name) for name in result.ranking]
    for i in range(n_images):
        image, depth = result.images[i], peak_depth(result.maps[at[0], i])
        for n in range(len(at) + 1):
            ax = figure.add_subplot(grid[i * rows_each + n // columns, n % columns])
            if n:
                values, title = result.maps[at[n - 1], i], _title(result.ranking[n - 1])
                show_map(ax, image, values, map_scale(values, signed=result.signed[at[n - 1]]), depth)
            else:
                title = short_name(result.names[i], 18)
                show_input(ax, image, depth)
                ax.annotate(
                    drawable(short_label(result.targets[i], 18)), (0, 0), (0, -8), xycoords="axes fraction",
                    textcoords="offset points", **text(size=6.5, color=SOFT),
                )  # fmt: skip
            ax.set_title(drawable(title), loc="left", pad=3, **text(size=6.5, color=INK if n else SOFT))


def _title(name: str) -> str:
    method, at, layer = in_words(name).partition(" @ ")
    return f"{method}\n@ {short_name(layer, 20)}" if at else method
