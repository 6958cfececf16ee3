"""How far a map can be trusted: whether those that are near on it are near, and the other way round."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..results import Array

NEAREST = 10
_ROWS = 65_536  # of a map at once
_DISTANCES = 10_000_000  # that are held at once, 40 MB; with more points fewer of them are looked at


def trust(blocks: Iterable[Array], queries: Array, rows: Array, coordinates: Array, k: int) -> tuple[float, float]:
    """Trustworthiness of a map, and the share of neighbors that it keeps.

        T = 1 - 2 / (q k (2 n - 3 k - 1)) * sum over q points i, and those j among the k nearest of i on the map
            that are not among its k nearest in the vectors, of (rank of j among the neighbors of i there - k)

    Args:
        blocks: all vectors (n, D), in blocks.
        queries: (q, D) the vectors of the points that are looked at.
        rows: (q,) their numbers.
        coordinates: (n, d) all points on the map.
        k: how many neighbors are looked at; less than n / 2.

    Returns:
        T in [0, 1], 1 where nobody is near on the map who is not near in the vectors; and the mean share of the k
        nearest in the vectors that are also among the k nearest on the map.

    References:
        Venna, Kaski: Neighborhood preservation in nonlinear projection methods, 2001.
    """
    n = len(coordinates)
    here = np.arange(len(rows))
    far = np.concatenate([_squared(queries, block) for block in blocks], axis=1)
    parts = (coordinates[first : first + _ROWS] for first in range(0, n, _ROWS))
    near = np.concatenate([_squared(coordinates[rows], part) for part in parts], axis=1)
    far[here, rows] = near[here, rows] = -1  # each is its own nearest
    on_map = np.argpartition(near, k, axis=1)[:, : k + 1]
    on_map = np.take_along_axis(on_map, np.argsort(np.take_along_axis(near, on_map, 1), axis=1), 1)[:, 1:]
    ranks = np.stack([(far < np.take_along_axis(far, on_map[:, [j]], 1)).sum(axis=1) for j in range(k)], axis=1)
    worse = np.maximum(ranks - k, 0).sum()
    trustworthiness = 1 - worse * 2 / (len(rows) * k * (2 * n - 3 * k - 1))
    return float(trustworthiness), float((ranks <= k).mean())


def looked_at(n: int, seed: int) -> Array:
    """The points that are looked at, (q,): all of a few thousand, and fewer of more."""
    q = min(n, max(50, _DISTANCES // n))
    return np.sort(np.random.default_rng(seed).choice(n, q, replace=False))


def _squared(a: Array, b: Array) -> Array:
    """Squared distances (q, n), float32; differences are taken from the mean of ``a``, so that little is lost."""
    center = a.mean(axis=0, dtype=np.float64)
    a, b = (np.asarray(x - center, np.float64) for x in (a, b))
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.maximum(squared, 0), np.float32)
