"""Which of many vectors are equal, so that copies of one image do not count as many images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..results import Array
from ..store.keys import digest_of
from .source import Source

_DIGEST = 16  # bytes


@dataclass(frozen=True)
class Copies:
    """Groups of equal vectors: ``first`` (G,) the first row of each, ``group`` (N,) the group of each row."""

    first: Array
    group: Array

    @property
    def counts(self) -> Array:
        """The number of rows in each group, (G,)."""
        return np.bincount(self.group, minlength=len(self.first))

    @property
    def n_again(self) -> int:
        """The number of rows that equal an earlier one."""
        return len(self.group) - len(self.first)

    def apart(self, is_other: Array) -> Copies:
        """The same groups, each cut into those on one side and those on the other (N,) bool."""
        _, first, groups = np.unique(2 * self.group + is_other, return_index=True, return_inverse=True)
        return _in_order(first, groups)

    @classmethod
    def all_of(cls, n: int) -> Copies:
        """One group of all rows."""
        return cls(np.zeros(1, np.int64), np.zeros(n, np.int64))


def copies_of(blocks: Iterable[Array], ids: Sequence[str | None] = ()) -> Copies:
    """Groups of equal rows: the same bit for bit, or with the same id.

    An id stands for the content of a file, whose vectors may differ by rounding where they were computed apart.
    """
    digests = np.frombuffer(b"".join(_digests(blocks)), np.dtype((np.void, _DIGEST)))
    n = len(digests)
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    links = [first[inverse.reshape(-1)]]
    if len(ids):
        links.append(numbered(ids))
    rows, others = np.tile(np.arange(n), len(links)), np.concatenate(links)
    edges = coo_array((np.ones(len(rows), bool), (rows, others)), shape=(n, n))
    _, groups = connected_components(edges, directed=False)
    _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
    return _in_order(first, groups)


def _in_order(first: Array, groups: Array) -> Copies:
    """Groups in the order of their first rows."""
    order = np.argsort(first)
    return Copies(first[order], np.argsort(order)[groups.reshape(-1)])


def numbered(ids: Sequence[str | None]) -> Array:
    """The first place (N,) of each id; where there is no id, its own place."""
    first: dict[str, int] = {}
    return np.array([i if one is None else first.setdefault(one, i) for i, one in enumerate(ids)], np.int64)


def contents_of(source: Source) -> Sequence[str | None]:
    """A text for the content of each image: its id, or for embeddings in memory a hash of vector and thumbnail."""
    if source.held is None:
        return source.ids
    vectors = (vector for block in source.blocks() for vector in block.vectors)
    both = zip(vectors, source.held.thumbnails, strict=True)
    return [f"{digest_of(vector)}{digest_of(thumbnail)}" for vector, thumbnail in both]


def _digests(blocks: Iterable[Array]) -> Iterable[bytes]:
    for block in blocks:
        for row in np.ascontiguousarray(block + block.dtype.type(0)):  # a negative zero becomes a zero
            yield hashlib.blake2b(row, digest_size=_DIGEST).digest()
