"""Ask a store: the nearest rows, exactly or by an index, under a condition, in feature space or in pixel space."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from ..checks import as_count
from ..errors import ParameterError, StoreError
from ..models import free_memory
from ..results import Array, Neighbors, Provenance
from .neighbors import Metric, Space, check_metric
from .store import HAS_VECTOR, EmbeddingStore, quoted
from .table import decode

_QUERIES = 256  # at once
_SPARE = 16  # rows beyond the k nearest that are compared again in float64
_SHOWN = ("path", "label", "thumbnail")
_SHARE = 0.25  # of the free memory: vectors that fit are kept between questions


@dataclass(frozen=True)
class Queries:
    """What is searched for: vectors (Q, D) float32, and what a picture of the result shows of them.

    ``row_ids`` (Q,) are given where the queries are rows of the store, which are left out of their own neighbors.
    """

    vectors: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array
    row_ids: Array | None = None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Points:
    """Some rows of a store: their _rowid (n,) and their vectors (n, D) float32."""

    row_ids: Array
    vectors: Array

    def __len__(self) -> int:
        return len(self.row_ids)

    @cached_property
    def squares(self) -> Array:
        """Squared lengths (n,) float32; computing them reads as much memory as a whole question does."""
        return np.asarray(np.einsum("nd,nd->n", self.vectors, self.vectors))

    @cached_property
    def inverse_lengths(self) -> Array:
        """1 / length (n,) float32, and 1 of a zero vector."""
        return np.asarray(1 / np.sqrt(np.where(self.squares > 0, self.squares, 1)))

    def take(self, rows: Array) -> Points:
        return Points(self.row_ids[rows], self.vectors[rows])


def neighbors_of(
    store: EmbeddingStore,
    query: Any,
    *,
    k: int = 5,
    metric: Metric = "cosine",
    space: Space = "feature",
    where: str | None = None,
    exact: bool = True,
) -> Neighbors:
    """See `EmbeddingStore.neighbors`."""
    started = time.perf_counter()
    k = as_count(k, "k", 1)
    check_metric(metric)
    if space not in get_args(Space):
        raise ParameterError(f"space={space!r}: expected 'feature' or 'pixel'")
    queries = queries_of(store, query, space)
    if exact or space == "pixel":
        row_ids, scores = nearest(store, queries.vectors, k, metric, space, where, queries.row_ids)
        rows = None
    else:
        row_ids, scores, rows = _by_index(store, queries, k, metric, where)
    found, places = np.unique(row_ids, return_inverse=True)
    rows = store.take(found, _SHOWN) if rows is None else rows.take(_firsts(rows["_rowid"].to_numpy(), found))
    origin = store.origin
    return Neighbors(
        indices=places.reshape(row_ids.shape),
        scores=scores,
        metric=metric,
        space=space,
        query_names=queries.names,
        names=tuple(rows["path"].to_pylist()),
        labels=tuple(rows["label"].to_pylist()),
        query_labels=queries.labels,
        query_thumbnails=queries.thumbnails,
        thumbnails=np.stack([decode(data) for data in rows["thumbnail"].to_pylist()]),
        provenance=Provenance(
            "neighbors",
            {"layer": origin.layer, "k": k, "metric": metric, "space": space, "where": where, "exact": exact},
            origin.model,
            "cpu",
            origin.versions,
            time.perf_counter() - started,
            skipped=queries.skipped,
        ),
    )


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

    Looked through in float32; the nearest k and some more are compared again in float64. Ties go by the order of
    the rows in the store.

    Cost: Q * N * D multiplications, and reading the vectors where they do not fit in a quarter of the free memory.
    """
    blocks = list(points_of(store, where)) if space == "feature" else _thumbnails(store, where)
    parts = [slice(first, first + _QUERIES) for first in range(0, len(vectors), _QUERIES)]
    if not isinstance(blocks, list) and len(parts) > 1:
        blocks = list(blocks)
    found = [_nearest(blocks, vectors[p], k, metric, None if own is None else own[p]) for p in parts]
    return np.concatenate([ids for ids, _ in found]), np.concatenate([scores for _, scores in found])


