"""Concepts: a row each, with how much it matters, its best crops, and its maps on the same few images."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Array, Concepts
from ..texts import counted
from .colors import IMPORTANCE, fit_scale
from .grids import magnify, tile
from .overlays import enlarge, overlay
from .style import (
    ACCENT,
    INK,
    SOFT,
    WRONG,
    cut_note,
    drawable,
    heading,
    headline,
    new_figure,
    plain_axes,
    short_label,
    short_name,
    show,
    text,
)

ROWS, MAPS = 10, 3
_TILE = 0.92  # inches


def draw_concepts(ax: Axes, result: Concepts) -> None:
    """The importance of each concept, in the color of its effect on the score."""
    k = min(ROWS, len(result.importance))
    ax.barh(np.arange(k), result.importance[:k], color=[_color(e) for e in result.effect[:k]], height=0.6)
    ax.set(ylim=(k - 0.5, -0.5), yticks=range(k), yticklabels=[f"{i}" for i in range(k)])
    ax.set_xlim(0, max(1e-9, float(result.importance[:k].max()) * 1.1))
    plain_axes(ax, grid="x")
    heading(ax, "Importance", "share of the score's variance; orange where the score rises without it")


def compose_concepts(result: Concepts) -> Figure:
    """A row for each of the first concepts: number and importance, crops, maps."""
    rows = range(min(ROWS, len(result.importance)))
    n_crops, n_maps = result.crops.shape[1], min(MAPS, len(result.images))
    widths = [1.5, n_crops, 0.12, n_maps]
    figure = new_figure(_TILE * sum(widths) + 0.6, (_TILE + 0.1) * len(rows) + 1.6)
    grid = figure.add_gridspec(len(rows), 4, width_ratios=widths)
    top = max(1e-9, float(result.importance.max()))
    for k in rows:
        _draw_bar(figure.add_subplot(grid[k, 0]), result, k, top)
        crops = magnify(result.crops[k], 48)
        crop_ax, map_ax = figure.add_subplot(grid[k, 1]), figure.add_subplot(grid[k, 3])
        show(crop_ax, tile(crops, n_crops, gap=max(2, crops.shape[2] // 16)))
        maps = _maps(result, k, n_maps)
        show(map_ax, tile(maps, n_maps, gap=max(2, maps.shape[2] // 16)))
        if k == 0:
            heading(crop_ax, "Crops where it is strongest")
            heading(map_ax, f"Where it is: the same {counted(n_maps, 'image')} in each row")
    known = ", ".join(short_name(result.names[i], 18) for i in result.shown[:n_maps])
    notes = [
        f"Maps: {known}; a row has one color scale. Bars: the share of the score's variance, without a sign.",
        "Effect: how far the score falls without the concept; where it rises, the bar is orange.",
        f"The concepts leave {result.error:.0%} of the activations of crops unexplained.",
        *cut_note(len(rows), len(result.importance), "concepts"),
    ]
    targets = list(dict.fromkeys(result.targets))
    whose = f"“{short_label(targets[0])}”" if len(targets) == 1 else f"{len(targets)} classes"
    headline(figure, f"Concepts in {result.layer} for {whose}", result, notes)
    return figure


def _color(effect: float) -> str:
    return ACCENT if effect >= 0 else WRONG


def _share(importance: float) -> str:
    return f"{importance:.0%}" if importance >= 0.01 else "< 1%"


def _draw_bar(ax: Axes, result: Concepts, k: int, top: float) -> None:
    """Number, importance as a bar and in figures, stability."""
    ax.barh([0], [result.importance[k] / top], color=_color(float(result.effect[k])), height=0.16)
    ax.set(xlim=(0, 1), ylim=(-0.8, 0.8))
    ax.set_axis_off()
    ax.text(0, 0.18, f"{k}", va="bottom", **text(size=11, weight="bold", color=INK))
    ax.text(0.22, 0.2, f"{_share(result.importance[k])} of variance", va="bottom", **text(size=7.5, color=INK))
    stable = "" if np.isnan(result.stability[k]) else f"\nstability {result.stability[k]:.2f}"
    ax.text(
        0, -0.16, drawable(f"effect {result.effect[k]:+.2f}{stable}"), va="top", linespacing=1.4,
        **text(size=7, color=SOFT),
    )  # fmt: skip


def _maps(result: Concepts, k: int, n: int) -> Array:
    """(n, H, W, 3): the concept's maps over the first images, on one scale."""
    size = result.images.shape[1:3]
    maps = np.stack([enlarge(result.maps[i, k], size) for i in result.shown[:n]])
    scale = fit_scale(maps, IMPORTANCE)
    return np.stack([overlay(photo, one, scale) for photo, one in zip(result.images[:n], maps, strict=True)])
