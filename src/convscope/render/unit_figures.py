"""Units: the channels of each layer of a scan at a glance, and the patches of one channel."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from ..errors import ParameterError
from ..results import Array, UnitPatches, UnitScan
from .grids import columns_for, corner, magnify, tile
from .style import (
    ACCENT,
    SOFT,
    WRONG,
    cut_note,
    decimal,
    drawable,
    heading,
    headline,
    new_figure,
    outline,
    plain_axes,
    short_label,
    short_name,
    show,
    text,
)  # fmt: skip

LAYERS, NAMED, SHEET = 4, 4, 16  # layers, channels with a name in each, patches
_GAP = 6  # pixels between tiles
_EMPTY = (158, 172, 194)  # blue-gray behind a patch that the border of its image cuts: no ink, no paper
_WHOLE_PX = 96  # the least longer side of a tile with a whole image on it


def draw_unit_scan(ax: Axes, result: UnitScan, *, layer: str | None = None) -> None:
    """The channels of a layer, by default the last: how seldom each fires, and how well it tells a label."""
    layer = _layer(result, layer)
    silent = 100 * result.silent_places[layer]
    height, best = _heights(result, layer)
    is_dead = result.silent_images[layer] == 1
    ax.scatter(silent[~is_dead], height[~is_dead], s=16, color=ACCENT, alpha=0.55, linewidth=0)
    ax.scatter(silent[is_dead], height[is_dead], s=22, marker="x", color=WRONG, linewidth=1.2)
    plain_axes(ax, grid="both")
    ax.set_xlim(-4, 104)
    first = np.argsort(-np.where(is_dead, -np.inf, height), kind="stable")[:NAMED].tolist()
    named = [f"{c}" if best is None else f"{c} {short_label(result.labels[best[c]], 12)}" for c in first]
    line = drawable(f"highest: {', '.join(named)}")
    ax.set_xlabel(f"places not above zero, %\n{line}", linespacing=1.6, **text(size=7.5, color=SOFT))
    of_what = "highest peak" if best is None else "AUROC of its best label"
    ax.set_ylabel(of_what, **text(size=7.5, color=SOFT))
    n_pairs = len(result.duplicates(layer))
    dead = f"{is_dead.sum()} dead (×)" if is_dead.any() else "none dead"
    heading(ax, layer, f"{len(silent)} channels, {dead}, {n_pairs} duplicate pairs")


def _heights(result: UnitScan, layer: str) -> tuple[Array, Array | None]:
    """The AUROC of each channel's best label, and that label; without two labels its highest peak."""
    areas = result.auroc(layer)
    if areas.shape[1] < 2 or np.isnan(areas).all():
        return result.quantiles[layer][:, -1], None
    known = np.nan_to_num(areas, nan=0.0)
    return known.max(axis=1), known.argmax(axis=1)


def compose_unit_scan(result: UnitScan, *, layer: str | None = None) -> Figure:
    """A panel a layer."""
    layers = result.layers[:LAYERS] if layer is None else (_layer(result, layer),)
    figure = new_figure(max(6.0, 3.9 * len(layers)), 4.4)
    for ax, name in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        draw_unit_scan(ax, result, layer=name)
    notes = cut_note(len(layers), len(result.layers), "layers") if layer is None else []
    headline(figure, f"Units: what {len(result):,} images do to each channel", result, notes)
    return figure


def draw_unit_patches(ax: Axes, result: UnitPatches) -> None:
    """The patches as a contact sheet, the first at the top left."""
    sheet = magnify(patch_tiles(result)[:SHEET], 96)
    draw_sheet(ax, sheet, [decimal(value) for value in result.values[:SHEET].tolist()])
    heading(ax, f"{result.layer}, channel {result.channel}", f"{patch_field(result)}; peaks below")


