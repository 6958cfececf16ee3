"""Attributions: the photo, the map, and the map over the photo, with a color bar in score units.

Signals, volumes and several inputs have figures of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import ParameterError
from ..results import Attribution
from .attribution_panels import attribution_map, draw_map, is_grainy, outline_target
from .colors import PERCENTILE
from .input_figures import compose_inputs, draw_inputs
from .overlays import attribution_scale
from .signal_figures import compose_signals
from .style import (
    capital,
    cut_note,
    decimal,
    heading,
    headline,
    in_words,
    new_figure,
    pick,
    short_label,
    short_name,
    show,
)
from .volume_figures import compose_volumes

LIMIT = 8  # images
CALLED = {1: "signal", 2: "image", 3: "volume"}  # by the number of sides
_PLACES = {1: "samples", 2: "pixels", 3: "voxels"}


def draw_attribution(ax: Axes, result: Attribution, *, n: int = 0, as_video: bool = False) -> None:
    """The map of one image, with its color bar; ``as_video`` shows a volume as the frames of a video."""
    (n,) = pick(n, len(result.values), 1)
    n_sides = _n_sides(result, as_video)
    if result.given:
        draw_inputs(ax, result, n, _score(result, n))
        return
    draw_map(ax, result, n, as_video=as_video)
    about = short_label(result.targets[n])
    heading(ax, about if n_sides == 2 else f"{short_name(result.names[n])}: {about}", _score(result, n))


def compose_attribution(
    result: Attribution, *, n: int | Sequence[int] | None = None, as_video: bool = False
) -> Figure:
    """A row per image; ``as_video`` shows volumes as the frames of videos."""
    n_sides = _n_sides(result, as_video)
    rows = pick(n, len(result.values), LIMIT)
    scores = [_score(result, i) for i in rows]
    if result.given:
        figure, notes = compose_inputs(result, rows, scores)
    elif n_sides == 1:
        figure, notes = compose_signals(result, rows, scores)
    elif n_sides == 3:
        figure, notes = compose_volumes(result, rows, scores, as_video=as_video)
    else:
        figure, notes = _compose_pictures(result, rows), []
    notes += cut_note(len(rows), len(result.values), f"{CALLED[n_sides]}s") if n is None else []
    if any(attribution_scale(result, i).extend != "neither" for i in rows):
        share = f"{100 - PERCENTILE:g} % of the {_PLACES[n_sides]}"
        notes.append(f"At most {share} lie beyond the arrow; they have the last color.")
    if len(rows) > 1 and not result.given:
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
        outline_target(row[0], result, i)
        heading(row[0], short_name(result.names[i]), "as the network saw it")
        if grainy:
            show(row[1], attribution_map(result, i), sharp=True)
            outline_target(row[1], result, i)
            heading(row[1], "the map by itself", _range(result, i))
        draw_attribution(row[-1], result, n=i)
    return figure


def _title(result: Attribution) -> str:
    return f"{capital(in_words(result.provenance.method))}: what the score depends on"


def _score(result: Attribution, n: int) -> str:
    if not result.values[n].any():
        return f"score {decimal(result.scores[n])} · all values are 0"
    return f"score {decimal(result.scores[n])}"


def _range(result: Attribution, n: int) -> str:
    return f"values {result.values[n].min():.3g} to {result.values[n].max():.3g}"
