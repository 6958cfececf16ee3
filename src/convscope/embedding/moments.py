"""Principal components of any number of vectors, in one pass and in memory for D x D numbers."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from scipy import linalg

from ..errors import ParameterError
from ..results import Array

_ROWS = 2048  # of a block that is summed at once


@dataclass(frozen=True)
class Moments:
    """The mean (D,) of n vectors, and their scatter (D, D), the sum of (x - mean)(x - mean)^T.

    Only the lower triangle of the scatter is computed, which is half of the work. The moments of two parts add up
    to those of the whole, so that several workers can share the sum.
    """

    n: int
    mean: Array
    scatter: Array

    @classmethod
    def of(cls, vectors: Array) -> Moments:
        """Of a block (n, D), in float64."""
        values = np.asarray(vectors, np.float64)
        mean = values.mean(axis=0)
        centered = values - mean
        return cls(len(values), mean, linalg.blas.dsyrk(1.0, centered.T, lower=True))

    def __add__(self, other: Moments) -> Moments:
        """After Chan, Golub, LeVeque: Updating formulae for computing sample variances, 1979."""
        n = self.n + other.n
        apart = other.mean - self.mean
        between = np.outer(apart, apart) * (self.n * other.n / n)
        return Moments(n, self.mean + apart * (other.n / n), self.scatter + other.scatter + between)


@dataclass(frozen=True)
class Components:
    """Principal components of n vectors: ``axes`` (K, D) of length 1, and the ``variances`` (K,) along them."""

    n: int
    mean: Array
    axes: Array
    variances: Array

    @classmethod
    def of(cls, moments: Moments) -> Components:
        """All D of them, the longest first."""
        if moments.n < 2:
            raise ParameterError(f"{moments.n} vector(s): a projection needs at least 2")
        variances, columns = linalg.eigh(moments.scatter / (moments.n - 1), overwrite_a=True)
        return cls(moments.n, moments.mean, columns.T[::-1], np.maximum(variances[::-1], 0)).upright()

    def upright(self) -> Components:
        """The same, with each axis turned so that its largest weight is positive."""
        largest = np.abs(self.axes).argmax(axis=1)
        turned = self.axes[np.arange(len(self.axes)), largest] < 0
        return replace(self, axes=self.axes * np.where(turned, -1.0, 1.0)[:, None])

    @property
    def ratios(self) -> Array:
        """The share of the variance along each axis, (K,) in [0, 1]; NaN without any variance."""
        total = self.variances.sum()
        return np.asarray(self.variances / total if total > 0 else np.full_like(self.variances, np.nan))

    def is_flat(self, kind: np.dtype[Any]) -> bool:
        """Whether all variance is rounding, for vectors in numbers of this kind."""
        rounding = 8 * float(np.finfo(kind if kind.kind == "f" else np.float64).eps)
        total = float(self.variances.sum())
        return bool(total**0.5 <= rounding * (float(self.mean @ self.mean) + total) ** 0.5)

    def n_for(self, share: float) -> int:
        """The number of axes that keep this share of the variance, of which there must be some."""
        kept = np.cumsum(self.ratios)
        return min(int(np.searchsorted(kept, share - 1e-12)) + 1, len(kept))

    def transform(self, vectors: Array, k: int) -> Array:
        """Coordinates (n, k) of vectors (n, D) along the first k axes, float32."""
        # In float64, as the mean may be far greater than what is left without it.
        return np.asarray(np.subtract(vectors, self.mean, dtype=np.float64) @ self.axes[:k].T, np.float32)


def moments_of(blocks: Iterable[Array]) -> Moments:
    """The moments of all vectors in some blocks, which are cut so that memory stays flat."""
    parts = (Moments.of(block[first : first + _ROWS]) for block in blocks for first in range(0, len(block), _ROWS))
    first = next(parts, None)
    if first is None:
        raise ParameterError("0 vector(s): a projection needs at least 2")
    return reduce(operator.add, parts, first)


def check_finite(vectors: Array) -> Array:
    """Vectors (N, D) of finite numbers, or `ParameterError`."""
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise ParameterError(f"an array {vectors.shape} of {vectors.dtype}; expected vectors (N, D)")
    if not np.isfinite(vectors).all():
        raise ParameterError("the vectors hold NaN or infinite values, which cannot be projected")
    return vectors