def _nearest(
    blocks: Sequence[Points] | Iterator[Points], queries: Array, k: int, metric: Metric, own: Array | None
) -> tuple[Array, Array]:
    n, wide = len(queries), k + _SPARE
    near: Array = np.zeros((n, 0), np.float32)  # the nearer, the higher
    row_ids: Array = np.zeros((n, 0), np.uint64)
    places: Array = np.zeros((n, 0), np.int64)
    vectors: Array = np.zeros((n, 0, queries.shape[1]), np.float32)
    first = 0
    for block in blocks:
        close = _closeness(queries, block, metric)
        if own is not None:
            close[own[:, None] == block.row_ids] = -np.inf
        top = np.argpartition(close, max(len(block) - wide, 0), axis=1)[:, -wide:]
        near = np.hstack([near, np.take_along_axis(close, top, 1)])
        row_ids, places = np.hstack([row_ids, block.row_ids[top]]), np.hstack([places, first + top])
        vectors = np.concatenate([vectors, block.vectors[top]], axis=1)
        best = np.argsort(-near, axis=1, kind="stable")[:, :wide]
        near, row_ids, places = (np.take_along_axis(a, best, 1) for a in (near, row_ids, places))
        vectors = np.take_along_axis(vectors, best[:, :, None], 1)
        first += len(block)
    k = min(k, int(np.isfinite(near).sum(axis=1).min()) if near.size else 0)
    if not k:
        raise ParameterError("no row is left to be a neighbor: embed more images, or widen `where`")
    scores = _scores(queries, vectors, metric)
    order = np.lexsort((places, np.where(np.isfinite(near), -scores if metric != "euclidean" else scores, np.inf)))
    return np.take_along_axis(row_ids, order[:, :k], 1), np.take_along_axis(scores, order[:, :k], 1)


def _closeness(queries: Array, points: Points, metric: Metric) -> Array:
    """The nearer, the higher, (Q, n) float32."""
    products: Array = queries @ points.vectors.T
    if metric == "euclidean":
        products *= 2
        products -= points.squares
    elif metric == "cosine":
        products *= points.inverse_lengths
    return products


def _scores(queries: Array, candidates: Array, metric: Metric) -> Array:
    """Scores (Q, c) float32 of candidates (Q, c, D), computed in float64."""
    q, c = queries.astype(np.float64)[:, None], candidates.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(np.sqrt(((q - c) ** 2).sum(axis=2)), np.float32)
    products = (q * c).sum(axis=2)
    if metric == "cosine":
        lengths = np.linalg.norm(q, axis=2) * np.linalg.norm(c, axis=2)
        products = np.clip(products / np.where(lengths > 0, lengths, 1), -1, 1)
    return np.asarray(products, np.float32)


def points_of(store: EmbeddingStore, where: str | None = None) -> Iterator[Points]:
    """The vectors of a store, in blocks; where they fit in memory in one, kept from one question to the next."""
    chosen = HAS_VECTOR if where is None else f"{HAS_VECTOR} AND ({where})"
    if len(store) * store.n_dims * 4 > _SHARE * free_memory(torch.device("cpu")):
        yield from (_points(batch) for batch in store.batches(["vector"], chosen, row_ids=True))
        return
    kept = store.kept(lambda: _joined(_points(b) for b in store.batches(["vector"], HAS_VECTOR, row_ids=True)))
    if where is not None:
        ids = [batch["_rowid"].to_numpy() for batch in store.batches(["path"], chosen, row_ids=True)]
        rows = np.isin(kept.row_ids, np.concatenate([kept.row_ids[:0], *ids]))
        kept = kept.take(rows)
    if len(kept):
        yield kept


