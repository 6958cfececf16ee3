"""A page about one channel: patches, where it fires, what it tells apart, what is like it, and a made picture."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..results import Array, UnitPage, UnitPatches
from .bar_charts import draw_bars
from .filter_figures import filter_tiles
from .grids import magnify, tile
from .overlays import spotlight
from .style import (
    ACCENT,
    INK,
    SOFT,
    decimal,
    fold,
    heading,
    headline,
    new_figure,
    plain_axes,
    short_label,
    show,
    text,
)
from .unit_cause_figures import effect_bars, feed_bars
from .unit_figures import draw_sheet, patch_field, patch_tiles, unit_image_names, where_silent

TILES, ROW, BARS = 8, 4, 6  # images of the sheets, in a row of them, and bars


def draw_unit_page(ax: Axes, result: UnitPage) -> None:
    """The images that excite the channel most, dimmed but where it fires."""
    _draw_lit(ax, result, "top")
    heading(ax, f"{result.layer}, channel {result.channel}", "its highest images, lit where it fires; peaks below")


def compose_unit_page(result: UnitPage) -> Figure:
    """Patches, images and a picture; middle and lowest patches beside relevance and its sources; charts below."""
    figure = new_figure(13.0, 10.2)
    grid = figure.add_gridspec(4, 3, width_ratios=(4, 4, 2.3), height_ratios=(2.4, 1.3, 1.3, 1.7))
    _draw_top(figure.add_subplot(grid[0, 0]), result)
    ax = figure.add_subplot(grid[0, 1])
    _draw_lit(ax, result, "top")
    heading(ax, "In their images", "lit where it is higher than anywhere in half of the images")
    _draw_made(figure.add_subplot(grid[0, 2]), result)
    _draw_row(figure.add_subplot(grid[1, 0]), result.middle, "Middle images")
    _draw_row(figure.add_subplot(grid[2, 0]), result.low, "Lowest images")
    _draw_relevant(figure.add_subplot(grid[1:3, 1]), result)
    _draw_made_from(figure.add_subplot(grid[1:3, 2]), result)
    charts = grid[3, :].subgridspec(1, 4)
    for i, draw in enumerate((_draw_histogram, _draw_labels, _draw_nearest, _draw_lost)):
        draw(figure.add_subplot(charts[i]), result)
    for ax in figure.axes:
        ax.set_anchor("NW")
    title = f"Unit: {result.layer}, channel {result.channel}, {result.rarity}"
    headline(figure, title, result)
    return figure


def lit_images(result: UnitPage, kind: str, n: int = TILES) -> Array:
    """The first images of "top" or "relevant", dimmed but where the channel fires: (n, H, W, 3) uint8."""
    of = _images_of(result, kind)
    return spotlight(of.images[:n], result.firing[kind][:n], result.threshold)


def _images_of(result: UnitPage, kind: str) -> UnitPatches:
    of = result.top if kind == "top" else result.relevant
    assert of is not None
    return of


def picture_tile(result: UnitPage) -> Array | None:
    """The channel's filter as a picture (1, h, w, 3), or a row of gray ones, one for each input channel."""
    if result.filters is None:
        return None
    _, tiles = filter_tiles(result.filters)
    return tile(magnify(tiles, 96), len(tiles), gap=6)


def _captions(of: UnitPatches) -> list[str]:
    pairs = zip(unit_image_names(of), of.values.tolist(), strict=True)
    return [f"{name}: {value:#.3g}" for name, value in pairs]


def _draw_top(ax: Axes, result: UnitPage) -> None:
    tiles = magnify(patch_tiles(result.top)[:TILES], 224)
    draw_sheet(ax, tiles, _captions(result.top)[:TILES], ROW)
    heading(ax, "What excites it most", f"{patch_field(result.top, result.middle, result.low)}; peaks below")


def _draw_lit(ax: Axes, result: UnitPage, kind: str) -> None:
    draw_sheet(ax, lit_images(result, kind), _captions(_images_of(result, kind))[:TILES], ROW)


