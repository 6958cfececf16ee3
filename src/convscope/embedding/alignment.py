"""How alike two sets of vectors of the same images are as a whole: CKA, and one map turned onto another."""

from __future__ import annotations

import numpy as np
from scipy.linalg import orthogonal_procrustes

from ..results import Array

_ROWS = 4096  # of vectors in float64 at once


def linear_cka(x: Array, y: Array) -> tuple[float, float]:
    """Linear CKA of vectors (n, d) and (n, e), and the same without its bias.

        CKA = |X^T Y|^2 / (|X^T X| |Y^T Y|),   X and Y centered, Frobenius norms

    It is 1 where one is the other turned and scaled. With fewer images than dimensions it is high even for vectors
    that have nothing in common; the second number has unbiased estimates in place of each term, and is about 0
    then.

    Returns:
        Two numbers, at most 1; NaN where all vectors of one are equal, the second also for fewer than 4 images.

    References:
        Kornblith et al., 2019, arXiv 1905.00414. Song et al.: Feature selection via dependence maximization, 2012
        (the unbiased estimate). Murphy et al., 2024, arXiv 2405.01012 (the bias).
    """
    x, y = (each - each.mean(axis=0, dtype=np.float64).astype(each.dtype) for each in (x, y))
    squares = [np.einsum("nd,nd->n", each, each, dtype=np.float64) for each in (x, y)]
    pairs = [(0, 1), (0, 0), (1, 1)]
    both = (x, y)
    raw = [_cross(both[i], both[j]) for i, j in pairs]
    unbiased = [_unbiased(value, squares[i], squares[j]) for value, (i, j) in zip(raw, pairs, strict=True)]
    return _ratio(*raw), _ratio(*unbiased)


def _cross(x: Array, y: Array) -> float:
    """|X^T Y|^2; by the products of images where these are fewer than dimensions."""
    n = len(x)
    if n < min(x.shape[1], y.shape[1]):
        x, y = (each.astype(np.float64) for each in (x, y))
        return float(((x @ x.T) * (y @ y.T)).sum())
    total = np.zeros((x.shape[1], y.shape[1]))
    for first in range(0, n, _ROWS):
        part = slice(first, first + _ROWS)
        total += x[part].astype(np.float64).T @ y[part].astype(np.float64)
    return float((total**2).sum())


def _unbiased(cross: float, a: Array, b: Array) -> float:
    """The unbiased estimate of HSIC, up to a factor, from |X^T Y|^2 and the squared lengths of centered vectors.

    The formula of Song et al. with sums over rows of the products of images without their diagonal: those of row i
    sum to minus its squared length, as the vectors are centered.
    """
    n = len(a)
    if n < 4:
        return float("nan")
    shared = float((a * b).sum())
    return cross - shared + float(a.sum()) * float(b.sum()) / ((n - 1) * (n - 2)) - 2 * shared / (n - 2)


def _ratio(both: float, one: float, other: float) -> float:
    return both / float(np.sqrt(one * other)) if one > 0 and other > 0 else float("nan")


def turned_onto(a: Array, b: Array) -> tuple[Array, Array, float]:
    """Two maps (n, 2) centered and of equal size, the second turned and mirrored to lie as the first does.

    Returns:
        Both maps, the sum of whose squares is 1, and Procrustes' disparity in [0, 1]: 0 where they are the same.
    """
    a, b = (_unit(each.astype(np.float64)) for each in (a, b))
    turn, scale = orthogonal_procrustes(b, a)
    return a, b @ turn, float(1 - min(1.0, scale) ** 2)


def _unit(points: Array) -> Array:
    points = points - points.mean(axis=0)
    size = float(np.linalg.norm(points))
    return np.asarray(points / size if size else points)
