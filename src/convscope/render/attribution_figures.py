"""Attributions: the photo, the map, and the map over the photo, with a color bar in score units.

Signals and volumes have figures of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import ParameterError
from ..results import Array, Attribution
from .colors import PERCENTILE, Scale
from .overlays import map_overlay, map_scale
from .signal_figures import compose_signals, draw_signal
from .style import (
    capital,
    color_bar,
    cut_note,
    decimal,
    heading,
    headline,
    in_words,
    new_figure,
    outline,
    pick,
    short_label,
    short_name,
    show,
)
from .volume_figures import compose_volumes, draw_volume

LIMIT = 8  # images
CALLED = {1: "signal", 2: "image", 3: "volume"}  # by the number of sides
_PLACES = {1: "samples", 2: "pixels", 3: "voxels"}


def attribution_scale(result: Attribution, n: int) -> Scale:
    """The scale of image n's map; each image has its own."""
    return map_scale(result.values[n], signed=result.signed)


def attribution_overlay(result: Attribution, n: int) -> Array:
    """The map of image n over its photo, uint8 (H, W, 3)."""
    return map_overlay(result.images[n], result.values[n], signed=result.signed)


def attribution_map(result: Attribution, n: int) -> Array:
    """The map of image n by itself, uint8 (H, W, 3)."""
    return attribution_scale(result, n).colors(result.values[n])


def is_grainy(values: Array) -> bool:
    """Whether neighboring pixels differ about as much as any two pixels, which is illegible over a photo."""
    spread = np.abs(values - values.mean()).mean()
    steps = np.abs(np.diff(values, axis=1)).mean() if values.shape[1] > 1 else 0.0
    return bool(steps > 0.3 * spread)


def draw_attribution(ax: Axes, result: Attribution, *, n: int = 0, as_video: bool = False) -> None:
    """The overlay of one image, with its color bar; ``as_video`` shows a volume as the frames of a video."""
    (n,) = pick(n, len(result.values), 1)
    n_sides = _n_sides(result, as_video)
    if n_sides == 1:
        draw_signal(ax, result, n, _score(result, n))
    elif n_sides == 3:
        draw_volume(ax, result, n, _score(result, n), as_video=as_video)
    else:
        show(ax, attribution_overlay(result, n))
        _outline(ax, result, n)
        heading(ax, short_label(result.targets[n]), _score(result, n))
        color_bar(ax, attribution_scale(result, n), result.unit)


def compose_attribution(
    result: Attribution, *, n: int | Sequence[int] | None = None, as_video: bool = False
) -> Figure:
    """A row per image; ``as_video`` shows volumes as the frames of videos."""
    n_sides = _n_sides(result, as_video)
    rows = pick(n, len(result.values), LIMIT)
    scores = [_score(result, i) for i in rows]
    if n_sides == 1:
        figure, notes = compose_signals(result, rows, scores)
    elif n_sides == 3:
        figure, notes = compose_volumes(result, rows, scores, as_video=as_video)
    else:
        figure, notes = _compose_pictures(result, rows), []
    notes += cut_note(len(rows), len(result.values), f"{CALLED[n_sides]}s") if n is None else []
    if any(attribution_scale(result, i).extend != "neither" for i in rows):
        share = f"{100 - PERCENTILE:g} % of the {_PLACES[n_sides]}"
        notes.append(f"At most {share} lie beyond the arrow; they have the last color.")
    if len(rows) > 1:
        notes.append("Each row has its own color scale.")
    headline(figure, _title(result), result, notes)
    return figure


def _n_sides(result: Attribution, as_video: bool) -> int:
    """1 for signals, 2 for pictures, 3 for volumes."""
    n_sides = result.values.ndim - 1
    if as_video and n_sides != 3:
        raise ParameterError(f"as_video=True: these are {CALLED[n_sides]}s; expected volumes (N, D, H, W)")
    return n_sides


def _compose_pictures(result: Attribution, rows: list[int]) -> Figure:
    """A row per image: the photo, the overlay, and between them the map by itself where a map is grainy."""
    grainy = any(is_grainy(result.values[i]) for i in rows)
    columns = 3 if grainy else 2
    height, width = result.values.shape[1:]
    figure = new_figure(2.9 * columns + 1.0, 0.9 + len(rows) * (2.9 * height / width + 0.5))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, i in zip(axes, rows, strict=True):
        show(row[0], result.images[i])
        _outline(row[0], result, i)
        heading(row[0], short_name(result.names[i]), "as the network saw it")
        if grainy:
            show(row[1], attribution_map(result, i), sharp=True)
            _outline(row[1], result, i)
            heading(row[1], "the map by itself", _range(result, i))
        draw_attribution(row[-1], result, n=i)
    return figure


def _outline(ax: Axes, result: Attribution, n: int) -> None:
    """The box of the detection that map n is about."""
    box = result.boxes[n] if result.boxes else None
    if box is not None:
        outline(ax, box)


def _title(result: Attribution) -> str:
    return f"{capital(in_words(result.provenance.method))}: what the score depends on"


def _score(result: Attribution, n: int) -> str:
    if not result.values[n].any():
        return f"score {decimal(result.scores[n])} · all values are 0"
    return f"score {decimal(result.scores[n])}"


def _range(result: Attribution, n: int) -> str:
    return f"values {result.values[n].min():.3g} to {result.values[n].max():.3g}"
