"""The nearest of some queries, by going over all vectors once, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..checks import Metric
from ..errors import ParameterError
from ..progress import Progress
from ..results import Array
from ..store.blocks import Block, squares_of
from .nearness import as_scores, closeness, pair_costs

_QUERIES = 256  # at once: with a block of rows, 16 MB of closeness
MOST = 20_000_000  # scores in one result, which take some hundred MB


def check_size(n_queries: int, k: int) -> None:
    """`ParameterError` for a result that would not fit into memory."""
    if n_queries * k > MOST:
        raise ParameterError(
            f"{n_queries:,} queries with {k:,} neighbors each make {n_queries * k:,} scores; expected at most "
            f"{MOST:,}: ask for fewer neighbors, or in several parts"
        )


def nearest(
    blocks: Iterable[Block],
    queries: Array,
    k: int,
    metric: Metric,
    *,
    own: Array | None = None,
    n_rows: int = 0,
    progress: Progress | None = None,
) -> tuple[Array, Array]:
    """The k nearest rows of each query: rows (Q, K), nearest first, and their scores (Q, K) float32.

    Each block is compared in float32. Whatever may be among the k nearest, given the rounding, is compared again
    in float64. Ties go by row.

    Args:
        blocks: all vectors, once.
        queries: (Q, D) float32.
        k: neighbors of each query; fewer where there are fewer.
        metric: what near means.
        own: (Q,) a row for each query that is left out, where the queries are rows themselves.
        n_rows: how many rows there are, for ``progress``.
        progress: called with (rows compared, all).

    Raises:
        ParameterError: no row is left, NaN or infinite values, or more than 20 million scores.

    Cost: Q * N * D multiplications, and as many again in float64 where nearly all rows are alike; memory for one
    block and the result.
    """
    check_size(len(queries), k)
    parts = [slice(first, first + _QUERIES) for first in range(0, len(queries), _QUERIES)]
    found = [Nearest(queries[part], k, metric, None if own is None else own[part]) for part in parts]
    n_seen = 0
    for block in blocks:
        for each in found:
            each.look_at(block)
        n_seen += len(block)
        if progress:
            progress(n_seen, max(n_seen, n_rows))
    return joined([each.answer() for each in found])


def nearest_among(
    candidates: Block, rows: Sequence[Array], queries: Array, k: int, metric: Metric
) -> tuple[Array, Array]:
    """The k nearest of each query's own candidates, as `nearest` gives them.

    Args:
        candidates: of all queries, each row once, in ascending order.
        rows: for each query, which of them are its own.
        queries: (Q, D) float32.
        k: neighbors; where a query has fewer candidates, all queries get as many as that one.
        metric: what near means.
    """
    each = Nearest(queries, k, metric, None)
    if len(candidates):
        asked = np.repeat(np.arange(len(rows)), [len(own) for own in rows])
        each.compare(candidates, asked, np.searchsorted(candidates.rows, np.concatenate(rows)))
    return each.answer()


def joined(found: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The answers to parts of the queries as one, as wide as the narrowest."""
    k = min(rows.shape[1] for rows, _ in found)
    return np.concatenate([rows[:, :k] for rows, _ in found]), np.concatenate([costs[:, :k] for _, costs in found])


class Nearest:
    """The k nearest to some queries (Q, D) among the rows seen so far, nearest first."""

    def __init__(self, queries: Array, k: int, metric: Metric, own: Array | None) -> None:
        self._queries, self._k, self._metric, self._own = queries, k, metric, own
        self._squares = squares_of(queries)
        self._rows = np.zeros((len(queries), k), np.int64)
        self._costs = np.full((len(queries), k), np.nan, np.float32)  # NaN where there is none yet
        self._n = np.zeros(len(queries), np.int64)  # how many there are

    def look_at(self, block: Block) -> None:
        """Take in a block of rows."""
        near, slack = closeness(self._queries, block.vectors, (self._squares, block.squares), self._metric)
        if self._own is not None:
            near[self._own[:, None] == block.rows] = -np.inf
        limit = self._limit()
        if near.shape[1] > self._k:
            limit = np.maximum(limit, np.partition(near, -self._k, axis=1)[:, -self._k].astype(np.float64))
        i, j = np.nonzero(near >= (limit - 2 * slack)[:, None])
        if self._own is not None:
            i, j = (at[block.rows[j] != self._own[i]] for at in (i, j))
        if len(i):
            self.compare(block, i, j)

    def compare(self, block: Block, i: Array, j: Array) -> None:
        """Take in rows ``j`` of a block as candidates of queries ``i``."""
        old, at = np.nonzero(np.arange(self._k) < self._n[:, None])
        queries = np.concatenate([old, i])
        rows = np.concatenate([self._rows[old, at], block.rows[j].astype(np.int64)])
        new = pair_costs(self._queries, block.vectors, i, j, self._metric)
        costs = np.concatenate([self._costs[old, at], new])
        order = np.lexsort((rows, costs, queries))
        queries = queries[order]
        rank = np.arange(len(order)) - np.searchsorted(queries, queries)  # among those of the same query
        order, queries, rank = (a[rank < self._k] for a in (order, queries, rank))
        self._rows[queries, rank], self._costs[queries, rank] = rows[order], costs[order]
        self._n = np.bincount(queries, minlength=len(self._n))

    def _limit(self) -> Array:
        """The closeness (Q,) of the k-th nearest so far; a row that is less close is not among the k nearest."""
        is_full = self._n == self._k
        last = np.where(is_full, self._costs[:, -1], 0).astype(np.float64)
        near = self._squares - last**2 if self._metric == "euclidean" else -last
        return np.where(is_full, near, -np.inf)

    def answer(self) -> tuple[Array, Array]:
        """Rows and scores (Q, K), as many as every query has."""
        k = int(self._n.min())
        if not k:
            raise ParameterError("no row is left to be a neighbor: embed more images, or widen `where`")
        return self._rows[:, :k], as_scores(self._costs[:, :k], self._metric)
