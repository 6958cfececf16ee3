"""The label that neighbors vote for."""

from __future__ import annotations

import numpy as np

from ..results import Array


def voted_for(codes: Array) -> Array:
    """The most frequent class (q,) in each row (q, k), nearest first; a tie goes to the nearest.

    A negative code is no class and has no vote; -1 where a row has nothing else.
    """
    n_alike = ((codes[:, :, None] == codes[:, None, :]) & (codes >= 0)[:, :, None]).sum(axis=2)
    voted = np.take_along_axis(codes, n_alike.argmax(axis=1)[:, None], 1)[:, 0]
    return np.asarray(np.maximum(voted, -1))
