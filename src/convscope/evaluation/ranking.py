"""All images ranked by how near they are to a query, and whether they have its label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..checks import Metric
from ..embedding.nearness import all_costs
from ..embedding.voting import voted_for
from ..results import Array

_QUERIES, _ROWS = 128, 4096  # at once


@dataclass(frozen=True)
class Rankings:
    """For each query: the class that the k nearest vote for, two measures (Q,), and the k nearest rows (Q, k)."""

    voted: Array
    precision: Array
    average_precision: Array
    neighbors: Array


def ranked_by(points: Array, codes: Array, queries: Array, k: int, metric: Metric, seed: int) -> Rankings:
    """All other rows, ranked for each query; ties in a random order, as rows often come class by class.

    Args:
        points: (N, D) floats, or uint8 of thumbnails, which count in [0, 1].
        codes: (N,) the class of each row.
        queries: (Q,) rows that are asked for.
        k: neighbors that vote.
        metric: what near means.
        seed: of the order of ties.
    """
    n = len(points)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n)
    parts: list[tuple[Array, ...]] = []
    for first in range(0, len(queries), _QUERIES):
        rows = queries[first : first + _QUERIES]
        costs = _costs_to_all(points, rows, metric)
        turned = shuffled[(np.arange(n) + rng.integers(n, size=(len(rows), 1))) % n]  # another order for each
        order = np.argsort(np.take_along_axis(costs, turned, 1), axis=1, kind="stable")[:, : n - 1]
        order = np.take_along_axis(turned, order, 1)
        found = codes[order]
        is_same = found == codes[rows][:, None]
        hits = is_same.cumsum(axis=1)
        precisions = np.where(is_same, hits / np.arange(1, n), 0).sum(axis=1)
        average = precisions / np.maximum(hits[:, -1], 1)
        parts.append((voted_for(found[:, :k]), is_same[:, :k].mean(axis=1), average, order[:, :k]))
    return Rankings(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _costs_to_all(points: Array, rows: Array, metric: Metric) -> Array:
    """The costs (q, N) between some rows and all; a row is farthest from itself."""
    queries = _as_floats(points[rows])
    blocks = (_as_floats(points[first : first + _ROWS]) for first in range(0, len(points), _ROWS))
    costs = np.concatenate([all_costs(queries, block, metric) for block in blocks], axis=1)
    costs[np.arange(len(rows)), rows] = np.inf
    return costs


def _as_floats(values: Array) -> Array:
    return values.astype(np.float64) / 255 if values.dtype == np.uint8 else values.astype(np.float64)
