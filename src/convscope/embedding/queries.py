"""Queries: rows of a source, vectors, or images that are embedded first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import unfit
from ..errors import NotEmbeddedError, ParameterError
from ..images import ImageSet
from ..models import as_model
from ..results import Array
from ..store import Space
from ..store.thumbnails import THUMBNAIL_PX
from ..texts import listed
from .embeddings import Embeddings
from .in_memory import embed_in_memory
from .origins import check_model
from .source import MOST_THUMBNAILS, Source


@dataclass(frozen=True)
class Queries:
    """Vectors (Q, D) to search for, and what a picture of the result shows of them.

    ``rows`` (Q,) where they are rows of the source, which are left out of their own neighbors; else None.
    """

    vectors: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array
    rows: Array | None = None
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def queries_of(source: Source, query: Any, space: Space = "feature", model: Any = None) -> Queries:
    """Turn a query of any kind into vectors that can be compared with those of a source.

    Args:
        source: what is searched.
        query: row numbers, names, `Embeddings`, a float array (D,) or (Q, D), or images.
        space: "feature" or "pixel", in which a bare vector has no place.
        model: embeds images; by default the one that `Embeddings` remember.

    Raises:
        ParameterError: rows that are not there, vectors of another length or another network, NaN.
        NotEmbeddedError: images, and no model to embed them.
    """
    rows = _rows_named(source, query)
    if rows is not None:
        return _of_rows(source, rows, space)
    if isinstance(query, np.ndarray) and query.dtype.kind == "f" and query.ndim <= 2:
        return _of_vectors(source, query, space)
    if isinstance(query, Embeddings):
        source.check_comparable(query.made)
        made = query
    else:
        made = _embedded(source, query, model)
    return Queries(
        _checked(source, made.vectors) if space == "feature" else made.vectors_of(made.rows, space),
        made.names,
        made.labels,
        made.thumbnails[:MOST_THUMBNAILS],
        skipped=made.provenance.skipped,
    )


def _rows_named(source: Source, query: Any) -> Array | None:
    """The rows that a query names by number or by name; None where any of it is something else."""
    items = _items(query)
    if items and all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in items):
        if min(items) < 0 or max(items) >= source.n_vectors:
            raise unfit(query, "query", f"rows from 0 to {source.n_vectors - 1}")
        return source.rows[np.array(items, np.int64)]
    if items and all(isinstance(i, str | Path) for i in items):
        return source.find([str(i) for i in items])
    return None


def _items(query: Any) -> list[Any]:
    """The items of a list or an array of integers; anything else is one item."""
    if isinstance(query, np.ndarray):
        return list(query.reshape(-1).tolist()) if query.ndim < 2 and query.dtype.kind in "iu" else [None]
    if isinstance(query, str | bytes | ImageSet):  # the last would open its images
        return [query]
    return list(query) if isinstance(query, Sequence) else [query]


def _of_rows(source: Source, rows: Array, space: Space) -> Queries:
    taken = source.take(rows, n_thumbnails=MOST_THUMBNAILS)
    if space == "pixel" and not taken.has_thumbnail.all():
        raise ParameterError("space='pixel' compares thumbnails, and a query has none: use 'feature'")
    changed = taken.changed
    notes = (
        f"{len(changed)} of these files have changed since they were embedded; the older picture was asked for: "
        f"{listed(changed, 3)}; embed them again",
    )
    return Queries(
        source.vectors_of(rows, space),
        taken.names,
        taken.labels,
        taken.thumbnails,
        rows,
        notes=notes if changed else (),
    )


def _of_vectors(source: Source, query: Array, space: Space) -> Queries:
    if space == "pixel":
        raise ParameterError("a vector has no pixels: space='pixel' takes rows, images or Embeddings")
    vectors = _checked(source, np.atleast_2d(query).astype(np.float32))
    n = len(vectors)
    white = np.full((min(n, MOST_THUMBNAILS), THUMBNAIL_PX, THUMBNAIL_PX, 3), 255, np.uint8)
    return Queries(vectors, tuple(f"vector {i}" for i in range(n)), (None,) * n, white)


def _checked(source: Source, vectors: Array) -> Array:
    """Vectors that can be compared, or `ParameterError`."""
    if not len(vectors) or vectors.shape[1] != source.n_dims:
        raise ParameterError(
            f"{len(vectors)} vectors of {vectors.shape[1]} dimensions as query; expected {source.n_dims}"
        )
    if not np.isfinite(vectors).all():
        raise ParameterError("a vector as query holds NaN or infinite values; expected finite ones")
    return vectors


def _embedded(source: Source, images: Any, model: Any) -> Embeddings:
    """Images embedded by the network that made the source, at the same layer."""
    model = source.model if model is None else as_model(model)
    check_model(source, model, embeds=True)
    if model is None:
        what = repr(str(images)) if isinstance(images, str | Path) else f"a {type(images).__name__}"
        raise NotEmbeddedError(
            f"{what} is none of the embedded images, and no model is at hand to embed it: give the network that "
            "made them as model=, or pass embed(model, query)"
        )
    model, images = model.together(images)
    return embed_in_memory(model, images, layer=source.made.parameters["layer"])
