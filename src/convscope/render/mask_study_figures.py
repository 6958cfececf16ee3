"""Mask studies: the maps of all settings of occlusion, and which setting is best."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from ..checks import SIDES, Sides
from ..results import MaskStudy, in_units
from .colors import SIGNED, Scale
from .map_panels import note_on_planes, peak_depth, show_map
from .overlays import map_scale
from .style import (
    ACCENT,
    FONT,
    LINE_COLORS,
    SOFT,
    decimal,
    fold,
    frame,
    heading,
    headline,
    new_figure,
    plain_axes,
    plain_labels,
    short_label,
    short_name,
    text,
)  # fmt: skip

ROWS = 12  # of the grid: combinations of shape and baseline


def draw_mask_study(ax: Axes, result: MaskStudy) -> None:
    """Insertion minus deletion by window, with a line for each shape and baseline."""
    for shape, baseline in _rows(result):
        at = [
            s for s in range(len(result.windows)) if (result.shapes[s], result.baselines[s]) == (shape, baseline)
        ]
        color = LINE_COLORS[_position(result.baselines, baseline) % len(LINE_COLORS)]
        style = ("-", "--", ":")[_position(result.shapes, shape) % 3]
        ax.plot(
            result.resolution_px[at], result.advantage[at], style, color=color, linewidth=1.4, marker="o",
            markersize=3, label=f"{shape} over {baseline}",
        )  # fmt: skip
    s = result.recommended
    ax.plot(
        result.resolution_px[s],
        result.advantage[s],
        "o",
        mfc="none",
        mec=ACCENT,
        markersize=12,
        mew=2,
        clip_on=False,
    )
    plain_axes(ax, grid="y")
    windows, n_sides = _windows(result), result.maps.ndim - 2
    ax.set_xticks(list(windows.values()), [in_units(window, n_sides).rpartition(" ")[0] for window in windows])
    unit = in_units(1, n_sides).partition(" ")[2]
    ax.set_xlabel(f"window, {unit}", **text(size=7.5, color=SOFT))
    ax.legend(
        frameon=False, prop={"family": FONT, "size": 6.5}, handlelength=3.2,
        loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=3,
    )  # fmt: skip
    plain_labels(ax)
    heading(ax, "Insertion minus deletion", "higher is better; circled: recommended")


def compose_mask_study(result: MaskStudy) -> Figure:
    """The maps of the first image with a row for each shape and baseline; the measures beside them."""
    rows, sides = _rows(result)[:ROWS], list(_windows(result))
    figure = new_figure(1.25 * len(sides) + 6.2, max(7.2, 1.32 * len(rows) + 1.2))
    parts = figure.add_gridspec(1, 2, width_ratios=[1.25 * len(sides) + 0.6, 5.2])
    _draw_maps(figure, parts[0], result, rows, sides)
    beside = parts[1].subgridspec(3, 1, height_ratios=[0.5, 1.25, 1])
    words = figure.add_subplot(beside[0])
    words.set_axis_off()
    words.text(0, 1, fold(f"Recommended: {result.reason}.", 52), va="top", linespacing=1.5, **text(size=10))
    draw_mask_study(figure.add_subplot(beside[1]), result)
    _draw_signs(figure.add_subplot(beside[2]), result)
    notes = ["On each map: insertion minus deletion, the mean over the images. Each map has its own color scale."]
    if len(_rows(result)) > ROWS:
        notes.append(f"The first {ROWS} of {len(_rows(result))} combinations of shape and baseline are shown.")
    notes += note_on_planes(result.maps[0, 0], "the recommended map")
    title = f"Mask study: {short_name(result.names[0])}, {short_label(result.targets[0])}"
    headline(figure, title, result, notes)
    return figure


def _draw_maps(
    figure: Figure, part: SubplotSpec, result: MaskStudy, rows: list[tuple[str, str]], sides: list[int | Sides]
) -> None:
    """The grid of maps; the recommended one is framed."""
    grid = part.subgridspec(len(rows), len(sides))
    by_setting = {k: s for s, k in enumerate(zip(result.windows, result.shapes, result.baselines, strict=True))}
    for r, (shape, baseline) in enumerate(rows):
        for c, window in enumerate(sides):
            s = by_setting[window, shape, baseline]
            ax = figure.add_subplot(grid[r, c])
            values = result.maps[s, 0]
            show_map(ax, result.images[0], values, map_scale(values, signed=True), _depth(result))
            name = in_units(window, result.maps.ndim - 2)
            ax.set_title("" if r else name, loc="center", pad=3, **text(size=8))
            ax.annotate(
                decimal(result.advantage[s]), (1, 0), (-3, 3), va="bottom",
                xycoords="axes fraction", textcoords="offset points", ha="right",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}, **text(size=6.5),
            )  # fmt: skip
            if not c:
                ax.annotate(
                    f"{shape}\nover {baseline}", (0, 0.5), (-6, 0), va="center", xycoords="axes fraction",
                    textcoords="offset points", ha="right", **text(size=7.5, color=SOFT),
                )  # fmt: skip
            if s == result.recommended:
                frame(ax)


def _draw_signs(ax: Axes, result: MaskStudy) -> None:
    """The places whose sign depends on the baseline, in blue over the photo."""
    marked = np.where(result.sign_varies[0], -1.0, 0.0)
    show_map(ax, result.images[0], marked, Scale(-1.0, 1.0, SIGNED), _depth(result))
    s, n_sides = result.recommended, marked.ndim
    window, places = in_units(result.windows[s], n_sides), SIDES[n_sides][1]
    share = f"{result.sign_varies[0].mean():.1%} of the {places}, in blue ({window} {result.shapes[s]})"
    heading(ax, "For the target over one baseline, against it over another", share)


def _rows(result: MaskStudy) -> list[tuple[str, str]]:
    return list(dict.fromkeys(zip(result.shapes, result.baselines, strict=True)))


def _position(values: tuple[str, ...], value: str) -> int:
    return list(dict.fromkeys(values)).index(value)


def _windows(result: MaskStudy) -> dict[int | Sides, float]:
    """The different windows, the smallest first, and the side of each."""
    every = dict(zip(result.windows, result.resolution_px.tolist(), strict=True))
    return dict(sorted(every.items(), key=lambda one: one[1]))


def _depth(result: MaskStudy) -> int:
    return peak_depth(result.maps[result.recommended, 0])
