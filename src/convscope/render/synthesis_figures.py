"""Pictures made by ascent, several in one figure: what layers keep of an image, and the channels of a layer."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Atlas, Inversion
from .grids import columns_for, corner, magnify, tile
from .style import INK, SOFT, heading, headline, new_figure, short_name, show, text

GAP = 0.06  # of a tile's width
BAND = 0.2  # of a tile's width: the white band under it that holds its number
COLUMNS, SIDE, MOST = 16, 0.9, 20.0  # of an atlas: tiles in a row, and in inches a tile and the figure at most


def draw_inversion(ax: Axes, result: Inversion) -> None:
    """The image, and beside it what each layer keeps of it."""
    pictures = np.concatenate([result.original[None], result.images])
    height, width = pictures.shape[1:3]
    gap = max(1, round(GAP * width))
    show(ax, tile(pictures, len(pictures), gap=gap))
    heading(ax, f"What is left of {short_name(result.name)}")
    notes = [("image", ""), *zip(result.layers, map(_errors, result.errors, result.distances), strict=True)]
    for i, (name, note) in enumerate(notes):
        left = i * (width + gap)
        ax.text(left, height * 1.04, short_name(name, 22), va="top", **text(size=7.5, color=INK))
        ax.text(left, height * 1.16, note, va="top", linespacing=1.35, **text(size=7, color=SOFT))


def compose_inversion(result: Inversion) -> Figure:
    """The row of pictures, from the first layer to the deepest."""
    n = len(result.layers) + 1
    height, width = result.original.shape[:2]
    figure = new_figure(1.75 * n + 0.4, 1.75 * height / width + 1.9)
    draw_inversion(figure.add_subplot(), result)
    notes = [
        "Layer: how far the layer's values are from those for the image, as a share of their norm.",
        "Pixels: the same of the network's input. What is missing where the layer is matched, the layer does "
        "not need.",
    ]
    headline(figure, "Inversion: made again from what each layer gives", result, notes)
    return figure


def _errors(error: float, distance: float) -> str:
    return f"layer {error:.1%}\npixels {distance:.0%}"


def draw_atlas(ax: Axes, result: Atlas) -> None:
    """The channels in a grid, each with its number."""
    tiles = magnify(result.images, 64)
    columns = min(COLUMNS, columns_for(len(tiles), COLUMNS))
    height, width = tiles.shape[1:3]
    gap, band = max(2, round(0.04 * width)), round(BAND * width)
    tiles = np.pad(tiles, ((0, 0), (0, band), (0, 0), (0, 0)), constant_values=255)
    show(ax, tile(tiles, columns, gap=gap))
    for i, number in enumerate(result.channels):
        top, left = corner(i, columns, (height + band, width), gap)
        ax.text(left, top + height + band * 0.55, str(number), va="center", **text(size=6, color=SOFT))
    heading(ax, result.layer, f"{len(result.channels)} of {result.n_channels} channels")


def compose_atlas(result: Atlas) -> Figure:
    """A contact sheet, at most 16 tiles wide."""
    columns = min(COLUMNS, columns_for(len(result.channels), COLUMNS))
    height, width = result.images.shape[1:3]
    rows = -(-len(result.channels) // columns)
    inches = min(SIDE * (1.6 if columns <= 8 else 1.0), MOST / columns)
    figure = new_figure(max(4.5, inches * columns), inches * rows * (height / width + BAND) + 1.1)
    draw_atlas(figure.add_subplot(), result)
    headline(figure, "Atlas: what raises each channel most", result)
    return figure
