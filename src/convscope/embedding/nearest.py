"""The nearest of some queries: among all vectors, a block at a time, or among those that an index picks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..checks import Metric
from ..errors import ParameterError, StoreError
from ..progress import Progress
from ..results import Array
from ..store import StoredRows
from ..store.blocks import Block, squares_of
from ..store.conditions import both
from .nearness import as_scores, closeness, pair_costs
from .source import Source, is_stored

_QUERIES = 256  # at once: with a block of rows, 16 MB of closeness
_CANDIDATES = 2  # times k rows are compared by their full vectors: an index holds them rounded to 8 bits
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
        ParameterError: no row is left, or NaN or infinite values.

    Cost: Q * N * D multiplications, and as many again in float64 where nearly all rows are alike; memory for one
    block and the result.
    """
    parts = [slice(first, first + _QUERIES) for first in range(0, len(queries), _QUERIES)]
    found = [Nearest(queries[part], k, metric, None if own is None else own[part]) for part in parts]
    n_seen = 0
    for block in blocks:
        for each in found:
            each.look_at(block)
        n_seen += len(block)
        if progress:
            progress(n_seen, max(n_seen, n_rows))
    return _joined([each.answer() for each in found])


def nearest_by_index(
    source: Source, queries: Array, k: int, metric: Metric, *, where: str | None = None, own: Array | None = None
) -> tuple[Array, Array]:
    """Nearly the k nearest rows, as `nearest` gives them, by the index that a store has."""
    if not is_stored(source):
        raise ParameterError("exact=False asks an index, which only a store has; leave it out")
    kept = source.recall("index")
    if kept is None or kept[0]["metric"] != metric:
        raise StoreError(
            f"{source.place} has no index for {metric!r}; make one with `convscope index` or convscope.index"
        )
    return nearest_in_parts(source, queries, k, metric, int(kept[0]["n_probes"]), where=where, own=own)


def nearest_in_parts(
    store: StoredRows,
    queries: Array,
    k: int,
    metric: Metric,
    n_probes: int,
    *,
    where: str | None = None,
    own: Array | None = None,
) -> tuple[Array, Array]:
    """The nearest in ``n_probes`` parts of an index; in the whole store where those hold fewer than k."""
    found = []
    for first in range(0, len(queries), _QUERIES):
        picked = store.table.search_index(
            queries[first : first + _QUERIES], _CANDIDATES * k + 1, metric, n_probes, both(store.condition, where)
        )
        different = np.unique(np.concatenate(picked))
        vectors = store.vectors_of(different)
        for i, rows in enumerate(picked, first):
            mine = None if own is None else own[i : i + 1]
            blocks: Iterable[Block] = [Block(rows, vectors[np.searchsorted(different, rows)])]
            if (len(rows) if mine is None else (rows != mine).sum()) < k:
                blocks = store.blocks(where=where)
            found.append(nearest(blocks, queries[i : i + 1], k, metric, own=mine))
    return _joined(found)


def _joined(found: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
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
            self._compare(block, i, j)

    def _compare(self, block: Block, i: Array, j: Array) -> None:
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
