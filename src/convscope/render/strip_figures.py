"""Strips: how maps, filters and class pictures change in a training; a row each, a column a moment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Array, Filters, TrainingStrip
from ..texts import counted
from .colors import Scale
from .filter_figures import filter_tiles
from .grids import columns_for, magnify, tile
from .overlays import map_scale, overlay
from .style import (
    SOFT,
    capital,
    color_bar,
    decimal,
    drawable,
    heading,
    headline,
    in_words,
    new_figure,
    pick,
    short_label,
    short_name,
    show,
    text,
)  # fmt: skip

GAP = 0.05  # of a tile's width
WIDTH = 1.15  # of a tile, in inches


class _Row(NamedTuple):
    """M pictures (M, h, w, 3) with a note under each, and the picture (h, w, 3) before them, if there is one."""

    title: str
    first: Array | None
    pictures: Array
    notes: list[str]
    scale: Scale | None = None


def strip_scale(result: TrainingStrip, n: int) -> Scale:
    """The color scale of image n, the same at all moments."""
    return map_scale(result.maps[:, n], signed=result.signed)


def filter_pictures(result: TrainingStrip) -> Array:
    """The filters of each moment as one picture, (M, h, w, 3), all on one scale: middle gray is zero."""
    n_moments, n_filters, planes = result.filters.shape[:3]
    flat = result.filters.reshape(-1, *result.filters.shape[2:])
    every = Filters(values=flat, layer=result.layer, provenance=result.provenance)
    _, tiles = filter_tiles(every, scale="common", tiles=len(flat) * planes)
    tiles = magnify(tiles, 12)
    columns = columns_for(n_filters)
    each = np.split(tiles, n_moments)
    return np.stack([tile(part, columns, gap=max(1, tiles.shape[2] // 8)) for part in each])


def draw_training_strip(ax: Axes, result: TrainingStrip, *, n: int = 0) -> None:
    """The map of one image at every moment."""
    (n,) = pick(n, len(result.names), 1)
    _draw(ax, _map_row(result, n), result.steps)


def compose_training_strip(result: TrainingStrip) -> Figure:
    """A row for each image, one for the filters, one for each class."""
    rows = [_map_row(result, n) for n in range(len(result.names))]
    if result.filters.shape[1]:
        title = f"filters of {result.layer or 'the network'}"
        rows.append(_Row(title, None, filter_pictures(result), [""] * len(result.steps)))
    for c, name in enumerate(result.classes):
        title = f"an input made to score high as “{short_label(name)}”"
        rows.append(_Row(title, None, result.pictures[:, c], [""] * len(result.steps)))
    heights = [WIDTH * row.pictures.shape[1] / row.pictures.shape[2] + 0.62 for row in rows]
    figure = new_figure((len(result.steps) + 1) * WIDTH * (1 + GAP) + 1.3, sum(heights) + 1.0)
    axes = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for ax, row in zip(axes[:, 0], rows, strict=True):
        _draw(ax, row, result.steps)
    method = capital(in_words(str(result.provenance.parameters.get("method", "maps"))))
    notes = [f"Maps: {method}, in {result.unit}. A row has one color scale: its maps can be compared."]
    title = f"While training: {counted(len(result.steps), 'moment')}, to step {result.steps[-1]:,}"
    headline(figure, title, result, notes)
    return figure


def _map_row(result: TrainingStrip, n: int) -> _Row:
    scale = strip_scale(result, n)
    moments = range(len(result.steps))
    targets = [result.targets[m * len(result.names) + n] for m in moments]
    return _Row(
        title=short_name(result.names[n]),
        first=result.images[n],
        pictures=np.stack([overlay(result.images[n], result.maps[m, n], scale) for m in moments]),
        notes=[f"{short_label(targets[m], 12)} {decimal(result.scores[m, n])}" for m in moments],
        scale=scale,
    )


def _draw(ax: Axes, row: _Row, steps: Array) -> None:
    height, width = row.pictures.shape[1:3]
    gap = max(1, round(GAP * width))
    blank = np.full((height, width, 3), 255, np.uint8)
    first = blank if row.first is None else row.first
    show(ax, tile(np.concatenate([first[None], row.pictures]), len(steps) + 1, gap=gap))
    heading(ax, row.title)
    for m, (step, note) in enumerate(zip(steps, row.notes, strict=True), start=1):
        lines = f"step {step:,}\n{drawable(note)}".rstrip()
        ax.text(
            m * (width + gap), height * 1.03, lines, va="top", linespacing=1.35, **text(size=6.5, color=SOFT)
        )  # fmt: skip
    if row.scale is not None:
        color_bar(ax, row.scale, "", width=0.08 / (len(steps) + 1))
