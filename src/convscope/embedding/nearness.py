"""How near vectors are to one another: a block of them to another block.

A cost is a negative similarity or a distance, so that the nearest have the lowest:

    cosine:     -a·b / (|a| |b|), 0 where a or b is zero
    euclidean:  |a - b|
    dot:        -a·b

Products in float32 are fast but rounded, so they only pick the candidates; float64 decides between them. Costs are
then kept in float32: two that are equal there are a tie, and the last bit of a sum decides nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import HIGHER_IS_NEARER, Metric
from ..errors import ParameterError
from ..results import Array
from ..store.blocks import squares_of

_PAIRS = 4096  # computed at once
_CANCELED = 1e-8  # of |a|^2 + |b|^2: a smaller squared distance has lost digits that float32 would show
_LARGEST = np.finfo(np.float32).max


def pair_costs(a: Array, b: Array, i: Array, j: Array, metric: Metric) -> Array:
    """The costs (P,) float32 of the pairs a[i], b[j], computed in float64."""
    costs = np.empty(len(i), np.float32)
    for first in range(0, len(i), _PAIRS):
        part = slice(first, first + _PAIRS)
        x, y = a[i[part]].astype(np.float64), b[j[part]].astype(np.float64)
        values = np.linalg.norm(x - y, axis=1) if metric == "euclidean" else -np.einsum("pd,pd->p", x, y)
        if metric == "cosine":
            lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
            values = np.clip(values / np.where(lengths > 0, lengths, 1), -1, 1)
        with np.errstate(over="ignore"):  # long vectors can have products beyond float32
            costs[part] = values
    return costs


def all_costs(a: Array, b: Array, metric: Metric) -> Array:
    """The costs (n, m) float32 of every vector in ``a`` with every one in ``b``, computed in float64."""
    squares = squares_of(a), squares_of(b)
    near = _products(a, b, squares, metric, np.float64)
    if metric == "euclidean":
        sizes = squares[0][:, None] + squares[1]
        squared = squares[0][:, None] - near
        costs: Array = np.sqrt(np.maximum(squared, 0)).astype(np.float32)
        i, j = np.nonzero(squared < _CANCELED * sizes)
        costs[i, j] = pair_costs(a, b, i, j, metric)
        return costs
    if metric == "cosine":
        near = near.clip(-1, 1)
    with np.errstate(over="ignore"):
        return np.asarray(-near, np.float32)


def closeness(a: Array, b: Array, squares: tuple[Array, Array], metric: Metric) -> tuple[Array, Array]:
    """How close each vector in ``a`` is to each in ``b``, (n, m), and by how much each row (n,) may be off.

    Higher is closer: -cost for "cosine" and "dot", and |a|^2 - cost^2 for "euclidean", which orders a row alike.
    Computed in float32, except for vectors too long or too short for it. ``squares`` are the squared lengths of
    both.
    """
    of_a, of_b = (np.sqrt(s) for s in squares)
    if not (np.isfinite(of_a).all() and np.isfinite(of_b).all()):
        raise ParameterError("the vectors hold NaN or infinite values, which have no neighbors")
    kind: Any = np.float64 if _is_odd(of_a) or _is_odd(of_b) else np.float32
    near = _products(a, b, squares, metric, kind)
    rounding = 8 * float(np.finfo(np.float32).eps) * a.shape[1] ** 0.5
    longest = float(of_b.max(initial=0))
    if metric == "cosine":
        return near, np.full(len(a), rounding)
    return near, rounding * (of_a * longest if metric == "dot" else (of_a + longest) ** 2)


def _products(a: Array, b: Array, squares: tuple[Array, Array], metric: Metric, kind: Any) -> Array:
    """`closeness` in numbers of a kind."""
    of_a, of_b = (np.sqrt(s) for s in squares)
    if metric == "cosine":
        a = a / np.where(of_a > 0, of_a, 1)[:, None]
    near: Array = a.astype(kind, copy=False) @ b.astype(kind, copy=False).T
    if metric == "cosine":
        near *= (1 / np.where(of_b > 0, of_b, 1)).astype(kind)
    elif metric == "euclidean":
        near *= 2
        near -= squares[1].astype(kind)
    return near


def _is_odd(lengths: Array) -> bool:
    """Whether products of vectors of these lengths overflow float32, or lose digits by being too small."""
    given = lengths[lengths > 0]
    return bool(len(given) and (given.min() < 1e-15 or given.max() > 1e18))


def as_scores(costs: Array, metric: Metric) -> Array:
    """Costs as similarities ("cosine", "dot"), or as the distances that they are."""
    return -costs if HIGHER_IS_NEARER[metric] else costs


def as_cost(threshold: float, metric: Metric) -> np.float32:
    """The highest cost within a threshold."""
    return np.float32(np.clip(-threshold if HIGHER_IS_NEARER[metric] else threshold, -_LARGEST, _LARGEST))
