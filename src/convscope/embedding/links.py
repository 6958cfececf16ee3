"""Which of many images hang together, by the pairs among them: no more is kept of the pairs than that."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..results import Array

_PAIRS = 1 << 20  # kept before they are reduced to one for each image


class Links:
    """Groups of N images that pairs connect, directly or through others."""

    def __init__(self, n: int) -> None:
        self._n, self._pairs, self._n_pairs = n, [np.zeros((0, 2), np.int64)], 0

    def add(self, pairs: Array) -> None:
        """Connect the images of these pairs (P, 2)."""
        self._pairs.append(pairs)
        self._n_pairs += len(pairs)
        if self._n_pairs > _PAIRS + self._n:
            groups = self.groups()
            _, first = np.unique(groups, return_index=True)
            connected = np.column_stack([np.arange(self._n), first[groups]])
            connected = connected[connected[:, 0] != connected[:, 1]]
            self._pairs, self._n_pairs = [connected], len(connected)

    def groups(self) -> Array:
        """The group (N,) of each image, which may be alone there."""
        one, other = np.concatenate(self._pairs).astype(np.int64).T
        edges = coo_array((np.ones(len(one), bool), (one, other)), shape=(self._n, self._n))
        return np.asarray(connected_components(edges, directed=False)[1], np.int64)
