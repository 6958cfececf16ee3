"""What the maps of a mask study share: agreement, stability over windows, signs; and the reason in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checks import Sides
from ..perturbation import SLIGHT
from ..results import Array, in_units

_STABLE = 0.8  # rank correlation from which two maps say the same
_NEAR = 2  # times its side: windows further apart say nothing about stability


def agreement(maps: Array) -> Array:
    """Spearman's rank correlation (S, S) between the maps (S, N, ...) of S settings, the mean over the images."""
    from scipy.stats import rankdata

    total = np.zeros((len(maps), len(maps)))
    for of_image in maps.swapaxes(0, 1):
        places = rankdata(of_image.reshape(len(maps), -1), axis=1)
        places -= places.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(places, axis=1, keepdims=True)
        places /= np.where(lengths > 0, lengths, 1.0)  # a flat map agrees with nothing
        total += places @ places.T
    alike = total / maps.shape[1]
    np.fill_diagonal(alike, 1.0)
    return np.asarray(alike)


def sign_varies(maps: Array) -> Array:
    """Where the maps (B, N, ...) of several baselines have clear values of both signs (see `SLIGHT`)."""
    slight = SLIGHT * np.abs(maps).max(axis=(0, *range(2, maps.ndim)), keepdims=True)
    return np.asarray((maps > slight).any(axis=0) & (maps < -slight).any(axis=0))


def side_of(window: int | Sides) -> float:
    """The side of a window; of one with several, their geometric mean."""
    return float(window) if isinstance(window, int) else float(np.prod(window) ** (1 / len(window)))


def stability(windows: Sequence[int | Sides], alike: Array, window: int | Sides, n_sides: int = 2) -> str:
    """Over which range of windows the map stays much the same, in words.

    Args:
        windows: sides of windows with the same shape and baseline.
        alike: the rank correlation of each window's map with that of ``window``.
        window: one of them.
        n_sides: of a map.
    """
    order = np.argsort([side_of(each) for each in windows], kind="stable")
    every, correlations = [windows[i] for i in order], [alike[i] for i in order]
    at, side = every.index(window), side_of(window)
    near = [each for each in every if each != window and 1 / _NEAR <= side_of(each) / side <= _NEAR]
    if not near:
        return f"stability not known: no other window within {_NEAR} times its side"
    low = high = at
    while low > 0 and correlations[low - 1] >= _STABLE:
        low -= 1
    while high < len(every) - 1 and correlations[high + 1] >= _STABLE:
        high += 1
    if low == high:
        return f"not stable: windows of {_either(near, ' and ', n_sides)} give other maps"
    span = _either([every[low], every[high]], " to ", n_sides)
    return f"stable from {span} (rank correlation at least {_STABLE})"


def _either(windows: Sequence[int | Sides], between: str, n_sides: int) -> str:
    """Windows in words, with their unit once."""
    *some, last = (in_units(window, n_sides) for window in windows)
    return between.join([*(window.rpartition(" ")[0] for window in some), last])


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
