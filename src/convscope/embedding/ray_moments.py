"""The mean and the covariance of a store, summed up by the workers of a Ray cluster."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np

from ..errors import StoreError
from ..results import Array
from ..store import EmbeddingStore, StoredRows
from ..store.lance import is_local
from .distributed import on_ray
from .moments import Moments, moments_of

_PART = 1 << 18  # vectors that one worker sums up before it sends D x D numbers back ...
_FEWEST_PARTS = 16  # ... or a share of them all, so that no worker waits long for another
_BLOCK_ROWS = 2048  # of a part, read at once


def moments_by_ray(store: StoredRows, address: str | None = None) -> Moments:
    """The moments of all vectors of a store, each part summed by a worker of a Ray cluster and added up here.

    Every worker opens the store, and has memory for D x D numbers and some thousand vectors.
    """
    row_ids = store.rows
    n_parts = max(_FEWEST_PARTS, -(-len(row_ids) // _PART))
    place = os.path.abspath(store.place) if is_local(store.place) else store.place
    parts = [part for part in np.array_split(row_ids, n_parts) if len(part)]
    found: Moments = reduce(operator.add, (moments for _, moments in on_ray(_Summing(place), parts, 1, address)))
    if found.n != len(row_ids):
        raise StoreError(f"{store.place} was written to while it was read; try again when that is done")
    return found


class _Summing:
    """Sums up rows of a store, which are given by their _rowid."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __call__(self, parts: Sequence[Array]) -> Moments:
        store = EmbeddingStore.open(self._place)

        def blocks() -> Iterator[Array]:
            for row_ids in parts:
                for first in range(0, len(row_ids), _BLOCK_ROWS):
                    yield store.vectors_of(row_ids[first : first + _BLOCK_ROWS])

        return moments_of(blocks())
