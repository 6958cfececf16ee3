"""Means over images with their 95 % intervals, and whether one mean is above another by more than the noise."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit  # Student's t at a share, as `scipy.stats.t.ppf`, which takes a second to import

from ..results import Array


def mean_and_margin(values: Array) -> tuple[Array, Array]:
    """The mean over the last axis, ignoring NaN, and half of its 95 % interval (Student's t), NaN below two."""
    real = np.isfinite(values)
    n = real.sum(axis=-1)
    filled = np.where(real, values, 0.0)
    mean = np.where(n > 0, filled.sum(axis=-1) / np.maximum(n, 1), np.nan)
    squares = np.where(real, (values - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    deviation = np.sqrt(squares / np.maximum(n - 1, 1) / np.maximum(n, 1))
    return mean, np.where(n > 1, stdtrit(np.maximum(n - 1, 1), 0.975) * deviation, np.nan)


def is_better(one: Array, other: Array, n_questions: int) -> bool:
    """Whether one is higher than the other on the same images, by Student's t for pairs.

    95 % hold for all questions together (Bonferroni). Images where a value is NaN do not count.
    """
    difference = (one - other)[np.isfinite(one - other)]
    n = len(difference)
    if n < 2:
        return False
    margin = stdtrit(n - 1, 1 - 0.025 / max(n_questions, 1)) * difference.std(ddof=1) / np.sqrt(n)
    return bool(difference.mean() > margin)
