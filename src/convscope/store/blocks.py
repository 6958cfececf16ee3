"""The vectors of a store, or the pixels of its thumbnails, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from ..checks import as_array, unfit
from ..results import Array
from .conditions import in_parts, in_use, is_one_of, names_gone
from .keys import as_key, has_changed, key_of
from .lance_table import LanceTable
from .thumbnails import THUMBNAIL_PX, decode

Space: TypeAlias = Literal["feature", "pixel"]

BLOCK_ROWS = 16_384  # of vectors that are held in memory
_SHARE = 0.25  # of the free memory: vectors that fit are kept between questions


@dataclass(frozen=True)
class Block:
    """Some rows: their numbers (n,) uint64, and their vectors or the pixels of their thumbnails (n, D) float32."""

    rows: Array
    vectors: Array

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def squares(self) -> Array:
        """Squared lengths (n,) float64; computing them reads as much memory as a whole question does."""
        return squares_of(self.vectors)


@dataclass(frozen=True)
class Taken:
    """What is known of some rows, in the order asked for.

    ``ids`` are hashes of contents, ``stamps`` show whether a file has changed since; both may be None.
    ``thumbnails`` (m, 64, 64, 3) uint8, of the first m that were asked for, are white where ``has_thumbnail``
    (m,) is false.
    """

    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    ids: tuple[str | None, ...]
    stamps: tuple[str | None, ...]
    thumbnails: Array
    has_thumbnail: Array

    @property
    def changed(self) -> list[str]:
        """The names of files that now differ from what was embedded."""
        return [name for name, stamp in zip(self.names, self.stamps, strict=True) if has_changed(name, stamp)]


class Blocks:
    """Reads blocks of a table, and keeps vectors that take less than a quarter of the free memory."""

    def __init__(self, table: LanceTable, n_dims: int) -> None:
        self._table, self._n_dims = table, n_dims
        self._kept: tuple[int, list[Block]] | None = None  # of one version of the table

    def read(self, space: Space, where: str | None) -> Iterator[Block]:
        """The rows in use for which a condition holds, in the order of their _rowid."""
        chosen = in_use(self._table.schema.names, where)
        if space == "pixel":
            yield from self._thumbnails(chosen)
            return
        import torch  # here, as listing the rows of a store does not wait for it

        from ..execution import free_memory

        is_small = self._table.count() * self._n_dims * 4 <= _SHARE * free_memory(torch.device("cpu"))
        # What is kept is without rows of gone files, which a condition may ask for.
        if names_gone(where) or not (is_small or self._has_kept()):
            yield from map(_block, self._table.scan(["vector"], chosen, row_ids=True))
            return
        kept = self._all()
        if where is None:
            yield from kept
            return
        wanted = self._table.row_ids(chosen)
        for block in kept:
            rows = np.isin(block.rows, wanted)
            if rows.any():
                yield Block(block.rows[rows], block.vectors[rows])

    def of(self, rows: Array, space: Space) -> Array:
        """The vectors, or pixels, of rows (n,): (n, D) float32."""
        if space == "pixel":
            found = self._table.rows(rows, ["thumbnail"])["thumbnail"].to_pylist()
            return pixels([decode(data) for data in found])
        return _matrix(self._table.rows(rows, ["vector"])["vector"].combine_chunks(), len(rows))

    def take(self, rows: Array, n_thumbnails: int | None) -> Taken:
        """What is known of rows (n,), in their order, with thumbnails of the first of them, or of all."""
        about = ["path", "label", "id", "stamp"]
        n = len(rows) if n_thumbnails is None else n_thumbnails
        parts = [self._table.rows(rows[:n], [*about, "thumbnail"])]
        if n < len(rows):
            parts.append(self._table.rows(rows[n:], about))
        names, labels, ids, stamps = (tuple(v for part in parts for v in part[name].to_pylist()) for name in about)
        encoded = parts[0]["thumbnail"].to_pylist()
        pictures = np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
        if encoded:
            pictures = np.stack([decode(data) for data in encoded])
        return Taken(names, labels, ids, stamps, pictures, np.array([data is not None for data in encoded], bool))

    def _has_kept(self) -> bool:
        return self._kept is not None and self._kept[0] == self._table.version

    def _all(self) -> list[Block]:
        """All vectors in use, in memory."""
        version = self._table.version
        if self._kept is None or self._kept[0] != version:
            self._kept = None  # before they are read again, so that they are not there twice
            self._kept = (version, self._read_all())
        return self._kept[1]

    def _read_all(self) -> list[Block]:
        """Read all vectors in use, batch by batch, into one array, and cut it into blocks."""
        chosen = in_use(self._table.schema.names, None)
        n, first = self._table.count(chosen), 0
        rows, vectors = np.empty(n, np.uint64), np.empty((n, self._n_dims), np.float32)
        for batch in self._table.scan(["vector"], chosen, row_ids=True):
            some = _block(batch)
            end = min(n, first + len(some))  # what another process has added since then comes the next time
            rows[first:end], vectors[first:end] = some.rows[: end - first], some.vectors[: end - first]
            first = end
        parts = (slice(at, min(at + BLOCK_ROWS, first)) for at in range(0, first, BLOCK_ROWS))
        return [Block(rows[part], vectors[part]) for part in parts]

    def _thumbnails(self, chosen: str) -> Iterator[Block]:
        for batch in self._table.scan(["thumbnail"], chosen, row_ids=True):
            shown = batch.filter(batch["thumbnail"].is_valid())  # a user's own vectors have none
            if len(shown):
                pictures = [decode(data) for data in shown["thumbnail"].to_pylist()]
                yield Block(shown["_rowid"].to_numpy(), pixels(pictures))


def row_numbers(rows: object, n_rows: int | None = None) -> Array:
    """Row numbers (n,) as uint64, of ``n_rows`` where that is given; or `ParameterError`."""
    given: Array = as_array(rows, "rows", "whole numbers")
    if given.ndim != 1 or given.dtype.kind not in "iu" or (given < 0).any():
        raise unfit(rows, "rows", "whole numbers, as blocks() gives them")
    if n_rows is not None and (given >= n_rows).any():
        raise unfit(rows, "rows", f"whole numbers from 0 to {n_rows - 1}")
    return given.astype(np.uint64)


def rows_named(table: LanceTable, names: Sequence[str]) -> Array | None:
    """The _rowid (n,) of the rows of paths or ids; None where any has no row with a vector."""
    wanted = {name: (key_of(name), as_key(name)) for name in names}
    by_path: dict[str, int] = {}
    by_id: dict[str, int] = {}
    for part in in_parts(sorted({key for both in wanted.values() for key in both})):
        chosen = f"error IS NULL AND ({is_one_of('path', part)} OR {is_one_of('id', part)})"
        for batch in table.scan(["path", "id"], chosen, row_ids=True):
            for row in batch.to_pylist():
                by_path.setdefault(row["path"], row["_rowid"])
                by_id.setdefault(row["id"], row["_rowid"])
    known = by_id | by_path
    found = [next((known[key] for key in wanted[name] if key in known), None) for name in names]
    return None if None in found else np.array(found, np.uint64)


def pixels(thumbnails: Sequence[Array] | Array) -> Array:
    """Thumbnails as vectors, with values in [0, 1]."""
    return np.asarray(thumbnails).reshape(len(thumbnails), -1).astype(np.float32) / 255


def squares_of(vectors: Array) -> Array:
    """Squared lengths (n,) float64 of vectors (n, D) float32."""
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))


def _block(batch: Any) -> Block:
    return Block(batch["_rowid"].to_numpy(), _matrix(batch["vector"], len(batch)))


def _matrix(column: Any, n: int) -> Array:
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.asarray(flat.reshape(n, column.type.list_size))
