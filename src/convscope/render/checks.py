"""Sanity checks and mask studies: what becomes of a map when the weights, or the mask, are others."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import CHANGED, SAME, Array, MaskStudy, SanityCheck
from .colors import SIGNED, Scale
from .evidence import LINES, frame, tile
from .overlays import overlay
from .style import (
    ACCENT,
    LINE,
    SOFT,
    WRONG,
    capital,
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

TILES = 5  # maps of a cascade in a row
ROWS = 12  # settings of a mask study below each other


def draw_sanity_check(ax: Axes, result: SanityCheck) -> None:
    """The rank correlation with the original along the cascade, and with each stage alone at random."""
    places = np.arange(len(result.stages))
    ax.axhspan(-CHANGED, CHANGED, color=ACCENT, alpha=0.06, linewidth=0)
    for low, high in ((SAME, 1), (-1, -SAME)):
        ax.axhspan(low, high, color=WRONG, alpha=0.06, linewidth=0)
    ax.plot(
        places, result.cascading[:, 0], "o-", color=ACCENT, linewidth=1.6, markersize=4, label="with all above"
    )
    ax.plot(places, result.independent[:, 0], "o", color=SOFT, mfc="white", markersize=4, label="this alone")
    ax.plot(
        places,
        result.cascading[:, 1],
        color="#8fb8d3",
        linewidth=1.2,
        linestyle="--",
        label="SSIM, with all above",
    )
    ax.axhline(0, color=LINE, linewidth=0.8)
    plain_axes(ax, grid="y")
    ax.set_xticks(places, [printable(short_name(name, 16)) for name in result.stages], rotation=30, ha="right")
    ax.set_ylim(_lowest(result.cascading, result.independent) - 0.05, 1.03)
    ax.legend(frameon=False, prop={"family": "DejaVu Sans", "size": 7}, loc="upper right")
    plain_labels(ax)
    note = "layers at random; red: much the same, or turned around"
    heading(ax, "Rank correlation with the map of the trained network", note)


def compose_sanity_check(result: SanityCheck) -> Figure:
    """The photo and the maps along the cascade, curves below, the verdict beside."""
    n_tiles = len(result.maps) + 1
    rows = -(-n_tiles // TILES)
    columns = -(-n_tiles // rows)
    figure = new_figure(1.75 * columns + 0.4, 2.0 * rows + 4.0)
    parts = figure.add_gridspec(2, 1, height_ratios=[2.0 * rows, 3.1])
    grid = parts[0].subgridspec(rows, columns)
    titles = ["trained", *(f"+ {short_name(stage, 14)}" for stage in result.stages)]
    notes = ["the original", *(f"rank correlation {value:.2f}" for value in result.cascading[:, 0])]
    ax = figure.add_subplot(grid[0, 0])
    show(ax, result.image)
    heading(ax, short_name(result.name, 20), short_label(result.target, 22))
    for n, (title, note, values) in enumerate(zip(titles, notes, result.maps, strict=True), start=1):
        ax = figure.add_subplot(grid[n // columns, n % columns])
        show(ax, tile(result.image, values, signed=result.signed))
        heading(ax, title, note)
    below = parts[1].subgridspec(1, 2, width_ratios=[1.9, 1])
    draw_sanity_check(figure.add_subplot(below[0]), result)
    _draw_labels(figure.add_subplot(below[1]), result)
    caption = f"From the left: random from the last layer on. {result.verdict}."
    headline(
        figure, f"{capital(in_words(result.checked))}: does the map depend on the network?", result, [caption]
    )
    return figure


def _draw_labels(ax: Axes, result: SanityCheck) -> None:
    places = np.arange(len(result.label_names))
    ax.barh(places, result.labels[:, 0], height=0.55, color=ACCENT)
    ax.axvline(0, color=LINE, linewidth=0.8)
    plain_axes(ax, grid="x")
    ax.set_yticks(places, [printable(short_label(name, 18)) for name in result.label_names])
    for place in places[np.isnan(result.labels[:, 0])]:
        ax.text(0.02, place, "a flat map", va="center", **text(size=7, color=SOFT))
    ax.set(xlim=(_lowest(result.labels) - 0.05, 1), ylim=(len(places) - 0.4, -0.6))
    plain_labels(ax)
    heading(ax, "With the maps of other classes", "rank correlation")


def _lowest(*similarities: Array) -> float:
    """The least of all, -0.3 at most, where flat maps have none."""
    return min(-0.3, *(float(np.nanmin(s, initial=0)) for s in similarities))


def draw_mask_study(ax: Axes, result: MaskStudy) -> None:
    """Insertion minus deletion by window, a line for each shape and baseline."""
    for shape, baseline in _rows(result):
        at = [
            s for s in range(len(result.windows)) if (result.shapes[s], result.baselines[s]) == (shape, baseline)
        ]
        color = LINES[_position(result.baselines, baseline) % len(LINES)]
        style = ("-", "--", ":")[_position(result.shapes, shape) % 3]
        ax.plot(
            [result.windows[s] for s in at], result.advantage[at], style, color=color, linewidth=1.4, marker="o",
            markersize=3, label=f"{shape} over {baseline}",
        )  # fmt: skip
    s = result.recommended
    ax.plot(result.windows[s], result.advantage[s], "o", mfc="none", mec=ACCENT, markersize=12, mew=2)
    plain_axes(ax, grid="y")
    ax.set_xticks(sorted(set(result.windows)))
    ax.set_xlabel("window, px", **text(size=7.5, color=SOFT))
    ax.legend(
        frameon=False, prop={"family": "DejaVu Sans", "size": 6.5}, handlelength=3.2,
        loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=3,
    )  # fmt: skip
    plain_labels(ax)
    heading(ax, "Insertion minus deletion", "higher is better; circled: recommended")


def compose_mask_study(result: MaskStudy) -> Figure:
    """All maps of the first image, a row for each shape and baseline; the measures beside."""
    rows, sides = _rows(result)[:ROWS], sorted(set(result.windows))
    figure = new_figure(1.25 * len(sides) + 6.2, max(7.2, 1.32 * len(rows) + 1.2))
    parts = figure.add_gridspec(1, 2, width_ratios=[1.25 * len(sides) + 0.6, 5.2])
    grid = parts[0].subgridspec(len(rows), len(sides))
    by_setting = {k: s for s, k in enumerate(zip(result.windows, result.shapes, result.baselines, strict=True))}
    for r, (shape, baseline) in enumerate(rows):
        for c, window in enumerate(sides):
            s = by_setting[window, shape, baseline]
            ax = figure.add_subplot(grid[r, c])
            show(ax, tile(result.images[0], result.maps[s, 0], signed=True))
            title = f"{window} px" if not r else ""
            ax.set_title(f"{title}", loc="center", pad=3, **text(size=8))
            ax.annotate(
                f"{result.insertion[s].mean() - result.deletion[s].mean():.2f}", (1, 0), (-3, 3), va="bottom",
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
    beside = parts[1].subgridspec(3, 1, height_ratios=[0.5, 1.25, 1])
    words = figure.add_subplot(beside[0])
    words.set_axis_off()
    words.text(0, 1, fold(f"Recommended: {result.reason}.", 52), va="top", linespacing=1.5, **text(size=10))
    draw_mask_study(figure.add_subplot(beside[1]), result)
    _draw_signs(figure.add_subplot(beside[2]), result)
    notes = ["On each map insertion minus deletion, the mean over the images; each map has its own color scale."]
    if len(_rows(result)) > ROWS:
        notes.append(f"The first {ROWS} of {len(_rows(result))} shapes and baselines are shown.")
    title = f"Mask study: {short_name(result.names[0])}, {short_label(result.targets[0])}"
    headline(figure, title, result, notes)
    return figure


def _draw_signs(ax: Axes, result: MaskStudy) -> None:
    """Where the sign depends on the baseline, in blue over the photo."""
    marked = np.where(result.sign_varies[0], -1.0, 0.0)
    show(ax, overlay(result.images[0], marked, Scale(-1.0, 1.0, SIGNED)))
    s = result.recommended
    share = (
        f"{result.sign_varies[0].mean():.1%} of the pixels, in blue ({result.windows[s]} px {result.shapes[s]})"
    )
    heading(ax, "For the target over one baseline, against it over another", share)


def _rows(result: MaskStudy) -> list[tuple[str, str]]:
    return list(dict.fromkeys(zip(result.shapes, result.baselines, strict=True)))


def _position(values: tuple[str, ...], value: str) -> int:
    return list(dict.fromkeys(values)).index(value)
