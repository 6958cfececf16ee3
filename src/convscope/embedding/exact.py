"""The nearest rows of a store, by looking at all of them, however large it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ParameterError
from ..results import Array
from .neighbors import Metric, Space
from .points import Points, points_of, values_of
from .store import EmbeddingStore

_QUERIES = 256  # at once: with a block of rows, 16 MB of closeness
_SPARE = 16  # rows beyond the k nearest that are compared again in float64


def nearest(
    store: EmbeddingStore,
    vectors: Array,
    k: int,
    metric: Metric,
    space: Space = "feature",
    where: str | None = None,
    own: Array | None = None,
) -> tuple[Array, Array]:
    """The k nearest rows of each vector, by looking at all: _rowid (Q, K), and scores (Q, K) float32.

    One pass over the store in float32; the nearest k and 16 more are compared again in float64. Ties go by the
    order of the rows. ``own`` (Q,) are rows that are left out, one for each query.

    Cost: Q * N * D multiplications; memory for a block of rows and Q * (k + 16) candidates, besides the vectors of
    the store where they take less than a quarter of the free memory.
    """
    wide = k + _SPARE
    parts = [slice(first, first + _QUERIES) for first in range(0, len(vectors), _QUERIES)]
    seen = [(np.zeros((len(vectors[p]), 0), np.float32), np.zeros((len(vectors[p]), 0), np.uint64)) for p in parts]
    for block in points_of(store, where, space):
        for i, part in enumerate(parts):
            close = _closeness(vectors[part], block, metric)
            if own is not None:
                close[own[part, None] == block.row_ids] = -np.inf
            seen[i] = _nearer(*seen[i], close, block.row_ids, wide)
    found = [
        ranked(store, vectors[part], [ids[n > -np.inf] for n, ids in zip(*one, strict=True)], k, metric, space)
        for part, one in zip(parts, seen, strict=True)
    ]
    return joined(found)


def ranked(
    store: EmbeddingStore, queries: Array, found: Sequence[Array], k: int, metric: Metric, space: Space = "feature"
) -> tuple[Array, Array]:
    """The k nearest of some candidates of each query, compared in float64: as `nearest` gives them.

    ``found`` has the _rowid (c,) of each query's candidates. Where a query has fewer than k of them, all queries
    get as many as that one.
    """
    k = min(k, min(map(len, found)))
    if not k:
        raise ParameterError("no row is left to be a neighbor: embed more images, or widen `where`")
    unique, at = np.unique(np.concatenate(found), return_inverse=True)
    values = values_of(store, unique, space)
    row_ids, scores = np.empty((len(found), k), np.uint64), np.empty((len(found), k), np.float32)
    ends = np.cumsum([len(ids) for ids in found])
    for i, (query, ids) in enumerate(zip(queries, found, strict=True)):
        these = _scores(query, values[at[ends[i] - len(ids) : ends[i]]], metric)
        order = np.lexsort((ids, these if metric == "euclidean" else -these))[:k]
        row_ids[i], scores[i] = ids[order], these[order]
    return row_ids, scores


def joined(found: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The answers to parts of the queries as one, as wide as the narrowest."""
    k = min(ids.shape[1] for ids, _ in found)
    return np.concatenate([ids[:, :k] for ids, _ in found]), np.concatenate([scores[:, :k] for _, scores in found])


def _closeness(queries: Array, points: Points, metric: Metric) -> Array:
    """The nearer, the higher, (Q, n) float32."""
    products: Array = queries @ points.vectors.T
    if metric == "euclidean":
        products *= 2
        products -= points.squares
    elif metric == "cosine":
        products *= points.inverse_lengths
    return products


def _nearer(near: Array, ids: Array, close: Array, row_ids: Array, wide: int) -> tuple[Array, Array]:
    """The nearest of what was found before, (Q, c), and of a block (Q, n): at most ``wide`` of each query."""
    top = _largest(close, wide)
    near, ids = np.hstack([near, np.take_along_axis(close, top, 1)]), np.hstack([ids, row_ids[top]])
    best = np.argsort(-near, axis=1, kind="stable")[:, :wide]
    return np.take_along_axis(near, best, 1), np.take_along_axis(ids, best, 1)


def _largest(values: Array, n: int) -> Array:
    """Where the n largest of each row are, in the order of the columns; of equal ones the first."""
    if values.shape[1] <= n:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    top = np.argpartition(values, -n, axis=1)[:, -n:]
    limits = np.take_along_axis(values, top, 1).min(axis=1)
    for row in np.flatnonzero((values >= limits[:, None]).sum(axis=1) > n):  # more are equal than have room
        near = np.flatnonzero(values[row] >= limits[row])
        top[row] = near[np.argsort(-values[row, near], kind="stable")[:n]]
    return np.sort(top, axis=1)


def _scores(query: Array, candidates: Array, metric: Metric) -> Array:
    """Scores (c,) float32 of candidates (c, D), computed in float64."""
    q, c = query.astype(np.float64), candidates.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(np.linalg.norm(c - q, axis=1), np.float32)
    products = c @ q
    if metric == "cosine":
        lengths = np.linalg.norm(q) * np.linalg.norm(c, axis=1)
        products = np.clip(products / np.where(lengths > 0, lengths, 1), -1, 1)
    return np.asarray(products, np.float32)
