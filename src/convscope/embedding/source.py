"""What can be asked: vectors of images with their names, in memory or on disk, by one protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol, TypeGuard

import numpy as np

from ..checks import unfit
from ..results import Array, Provenance
from ..store import Block, EmbeddingStore, Space, Taken

MOST_THUMBNAILS = 5000  # read from a store for one result: 60 MB


class Source(Protocol):
    """`Embeddings` or an `EmbeddingStore`, to whoever asks.

    Rows are numbers that `blocks` and `find` give, for `take` and `vectors_of`. In a store they are no places.
    """

    @property
    def names(self) -> Sequence[str]:
        """Of all images that take part in answers, in the order of `blocks`; as are labels and ids."""

    @property
    def labels(self) -> Sequence[str | None]: ...

    @property
    def ids(self) -> Sequence[str | None]:
        """Hashes of the images' contents, where they are known."""

    @property
    def rows(self) -> Array:
        """Their numbers (N,)."""

    @property
    def n_vectors(self) -> int: ...

    @property
    def n_dims(self) -> int: ...

    @property
    def made(self) -> Provenance:
        """The network and the layer that made the vectors."""

    @property
    def model(self) -> Any:
        """That network, where it is at hand."""

    @property
    def held(self) -> Taken | None:
        """All rows, where they are in memory anyway."""

    def __len__(self) -> int: ...

    def reading(self) -> AbstractContextManager[None]:
        """One version of the rows for all that is read inside."""

    def check_comparable(self, made: Provenance) -> None:
        """An error where vectors that were made so cannot be compared with these."""

    def check(self, where: str | None) -> None:
        """`ParameterError` for a condition that cannot be read."""

    def blocks(self, space: Space = "feature", where: str | None = None) -> Iterator[Block]:
        """The rows for which a condition holds, some thousands at a time."""

    def vectors_of(self, rows: Array, space: Space = "feature") -> Array:
        """The vectors, or pixels, (n, D) of some rows."""

    def take(self, rows: Array, *, thumbnails: bool = True) -> Taken:
        """What is known of some rows."""

    def find(self, names: Sequence[str]) -> Array | None:
        """The rows (n,) with these names; None unless all are there."""

    def remember(
        self,
        kind: str,
        about: Mapping[str, Any],
        data: bytes = b"",
        columns: Mapping[str, Array | None] | None = None,
    ) -> None:
        """Keep what was computed from all rows, on disk: embeddings in memory keep nothing."""

    def recall(self, kind: str) -> tuple[dict[str, Any], bytes] | None:
        """What `remember` kept."""


def is_source(value: object) -> TypeGuard[Source]:
    """Whether a value can be asked."""
    return hasattr(value, "blocks") and hasattr(value, "take")


def as_source(value: object) -> Source:
    """`Embeddings` or an `EmbeddingStore`, or `ParameterError`."""
    if not is_source(value):
        raise unfit(value, "source", "Embeddings or an EmbeddingStore")
    return value


def is_stored(source: Source) -> TypeGuard[EmbeddingStore]:
    """Whether the vectors are on disk, where an index and the workers of a cluster can reach them."""
    return source.held is None


def taken_to_show(source: Source, rows: Array) -> Taken:
    """What is known of some rows, with thumbnails of the first 5,000."""
    first = source.take(rows[:MOST_THUMBNAILS])
    if len(rows) <= MOST_THUMBNAILS:
        return first
    return replace(source.take(rows, thumbnails=False), thumbnails=first.thumbnails)


def blocks_at(blocks: Iterable[Block], places: Array) -> Iterator[Block]:
    """The rows at some places, which ascend, among those of all blocks."""
    first = 0
    for block in blocks:
        here = places[(places >= first) & (places < first + len(block))] - first
        yield Block(block.rows[here], block.vectors[here])
        first += len(block)


def rows_at(blocks: Iterable[Block], places: Array) -> Block:
    """The same in one block."""
    found = list(blocks_at(blocks, places))
    return Block(np.concatenate([b.rows for b in found]), np.concatenate([b.vectors for b in found]))
