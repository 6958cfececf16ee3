"""`Source`: the protocol by which questions read vectors of images, in memory or on disk."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol, TypeGuard

import numpy as np

from ..checks import unfit
from ..results import Array, Provenance
from ..store import Block, Column, Space, StoredRows, Taken
from ..store.conditions import both

MOST_THUMBNAILS = 5000  # read from a store for one result: 60 MB


class Source(Protocol):
    """What `Embeddings`, an `EmbeddingStore` and a part of one have in common, which is all that a question needs.

    `blocks` and `find` give row numbers, which `take` and `vectors_of` take. In a store a row's number is not its
    position.
    """

    @property
    def names(self) -> Sequence[str]:
        """The names of the images that take part in answers, in the order of `blocks`, like labels and ids."""

    @property
    def labels(self) -> Sequence[str | None]: ...

    @property
    def ids(self) -> Sequence[str | None]:
        """Hashes of the images' contents, where they are known."""

    @property
    def rows(self) -> Array:
        """The row numbers (N,) of these images."""

    def column(self, name: Column) -> tuple[Any, ...]:
        """What a store says of these images, N values; all None where nothing is known, as in memory."""

    @property
    def n_vectors(self) -> int: ...

    @property
    def n_dims(self) -> int: ...

    @property
    def made(self) -> Provenance:
        """The network and the layer that made the vectors, and of a part of a store its condition, ``where``."""

    @property
    def model(self) -> Any:
        """That network, or None where it is not at hand."""

    @property
    def held(self) -> Taken | None:
        """What is known of all rows if it is in memory anyway, else None."""

    def __len__(self) -> int: ...

    def reading(self) -> AbstractContextManager[None]:
        """A context in which everything is read from one version of the rows."""

    def check_comparable(self, made: Provenance) -> None:
        """Raise an error if vectors of this origin cannot be compared with those here."""

    def check(self, where: str | None) -> None:
        """Raise `ParameterError` for a condition that cannot be read."""

    def blocks(self, space: Space = "feature", where: str | None = None) -> Iterator[Block]:
        """The rows for which a condition holds, some thousands at a time."""

    def vectors_of(self, rows: Array, space: Space = "feature") -> Array:
        """The vectors, or in "pixel" space the pixels, (n, D) of some rows."""

    def take(self, rows: Array, *, n_thumbnails: int | None = None) -> Taken:
        """What is known of some rows, with thumbnails of the first of them; by default of all."""

    def find(self, names: Sequence[str]) -> Array | None:
        """The rows (n,) with these names; None unless all are there."""

    def remember(
        self,
        kind: str,
        about: Mapping[str, Any],
        data: bytes = b"",
        columns: Mapping[str, Array | None] | None = None,
    ) -> None:
        """Keep on disk what was computed from all rows; embeddings in memory keep nothing."""

    def recall(self, kind: str) -> tuple[dict[str, Any], bytes] | None:
        """What `remember` kept."""


def is_source(value: object) -> TypeGuard[Source]:
    """Whether a value is `Embeddings`, an `EmbeddingStore`, a part of one, or anything else that can be asked."""
    return hasattr(value, "blocks") and hasattr(value, "take")


def as_source(value: object) -> Source:
    """The value as a `Source`; `ParameterError` if it is neither `Embeddings` nor an `EmbeddingStore`."""
    if not is_source(value):
        raise unfit(value, "source", "Embeddings or an EmbeddingStore")
    return value


def is_stored(source: Source) -> TypeGuard[StoredRows]:
    """Whether the vectors are on disk, where an index and the workers of a Ray cluster can reach them."""
    return source.held is None


def provenance_of(
    source: Source,
    method: str,
    parameters: Mapping[str, Any],
    started: float,
    *,
    notes: tuple[str, ...] = (),
    skipped: tuple[str, ...] = (),
    measured: Mapping[str, Any] | None = None,
) -> Provenance:
    """The provenance of an answer: what made the vectors, which part of them was asked, and how.

    Args:
        source: what was asked.
        method: the question.
        parameters: the options of the question; a condition ``where`` among them holds beside that of the source.
        started: when the question was asked, by `time.perf_counter`.
        notes: what the reader should know.
        skipped: images of the question that could not be read; those of the source are not repeated.
        measured: what was found out on the way.
    """
    where = both(source.made.parameters.get("where"), parameters.get("where"))
    return replace(
        source.made,
        method=method,
        parameters={**parameters, "where": where} if where else dict(parameters),
        seconds=time.perf_counter() - started,
        notes=notes,
        skipped=skipped,
        measured=measured or {},
    )


def predictions_of(source: Source) -> tuple[tuple[str | None, ...], Array]:
    """What the network takes each image for, N names, and the probabilities (N,); None and NaN where unknown."""
    probability = [np.nan if share is None else share for share in source.column("probability")]
    return source.column("predicted"), np.array(probability, np.float64)


def blocks_at(blocks: Iterable[Block], places: Array) -> Iterator[Block]:
    """The rows at these positions, in ascending order, counted over all blocks."""
    first = 0
    for block in blocks:
        here = places[(places >= first) & (places < first + len(block))] - first
        yield Block(block.rows[here], block.vectors[here])
        first += len(block)


def rows_at(blocks: Iterable[Block], places: Array) -> Block:
    """The same as one block."""
    found = list(blocks_at(blocks, places))
    return Block(np.concatenate([b.rows for b in found]), np.concatenate([b.vectors for b in found]))
