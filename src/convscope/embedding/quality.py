"""How far a map can be trusted: are neighbors on it neighbors in the vectors, and the other way round?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..results import Array

NEAREST = 10
_ROWS = 65_536  # of a map at once
_DISTANCES = 10_000_000  # held at once, 40 MB; of more points fewer are checked


def trust(
    blocks: Iterable[Array], queries: Array, rows: Array, coordinates: Array, k: int, seed: int
) -> tuple[float, float]:
    """Trustworthiness of a map, and the share of neighbors that it keeps.

        T = 1 - 2 / (q k (2 n - 3 k - 1)) * sum over q points i, and those j among the k nearest of i on the map
            that are not among its k nearest in the vectors, of (rank of j among the neighbors of i there - k)

    Neighbors that are equally far are put into a random order, the same in the vectors and on the map. So a map
    that keeps all distances has T = 1, and a map of vectors that are all equally far is as good as chance.

    Args:
        blocks: all vectors (n, D), in blocks.
        queries: (q, D) the vectors of the points that are checked.
        rows: (q,) the numbers of those points.
        coordinates: (n, d) all points on the map.
        k: neighbors of each point; less than n / 2.
        seed: of the order of ties.

    Returns:
        T in [0, 1], 1 if all neighbors on the map are neighbors in the vectors; and the mean share of the k
        nearest in the vectors that are also among the k nearest on the map.

    References:
        Venna, Kaski: Neighborhood preservation in nonlinear projection methods, 2001.
    """
    n = len(coordinates)
    far = np.concatenate([_squared(queries, block) for block in blocks], axis=1)
    parts = (coordinates[first : first + _ROWS] for first in range(0, n, _ROWS))
    near = np.concatenate([_squared(coordinates[rows], part) for part in parts], axis=1)
    rng = np.random.default_rng(seed)
    worse = kept = 0
    for there, here, row in zip(far, near, rows, strict=True):
        order = rng.permutation(n)
        order = order[order != row]
        ranks = np.empty(n - 1, np.int64)
        ranks[np.argsort(there[order], kind="stable")] = np.arange(1, n)
        found = ranks[np.argsort(here[order], kind="stable")[:k]]
        worse += int(np.maximum(found - k, 0).sum())
        kept += int((found <= k).sum())
    q = len(rows)
    return 1 - worse * 2 / (q * k * (2 * n - 3 * k - 1)), kept / (q * k)


def points_to_check(n: int, seed: int) -> Array:
    """The points to check (q,): all of up to 3,162, and fewer of more."""
    q = min(n, max(50, _DISTANCES // n))
    return np.sort(np.random.default_rng(seed).choice(n, q, replace=False))


def _squared(a: Array, b: Array) -> Array:
    """Squared distances (q, n), float32; relative to the mean of ``a``, so that few digits cancel."""
    center = a.mean(axis=0, dtype=np.float64)
    a, b = (np.asarray(x - center, np.float64) for x in (a, b))
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.maximum(squared, 0), np.float32)
