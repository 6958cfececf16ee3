"""Small pictures of images, which show that two are the same, only saved again or scaled.

A network reacts to the noise that compression leaves, so that to it a photo and its copy at another quality can be
as far apart as two photos of one kind. In 16 x 16 pixels that noise is gone.
"""

from __future__ import annotations

import numpy as np

from ..results import Array
from ..store import Block
from ..store.thumbnails import THUMBNAIL_PX
from .pairs import pairs_within
from .source import Source

SAME = 0.99  # correlation of two small pictures: copies have 0.997 and more, photos of one kind hardly 0.97
_SIDE = 16
_FAINT = 2.0  # standard deviation in gray levels: a plain picture is like any other
_ROWS = 2048  # whose thumbnails are read at once


def small_pictures(source: Source) -> Array | None:
    """Thumbnails in 16 x 16 pixels, (N, 768) uint8, zeros for an image without one; None if all are without."""
    rows = source.rows
    found = np.zeros((len(rows), _SIDE * _SIDE * 3), np.uint8)
    any_shown = False
    for first in range(0, len(rows), _ROWS):
        part = slice(first, first + _ROWS)
        taken = source.take(rows[part])
        if taken.thumbnails.shape[1:] != (THUMBNAIL_PX, THUMBNAIL_PX, 3):
            continue
        shown = np.flatnonzero(taken.has_thumbnail)
        found[first + shown] = _small(taken.thumbnails[shown])
        any_shown = any_shown or len(shown) > 0
    return found if any_shown else None


def _small(thumbnails: Array) -> Array:
    """(n, 64, 64, 3) uint8 -> (n, 768) uint8, each pixel the mean of 4 x 4."""
    n, of = len(thumbnails), THUMBNAIL_PX // _SIDE
    means = thumbnails.reshape(n, _SIDE, of, _SIDE, of, 3).mean(axis=(2, 4), dtype=np.float32)
    return np.asarray(np.rint(means).astype(np.uint8).reshape(n, _SIDE * _SIDE * 3))


def same_pictures(pictures: Array, a: Block, b: Block, same: bool) -> Array:
    """Which pairs (n, m) bool of two blocks, whose row numbers are places, show the same picture.

    ``same`` says that both are one block, each of whose pairs counts once.
    """
    one, other = _centered(pictures, a), _centered(pictures, b)
    _, rows = pairs_within(one, other, same, SAME, "cosine", 1, np.inf)
    are_same = np.zeros((len(a), len(b)), bool)
    are_same[rows[:, 0], rows[:, 1]] = True
    return are_same


def _centered(pictures: Array, block: Block) -> Block:
    """Less their mean, so that a cosine is a correlation; plain ones are zero, which is like none."""
    values = pictures[block.rows].astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values[values.std(axis=1) < _FAINT] = 0
    return Block(np.arange(len(block)), values)