def patch_tiles(result: UnitPatches) -> Array:
    """All patches on tiles of one size, (K, H, W, 3); what the border of an image cuts off is blue-gray.

    Where the channel fires nowhere, the whole image is on the tile, made smaller.
    """
    fires, patches = result.fires, result.pixels
    sheet = np.full((len(patches), *_patch_size(result), 3), _EMPTY, np.uint8)
    for i in np.flatnonzero(fires | ~fires.any()):
        canvas, patch, box = sheet[i], patches[i], result.boxes[i]
        # What the border of the image cuts off is missing on that side.
        top, left = (canvas.shape[axis] - patch.shape[axis] if box[axis] == 0 else 0 for axis in (0, 1))
        canvas[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    if fires.any() and not fires.all():
        sheet = magnify(sheet, _WHOLE_PX)
        for i in np.flatnonzero(~fires):
            small = np.asarray(ImageOps.contain(Image.fromarray(patches[i]), (sheet.shape[2], sheet.shape[1])))
            top, left = ((sheet.shape[1 + axis] - small.shape[axis]) // 2 for axis in (0, 1))
            sheet[i, top : top + small.shape[0], left : left + small.shape[1]] = small
    return sheet


def _patch_size(*results: UnitPatches) -> tuple[int, int]:
    """The largest (height, width) of a patch at a place where the channel fires, if there is any."""
    shapes = np.array([patch.shape[:2] for one in results for patch in one.pixels])
    fires = np.concatenate([one.fires for one in results])
    height, width = (shapes[fires] if fires.any() else shapes).max(axis=0).tolist()
    return height, width


def patch_field(result: UnitPatches, *others: UnitPatches) -> str:
    """What the patches are, and their size; others of the channel tell it where the border cuts all of these."""
    if not result.fires.any():
        return where_silent(result)
    height, width = _patch_size(result, *others)
    field = f"{'receptive field' if result.field == 'exact' else '90 % of the gradient'}, {height}×{width} px"
    return "; ".join([field, *filter(None, [where_silent(result)])])


def where_silent(result: UnitPatches) -> str:
    """That the channel fires nowhere in the images, or in some of them; empty if it fires in each."""
    if result.fires.all():
        return ""
    return (
        "whole images where it fires nowhere" if result.fires.any() else "whole images: it fires nowhere in them"
    )


def _draw_images(ax: Axes, result: UnitPatches) -> None:
    """The images as the network saw them, with the patches outlined."""
    images = result.images[:SHEET]
    factor = max(1, -(-96 // max(images.shape[1:3])))
    size, columns = draw_sheet(ax, magnify(images, 96), unit_image_names(result)[: len(images)])
    for i in np.flatnonzero(result.fires[:SHEET]).tolist():
        top, left, bottom, right = (result.boxes[i] * factor).tolist()
        y, x = corner(i, columns, size, _GAP)
        outline(ax, (x + left, y + top, x + right, y + bottom))
    heading(ax, "in the images", "as the network saw them, with their labels or names")


def unit_image_names(of: UnitPatches) -> list[str]:
    """What stands under each image: its label, or else its name."""
    pairs = zip(of.names, of.labels, strict=True)
    return [short_name(name, 18) if label is None else short_label(label, 18) for name, label in pairs]


def draw_sheet(
    ax: Axes, tiles: Array, lines: list[str], columns: int | None = None
) -> tuple[tuple[int, int], int]:
    """Tiles with a line under each; returns their size with the line, and the number of columns."""
    columns, band = columns or columns_for(len(tiles), 4), round(0.13 * tiles.shape[2])
    tiles = np.pad(tiles, ((0, 0), (0, band), (0, 0), (0, 0)), constant_values=255)
    show(ax, tile(tiles, columns, gap=_GAP), sharp=True)
    size = (tiles.shape[1], tiles.shape[2])
    for i, line in enumerate(lines):
        top, left = corner(i, columns, size, _GAP)
        ax.text(left, top + size[0] - band * 0.5, line, va="center", **text(size=6, color=SOFT))
    return size, columns


def compose_unit_patches(result: UnitPatches) -> Figure:
    """The patches, and beside them where they are."""
    figure = new_figure(9.6, 5.6)
    left, right = figure.subplots(1, 2)
    draw_unit_patches(left, result)
    _draw_images(right, result)
    for ax in (left, right):
        ax.set_anchor("NW")
    words = {
        "top": "excites it most",
        "middle": "it responds to as to most images",
        "low": "excites it least",
        "relevant": "it adds most to the score for",
    }
    notes = cut_note(min(SHEET, len(result)), len(result), "patches")
    headline(figure, f"Unit: what {words[result.which]}", result, notes)
    return figure


def _layer(result: UnitScan, layer: str | None) -> str:
    if layer is None:
        return result.layers[-1]
    if layer not in result.layers:
        raise ParameterError(f"layer={layer!r}: the scan holds {', '.join(result.layers)}")
    return layer
