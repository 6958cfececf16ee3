"""Ask a store: the nearest rows, exactly or by an index, under a condition, in feature space or in pixel space."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from ..checks import as_count
from ..errors import ParameterError, StoreError
from ..models import free_memory
from ..results import Array, Neighbors, Provenance
from .lance import quoted
from .neighbors import Metric, Space, check_metric
from .store import HAS_VECTOR, EmbeddingStore
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
    from .index import nearest_by_index

    started = time.perf_counter()
    k = as_count(k, "k", 1)
    check_metric(metric)
    if space not in get_args(Space):
        raise ParameterError(f"space={space!r}: expected 'feature' or 'pixel'")
    queries = queries_of(store, query, space)
    if exact or space == "pixel":
        row_ids, scores = nearest(store, queries.vectors, k, metric, space, where, queries.row_ids)
    else:
        row_ids, scores = nearest_by_index(store, queries.vectors, k, metric, where, queries.row_ids)
    found, places = np.unique(row_ids, return_inverse=True)
    rows = store.take(found, _SHOWN)
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
    return ordered(queries, vectors, np.isfinite(near), row_ids, places, k, metric)


def ordered(
    queries: Array, vectors: Array, is_given: Array, row_ids: Array, places: Array, k: int, metric: Metric
) -> tuple[Array, Array]:
    """The k nearest of candidates, compared in float64: _rowid (Q, K), and scores (Q, K) float32.

    Candidates of each query have ``vectors`` (Q, c, D), ``row_ids`` and ``places`` (Q, c), by which ties go, and
    ``is_given`` (Q, c) where there is one at all.
    """
    k = min(k, int(is_given.sum(axis=1).min()) if is_given.size else 0)
    if not k:
        raise ParameterError("no row is left to be a neighbor: embed more images, or widen `where`")
    scores = _scores(queries, vectors, metric)
    order = np.lexsort((places, np.where(is_given, -scores if metric != "euclidean" else scores, np.inf)))
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
