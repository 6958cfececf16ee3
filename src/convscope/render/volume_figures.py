"""Attributions of volumes: three planes through the strongest value; of video: its frames, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Array, Attribution
from .grids import columns_for, corner, tile
from .overlays import attribution_scale, overlay
from .style import color_bar, heading, new_figure, short_label, short_name, show, text

FRAMES = 12  # of a video
SLICES = 8  # of a volume, below its planes
GAP = 2  # pixels between pictures that are drawn side by side
_SIDES = ("depth", "height", "width")


class Plane(NamedTuple):
    """A plane through a volume: the picture of it, which side it cuts and where, and its other sides."""

    picture: Array
    cuts: int
    at: int
    down: int
    across: int


def draw_volume(ax: Axes, result: Attribution, n: int, *, as_video: bool) -> None:
    """Volume n: the three planes, or with ``as_video`` the frames, side by side."""
    if as_video:
        numbers = shown_frames(result.values[n])
        pictures, columns = _frames(result, n, numbers), columns_for(len(numbers), 6)
        labels = [f"frame {number}" for number in numbers]
    else:
        planes = planes_of(result, n)
        height, width = (max(plane.picture.shape[side] for plane in planes) for side in (0, 1))
        pictures = np.stack([_padded(plane.picture, height, width) for plane in planes])
        labels, columns = [f"{_SIDES[plane.cuts]} {plane.at}" for plane in planes], 3
    _show_side_by_side(ax, pictures, labels, columns)
    color_bar(ax, attribution_scale(result, n), result.unit, width=0.02)


def _show_side_by_side(ax: Axes, pictures: Array, labels: Sequence[str], columns: int) -> None:
    show(ax, tile(pictures, columns, gap=GAP), sharp=True)
    for i, label in enumerate(labels):
        top, left = corner(i, columns, (pictures.shape[1], pictures.shape[2]), GAP)
        ax.annotate(label, (left, top), (2, -7), textcoords="offset points", **_on_picture())


def compose_volumes(
    result: Attribution, rows: list[int], notes_of: list[str], *, as_video: bool
) -> tuple[Figure, list[str]]:
    """The planes and a montage of each of these volumes, and what to say below; ``notes_of`` stand above each."""
    if as_video:
        return _compose_frames(result, rows, notes_of)
    sides = result.values.shape[1:]
    widths = [sides[2], sides[2], sides[1]]
    inches = 9.0 / sum(widths)
    slices = _evenly(sides[0], SLICES)
    heights = [inches * max(sides[0], sides[1]), 9.0 / len(slices) * sides[1] / sides[2]]
    figure = new_figure(10.6, 0.9 + len(rows) * (sum(heights) + 1.0))
    grid = figure.add_gridspec(2 * len(rows), 3, width_ratios=widths, height_ratios=heights * len(rows))
    for place, (n, note) in enumerate(zip(rows, notes_of, strict=True)):
        planes = planes_of(result, n)
        peak = [plane.at for plane in planes]
        row = [figure.add_subplot(grid[2 * place, column]) for column in range(3)]
        for ax, plane in zip(row, planes, strict=True):
            show(ax, plane.picture, sharp=True)
            ax.axhline(peak[plane.down], color="white", linewidth=0.7, linestyle=(0, (2, 3)))
            ax.axvline(peak[plane.across], color="white", linewidth=0.7, linestyle=(0, (2, 3)))
            ax.set_anchor("N")
            where, what = f"{_SIDES[plane.cuts]} {plane.at} of {sides[plane.cuts]}", _across(plane)
            if plane.cuts:
                heading(ax, where, what)
            else:
                name = f"{short_name(result.names[n])}: {short_label(result.targets[n])}"
                heading(ax, name, f"{note} · {where}, {what}")
        color_bar(row[-1], attribution_scale(result, n), result.unit)
        below = figure.add_subplot(grid[2 * place + 1, :])
        _show_side_by_side(below, _frames(result, n, slices), [f"depth {at}" for at in slices], len(slices))
    return figure, [
        "Three planes through the strongest value, where the dotted lines cross; below, slices along the depth."
    ]


def _compose_frames(result: Attribution, rows: list[int], notes_of: list[str]) -> tuple[Figure, list[str]]:
    _, n_frames, height, width = result.values.shape
    shown = min(FRAMES, n_frames)
    columns = columns_for(shown, 6)
    inches = 9.0 / columns * height / width * -(-shown // columns)
    figure = new_figure(10.6, 0.9 + len(rows) * (inches + 0.6))
    for ax, n, note in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, notes_of, strict=True):
        draw_volume(ax, result, n, as_video=True)
        heading(ax, f"{short_name(result.names[n])}: {short_label(result.targets[n])}", note)
    left_out = [f"{shown} of {n_frames} frames, evenly spread."] if shown < n_frames else []
    return figure, ["All frames of a video share one color scale.", *left_out]


def planes_of(result: Attribution, n: int) -> list[Plane]:
    """The planes through the strongest value of volume n that cut its depth, its height and its width."""
    values, scale = result.values[n], attribution_scale(result, n)
    peak = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    planes = []
    for cuts, (down, across) in enumerate([(1, 2), (0, 2), (0, 1)]):
        at = int(peak[cuts])
        picture = overlay(result.images[n].take(at, axis=cuts), values.take(at, axis=cuts), scale)
        planes.append(Plane(picture, cuts, at, down, across))
    return planes


def _across(plane: Plane) -> str:
    return f"{_SIDES[plane.down]} by {_SIDES[plane.across]}"


def shown_frames(values: Array) -> list[int]:
    """The numbers of at most `FRAMES` frames of a map (D, H, W), evenly spread."""
    return _evenly(len(values), FRAMES)


def _evenly(count: int, at_most: int) -> list[int]:
    return sorted({int(at) for at in np.linspace(0, count - 1, min(at_most, count)).round()})


def _frames(result: Attribution, n: int, numbers: list[int]) -> Array:
    scale = attribution_scale(result, n)
    return np.stack([overlay(result.images[n][at], result.values[n][at], scale) for at in numbers])


def _padded(picture: Array, height: int, width: int) -> Array:
    """A picture (h, w, 3) at the top left of white paper."""
    return np.pad(
        picture, ((0, height - len(picture)), (0, width - picture.shape[1]), (0, 0)), constant_values=255
    )


def _on_picture() -> dict[str, Any]:
    return {**text(size=6), "bbox": {"boxstyle": "square,pad=0.15", "facecolor": "white", "linewidth": 0}}