def _points(batch: Any) -> Points:
    column = batch["vector"]
    vectors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return Points(batch["_rowid"].to_numpy(), vectors.reshape(len(batch), -1))


def _joined(blocks: Iterator[Points]) -> Points:
    every = list(blocks)
    if not every:
        return Points(np.zeros(0, np.uint64), np.zeros((0, 1), np.float32))
    return Points(np.concatenate([b.row_ids for b in every]), np.concatenate([b.vectors for b in every]))


def _thumbnails(store: EmbeddingStore, where: str | None) -> Iterator[Points]:
    """The values of the thumbnails, in [0, 1]: pixel space."""
    chosen = HAS_VECTOR if where is None else f"{HAS_VECTOR} AND ({where})"
    for batch in store.batches(["thumbnail"], chosen, row_ids=True):
        shown = batch.filter(batch["thumbnail"].is_valid())  # vectors of somebody's own have none
        if len(shown):
            pixels = _pixels([decode(data) for data in shown["thumbnail"].to_pylist()])
            yield Points(shown["_rowid"].to_numpy(), pixels)


def _pixels(thumbnails: Sequence[Array]) -> Array:
    return np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32) / 255


# --- what is searched for --------------------------------------------------------------------------------------


def queries_of(store: EmbeddingStore, query: Any, space: Space) -> Queries:
    """Rows of the store, vectors, or images that are embedded now."""
    texts = [query] if isinstance(query, str | Path) else query
    if isinstance(texts, Sequence) and texts and all(isinstance(text, str | Path) for text in texts):
        rows = _rows_named(store, [str(text) for text in texts])
        if rows is not None:
            return _of_rows(rows, space)
    if isinstance(query, np.ndarray) and query.dtype.kind == "f" and query.ndim <= 2:
        if space == "pixel":
            raise ParameterError("a vector has no pixels: space='pixel' takes rows or images")
        vectors = np.atleast_2d(query).astype(np.float32)
        if vectors.shape[1] != store.n_dims or not np.isfinite(vectors).all():
            raise ParameterError(
                f"vectors of {vectors.shape[1]} values; expected {store.n_dims}, all of them finite"
            )
        names = tuple(f"vector {i}" for i in range(len(vectors)))
        return Queries(vectors, names, (None,) * len(vectors), np.stack([decode(None)] * len(vectors)))
    return _of_images(store, query, space)


def _rows_named(store: EmbeddingStore, texts: list[str]) -> Any:
    """The rows of these paths or ids, in order; None where any is no row with a vector."""
    wanted = {text: (os.path.abspath(text), text) for text in texts}
    listed = ", ".join(quoted(name) for names in wanted.values() for name in set(names))
    columns = ["path", "id", "label", "thumbnail", "vector"]
    where = f"{HAS_VECTOR} AND (path IN ({listed}) OR id IN ({listed}))"
    rows = [r for batch in store.batches(columns, where, row_ids=True) for r in batch.to_pylist()]
    by_name = {row[key]: row for key in ("id", "path") for row in reversed(rows)}
    found = [next((by_name[n] for n in wanted[text] if n in by_name), None) for text in texts]
    return None if None in found else found


def _of_rows(rows: list[dict[str, Any]], space: Space) -> Queries:
    thumbnails = np.stack([decode(row["thumbnail"]) for row in rows])
    vectors = (
        np.array([row["vector"] for row in rows], np.float32) if space == "feature" else _pixels(list(thumbnails))
    )
    return Queries(
        vectors,
        tuple(row["path"] for row in rows),
        tuple(row["label"] for row in rows),
        thumbnails,
        np.array([row["_rowid"] for row in rows], np.uint64),
    )


