"""Exact nearest neighbors, a block at a time, so that the matrix of all distances is never held.

    cosine:     sim(a, b) = a·b / (|a| |b|), 0 where a or b is zero; higher is nearer
    euclidean:  d(a, b)^2 = |a|^2 + |b|^2 - 2 a·b;                    lower is nearer
    dot:        a·b;                                                  higher is nearer

Computed in float64 and told apart in float32: what is equal in float32 is a tie, and ties go by row, so that
the order does not hang on the last bit of a sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..checks import HIGHER_IS_NEARER, as_count, check_metric
from ..checks import Metric as Metric  # also for those who search
from ..errors import ParameterError
from ..results import Array

_QUERIES = 256  # a block is this many queries ...
_ROWS = 4096  # ... by this many rows: 8 MB of float64
_RESOLUTION = 1e-12  # of |a|^2 + |b|^2: a squared distance below it is rounding, as float32 vectors hold 1e-7


MOST = 20_000_000  # scores of one result, which takes some hundred MB


def check_size(n_queries: int, k: int) -> None:
    """`ParameterError` for a result that would not fit into memory."""
    if n_queries * k > MOST:
        raise ParameterError(
            f"{n_queries:,} queries with {k:,} neighbors each make {n_queries * k:,} scores; expected at most "
            f"{MOST:,}: ask for fewer neighbors, or in several parts"
        )


def search(
    points: Array, queries: Array, k: int, metric: Metric = "cosine", own_rows: Array | None = None
) -> tuple[Array, Array]:
    """The k rows of ``points`` nearest to each query.

    Args:
        points: (N, D) finite floats, or uint8, which is divided by 255.
        queries: (Q, D), likewise.
        k: neighbors of each query; fewer where there are not so many.
        metric: "cosine", "euclidean" or "dot".
        own_rows: (Q,) a row for each query that is left out, for queries that are rows of ``points``.

    Returns:
        Row numbers (Q, K) int64, nearest first, and their similarities or distances (Q, K) float32.

    Raises:
        ParameterError: k < 1, an unknown metric, no row to choose from, NaN and infinity in the vectors, or more
            than 20 million scores.

    Cost: Q * N * D multiplications; besides the result, memory for one block.

    Example:
        >>> search(np.eye(3), np.array([[0.9, 0.1, 0.0]]), k=2, metric="euclidean")[0]
        array([[0, 1]])
    """
    check_metric(metric)
    k = as_count(k, "k", 1)
    n_rows = len(points) - (own_rows is not None)
    if n_rows < 1:
        raise ParameterError(f"{len(points)} embedded images leave no neighbor to find; embed more images")
    k = min(k, n_rows)
    check_size(len(queries), k)
    indices = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    for first in range(0, len(queries), _QUERIES):
        part = slice(first, first + _QUERIES)
        own = None if own_rows is None else own_rows[part]
        indices[part], scores[part] = _nearest(points, as_floats(queries[part], metric), k, metric, own)
    return indices, -scores if HIGHER_IS_NEARER[metric] else scores


def _nearest(points: Array, queries: Array, k: int, metric: Metric, own: Array | None) -> tuple[Array, Array]:
    """For a block of queries: rows (q, k) and what is to be small, the negative similarity or the distance."""
    indices, costs = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
    for first, block in _blocks(points, metric):
        new = _costs(queries, block, metric)
        if own is not None:
            inside = np.flatnonzero((own >= first) & (own < first + len(block)))
            new[inside, own[inside] - first] = np.inf
        rows = np.broadcast_to(np.arange(first, first + len(block)), new.shape)
        # What was found before has the lower rows and comes first: a stable sort keeps ties in row order.
        indices, costs = _smallest(np.hstack([indices, rows]), np.hstack([costs, new]), k)
    return indices, costs


def _blocks(points: Array, metric: Metric) -> Iterator[tuple[int, Array]]:
    return ((first, as_floats(points[first : first + _ROWS], metric)) for first in range(0, len(points), _ROWS))


def as_floats(values: Array, metric: Metric) -> Array:
    """float64, and of unit length for the cosine; a zero vector stays zero."""
    floats = values.astype(np.float64) / 255 if values.dtype == np.uint8 else values.astype(np.float64)
    if not np.isfinite(floats).all():
        raise ParameterError("the vectors hold NaN or infinite values, which have no neighbors")
    if metric == "cosine":
        lengths = np.linalg.norm(floats, axis=1, keepdims=True)
        floats /= np.where(lengths > 0, lengths, 1)
    return floats


def _costs(queries: Array, block: Array, metric: Metric) -> Array:
    products = queries @ block.T
    if metric == "cosine":
        return np.asarray(-np.clip(products, -1, 1), np.float32)
    if metric == "dot":
        return np.asarray(-products, np.float32)
    sizes = (queries**2).sum(axis=1)[:, None] + (block**2).sum(axis=1)
    squared = sizes - 2 * products
    squared[squared < _RESOLUTION * sizes] = 0
    return np.asarray(np.sqrt(squared), np.float32)


def _smallest(indices: Array, costs: Array, k: int) -> tuple[Array, Array]:
    """The k smallest of each row, sorted; a partition finds the limit, so that only k of them are sorted."""
    k = min(k, costs.shape[1])
    limits = np.partition(costs, k - 1, axis=1)[:, k - 1]
    kept = np.empty((len(costs), k), np.int64)
    for n, (row, limit) in enumerate(zip(costs, limits, strict=True)):
        near = np.flatnonzero(row <= limit)
        kept[n] = near[np.argsort(row[near], kind="stable")[:k]]
    return np.take_along_axis(indices, kept, axis=1), np.take_along_axis(costs, kept, axis=1)
