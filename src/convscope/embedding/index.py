"""LanceDB's index over a store's vectors: faster than looking at every row, and nearly the same."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..checks import Metric
from ..errors import ParameterError, StoreError
from ..results import Array
from ..store import EmbeddingStore
from .exact import joined, nearest, ranked
from .neighbors import check_size

_FEWEST, _SAMPLE = 1000, 200
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CANDIDATES = 2  # times k rows are compared by their full vectors: the index holds them rounded to 8 bits
_QUERIES = 256  # at once, as a question costs 2 ms however little it asks
_DISTANCE = {"cosine": "cosine", "euclidean": "l2", "dot": "dot"}


def make_index(
    store: EmbeddingStore, *, metric: Metric = "cosine", recall: float = 0.95, k: int = 10, seed: int = 0
) -> dict[str, Any]:
    """See `EmbeddingStore.index`."""
    n = store.count(store.in_use())
    if n < _FEWEST:
        raise StoreError(f"{n} vectors: an index pays from {_FEWEST} on; exact search takes milliseconds")
    if k >= n:
        raise ParameterError(f"k={k}: of {n} vectors each has {n - 1} others")
    own, vectors = _sample(store, n, seed)
    started = time.perf_counter()
    truth, _ = nearest(store, vectors, k, metric, own=own)
    exact_ms = 1e3 * (time.perf_counter() - started) / len(own)
    started = time.perf_counter()
    store.build_index(_DISTANCE[metric])
    nearest_by_index(store, vectors[:1], k, metric, n_probes=1)  # is read into memory
    about: dict[str, Any] = {"metric": metric, "k": k, "n_rows": n, "build_s": time.perf_counter() - started}
    for n_probes in _PROBES:
        started = time.perf_counter()
        found, _ = nearest_by_index(store, vectors, k, metric, own=own, n_probes=n_probes)
        ms = 1e3 * (time.perf_counter() - started) / len(own)
        hits = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, truth, strict=True)])
        about |= {"n_probes": n_probes, "recall": float(hits), "ms": ms, "exact_ms": exact_ms}
        if hits >= recall:
            break
    store.fits.remember("index", about)
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
    check_size(len(vectors), k)
    if n_probes is None:
        kept = store.fits.recall("index")
        if kept is None or kept[0]["metric"] != metric:
            raise StoreError(
                f"{store.place} has no index for {metric!r}; make one with `convscope index` or store.index(...)"
            )
        n_probes = int(kept[0]["n_probes"])
    found = []
    for first in range(0, len(vectors), _QUERIES):
        part = slice(first, first + _QUERIES)
        ids = store.search_index(vectors[part], _CANDIDATES * k + 1, _DISTANCE[metric], n_probes, where)
        if own is not None:
            ids = [some[some != one] for some, one in zip(ids, own[part], strict=True)]
        for i in (i for i, some in enumerate(ids) if len(some) < k):  # in the parts that were looked into
            query = first + i
            mine = None if own is None else own[query : query + 1]
            ids[i] = nearest(store, vectors[query : query + 1], k, metric, where=where, own=mine)[0][0]
        found.append(ranked(store, vectors[part], ids, k, metric))
    return joined(found)


def _sample(store: EmbeddingStore, n: int, seed: int) -> tuple[Array, Array]:
    """Rows of the store to measure on: their _rowid, and their vectors."""
    chosen = np.sort(np.random.default_rng(seed).choice(n, min(_SAMPLE, n), replace=False))
    row_ids, vectors, first = [], [], 0
    for block in store.blocks():
        here = chosen[(chosen >= first) & (chosen < first + len(block))] - first
        row_ids.append(block.rows[here])
        vectors.append(block.vectors[here])
        first += len(block)
    return np.concatenate(row_ids), np.concatenate(vectors)
