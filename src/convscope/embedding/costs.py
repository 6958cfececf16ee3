"""What is to be small between vectors: a negative similarity, or a distance; found in float32, decided in float64.

    cosine:     -a·b / (|a| |b|), 0 where a or b is zero
    euclidean:  |a - b|
    dot:        -a·b

Products in float32 are fast and rounded: they only say which pairs to look at again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import Metric
from ..results import Array

_CHUNK = 4096  # pairs at once


def pair_costs(a: Array, b: Array, i: Array, j: Array, metric: Metric) -> Array:
    """The costs (P,) float32 of the pairs a[i], b[j], computed in float64."""
    costs = np.empty(len(i), np.float32)
    for first in range(0, len(i), _CHUNK):
        part = slice(first, first + _CHUNK)
        x, y = a[i[part]].astype(np.float64), b[j[part]].astype(np.float64)
        values = np.linalg.norm(x - y, axis=1) if metric == "euclidean" else -np.einsum("pd,pd->p", x, y)
        if metric == "cosine":
            lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
            values = np.clip(values / np.where(lengths > 0, lengths, 1), -1, 1)
        with np.errstate(over="ignore"):  # of float32, where the vectors are that large
            costs[part] = values
    return costs


def squares_of(vectors: Array) -> Array:
    """Squared lengths (n,) float64 of vectors (n, D) float32."""
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))


def closeness(a: Array, b: Array, squares: tuple[Array, Array], metric: Metric) -> tuple[Array, Array]:
    """The nearer, the higher, (n, m); and by how much each row (n,) of it may be off.

    It is -cost for "cosine" and "dot", and |a|^2 - cost^2 for "euclidean", whose order is the same. In float32,
    but for vectors that are too long or too short for it.
    """
    of_a, of_b = (np.sqrt(s) for s in squares)
    kind: Any = np.float64 if _is_odd(of_a) or _is_odd(of_b) else np.float32
    largest = float(of_b.max(initial=0))
    rounding = 8 * float(np.finfo(np.float32).eps) * a.shape[1] ** 0.5
    if metric == "cosine":
        a = a / np.where(of_a > 0, of_a, 1)[:, None]
    near: Array = a.astype(kind, copy=False) @ b.astype(kind, copy=False).T
    if metric == "cosine":
        near *= (1 / np.where(of_b > 0, of_b, 1)).astype(kind)
        return near, np.full(len(a), rounding)
    if metric == "dot":
        return near, rounding * of_a * largest
    near *= 2
    near -= squares[1].astype(kind)
    return near, rounding * (of_a + largest) ** 2


def _is_odd(lengths: Array) -> bool:
    """Whether products of vectors of these lengths are too large for float32, or so small that it loses digits."""
    given = lengths[lengths > 0]
    return bool(len(given) and (given.min() < 1e-15 or given.max() > 1e18))
