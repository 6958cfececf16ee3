"""The nearest rows of a store, by looking at all of them, however large it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checks import HIGHER_IS_NEARER, Metric
from ..errors import ParameterError
from ..progress import Progress
from ..results import Array
from ..store import Block as Points
from ..store import EmbeddingStore, Space
from .costs import closeness, pair_costs, squares_of
from .neighbors import check_size

_QUERIES = 256  # at once: with a block of rows, 16 MB of closeness


def nearest(
    store: EmbeddingStore,
    vectors: Array,
    k: int,
    metric: Metric,
    space: Space = "feature",
    where: str | None = None,
    own: Array | None = None,
    progress: Progress | None = None,
) -> tuple[Array, Array]:
    """The k nearest rows of each vector, by looking at all: _rowid (Q, K), and scores (Q, K) float32.

    One pass over the store in float32 finds all that may be among the k nearest, by the bound of its rounding;
    they are compared in float64. Costs that are equal in float32 are ties, which go by the order of the rows.
    ``own`` (Q,) are rows that are left out, one for each query. ``progress`` is called with (rows looked at, all).

    Cost: Q * N * D multiplications, and as many again in float64 where all rows are nearly alike; memory for a
    block of rows and Q * k results, besides the vectors of the store where they take less than a quarter of the
    free memory.
    """
    check_size(len(vectors), k)
    n_seen, n_rows = 0, len(store)
    parts = [slice(first, first + _QUERIES) for first in range(0, len(vectors), _QUERIES)]
    found = [Nearest(vectors[part], k, metric, None if own is None else own[part]) for part in parts]
    for block in store.blocks(space, where):
        for each in found:
            each.look_at(block)
        n_seen += len(block)
        if progress:
            progress(n_seen, max(n_seen, n_rows))
    return joined([each.answer() for each in found])


def ranked(
    store: EmbeddingStore, queries: Array, found: Sequence[Array], k: int, metric: Metric
) -> tuple[Array, Array]:
    """The k nearest of some candidates of each query, as `nearest` gives them.

    ``found`` has the _rowid (c,) of each query's candidates. Where a query has fewer than k of them, all queries
    get as many as that one.
    """
    unique, rows = np.unique(np.concatenate(found), return_inverse=True)
    each = Nearest(queries, k, metric, None)
    if len(unique):
        asked = np.repeat(np.arange(len(found)), [len(ids) for ids in found])
        each.compare(Points(unique, store.vectors_of(unique)), asked, rows)
    return each.answer()


def joined(found: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The answers to parts of the queries as one, as wide as the narrowest."""
    k = min(ids.shape[1] for ids, _ in found)
    return np.concatenate([ids[:, :k] for ids, _ in found]), np.concatenate([scores[:, :k] for _, scores in found])


class Nearest:
    """The k nearest to some queries (Q, D) of the rows seen so far: _rowid and costs (Q, k), nearest first."""

    def __init__(self, queries: Array, k: int, metric: Metric, own: Array | None) -> None:
        self._queries, self._k, self._metric, self._own = queries, k, metric, own
        self._squares = squares_of(queries)
        self._row_ids = np.zeros((len(queries), k), np.uint64)
        self._costs = np.full((len(queries), k), np.nan, np.float32)  # NaN where there is none yet
        self._n = np.zeros(len(queries), np.int64)  # how many there are

    def look_at(self, points: Points) -> None:
        """Take in a block of rows."""
        near, slack = closeness(self._queries, points.vectors, (self._squares, points.squares), self._metric)
        if self._own is not None:
            near[self._own[:, None] == points.rows] = -np.inf
        limit = self._limit()
        if near.shape[1] > self._k:
            limit = np.maximum(limit, np.partition(near, -self._k, axis=1)[:, -self._k].astype(np.float64))
        i, j = np.nonzero(near >= (limit - 2 * slack)[:, None])
        if self._own is not None:
            i, j = (at[points.rows[j] != self._own[i]] for at in (i, j))
        if len(i):
            self.compare(points, i, j)

    def compare(self, points: Points, i: Array, j: Array) -> None:
        """Take in rows ``j`` of a block as candidates of queries ``i``."""
        old, at = np.nonzero(np.arange(self._k) < self._n[:, None])
        queries = np.concatenate([old, i])
        row_ids = np.concatenate([self._row_ids[old, at], points.rows[j]])
        new = pair_costs(self._queries, points.vectors, i, j, self._metric)
        costs = np.concatenate([self._costs[old, at], new])
        order = np.lexsort((row_ids, costs, queries))
        queries = queries[order]
        rank = np.arange(len(order)) - np.searchsorted(queries, queries)  # among those of the same query
        order, queries, rank = (a[rank < self._k] for a in (order, queries, rank))
        self._row_ids[queries, rank], self._costs[queries, rank] = row_ids[order], costs[order]
        self._n = np.bincount(queries, minlength=len(self._n))

    def _limit(self) -> Array:
        """The closeness (Q,) of the k-th nearest so far; a row that is less close is not among the k nearest."""
        is_full = self._n == self._k
        last = np.where(is_full, self._costs[:, -1], 0).astype(np.float64)
        near = self._squares - last**2 if self._metric == "euclidean" else -last
        return np.where(is_full, near, -np.inf)

    def answer(self) -> tuple[Array, Array]:
        """_rowid and scores (Q, K), as many as every query has."""
        k = int(self._n.min())
        if not k:
            raise ParameterError("no row is left to be a neighbor: embed more images, or widen `where`")
        costs = self._costs[:, :k]
        return self._row_ids[:, :k], -costs if HIGHER_IS_NEARER[self._metric] else costs
