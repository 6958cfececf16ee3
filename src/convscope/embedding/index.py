"""`index`: LanceDB's index over the vectors of a store, which makes its answers faster and nearly the same."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..arguments import checks_arguments
from ..checks import Metric
from ..errors import ParameterError, StoreError
from ..store import EmbeddingStore
from .nearest import check_size, nearest, nearest_in_parts
from .source import rows_at

_FEWEST, _SAMPLE = 1000, 200
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@checks_arguments
def index(
    store: EmbeddingStore, *, metric: Metric = "cosine", recall: float = 0.95, k: int = 10, seed: int = 0
) -> dict[str, Any]:
    """An index over a store's vectors, for ``neighbors(store, ..., exact=False)``: faster, and nearly the same.

    It divides the store into parts, of which a search looks into a few: as few as reach the recall, measured on
    some rows of the store.

    Args:
        store: an `EmbeddingStore` of at least 1,000 vectors.
        metric: "cosine", "euclidean" or "dot"; a store has an index for one of them.
        recall: the share of the true k nearest that it should find, in (0, 1].
        k: neighbors of a query when that is measured.
        seed: of the choice of 200 rows to measure on.

    Returns:
        What was measured: "recall"; "ms" and "exact_ms", milliseconds a query by the index and without it;
        "n_probes", the parts that a search looks into; "build_s", seconds to build.

    Raises:
        ParameterError: an option out of range, or k of as many images as there are.
        StoreError: fewer than 1,000 vectors.

    Cost: minutes for a million rows. It covers the rows that are there; make it again when many were added.

    Example:
        >>> import tempfile
        >>> store = EmbeddingStore.of_vectors(
        ...     tempfile.mkdtemp() + "/s.lance", np.random.default_rng(0).normal(size=(1000, 8))
        ... )
        >>> index(store, recall=0.5)["recall"] >= 0.5
        True
    """
    n = store.n_vectors
    if n < _FEWEST:
        raise StoreError(f"{n} vectors: an index pays from {_FEWEST} on; exact search takes milliseconds")
    if k >= n:
        raise ParameterError(f"k={k}: of {n} vectors each has {n - 1} others")
    check_size(_SAMPLE, k)
    places = np.sort(np.random.default_rng(seed).choice(n, _SAMPLE, replace=False))
    sample = rows_at(store.blocks(), places)
    started = time.perf_counter()
    truth, _ = nearest(store.blocks(), sample.vectors, k, metric, own=sample.rows)
    exact_ms = 1e3 * (time.perf_counter() - started) / len(sample)
    started = time.perf_counter()
    store.table.build_index(metric)
    nearest_in_parts(store, sample.vectors[:1], k, metric, n_probes=1)  # reads it into memory
    about: dict[str, Any] = {"metric": metric, "k": k, "n_rows": n, "build_s": time.perf_counter() - started}
    for n_probes in _PROBES:
        started = time.perf_counter()
        found, _ = nearest_in_parts(store, sample.vectors, k, metric, n_probes, own=sample.rows)
        ms = 1e3 * (time.perf_counter() - started) / len(sample)
        hits = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, truth, strict=True)])
        about |= {"n_probes": n_probes, "recall": float(hits), "ms": ms, "exact_ms": exact_ms}
        if hits >= recall:
            break
    store.remember("index", about)
    return about
