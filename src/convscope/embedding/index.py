"""LanceDB's index over a store's vectors: faster than looking at every row, and nearly the same."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..errors import ParameterError, StoreError
from ..results import Array
from .asking import nearest, ordered, points_of
from .neighbors import Metric, check_metric
from .store import HAS_VECTOR, EmbeddingStore

_FEWEST, _SAMPLE = 1000, 200
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CANDIDATES = 2  # times k rows are compared by their full vectors: the index holds them rounded to 8 bits
_QUERIES = 256  # at once, as a question costs 2 ms however little it asks
_DISTANCE = {"cosine": "cosine", "euclidean": "l2", "dot": "dot"}


def make_index(
    store: EmbeddingStore, *, metric: Metric = "cosine", recall: float = 0.95, k: int = 10, seed: int = 0
) -> dict[str, Any]:
    """See `EmbeddingStore.index`."""
    check_metric(metric)
    if not 0 < recall <= 1:
        raise ParameterError(f"recall={recall}: expected a share above 0, at most 1")
    n = store.count(HAS_VECTOR)
    if n < _FEWEST:
        raise StoreError(f"{n} vectors: an index pays from {_FEWEST} on; exact search takes milliseconds")
    own, vectors = _sample(store, n, seed)
    started = time.perf_counter()
    truth, _ = nearest(store, vectors, k, metric, own=own)
    exact_ms = 1e3 * (time.perf_counter() - started) / len(own)
    started = time.perf_counter()
    store.build_index(_DISTANCE[metric])
    about: dict[str, Any] = {"metric": metric, "k": k, "n_rows": n, "build_s": time.perf_counter() - started}
    for n_probes in _PROBES:
        started = time.perf_counter()
        found, _ = nearest_by_index(store, vectors, k, metric, own=own, n_probes=n_probes)
        ms = 1e3 * (time.perf_counter() - started) / len(own)
        hits = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, truth, strict=True)])
        about |= {"n_probes": n_probes, "recall": float(hits), "ms": ms, "exact_ms": exact_ms}
        if hits >= recall:
            break
    store.remember("index", about)
    return about


def nearest_by_index(
    store: EmbeddingStore,
    vectors: Array,
    k: int,
    metric: Metric,
    where: str | None = None,
    own: Array | None = None,
    n_probes: int | None = None,
) -> tuple[Array, Array]:
    """Nearly the k nearest rows of each vector: _rowid (Q, K), and scores (Q, K) float32, as `nearest` gives them.

    ``n_probes`` is how many parts of the store are looked into; by default as many as `make_index` found to do.
    """
    if n_probes is None:
        kept = store.recall("index")
        if kept is None or kept[0]["metric"] != metric:
            raise StoreError(
                f"{store.place} has no index for metric={metric!r}; make one with store.index(metric=...)"
            )
        n_probes = int(kept[0]["n_probes"])
    found = []
    for first in range(0, len(vectors), _QUERIES):
        part = slice(first, first + _QUERIES)
        ids = store.search_index(vectors[part], _CANDIDATES * k + 1, _DISTANCE[metric], n_probes, where)
        found.append(_ordered(store, vectors[part], ids, k, metric, None if own is None else own[part]))
    k = min(ids.shape[1] for ids, _ in found)
    return np.concatenate([ids[:, :k] for ids, _ in found]), np.concatenate([s[:, :k] for _, s in found])


def _ordered(
    store: EmbeddingStore, queries: Array, found: list[Array], k: int, metric: Metric, own: Array | None
) -> tuple[Array, Array]:
    """The k nearest of the candidates that the index found for each query, by their full vectors."""
    widest = max(map(len, found))
    unique, places = np.unique(np.concatenate(found), return_inverse=True)
    at, is_given = np.zeros((len(found), widest), np.int64), np.zeros((len(found), widest), bool)
    for row, end in enumerate(np.cumsum([len(ids) for ids in found])):
        n = len(found[row])
        at[row, :n], is_given[row, :n] = places[end - n : end], True
    if not len(unique):
        raise ParameterError("no row is left to be a neighbor: embed more images, or widen `where`")
    row_ids = unique[at]
    if own is not None:
        is_given &= row_ids != own[:, None]
    column = store.take(unique, ["vector"])["vector"].combine_chunks()
    full = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(len(unique), -1)
    return ordered(queries, full[at], is_given, row_ids, at, k, metric)


def _sample(store: EmbeddingStore, n: int, seed: int) -> tuple[Array, Array]:
    """Rows of the store to measure on: their _rowid, and their vectors."""
    chosen = np.sort(np.random.default_rng(seed).choice(n, min(_SAMPLE, n), replace=False))
    row_ids, vectors, first = [], [], 0
    for block in points_of(store):
        here = chosen[(chosen >= first) & (chosen < first + len(block))] - first
        row_ids.append(block.row_ids[here])
        vectors.append(block.vectors[here])
        first += len(block)
    return np.concatenate(row_ids), np.concatenate(vectors)
