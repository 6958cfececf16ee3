"""Ask a store: the nearest rows, exactly or by an index, under a condition, in feature space or in pixel space."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import Metric
from ..errors import NotInStoreError, ParameterError
from ..images import ImageSet
from ..progress import Progress
from ..results import Array, Neighbors, Provenance
from ..store import EmbeddingStore, Space
from ..store.blocks import pixels
from ..store.keys import has_changed
from ..store.thumbnails import decode
from ..texts import listed
from .exact import nearest
from .index import nearest_by_index
from .origins import check_model

_MOST_THUMBNAILS = 5000  # of what was found, and of the queries: 60 MB each


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
    notes: tuple[str, ...] = ()


def neighbors_of(
    store: EmbeddingStore,
    query: Any,
    *,
    k: int = 5,
    metric: Metric = "cosine",
    space: Space = "feature",
    where: str | None = None,
    exact: bool = True,
    progress: Progress | None = None,
) -> Neighbors:
    """See `EmbeddingStore.neighbors`."""
    started = time.perf_counter()
    store.check(where)
    with store.reading():  # one version, though others may be writing
        return _answered(store, query, k, metric, space, where, exact, progress, started)


def _answered(
    store: EmbeddingStore,
    query: Any,
    k: int,
    metric: Metric,
    space: Space,
    where: str | None,
    exact: bool,
    progress: Progress | None,
    started: float,
) -> Neighbors:
    k = min(k, max(1, len(store)))
    queries = queries_of(store, query, space)
    if exact or space == "pixel":
        row_ids, scores = nearest(store, queries.vectors, k, metric, space, where, queries.row_ids, progress)
    else:
        row_ids, scores = nearest_by_index(store, queries.vectors, k, metric, where, queries.row_ids)
    found, indices = _in_order(row_ids)
    rows = store.take(found, thumbnails=False)
    origin = store.origin
    return Neighbors(
        indices=indices,
        scores=scores,
        metric=metric,
        space=space,
        query_names=queries.names,
        names=rows.names,
        labels=rows.labels,
        query_labels=queries.labels,
        query_thumbnails=queries.thumbnails,
        thumbnails=_thumbnails(store, found),
        provenance=Provenance(
            "neighbors",
            {"layer": origin.layer, "k": k, "metric": metric, "space": space, "where": where, "exact": exact},
            origin.model,
            "cpu",
            origin.versions,
            time.perf_counter() - started,
            notes=(*queries.notes, *_notes(len(found), len(queries.names))),
            skipped=queries.skipped,
        ),
    )


def _in_order(row_ids: Array) -> tuple[Array, Array]:
    """The rows among the answers (Q, K), first the nearest of each query, and where in them each answer is."""
    by_rank, first, places = np.unique(row_ids.T, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return by_rank[order], np.argsort(order)[places.reshape(row_ids.T.shape).T]


def _thumbnails(store: EmbeddingStore, row_ids: Array) -> Array:
    """Of the first of some rows."""
    return store.take(row_ids[:_MOST_THUMBNAILS]).thumbnails


def _notes(n_found: int, n_queries: int) -> tuple[str, ...]:
    counts = ((n_found, "images that were found"), (n_queries, "queries"))
    return tuple(
        f"Thumbnails are kept of the first {_MOST_THUMBNAILS:,} of {n:,} {what}."
        for n, what in counts
        if n > _MOST_THUMBNAILS
    )


# --- what is searched for --------------------------------------------------------------------------------------


def queries_of(store: EmbeddingStore, query: Any, space: Space) -> Queries:
    """Rows of the store, vectors, or images that are embedded now."""
    texts = [query] if isinstance(query, str | Path) else query
    is_text = not isinstance(texts, ImageSet)  # which would open its images to tell
    if is_text and isinstance(texts, Sequence) and texts and all(isinstance(text, str | Path) for text in texts):
        row_ids = store.find([str(text) for text in texts])
        if row_ids is not None:
            return _of_rows(store, row_ids, space)
    if isinstance(query, np.ndarray) and query.dtype.kind == "f" and query.ndim <= 2:
        if space == "pixel":
            raise ParameterError("a vector has no pixels: space='pixel' takes rows or images")
        vectors = np.atleast_2d(query).astype(np.float32)
        if not len(vectors) or vectors.shape[1] != store.n_dims or not np.isfinite(vectors).all():
            raise ParameterError(
                f"{len(vectors)} vectors of {vectors.shape[1]} values; expected {store.n_dims}, all of them finite"
            )
        names = tuple(f"vector {i}" for i in range(len(vectors)))
        blank = np.stack([decode(None)] * min(len(vectors), _MOST_THUMBNAILS))
        return Queries(vectors, names, (None,) * len(vectors), blank)
    return _of_images(store, query, space)


def _of_rows(store: EmbeddingStore, row_ids: Array, space: Space) -> Queries:
    rows = store.take(row_ids, thumbnails=False)
    changed = [path for path, stamp in zip(rows.names, rows.stamps, strict=True) if has_changed(path, stamp)]
    notes = (
        f"{len(changed)} of these files have changed since they were embedded; the older picture was asked for: "
        f"{listed(changed, 3)}; embed them again",
    )
    return Queries(
        store.vectors_of(row_ids, space),
        rows.names,
        rows.labels,
        _thumbnails(store, row_ids),
        row_ids,
        notes=notes if changed else (),
    )


def _of_images(store: EmbeddingStore, query: Any, space: Space) -> Queries:
    from .in_memory import embed_in_memory

    check_model(store, store.model, embeds=True)
    if store.model is None:
        what = repr(str(query)) if isinstance(query, str | Path) else f"this {type(query).__name__}"
        raise NotInStoreError(
            f"{what} is not in {store.place}, and no model is at hand to embed it: give it to "
            "EmbeddingStore.open(place, model=...)"
        )
    made = embed_in_memory(store.model, query, layer=store.origin.layer)
    vectors = made.vectors if space == "feature" else pixels(list(made.thumbnails))
    return Queries(vectors, made.names, made.labels, made.thumbnails, skipped=made.provenance.skipped)
