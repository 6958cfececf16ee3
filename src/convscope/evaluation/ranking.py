"""All images ranked by how near they are to a query, and what that says of its label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..checks import Metric
from ..embedding.neighbors import as_floats
from ..results import Array

_QUERIES, _ROWS = 128, 4096  # at once


@dataclass(frozen=True)
class Ranked:
    """Of each query: class that was voted for, share of the k nearest and average precision; (Q, k) rows."""

    voted: Array
    precision: Array
    average_precision: Array
    neighbors: Array


def ranked_by(points: Array, codes: Array, queries: Array, k: int, metric: Metric, seed: int) -> Ranked:
    """All other rows, ranked for each query; equally near ones by chance, as rows often come class by class."""
    n = len(points)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n)
    parts: list[tuple[Array, ...]] = []
    for first in range(0, len(queries), _QUERIES):
        rows = queries[first : first + _QUERIES]
        near = np.concatenate([_nearness(points, rows, block, metric) for block in _blocks(n)], axis=1)
        near[np.arange(len(rows)), rows] = -np.inf
        turned = shuffled[(np.arange(n) + rng.integers(n, size=(len(rows), 1))) % n]  # another order for each
        order = np.argsort(-np.take_along_axis(near, turned, 1), axis=1, kind="stable")[:, : n - 1]
        order = np.take_along_axis(turned, order, 1)
        found = codes[order]
        is_same = found == codes[rows][:, None]
        hits = is_same.cumsum(axis=1)
        precisions = np.where(is_same, hits / np.arange(1, n), 0).sum(axis=1)
        parts.append(
            (
                voted_for(found[:, :k]),
                is_same[:, :k].mean(axis=1),
                precisions / np.maximum(hits[:, -1], 1),
                order[:, :k],
            )
        )
    return Ranked(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _blocks(n: int) -> Iterator[slice]:
    return (slice(first, min(first + _ROWS, n)) for first in range(0, n, _ROWS))


def _nearness(points: Array, rows: Array, block: slice, metric: Metric) -> Array:
    """The nearer, the higher, (q, n): computed in float64, told apart in float32, as in `embedding.neighbors`."""
    queries, others = as_floats(points[rows], metric), as_floats(points[block], metric)
    near: Array = queries @ others.T
    if metric == "euclidean":
        squares = [np.einsum("nd,nd->n", v, v) for v in (queries, others)]
        near = -np.sqrt(np.maximum(squares[0][:, None] + squares[1] - 2 * near, 0))
    return np.asarray(near, np.float32)


def voted_for(codes: Array) -> Array:
    """The most frequent class of each row (q, k) that is ordered by nearness; of equal ones the nearest."""
    n_alike = (codes[:, :, None] == codes[:, None, :]).sum(axis=2)
    return np.asarray(np.take_along_axis(codes, n_alike.argmax(axis=1)[:, None], 1)[:, 0])
