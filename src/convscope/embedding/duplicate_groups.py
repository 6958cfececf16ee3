"""Groups of images that are nearly the same, and which of each group to keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..results import Array
from ..store.keys import size_in
from .pairs import Pairs
from .source import Source


@dataclass(frozen=True)
class Grouped:
    """G groups, of ``sizes`` (G,), of M images: ``places`` (M,) in the source, in each group the best first.

    ``n_pixels`` and ``n_bytes`` (M,) are those of the files, 0 where they are unknown.
    """

    places: Array
    sizes: Array
    n_pixels: Array
    n_bytes: Array


def grouped(source: Source, groups: Array, pairs: Pairs, is_other: Array | None) -> Grouped:
    """The groups of two and more, the largest first, then the one with the nearest pair, then by place.

    Args:
        source: where the images are.
        groups: (N,) the group of each image.
        pairs: the nearest pairs, which order groups of equal size.
        is_other: (N,) the second of two sides: groups then have images of both, and one of the first side is kept.
    """
    n_groups = int(groups.max()) + 1
    sizes = np.bincount(groups, minlength=n_groups)
    counts = sizes > 1
    if is_other is not None:
        n_others = np.bincount(groups, weights=is_other, minlength=n_groups)
        counts = (n_others > 0) & (n_others < sizes)
    nearest = np.full(n_groups, np.inf)
    np.minimum.at(nearest, groups[pairs.rows[:, 0]], pairs.costs)
    members = np.flatnonzero(counts[groups])
    of = groups[members]
    n_pixels, n_bytes = (values[members] for values in _sizes(source))
    names = np.array(source.names, dtype=object)[members].astype(str)
    by_name = np.argsort(np.argsort(names, kind="stable"))
    # Without sizes the first in the source is kept.
    last = np.where(n_pixels > 0, by_name, members)
    per_pixel = n_bytes / np.maximum(n_pixels, 1)
    second = np.zeros(len(members), bool) if is_other is None else is_other[members]
    first = np.full(n_groups, len(groups))
    np.minimum.at(first, of, members)
    order = np.lexsort((last, -per_pixel, -n_pixels, second, first[of], nearest[of], -sizes[of]))
    of = of[order]
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    # The one to keep comes first, the others in the order of the source.
    rank = np.ones(len(of), np.int64)
    rank[starts] = 0
    number = np.cumsum(rank == 0)
    order = order[np.lexsort((members[order], rank, number))]
    return Grouped(members[order], sizes[of[starts]], n_pixels[order], n_bytes[order])


def _sizes(source: Source) -> tuple[Array, Array]:
    """The pixels and the bytes (N,) int64 of each image, 0 where they are unknown."""
    width = np.array([side or 0 for side in source.column("width")], np.int64)
    height = np.array([side or 0 for side in source.column("height")], np.int64)
    return width * height, np.array([size_in(stamp) or 0 for stamp in source.column("stamp")], np.int64)
