"""The nearest others of every different image of a source: copies of an image are one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..progress import Progress, part_of
from ..results import Array
from ..store import Block
from .nearest import check_size, nearest
from .source import Source, blocks_at

_QUERIES = 65_536  # whose neighbors are looked for while all vectors are read once


@dataclass(frozen=True)
class Near:
    """The nearest others (G, K) of each of G images, as indices among them, and their cosines (G, K) float32."""

    others: Array
    similarity: Array


def placed_blocks(source: Source, places: Array) -> Iterator[Block]:
    """The vectors at these places, in ascending order; the number of a row is its place in the source."""
    n = 0
    for block in blocks_at(source.blocks(), places):
        if len(block):
            yield Block(places[n : n + len(block)], block.vectors)
            n += len(block)


def nearest_others(source: Source, places: Array, k: int, progress: Progress | None) -> Near:
    """The k nearest of each of G vectors among the others, all compared with all.

    Args:
        source: where the vectors are.
        places: (G,) the places of the different images in the order of the source, ascending.
        k: neighbors of each; fewer where there are fewer.
        progress: called with (vectors compared, all).

    Cost: G^2 * D multiplications; memory for 65,536 vectors and the result. A store that does not fit in memory
    is read once for every 65,536 images.
    """
    n = len(places)
    k = min(k, n - 1)
    check_size(n, k)
    others, similarity = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    parts = [np.arange(first, min(n, first + _QUERIES)) for first in range(0, n, _QUERIES)]
    for i, part in enumerate(parts):
        queries = np.concatenate([block.vectors for block in placed_blocks(source, places[part])])
        step = part_of(progress, i, len(parts))
        found, similarity[part] = nearest(
            placed_blocks(source, places), queries, k, "cosine", own=places[part], n_rows=n, progress=step
        )
        others[part] = np.searchsorted(places, found)
    return Near(others, similarity)
