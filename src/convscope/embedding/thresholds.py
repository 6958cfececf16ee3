"""From where on two images of a collection are nearly the same: how near its images usually are says that."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..checks import Metric
from ..errors import ParameterError
from ..results import Array
from ..store import Block as Points
from .exact import Nearest

NEIGHBOR, SHARE = 10, 5  # a fifth of the distance to the tenth nearest
_SAMPLE = 1000  # images that are asked


def check_known(metric: Metric) -> None:
    """`ParameterError` for a metric by which vectors of a collection say nothing of being the same."""
    if metric == "dot":
        raise ParameterError(
            "metric='dot' has no threshold of its own, as long vectors are near to all: give a threshold, or use "
            "metric='cosine'"
        )


def usual_threshold(blocks: Callable[[], Iterable[Points]], n: int, metric: Metric) -> tuple[float, str]:
    """A fifth of the distance at which an image usually has its tenth nearest, and that in words.

    The tenth, so that it is the usual distance of different images also where each is there several times; the
    median over a thousand images that are spread evenly. A cosine s stands for the distance (2 - 2 s)^0.5, so
    that 1 - s is at most a twenty-fifth of the usual.

    Args:
        blocks: gives all different vectors.
        n: how many they are.
        metric: "cosine" or "euclidean".
    """
    k = min(NEIGHBOR, n - 1)
    if k < 1:
        return (1.0 if metric == "cosine" else 0.0), "equal vectors only, as there is one vector"
    chosen = np.unique(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64))
    row_ids, vectors = _rows_at(blocks(), chosen)
    nearest = Nearest(vectors, k, metric, row_ids)
    for block in blocks():
        nearest.look_at(block)
    _, scores = nearest.answer()
    last = scores[:, -1].astype(np.float64)
    threshold = np.median(last) / SHARE if metric == "euclidean" else 1 - np.median(1 - last) / SHARE**2
    how = f"a fifth of the median distance to the {k}th nearest image ({len(chosen)} images)"
    return float(threshold), how


def _rows_at(blocks: Iterable[Points], places: Array) -> tuple[Array, Array]:
    row_ids, vectors, first = [], [], 0
    for block in blocks:
        here = places[(places >= first) & (places < first + len(block))] - first
        row_ids.append(block.rows[here])
        vectors.append(block.vectors[here])
        first += len(block)
    return np.concatenate(row_ids), np.concatenate(vectors)
