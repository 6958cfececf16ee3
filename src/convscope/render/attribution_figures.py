"""Attributions: the photo, the map, and the map over the photo, with a color bar in score units.

Signals, volumes and several inputs have figures of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import ParameterError
from ..results import Attribution
from .attribution_panels import attribution_overlay, draw_map, is_grainy, outline_target
from .colors import PERCENTILE
from .grids import columns_for
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

LIMIT = 8  # images, of which each has a row; more are on a contact sheet
ON_A_SHEET = 60
CALLED = {1: "signal", 2: "image", 3: "volume"}  # by the number of sides
_PLACES = {1: "samples", 2: "pixels", 3: "voxels"}


def draw_attribution(
    ax: Axes,
    result: Attribution,
    *,
    n: int = 0,
    as_video: bool = False,
    cmap: str | None = None,
    alpha: float | None = None,
) -> None:
    """The map of one image, with its color bar, the method and the target.

    ``as_video`` shows a volume as the frames of a video; ``cmap`` and ``alpha`` are the colors of a map over a
    picture and how opaque they are.
    """
    (n,) = pick(n, len(result.values), 1)
    _n_sides(result, as_video)
    if result.given:
        draw_inputs(ax, result, n, _score(result, n))
        return
    draw_map(ax, result, n, as_video=as_video, cmap=cmap, alpha=alpha)
    method, about = capital(in_words(result.provenance.method)), short_label(result.targets[n])
    heading(ax, f"{method}: {about}", " · ".join([_score(result, n), *_label(result, n)]))


def compose_attribution(
    result: Attribution,
    *,
    n: int | Sequence[int] | None = None,
    as_video: bool = False,
    cmap: str | None = None,
    alpha: float | None = None,
) -> Figure:
    """A row per image, or a contact sheet of many; see `draw_attribution`."""
    n_sides = _n_sides(result, as_video)
    is_sheet = n is None and n_sides == 2 and not result.given and len(result.values) > LIMIT
    rows = pick(n, len(result.values), ON_A_SHEET if is_sheet else LIMIT)
    scores = [_score(result, i) for i in rows]
    if result.given:
        figure, notes = compose_inputs(result, rows, scores)
    elif n_sides == 1:
        figure, notes = compose_signals(result, rows, scores)
    elif n_sides == 3:
        figure, notes = compose_volumes(result, rows, scores, as_video=as_video)
    elif is_sheet:
        figure, notes = _compose_sheet(result, rows, cmap, alpha), []
    else:
        figure, notes = _compose_pictures(result, rows, cmap, alpha), []
    notes += cut_note(len(rows), len(result.values), f"{CALLED[n_sides]}s") if n is None else []
    if any(attribution_scale(result, i).extend != "neither" for i in rows):
        share = f"{100 - PERCENTILE:g} % of the {_PLACES[n_sides]}"
        notes.append(f"At most {share} lie beyond the arrow; they have the last color.")
    if len(rows) > 1 and not result.given:
        notes.append("Each map has its own color scale." if is_sheet else "Each row has its own color scale.")
    headline(figure, _title(result), result, notes)
    return figure


def _n_sides(result: Attribution, as_video: bool) -> int:
    """1 for signals, 2 for pictures, 3 for volumes."""
    n_sides = result.values.ndim - 1
    if as_video and n_sides != 3:
        raise ParameterError(f"as_video=True: these are {CALLED[n_sides]}s; expected volumes (N, D, H, W)")
    return n_sides


def _compose_pictures(result: Attribution, rows: list[int], cmap: str | None, alpha: float | None) -> Figure:
    """A row per image: the photo, the overlay, and between them the map by itself where a map is grainy."""
    grainy = any(is_grainy(result.values[i]) for i in rows)
    columns = 3 if grainy else 2
    height, width = result.values.shape[1:]
    figure = new_figure(2.9 * columns + 1.0, 0.9 + len(rows) * (2.9 * height / width + 0.5))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, i in zip(axes, rows, strict=True):
        show(row[0], result.images[i])
        outline_target(row[0], result, i)
        heading(row[0], short_name(result.names[i]), " · ".join(["as the network saw it", *_label(result, i)]))
        if grainy:
            show(row[1], attribution_overlay(result, i, cmap=cmap, alpha=1.0), sharp=True)
            outline_target(row[1], result, i)
            heading(row[1], "the map by itself", _range(result, i))
        draw_map(row[-1], result, i, cmap=cmap, alpha=alpha)
        heading(row[-1], short_label(result.targets[i]), _score(result, i))
    return figure


def _compose_sheet(result: Attribution, rows: list[int], cmap: str | None, alpha: float | None) -> Figure:
    """A contact sheet: the maps over their pictures, with target, and label or name."""
    columns = columns_for(len(rows), at_most=10)
    n_rows, aspect = -(-len(rows) // columns), result.values.shape[1] / result.values.shape[2]
    figure = new_figure(1.3 * columns + 0.3, 0.9 + n_rows * (1.2 * aspect + 0.42))
    axes = figure.subplots(n_rows, columns, squeeze=False).ravel()
    for ax, i in zip(axes, rows, strict=False):
        show(ax, attribution_overlay(result, i, cmap=cmap, alpha=alpha))
        outline_target(ax, result, i)
        heading(
            ax, short_label(result.targets[i], 18), (_label(result, i) or [short_name(result.names[i], 22)])[0]
        )
    for ax in axes[len(rows) :]:
        ax.set_axis_off()
    return figure


def _title(result: Attribution) -> str:
    return f"{capital(in_words(result.provenance.method))}: what the score depends on"


def _score(result: Attribution, n: int) -> str:
    if not result.values[n].any():
        return f"score {decimal(result.scores[n])} · all values are 0"
    return f"score {decimal(result.scores[n])}"


def _label(result: Attribution, n: int) -> list[str]:
    """The label that the image came with, if there is one."""
    label = result.true_labels[n] if result.true_labels else None
    return [] if label is None else [f"label {short_label(label, 22)}"]


def _range(result: Attribution, n: int) -> str:
    return f"values {result.values[n].min():.3g} to {result.values[n].max():.3g}"
