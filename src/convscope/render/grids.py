"""Tile many small pictures into one."""

from __future__ import annotations

import math

import numpy as np

from ..results import Array


def magnify(images: Array, at_least_px: int) -> Array:
    """Repeat the pixels of images (N, H, W, 3) a whole number of times, so that they stay sharp squares."""
    factor = max(1, math.ceil(at_least_px / max(images.shape[1:3])))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def columns_for(count: int, at_most: int = 8) -> int:
    """The columns of a grid that is a little wider than high, with its last row as full as possible."""
    ideal = math.sqrt(1.6 * count)
    fitting = range(max(1, math.floor(ideal * 0.8)), max(1, math.ceil(ideal * 1.3)) + 1)
    return min(
        (c for c in fitting if c <= max(1, min(at_most, count))),
        key=lambda c: (-count % c, abs(c - ideal)),
        default=max(1, min(at_most, count)),
    )


def tile(images: Array, columns: int, *, gap: int = 0, fill: int = 255) -> Array:
    """Tile (N, H, W, 3) row by row into one picture; ``gap`` pixels of ``fill`` lie between the tiles."""
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    canvas = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), fill, dtype=images.dtype
    )
    for i, image in enumerate(images):
        top, left = corner(i, columns, (height, width), gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def corner(i: int, columns: int, size: tuple[int, int], gap: int) -> tuple[int, int]:
    """The corner (top, left) of tile i."""
    row, column = divmod(i, columns)
    return row * (size[0] + gap), column * (size[1] + gap)
