"""Feature maps: the channels of a layer as a grid, one channel over the photo, a vector layer as bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import ParameterError
from ..results import Array, ChannelOrder, FeatureMaps
from .colors import ACTIVATION, Scale, fit_scale
from .grids import columns_for, corner, magnify, tile
from .overlays import enlarge, overlay
from .style import (
    ACCENT,
    SOFT,
    WRONG,
    color_bar,
    cut_note,
    heading,
    headline,
    new_figure,
    pick,
    plain_axes,
    short_name,
    show,
    text,
)  # fmt: skip

CHANNELS, UNITS = 24, 20
ROWS, COLUMNS = 4, 4  # images, layers
PHOTO_INCHES, LAYER_INCHES, CHART_INCHES = 2.0, 4.1, 3.4  # widths of photo and grid, height of a bar chart
BAND = 0.24  # of a tile's width: the white band under it that holds its number


def channel_tiles(
    result: FeatureMaps, layer: str, n: int = 0, *, by: ChannelOrder = "mean", channels: int = CHANNELS
) -> tuple[list[int], Array, Scale]:
    """The most active channels of image n: their numbers, their maps in color (K, H, W, 3), their common scale."""
    chosen = [int(c) for c in result.order(layer, n, by)[:channels]]
    maps = result.values[layer][n][chosen]
    scale = fit_scale(maps, ACTIVATION)
    return chosen, scale.colors(maps), scale


def top_units(result: FeatureMaps, layer: str, n: int = 0, units: int = UNITS) -> list[tuple[int, float]]:
    """The units of a vector layer with the highest values for image n, and these values."""
    return [(int(u), float(result.values[layer][n][u])) for u in result.order(layer, n)[:units]]


def draw_feature_maps(
    ax: Axes,
    result: FeatureMaps,
    *,
    n: int = 0,
    layer: str | None = None,
    by: ChannelOrder = "mean",
    channels: int = CHANNELS,
    channel: int | None = None,
) -> None:
    """One layer of one image: a grid of its channels, or with ``channel`` that channel over the photo."""
    (n,) = pick(n, len(result.images), 1)
    layer = _layer(result, layer)
    maps = result.values[layer][n]
    if maps.ndim == 1:
        _draw_units(ax, result, layer, n)
    elif channel is not None:
        _draw_channel(ax, result, layer, n, channel)
    else:
        _draw_grid(ax, result, layer, n, by, channels)


def _draw_grid(ax: Axes, result: FeatureMaps, layer: str, n: int, by: ChannelOrder, channels: int) -> None:
    chosen, tiles, scale = channel_tiles(result, layer, n, by=by, channels=channels)
    tiles = magnify(tiles, 56)
    columns, gap = columns_for(len(chosen)), max(2, tiles.shape[2] // 24)
    band = max(10, round(BAND * tiles.shape[2]))
    tiles = np.pad(tiles, ((0, 0), (0, band), (0, 0), (0, 0)), constant_values=255)
    show(ax, tile(tiles, columns, gap=gap), sharp=True)
    size = (tiles.shape[1], tiles.shape[2])
    for i, number in enumerate(chosen):
        top, left = corner(i, columns, size, gap)
        ax.text(left, top + size[0] - band * 0.45, str(number), va="center", **text(size=6, color=SOFT))
    count, height, width = result.values[layer][n].shape
    heading(ax, layer, f"{len(chosen)} of {count} channels, highest {by} first · {height}×{width}")
    color_bar(ax, scale, "activation")


def _draw_channel(ax: Axes, result: FeatureMaps, layer: str, n: int, channel: int) -> None:
    maps = result.values[layer][n]
    if not 0 <= channel < len(maps):
        raise ParameterError(f"channel={channel}: layer {layer} has {len(maps)} channels, 0 to {len(maps) - 1}")
    scale = fit_scale(maps[channel], ACTIVATION)
    photo = result.images[n]
    show(ax, overlay(photo, enlarge(maps[channel], (photo.shape[0], photo.shape[1])), scale))
    heading(ax, f"{layer}, channel {channel}", f"{maps.shape[1]}×{maps.shape[2]}, enlarged to the photo")
    color_bar(ax, scale, "activation")


def _draw_units(ax: Axes, result: FeatureMaps, layer: str, n: int) -> None:
    units = top_units(result, layer, n)
    places = np.arange(len(units))
    values = [value for _, value in units]
    ax.barh(places, values, height=0.7, color=[ACCENT if v >= 0 else WRONG for v in values])
    ax.set_yticks(places, [str(unit) for unit, _ in units])
    ax.invert_yaxis()
    plain_axes(ax, grid="x")
    ax.set_ylabel("unit", **text(size=7.5, color=SOFT))
    ax.set_xlabel("activation", **text(size=7.5, color=SOFT))
    heading(ax, layer, f"{len(units)} of {len(result.values[layer][n])} units, highest first")


def compose_feature_maps(
    result: FeatureMaps,
    *,
    n: int | Sequence[int] | None = None,
    layer: str | None = None,
    by: ChannelOrder = "mean",
    channels: int = CHANNELS,
    channel: int | None = None,
) -> Figure:
    """A row per image: the photo, then each layer."""
    rows = pick(n, len(result.images), ROWS)
    _layer(result, layer)
    layers = [_layer(result, layer)] if layer is not None else list(result.layers)[:COLUMNS]
    grid = 1 if channel is not None else channels
    tall = max(_inches(result, name, grid) for name in (None, *layers))
    figure = new_figure(2.4 + 5.0 * len(layers), 0.9 + (tall + 0.5) * len(rows))
    axes = figure.subplots(
        len(rows), 1 + len(layers), squeeze=False, gridspec_kw={"width_ratios": [2.0] + [4.6] * len(layers)}
    )
    for row, i in zip(axes, rows, strict=True):
        show(row[0], result.images[i])
        row[0].set_anchor("N")
        heading(row[0], short_name(result.names[i], 24), "as the network saw it")
        for ax, name in zip(row[1:], layers, strict=True):
            draw_feature_maps(ax, result, n=i, layer=name, by=by, channels=channels, channel=channel)
            ax.set_anchor("NW")
    notes = cut_note(len(rows), len(result.images), "images") if n is None else []
    notes += cut_note(len(layers), len(result.layers), "layers") if layer is None else []
    title = "Feature maps: where each channel fires" if channel is None else "Feature map: where the channel fires"
    if channel is None and any(result.values[name].ndim == 4 for name in layers):
        notes.append("All channels of a grid share one color scale.")
    headline(figure, title, result, notes)
    return figure


def _inches(result: FeatureMaps, layer: str | None, channels: int) -> float:
    """How high a layer is drawn; one channel has the photo's shape, and ``layer=None`` is the photo."""
    height, width = result.images.shape[1:3]
    if layer is None:
        return float(PHOTO_INCHES * height / width)
    maps = result.values[layer]
    if maps.ndim == 2:
        return CHART_INCHES
    count = min(channels, maps.shape[1])
    if channels > 1:
        height, width = maps.shape[2] + round(BAND * maps.shape[3]), maps.shape[3]
    columns = columns_for(count)
    return float(LAYER_INCHES * -(-count // columns) * height / (columns * width))


def _layer(result: FeatureMaps, layer: str | None) -> str:
    if not result.is_drawn:
        raise ParameterError("feature maps of signals and volumes have no picture: take result[layer], an array")
    if layer is None:
        return result.layers[0]
    if layer not in result.values:
        raise ParameterError(f"layer={layer!r}: the result holds {', '.join(result.layers)}")
    return layer
