"""The vectors of a store, or the pixels of its thumbnails, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..execution import free_memory
from ..results import Array
from .costs import squares_of
from .neighbors import Space
from .store import EmbeddingStore, names_gone
from .table import decode

BLOCK_ROWS = 16_384  # of vectors that are held in memory
_SHARE = 0.25  # of the free memory: vectors that fit are kept between questions


@dataclass(frozen=True)
class Points:
    """Some rows of a store: their _rowid (n,) and their vectors (n, D) float32."""

    row_ids: Array
    vectors: Array

    def __len__(self) -> int:
        return len(self.row_ids)

    @cached_property
    def squares(self) -> Array:
        """Squared lengths (n,) float64; computing them reads as much memory as a whole question does."""
        return squares_of(self.vectors)


def points_of(store: EmbeddingStore, where: str | None = None, space: Space = "feature") -> Iterator[Points]:
    """The rows of a store for which a condition holds, in the order of their _rowid.

    Vectors that take less than a quarter of the free memory are kept from one question to the next.
    """
    chosen = store.in_use(where)
    if space == "pixel":
        yield from _thumbnails(store, chosen)
        return
    is_small = len(store) * store.n_dims * 4 <= _SHARE * free_memory(torch.device("cpu"))
    if names_gone(where) or not (is_small or store.has_kept()):  # what is kept is without rows of gone files
        yield from (_points(batch) for batch in store.batches(["vector"], chosen, row_ids=True))
        return
    kept = store.kept(lambda: _all_blocks(store))
    if where is None:
        yield from kept
        return
    ids = [batch["_rowid"].to_numpy() for batch in store.batches(["path"], chosen, row_ids=True)]
    wanted = np.concatenate([np.zeros(0, np.uint64), *ids])
    for block in kept:
        rows = np.isin(block.row_ids, wanted)
        if rows.any():
            yield Points(block.row_ids[rows], block.vectors[rows])


def values_of(store: EmbeddingStore, row_ids: Array, space: Space) -> Array:
    """What is compared of rows (n,) by their _rowid: (n, D) float32."""
    if space == "pixel":
        return pixels([decode(data) for data in store.take(row_ids, ["thumbnail"])["thumbnail"].to_pylist()])
    return _matrix(store.take(row_ids, ["vector"])["vector"].combine_chunks(), len(row_ids))


def pixels(thumbnails: Sequence[Array]) -> Array:
    """Thumbnails as vectors, with values in [0, 1]."""
    return np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32) / 255


def _all_blocks(store: EmbeddingStore) -> list[Points]:
    """All vectors, read batch by batch into one array, so that they are never in memory twice."""
    n, first = store.count(store.in_use()), 0
    row_ids, vectors = np.empty(n, np.uint64), np.empty((n, store.n_dims), np.float32)
    for batch in store.batches(["vector"], store.in_use(), row_ids=True):
        some = _points(batch)
        end = min(n, first + len(some))  # what another process has added since then comes the next time
        row_ids[first:end], vectors[first:end] = some.row_ids[: end - first], some.vectors[: end - first]
        first = end
    parts = (slice(at, min(at + BLOCK_ROWS, first)) for at in range(0, first, BLOCK_ROWS))
    return [Points(row_ids[part], vectors[part]) for part in parts]


def _points(batch: Any) -> Points:
    return Points(batch["_rowid"].to_numpy(), _matrix(batch["vector"], len(batch)))


def _matrix(column: Any, n: int) -> Array:
    return np.asarray(
        column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(n, -1)
    )


def _thumbnails(store: EmbeddingStore, chosen: str) -> Iterator[Points]:
    for batch in store.batches(["thumbnail"], chosen, row_ids=True):
        shown = batch.filter(batch["thumbnail"].is_valid())  # vectors of somebody's own have none
        if len(shown):
            yield Points(
                shown["_rowid"].to_numpy(), pixels([decode(data) for data in shown["thumbnail"].to_pylist()])
            )
