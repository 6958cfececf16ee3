"""What the maps of a mask study share: agreement, stability over windows, signs; and the reason in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..perturbation import SLIGHT
from ..results import Array

_STABLE = 0.8  # rank correlation from which two maps say the same
_NEAR = 2  # times its side: windows further apart say nothing about stability


def agreement(maps: Array) -> Array:
    """Spearman's rank correlation (S, S) between the maps (S, N, H, W) of S settings, the mean over the images."""
    from scipy.stats import rankdata

    total = np.zeros((len(maps), len(maps)))
    for of_image in maps.transpose(1, 0, 2, 3):
        places = rankdata(of_image.reshape(len(maps), -1), axis=1)
        places -= places.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(places, axis=1, keepdims=True)
        places /= np.where(lengths > 0, lengths, 1.0)  # a flat map agrees with nothing
        total += places @ places.T
    alike = total / maps.shape[1]
    np.fill_diagonal(alike, 1.0)
    return np.asarray(alike)


def sign_varies(maps: Array) -> Array:
    """Where the maps (B, N, H, W) of several baselines have clear values of both signs (see `SLIGHT`)."""
    slight = SLIGHT * np.abs(maps).max(axis=(0, 2, 3), keepdims=True)
    return np.asarray((maps > slight).any(axis=0) & (maps < -slight).any(axis=0))


def stability(windows: Sequence[int], alike: Array, window: int) -> str:
    """Over which range of windows the map stays much the same, in words.

    Args:
        windows: sides of windows with the same shape and baseline.
        alike: the rank correlation of each window's map with that of ``window``.
        window: one of them.
    """
    order = np.argsort(windows)
    sides, correlations = [windows[i] for i in order], [alike[i] for i in order]
    at = sides.index(window)
    near = [side for side in sides if side != window and max(side, window) <= _NEAR * min(side, window)]
    if not near:
        return f"stability not known: no other window within {_NEAR} times its side"
    low = high = at
    while low > 0 and correlations[low - 1] >= _STABLE:
        low -= 1
    while high < len(sides) - 1 and correlations[high + 1] >= _STABLE:
        high += 1
    if low == high:
        return f"not stable: windows of {' and '.join(map(str, near))} px give other maps"
    return f"stable from {sides[low]} to {sides[high]} px (rank correlation at least {_STABLE})"


def reason_for(insertion: Array, deletion: Array) -> str:
    """The measures by which the best setting is the best, with their values; the first one decided."""
    above, below = insertion.mean(axis=1), deletion.mean(axis=1)
    best = int(np.nan_to_num(above - below, nan=-np.inf).argmax())
    is_best = {
        "insertion": np.nan_to_num(above, nan=-np.inf).argmax() == best,
        "deletion": np.nan_to_num(below, nan=np.inf).argmin() == best,
    }
    values = {"insertion": above[best], "deletion": below[best]}
    more = [f"best {name} ({values[name]:.3f})" for name in values if is_best[name]]
    return ", ".join([f"best insertion minus deletion ({above[best] - below[best]:.3f})", *more])
