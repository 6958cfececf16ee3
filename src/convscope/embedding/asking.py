"""Ask a store: the nearest rows, exactly or by an index, under a condition, in feature space or in pixel space."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ..checks import Metric, as_count, check_metric
from ..errors import NotInStoreError, ParameterError
from ..images import ImageSet
from ..results import Array, Neighbors, Provenance
from .exact import nearest
from .index import nearest_by_index
from .lance import quoted
from .neighbors import Space
from .points import pixels
from .rows import key_of
from .store import EmbeddingStore
from .table import decode

_SHOWN = ("path", "label", "thumbnail")


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
    store.check(where)
    with store.reading():  # one version, though others may be writing
        return _answered(store, query, k, metric, space, where, exact, started)


def _answered(
    store: EmbeddingStore,
    query: Any,
    k: int,
    metric: Metric,
    space: Space,
    where: str | None,
    exact: bool,
    started: float,
) -> Neighbors:
    k = min(k, max(1, len(store)))
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


# --- what is searched for --------------------------------------------------------------------------------------


def queries_of(store: EmbeddingStore, query: Any, space: Space) -> Queries:
    """Rows of the store, vectors, or images that are embedded now."""
    texts = [query] if isinstance(query, str | Path) else query
    is_text = not isinstance(texts, ImageSet)  # which would open its images to tell
    if is_text and isinstance(texts, Sequence) and texts and all(isinstance(text, str | Path) for text in texts):
        rows = _rows_named(store, [str(text) for text in texts])
        if rows is not None:
            return _of_rows(rows, space)
    if isinstance(query, np.ndarray) and query.dtype.kind == "f" and query.ndim <= 2:
        if space == "pixel":
            raise ParameterError("a vector has no pixels: space='pixel' takes rows or images")
        vectors = np.atleast_2d(query).astype(np.float32)
        if not len(vectors) or vectors.shape[1] != store.n_dims or not np.isfinite(vectors).all():
            raise ParameterError(
                f"{len(vectors)} vectors of {vectors.shape[1]} values; expected {store.n_dims}, all of them finite"
            )
        names = tuple(f"vector {i}" for i in range(len(vectors)))
        return Queries(vectors, names, (None,) * len(vectors), np.stack([decode(None)] * len(vectors)))
    return _of_images(store, query, space)


def _rows_named(store: EmbeddingStore, texts: list[str]) -> Any:
    """The rows of these paths or ids, in order; None where any is no row with a vector."""
    wanted = {text: (key_of(text), text.encode("utf-8", "backslashreplace").decode()) for text in texts}
    listed = ", ".join(quoted(name) for names in wanted.values() for name in set(names))
    columns = ["path", "id", "label", "thumbnail", "vector"]
    where = f"error IS NULL AND (path IN ({listed}) OR id IN ({listed}))"  # also of a file that is gone
    rows = [r for batch in store.batches(columns, where, row_ids=True) for r in batch.to_pylist()]
    by_name = {row[key]: row for key in ("id", "path") for row in reversed(rows)}
    found = [next((by_name[n] for n in wanted[text] if n in by_name), None) for text in texts]
    return None if None in found else found


def _of_rows(rows: list[dict[str, Any]], space: Space) -> Queries:
    thumbnails = np.stack([decode(row["thumbnail"]) for row in rows])
    vectors = (
        np.array([row["vector"] for row in rows], np.float32) if space == "feature" else pixels(list(thumbnails))
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

    store.check_model(store.model, embeds=True)
    if store.model is None:
        what = repr(str(query)) if isinstance(query, str | Path) else f"this {type(query).__name__}"
        raise NotInStoreError(
            f"{what} is not in {store.place}, and no model is at hand to embed it: give it to "
            "EmbeddingStore.open(place, model=...)"
        )
    made = embed(store.model, query, layer=store.origin.layer)
    vectors = made.vectors if space == "feature" else pixels(list(made.thumbnails))
    return Queries(vectors, made.names, made.labels, made.thumbnails, skipped=made.provenance.skipped)
