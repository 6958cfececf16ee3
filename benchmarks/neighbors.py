"""How fast a store finds the nearest: exactly, against faiss, and by its index, against itself.

    python benchmarks/neighbors.py --n 100000 --repeats 15

Exact: one vector is asked for at a time, k = 10, cosine; ours is the whole of `convscope.neighbors`, with
the rows of what was found, the peer is faiss's IndexFlatIP over unit-length vectors. Both are given two threads
and are measured in turn in one process; the table shows medians and their ratio, which should be at most 1.3.

By the index: recall@10 against the exact answer, which should be at least 0.95, and how many times faster than
exact, which should be at least 10, one query at a time and all at once, on queries that are not in the store. A
question to the index takes some milliseconds however small the store is; from where the vectors outgrow a quarter
of the free memory, an exact one reads them all again. The data are mixtures: "clusters" of
a thousand Gaussians in few dimensions of the space, as classes of images make them; "features" are rectified and
of fewer and wider clouds, as a network's last average pooling gives them, and harder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import faiss
import numpy as np
import pyarrow as pa
import torch

from convscope import EmbeddingStore, index, neighbors
from convscope.embedding.nearest import nearest, nearest_by_index
from convscope.store.schema import Origin, vector_column
from interleaved import HEADER, Runs, interleaved, row

EXACT, RECALL, FASTER = 1.3, 0.95, 10
K, THREADS, QUERIES, TURN = 10, 2, 200, 20


def clusters(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """n / 100 Gaussians, each flat: 32 directions of its own."""
    centers = rng.normal(size=(max(1, n // 100), d)).astype(np.float32)
    spread = rng.normal(size=(16, 32, d)).astype(np.float32) / 8
    out = np.empty((n, d), np.float32)
    which = rng.integers(len(centers), size=n)
    for i in range(16):
        rows = np.flatnonzero(which % 16 == i)
        noise = rng.normal(size=(len(rows), 32)).astype(np.float32)
        out[rows] = centers[which[rows]] + noise @ spread[i]
    return out


def features(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Clouds of 64 directions of falling strength around 50 centers, rectified: about half of the values are 0."""
    strength = (1 / np.sqrt(1 + np.arange(64))).astype(np.float32)
    mixing = rng.normal(size=(64, d)).astype(np.float32)
    centers = rng.normal(size=(50, 64)).astype(np.float32)
    hidden = (centers[rng.integers(50, size=n)] + rng.normal(size=(n, 64)).astype(np.float32)) * strength
    out = hidden @ mixing
    return np.maximum(out, 0, out=out)


def stored(place: Path, vectors: np.ndarray) -> EmbeddingStore:
    """A store of bare vectors."""
    store = EmbeddingStore.create(place, Origin({"name": "benchmark"}, "fc"), vectors.shape[1])
    for first in range(0, len(vectors), 20_000):
        part = vectors[first : first + 20_000]
        n = len(part)
        columns = {"path": pa.array([f"image {first + i}" for i in range(n)])}
        columns["vector"] = vector_column(part, store.schema)
        empty = {f.name: pa.nulls(n, f.type) for f in store.schema if f.name not in columns}
        schema = pa.schema(list(store.schema))
        store.write(pa.Table.from_arrays([(columns | empty)[f.name] for f in schema], schema=schema))
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000, help="vectors")
    parser.add_argument("--d", type=int, default=1280, help="values of a vector")
    parser.add_argument("--repeats", type=int, default=15, help="rounds, of which the median counts")
    parser.add_argument("--data", choices=["clusters", "features"], nargs="*", default=["clusters", "features"])
    parser.add_argument("--exact-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)
    for data in options.data:
        made = {"clusters": clusters, "features": features}[data](
            options.n + QUERIES, options.d, np.random.default_rng(0)
        )
        vectors, queries = made[:-QUERIES], made[-QUERIES:]
        with tempfile.TemporaryDirectory() as name:
            measure(stored(Path(name) / "s.lance", vectors), vectors, queries, data, options)


def measure(
    store: EmbeddingStore, vectors: np.ndarray, queries: np.ndarray, data: str, options: argparse.Namespace
) -> None:
    peer = faiss.IndexFlatIP(vectors.shape[1])
    peer.add(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    turn = iter(range(10**9))  # another query at every question

    def ask(exact: bool) -> object:
        return neighbors(store, queries[next(turn) % len(queries)], k=K, exact=exact)

    def ask_peer() -> object:
        query = queries[next(turn) % len(queries)][None]
        return peer.search(query / np.linalg.norm(query), K)

    runs: Runs = {"exact": lambda: ask(True), "faiss": ask_peer}
    times = interleaved(runs, options.repeats)
    print(f"\n{data}: {len(vectors)} x {vectors.shape[1]}, k = {K}, {options.repeats} rounds, {THREADS} threads")
    print(HEADER)
    print(row("exact, one query", times, "exact", "faiss", EXACT))
    if options.exact_only:
        return
    about = index(store, k=K, recall=RECALL)
    # Several questions a turn: the threads of an exact search go on spinning for some milliseconds after it.
    runs = {how: lambda exact=how == "exact": [ask(exact) for _ in range(TURN)] for how in ("exact", "index")}
    times = interleaved(runs, options.repeats)
    together: Runs = {
        "exact": lambda: nearest(store.blocks(), queries, K, "cosine"),
        "index": lambda: nearest_by_index(store, queries, K, "cosine"),
    }
    at_once = interleaved(together, options.repeats)
    truth, _ = nearest(store.blocks(), queries, K, "cosine")
    rows = [neighbors(store, query, k=K, exact=False) for query in queries]
    paths = store.take(truth.ravel(), n_thumbnails=0).names
    hits = [
        len({found.names[i] for i in found.indices[0]} & set(paths[q * K : q * K + K])) / K
        for q, found in enumerate(rows)
    ]
    faster = median(a / b for a, b in zip(times["exact"], times["index"], strict=True))
    one, exact = (median(times[how]) / TURN * 1e3 for how in ("index", "exact"))
    print(f"index: built in {about['build_s']:.0f} s, {about['n_probes']} parts looked into")
    print(f"  recall@{K} {np.mean(hits):.3f} (target: at least {RECALL})")
    print(f"  {one:.1f} ms, exact {exact:.1f} ms: {faster:.1f} times faster (target: at least {FASTER})")
    one, exact = (median(at_once[how]) / QUERIES * 1e3 for how in ("index", "exact"))
    faster = median(a / b for a, b in zip(at_once["exact"], at_once["index"], strict=True))
    print(f"  {QUERIES} at once: {one:.2f} ms each, exact {exact:.2f} ms: {faster:.1f} times faster")


if __name__ == "__main__":
    main()