def _of_images(store: EmbeddingStore, query: Any, space: Space) -> Queries:
    from .extract import embed

    if store.model is None:
        what = repr(str(query)) if isinstance(query, str | Path) else f"a {type(query).__name__}"
        raise StoreError(
            f"{what} is not in {store.place}, and no model is at hand to embed it: give it to "
            "EmbeddingStore.open(place, model=...)"
        )
    made = embed(store.model, query, layer=store.origin.layer)
    vectors = made.vectors if space == "feature" else _pixels(list(made.thumbnails))
    return Queries(vectors, made.names, made.labels, made.thumbnails, skipped=made.provenance.skipped)


# --- an index that answers faster, and nearly the same ---------------------------------------------------------


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
    sample = np.random.default_rng(seed).choice(n, min(_SAMPLE, n), replace=False)
    points = _joined(points_of(store))
    own, vectors = points.row_ids[sample], points.vectors[sample]
    started = time.perf_counter()
    truth, _ = nearest(store, vectors, k, metric, own=own)
    exact_ms = 1e3 * (time.perf_counter() - started) / len(sample)
    started = time.perf_counter()
    store.build_index(_DISTANCE[metric])
    about: dict[str, Any] = {"metric": metric, "k": k, "n_rows": n, "build_s": time.perf_counter() - started}
    for refine, n_probes in product(_REFINE, _PROBES):
        queries = Queries(vectors, (), (), np.zeros(0), own)
        started = time.perf_counter()
        found, _, _ = _by_index(store, queries, k, metric, None, (n_probes, refine))
        ms = 1e3 * (time.perf_counter() - started) / len(sample)
        hits = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, truth, strict=True)])
        about |= {"n_probes": n_probes, "refine": refine, "recall": float(hits), "ms": ms, "exact_ms": exact_ms}
        if hits >= recall:
            break
    store.remember("index", about)
    return about


_FEWEST, _SAMPLE = 1000, 200
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_REFINE = (2, 10)  # times k rows are compared by their full vectors, each of which is a place to read from
_DISTANCE = {"cosine": "cosine", "euclidean": "l2", "dot": "dot"}


def _by_index(
    store: EmbeddingStore,
    queries: Queries,
    k: int,
    metric: Metric,
    where: str | None,
    effort: tuple[int, int] | None = None,
) -> tuple[Array, Array, Any]:
    """_rowid (Q, K), scores (Q, K) float32, and an Arrow table of all rows found, some of them more than once.

    ``effort`` is how many parts are looked into, and how many times k rows are compared in full.
    """
    import pyarrow as pa

    if effort is None:
        kept = store.recall("index")
        if kept is None or kept[0]["metric"] != metric:
            raise StoreError(
                f"{store.place} has no index for metric={metric!r}; make one with store.index(metric=...)"
            )
        effort = (int(kept[0]["n_probes"]), int(kept[0].get("refine", _REFINE[-1])))
    tables, found = [], []
    for i, vector in enumerate(queries.vectors):
        own = None if queries.row_ids is None else queries.row_ids[i]
        rows = store.search_index(vector, k + (own is not None), _DISTANCE[metric], *effort, where, _SHOWN)
        ids, distances = rows["_rowid"].to_numpy(), rows["_distance"].to_numpy()
        others = ids != own if own is not None else np.ones(len(ids), bool)
        tables.append(rows)
        found.append((ids[others][:k], distances[others][:k]))
    k = min(len(ids) for ids, _ in found)
    if not k:
        raise ParameterError("no row is left to be a neighbor: embed more images, or widen `where`")
    distances = np.stack([d[:k] for _, d in found])
    scores = np.sqrt(np.maximum(distances, 0)) if metric == "euclidean" else 1 - distances
    return np.stack([ids[:k] for ids, _ in found]), scores.astype(np.float32), pa.concat_tables(tables)


def _firsts(values: Array, wanted: Array) -> Array:
    """Where each of ``wanted``, sorted, stands first in ``values``."""
    every, firsts = np.unique(values, return_index=True)
    return np.asarray(firsts[np.searchsorted(every, wanted)])
