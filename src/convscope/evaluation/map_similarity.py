"""How alike two maps are, and what that says in a sanity check."""

from __future__ import annotations

import numpy as np

from ..results import CHANGED, SAME, Array


def similarity(one: Array, other: Array) -> tuple[float, float]:
    """Spearman's rank correlation and SSIM of the absolute values of two maps; NaN if one is flat."""
    from scipy.stats import spearmanr
    from skimage.metrics import structural_similarity

    a, b = np.abs(one).astype(np.float64), np.abs(other).astype(np.float64)
    if np.ptp(a) == 0 or np.ptp(b) == 0 or not np.isfinite(b).all():
        return float("nan"), float("nan")
    a, b = ((m - m.min()) / np.ptp(m) for m in (a, b))
    window = min(7, *a.shape)
    window -= 1 - window % 2
    alike = structural_similarity(a, b, data_range=1.0, win_size=window) if window >= 3 else 0.0
    return float(spearmanr(a.ravel(), b.ravel()).statistic), float(alike)


def have_changed(correlations: Array) -> bool | None:
    """Whether maps have changed, by their mean correlation; None if that is doubtful, or half or more are flat."""
    if np.isfinite(correlations).sum() <= len(correlations) / 2:
        return None
    mean = mean_size(correlations)
    return True if mean <= CHANGED else False if mean >= SAME else None


def mean_size(values: Array) -> float:
    """The mean of the absolute values, so that opposite signs do not cancel; NaN, of flat maps, is left out."""
    return float(np.nanmean(np.abs(values))) if np.isfinite(values).any() else float("nan")


def verdict_on(
    method: str, by_weights: Array, weights_pass: bool | None, by_label: Array, labels_pass: bool | None
) -> str:
    """The verdict on a method, in words, with the correlations of the cascade and of the labels."""
    words = {True: "passes", False: "fails", None: "is doubtful in"}
    parts = [
        f"{method} {words[weights_pass]} the weights check: with more and more layers random the map's rank "
        f"correlation with the original has a size of {mean_size(by_weights):.2f} on average "
        f"({by_weights[0]:.2f} with the last layer, {by_weights[-1]:.2f} with all)"
    ]
    if len(by_label):
        parts.append(
            f"it {words[labels_pass]} the label check: with the maps of {len(by_label)} other classes that size "
            f"is {mean_size(by_label):.2f} on average"
        )
    n_flat = int((~np.isfinite([*by_weights, *by_label])).sum())
    return "; ".join([*parts, *([f"left out: {n_flat} flat or missing"] if n_flat else [])])
