"""Filters: the weights of a convolution as small pictures, with middle gray for zero."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import ParameterError
from ..results import Array, Filters
from .colors import zero_centered
from .grids import columns_for, magnify, tile
from .style import heading, headline, new_figure, show

TILES = 64
PLANES = 16  # input channels shown of a filter that is no color picture
FAINT = 1e-4  # share of the largest filter's norm below which a filter is as good as zero and its pattern noise
FilterScale = Literal["common", "each"]


def filter_tiles(result: Filters, *, scale: FilterScale = "each", tiles: int = TILES) -> tuple[list[str], Array]:
    """The first filters as pictures: their names, and uint8 (T, kH, kW, 3).

    A filter with three input channels is one RGB picture, a filter with one is a gray picture. Any other filter is
    a row of gray pictures, one for each of its first input channels.

    Args:
        result: the filters.
        scale: "each" gives every filter its own scale, which shows its pattern; filters with less than 1e-4 of the
            largest norm stay gray. "common" is one scale for all, which tells strong filters from weak ones.
        tiles: at most so many pictures.
    """
    if scale not in ("common", "each"):
        raise ParameterError(f"scale={scale!r}: expected 'common' or 'each'")
    weights = result.values
    planes = weights.shape[1]
    if planes == 3:
        shown = weights[:tiles].transpose(0, 2, 3, 1)
        names = [str(i) for i in range(len(shown))]
        return names, zero_centered(shown, _limits(result, shown, scale))
    across = min(planes, PLANES)
    shown = weights[: max(1, tiles // across), :across]
    gray = zero_centered(shown, _limits(result, shown, scale)).reshape(-1, *shown.shape[2:])
    names = [f"{o}" if planes == 1 else f"{o}←{i}" for o in range(len(shown)) for i in range(across)]
    return names, np.repeat(gray[..., None], 3, axis=3)


def _limits(result: Filters, shown: Array, scale: FilterScale) -> Array:
    """The weight that is drawn white, for all filters or for each; infinite for a faint filter."""
    if scale == "common":
        return np.asarray(np.abs(shown).max(keepdims=True))
    limits = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    return np.where(is_faint(result)[: len(shown), None, None, None], np.inf, limits)


def is_faint(result: Filters) -> Array:
    """Whether each filter's norm is less than 1e-4 of the largest, (O,)."""
    finite = np.nan_to_num(result.values, posinf=0, neginf=0)
    norms = np.linalg.norm(finite.reshape(len(finite), -1), axis=1)
    return np.asarray(norms < FAINT * norms.max(initial=0))


def filter_summary(result: Filters, count: int) -> str:
    """The number and shape of the filters, and how many of them are shown."""
    filters, planes, height, width = result.values.shape
    size = f"{height}×{width}×{planes}"
    if planes in (1, 3):
        return (
            f"{filters} filters of {size}" if count == filters else f"first {count} of {filters} filters of {size}"
        )
    across = min(planes, PLANES)
    rows = f"first {count // across} of {filters} filters of {size}, a row each"
    return f"{rows}; first {across} of {planes} input channels"


def _columns(result: Filters, count: int) -> int:
    """Columns of the grid; a filter of several pictures gets a row of its own."""
    planes = result.values.shape[1]
    return columns_for(count, 16) if planes in (1, 3) else min(planes, PLANES)


def draw_filters(ax: Axes, result: Filters, *, scale: FilterScale = "each", tiles: int = TILES) -> None:
    """All filters in one grid."""
    names, pictures = filter_tiles(result, scale=scale, tiles=tiles)
    pictures = magnify(pictures, 24)
    show(ax, tile(pictures, _columns(result, len(names)), gap=max(2, pictures.shape[2] // 8)), sharp=True)
    heading(ax, result.layer, filter_summary(result, len(names)))


def compose_filters(result: Filters, *, scale: FilterScale = "each", tiles: int = TILES) -> Figure:
    """The grid with its headline."""
    names, pictures = filter_tiles(result, scale=scale, tiles=tiles)
    columns = _columns(result, len(names))
    tall = -(-len(names) // columns) / columns * pictures.shape[1] / pictures.shape[2]
    figure = new_figure(6.4, 1.3 + 6.2 * tall)
    draw_filters(figure.subplots(), result, scale=scale, tiles=tiles)
    own = "Each filter has its own scale" if scale == "each" else "All filters share one scale"
    colors = (
        "color shows the weights of red, green and blue" if result.values.shape[1] == 3 else "white is positive"
    )
    notes = [f"{own}; middle gray is zero, {colors}."]
    if scale == "each" and is_faint(result).any():
        notes.append(
            f"Gray throughout: {is_faint(result).sum()} with less than {FAINT:g} of the largest filter's norm."
        )
    headline(figure, "Filters: the weights", result, notes)
    return figure