def _draw_row(ax: Axes, of: UnitPatches, title: str) -> None:
    draw_sheet(ax, magnify(patch_tiles(of)[:ROW], 224), _captions(of)[:ROW], ROW)
    heading(ax, title, where_silent(of))


def _draw_relevant(ax: Axes, result: UnitPage) -> None:
    if result.relevant is None:
        _say(ax, "Where the network uses it", _reason(result, "relevance"))
        return
    _draw_lit(ax, result, "relevant")
    heading(ax, "Where the network uses it", "where it carries most of the class score, by LRP; how much, below")


def _draw_made(ax: Axes, result: UnitPage) -> None:
    if result.visualization is None:
        _say(ax, "A picture made for it", _reason(result, "picture"))
        return
    show(ax, result.visualization.image)
    heading(ax, "A picture made for it", f"mean over its places {decimal(result.visualization.scores[-1])}")


def _draw_made_from(ax: Axes, result: UnitPage) -> None:
    """Its weights in the first convolution, elsewhere the channels that feed it."""
    picture = picture_tile(result)
    if picture is not None:
        show(ax, picture, sharp=True)
        heading(ax, "Its weights", "middle gray is zero")
    elif result.feeds is None:
        _say(ax, "Channels that feed it", _reason(result, "feeds"))
    else:
        feed_bars(ax, result.feeds, result.channel)
        heading(ax, "Channels that feed it", f"of {result.feeds.source}: weight × mean activation")


def _draw_lost(ax: Axes, result: UnitPage) -> None:
    if result.necessity is None:
        _say(ax, "What scores lose without it", _reason(result, "necessity"))
        return
    effect_bars(ax, result.necessity, result.channel, BARS)
    heading(ax, "What scores lose without it", result.necessity.kept(result.channel))


def _reason(result: UnitPage, what: str) -> str:
    """Why a part is not there."""
    reasons = [line.partition(": ")[2] for line in result.left_out if line.startswith(f"{what}: ")]
    return f"Does not fit: {reasons[0]}." if reasons else "Not asked for."


def _say(ax: Axes, title: str, words: str) -> None:
    ax.set_axis_off()
    heading(ax, title)
    ax.text(0, 0.95, fold(words, 40), va="top", transform=ax.transAxes, **text(size=8, color=SOFT))


def _draw_histogram(ax: Axes, result: UnitPage) -> None:
    edges = result.edges
    ax.bar(edges[:-1], result.histogram, width=np.diff(edges), align="edge", color=ACCENT, alpha=0.75)
    ax.axvline(result.threshold, color=INK, linewidth=1)
    plain_axes(ax, grid="y")
    ax.set_xlabel("peak in an image", **text(size=7.5, color=SOFT))
    heading(ax, "Its peaks", "images by peak; the line is the median, above which a place is lit")


def _draw_labels(ax: Axes, result: UnitPage) -> None:
    known = [i for i in range(len(result.labels)) if not np.isnan(result.areas[i])]
    if not known:
        _say(ax, "Labels", "the images have fewer than two labels")
        return
    names = [short_label(result.labels[i], 20) for i in known[:BARS]]
    draw_bars(ax, names, [float(result.areas[i]) for i in known[:BARS]], zero=0.5)
    ax.set_xlim(right=1)
    ax.set_xticks([0.5, 0.75, 1])
    heading(ax, "Labels it tells from the others", f"AUROC of its peaks, 0.5 is chance; of {len(known)} labels")


def _draw_nearest(ax: Axes, result: UnitPage) -> None:
    if not result.nearest:
        _say(ax, "Nearest channels", "none, as it is constant")
        return
    nearest = result.nearest[:BARS]
    draw_bars(ax, [f"channel {pair.b}" for pair in nearest], [pair.r for pair in nearest])
    ax.set_xlim(right=1)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    heading(ax, "Nearest channels", "correlation r over places of the images")
