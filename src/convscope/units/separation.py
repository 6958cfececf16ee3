"""Separate two groups of vectors by a direction, and do the same for shuffled labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from ..errors import ParameterError
from ..results import Array

_SAME = 1e-6  # of the largest value: what float32 rounding may make of none


@dataclass(frozen=True)
class Samples:
    """n vectors (n, D) in the r <= n dimensions that they span: mean + coordinates @ axes.

    Both ways of finding a direction give one in this space, and the same there as in all dimensions, so that each
    of many fits costs no more than n x n numbers.
    """

    mean: Array
    axes: Array  # (r, D), orthonormal
    coordinates: Array  # (n, r)
    is_positive: Array

    @classmethod
    def of(cls, positives: Array, negatives: Array) -> Samples:
        """Of vectors (n, D) of each kind; `ParameterError` if there are too few, or both have the same mean."""
        for name, group in (("positives", positives), ("negatives", negatives)):
            if len(group) < 2:
                raise ParameterError(f"{name}: {len(group)} image; a direction takes two of each kind at least")
        every = np.concatenate([positives, negatives]).astype(np.float64)
        gap, size = positives.mean(axis=0) - negatives.mean(axis=0), float(np.abs(every).max())
        if not np.abs(gap).max() > _SAME * size:
            raise ParameterError("positives and negatives are the same to this layer: no direction leads there")
        mean = every.mean(axis=0)
        u, sizes, axes = np.linalg.svd(every - mean, full_matrices=False)
        kept = sizes > 1e-7 * size
        labels = np.arange(len(every)) < len(positives)
        return cls(mean, axes[kept], u[:, kept] * sizes[kept], labels)

    @property
    def n_shared(self) -> int:
        """How many positives are the same as a negative."""
        apart = cdist(self.coordinates[self.is_positive], self.coordinates[~self.is_positive])
        return int((apart.min(axis=1) <= _SAME * apart.max()).sum())


@dataclass(frozen=True)
class Separation:
    """``weights`` (r,) of length 1 in the samples' coordinates; ``vector`` (D,) is the same in the layer."""

    weights: Array
    vector: Array
    offset: float
    accuracy: float
    random_weights: Array
    random_accuracy: Array


def separated(samples: Samples, method: str, n_random: int, n_folds: int, seed: int) -> Separation:
    """The direction that separates the samples, and those of ``n_random`` shufflings of their labels."""
    rng = np.random.default_rng(seed)
    x, labels = samples.coordinates, samples.is_positive
    n_folds = min(n_folds, int(labels.sum()), int((~labels).sum()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed % 2**32)

    def both(labels: Array) -> tuple[Array, float, float]:
        return *direction(x, labels, method), held_out_accuracy(x, labels, method, folds)

    weights, offset, accuracy = both(labels)
    others = [both(rng.permutation(labels)) for _ in range(n_random)]
    vector = weights @ samples.axes
    return Separation(
        weights,
        vector,
        offset + float(vector @ samples.mean),
        accuracy,
        np.stack([other for other, _, _ in others]),
        np.asarray([value for _, _, value in others]),
    )


def direction(x: Array, labels: Array, method: str) -> tuple[Array, float]:
    """A direction (r,) of length 1, and the value along it between the two groups."""
    if method == "logistic":
        scale = float(x.std()) or 1.0
        fit = LogisticRegression(C=1.0, max_iter=1000).fit(x / scale, labels)
        weights, offset = fit.coef_[0] / scale, -float(fit.intercept_[0])
    else:
        high, low = x[labels].mean(axis=0), x[~labels].mean(axis=0)
        weights = high - low
        offset = float(weights @ (high + low)) / 2
    size = float(np.linalg.norm(weights)) or 1.0
    return weights / size, offset / size


def held_out_accuracy(x: Array, labels: Array, method: str, folds: StratifiedKFold) -> float:
    """The share of held-out samples on their side, the mean of the two groups', so that 0.5 is chance."""
    right = np.zeros(len(x), bool)
    for kept, out in folds.split(x, labels):
        weights, offset = direction(x[kept], labels[kept], method)
        right[out] = (x[out] @ weights > offset) == labels[out]
    return float(right[labels].mean() + right[~labels].mean()) / 2


def permutation_p(value: float, others: Array, *, two_sided: bool) -> float:
    """The share of values, this one among them, that are at least as high; two-sided: as far on either side."""
    n = len(others) + 1
    above, below = (1 + int((others >= value).sum())) / n, (1 + int((others <= value).sum())) / n
    return min(1.0, 2 * min(above, below)) if two_sided else above
