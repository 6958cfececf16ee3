"""What is projected or clustered: the vectors of a source, block by block, and their principal components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from ..checks import as_array
from ..errors import StoreError
from ..results import Array, Provenance
from ..store import EmbeddingStore
from ..store.thumbnails import THUMBNAIL_PX, decode
from .copies import Copies, copies_of
from .embeddings import Embeddings
from .moments import Components, Moments, check_finite, moments_of

REDUCED = 50  # principal components that t-SNE, UMAP and clusters begin with
_MOST_THUMBNAILS = 5000  # of a store, which are held in memory
_ROWS = 4096  # of an array at once, so that float64 copies stay small


@dataclass(frozen=True)
class Vectors:
    """What is projected: ``blocks`` gives all vectors, some thousands at a time, as often as it is called."""

    blocks: Callable[[], Iterator[Array]]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array
    provenance: Provenance | None
    ids: tuple[str | None, ...] = ()  # of the contents of the files, where they are known


def source_of(embeddings: Any) -> Vectors:
    if isinstance(embeddings, Vectors):
        return embeddings
    if isinstance(embeddings, EmbeddingStore):
        return _of_store(embeddings)
    if isinstance(embeddings, Embeddings):
        vectors = check_finite(embeddings.vectors)
        return Vectors(
            lambda: _cut(vectors),
            embeddings.names,
            embeddings.labels,
            embeddings.thumbnails,
            embeddings.provenance,
        )
    points = check_finite(as_array(embeddings, "embeddings", "Embeddings, an EmbeddingStore or vectors (N, D)"))
    names = tuple(f"vector {i}" for i in range(len(points)))
    return Vectors(lambda: _cut(points), names, (None,) * len(points), np.zeros((0, 0, 0, 3), np.uint8), None)


def _cut(vectors: Array) -> Iterator[Array]:
    return (vectors[first : first + _ROWS] for first in range(0, len(vectors), _ROWS))


def _of_store(store: EmbeddingStore) -> Vectors:
    n = store.count(store.in_use())
    columns = ["path", "label", "id"] + (["thumbnail"] if n <= _MOST_THUMBNAILS else [])
    rows = store.to_arrow(columns, store.in_use())
    names = rows["path"].to_pylist()
    thumbnails = np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
    if "thumbnail" in columns and n:
        thumbnails = np.stack([decode(data) for data in rows["thumbnail"].to_pylist()])

    def blocks() -> Iterator[Array]:
        first = 0
        for batch in store.batches(["path", "vector"], store.in_use()):
            if batch["path"].to_pylist() != names[first : first + len(batch)]:
                raise changed
            first += len(batch)
            flat = batch["vector"].flatten().to_numpy(zero_copy_only=False)
            yield check_finite(flat.astype(np.float32, copy=False).reshape(len(batch), -1))
        if first < len(names):
            raise changed

    changed = StoreError(f"{store.place} was written to while it was read; try again when that is done")
    origin = store.origin
    made = Provenance("embed", {}, origin.model, "cpu", origin.versions, 0.0)
    labels, ids = (tuple(rows[name].to_pylist()) for name in ("label", "id"))
    return Vectors(blocks, tuple(names), labels, thumbnails, made, ids)


def components_of(source: Vectors, n: int, summed: Callable[[], Moments] | None = None) -> Components:
    """From the covariance, one block at a time or as ``summed``; of few vectors from the vectors themselves."""
    first = next(source.blocks())
    if n > first.shape[1]:
        return Components.of(summed() if summed else moments_of(source.blocks()))
    points = np.concatenate(list(source.blocks())).astype(np.float64)
    mean = points.mean(axis=0)
    _, sizes, axes = linalg.svd(points - mean, full_matrices=False)
    return Components(n, mean, axes, sizes**2 / (n - 1)).upright()


def copies_in(source: Vectors, components: Components) -> Copies:
    """Which vectors of a source are equal: all, where they differ by no more than rounding."""
    if components.is_flat(next(source.blocks()).dtype):
        return Copies.all_of(len(source.names))
    return copies_of(source.blocks(), source.ids)


def reduced_of(source: Vectors, components: Components, copies: Copies, k: int) -> Array:
    """The first k principal components, or as many as there are, of each group of equal vectors, (G, k)."""
    k = min(k, len(components.axes))
    if len(copies.first) == 1:
        return np.zeros((1, k), np.float32)
    return np.concatenate([components.transform(block, k) for block in blocks_of(source, copies.first)])


def blocks_of(source: Vectors, rows: Array) -> Iterator[Array]:
    """The blocks of a source without the rows that are not named; ``rows`` ascend."""
    first = 0
    for block in source.blocks():
        yield block[rows[(rows >= first) & (rows < first + len(block))] - first]
        first += len(block)
