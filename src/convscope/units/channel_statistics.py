"""From what was read of each image to what a scan says of each channel."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ..results import Array
from ..results.rank_statistics import aurocs
from .scan_state import ScanState

LEVELS = np.array([0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1])
BINS = 32
_BLOCK = 500_000  # peaks that are sorted at once, which takes some 40 bytes each


def statistics(
    state: ScanState, folder: Path, layer: str, rows: Array, codes: Array, n_labels: int, n_places: int, k: int
) -> dict[str, Array]:
    """The arrays of a layer in a `UnitScan`, by the names that they have there.

    Args:
        state: what was read.
        folder: for a file as large as the peaks, which nobody sees.
        layer: a name.
        rows: (N,) the row of each image in the state.
        codes: (N,) the number of its label, or -1.
        n_labels: L.
        n_places: of a map.
        k: how many images are kept for each end.
    """
    peaks = _by_channel(state, folder, "peaks", layer, rows)
    places = _by_channel(state, folder, "places", layer, rows)
    found: dict[str, list[Array]] = {}
    step = max(1, _BLOCK // len(rows))
    for first in range(0, len(peaks), step):
        part = np.asarray(peaks[first : first + step])
        for name, values in _of_channels(part, places[first : first + step], codes, n_labels, k).items():
            found.setdefault(name, []).append(values)
    return {
        **{name: np.concatenate(parts) for name, parts in found.items()},
        **_means(state, layer, rows, codes, n_labels, n_places),
        "peaks": peaks.T,
        "covariances": state.moments[layer].covariances(),
    }


def _of_channels(peaks: Array, places: Array, codes: Array, n_labels: int, k: int) -> dict[str, Array]:
    """What the peaks (c, N) of some channels tell."""
    distances = np.abs(peaks - np.median(peaks, axis=1, keepdims=True))
    found = {}
    for name, by in (("high", -peaks), ("low", peaks), ("middle", distances)):
        found[name] = np.argsort(by, axis=1, kind="stable")[:, :k].copy()  # not a view, which would keep all
        found[f"{name}_places"] = np.take_along_axis(places, found[name], axis=1)
    counts, edges = histograms(peaks)
    return found | {
        "quantiles": np.quantile(peaks, LEVELS, axis=1).T,
        "histograms": counts,
        "edges": edges,
        "silent_images": (peaks <= 0).mean(axis=1),
        "areas": aurocs(peaks, codes, n_labels),
    }


def histograms(values: Array) -> tuple[Array, Array]:
    """Counts (c, BINS) and edges (c, BINS + 1) of values (c, N), for each row as `numpy.histogram` in float64.

    In float32 the edges of a nearly constant row would fall together, which NumPy refuses.
    """
    values = values.astype(np.float64)
    low, high = values.min(axis=1), values.max(axis=1)
    half = np.where(low == high, np.maximum(0.5, 1e-6 * np.abs(low)), 0)  # a constant row is in the middle
    edges = np.linspace(low - half, high + half, BINS + 1, axis=1)
    share = (values - edges[:, :1]) / (edges[:, -1:] - edges[:, :1])
    at = np.minimum((share * BINS).astype(np.int64), BINS - 1)
    # Rounding may have put a value on an edge beside it; the last bin has both of its edges.
    at -= values < np.take_along_axis(edges, at, axis=1)
    at += (values >= np.take_along_axis(edges, at + 1, axis=1)) & (at < BINS - 1)
    first = BINS * np.arange(len(values))[:, None]
    counts = np.bincount((at + first).ravel(), minlength=BINS * len(values))
    return counts.reshape(-1, BINS), edges


def _means(
    state: ScanState, layer: str, rows: Array, codes: Array, n_labels: int, n_places: int
) -> dict[str, Array]:
    """Sums over images, image after image in the order of the rows, whatever parts these are in."""
    groups = np.full(state.n_rows, -1)  # of each row, its label, or L without one
    groups[rows] = np.where(codes < 0, n_labels, codes)
    sums: Array = np.zeros((n_labels + 1, 1))
    silent: Array = np.zeros(1)
    for (first, means), (_, n_silent) in zip(
        state.parts("means", layer), state.parts("silent", layer), strict=True
    ):
        here = groups[first : first + len(means)]
        used = here >= 0
        if sums.shape[1] != means.shape[1]:
            sums, silent = np.zeros((n_labels + 1, means.shape[1])), np.zeros(means.shape[1])
        np.add.at(sums, here[used], means[used].astype(np.float64))
        silent = silent + n_silent[used].sum(axis=0, dtype=np.int64)
    counts = np.bincount(codes[codes >= 0], minlength=n_labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_labels = (sums[:n_labels] / counts[:, None]).T
    return {
        "means": sums.sum(axis=0) / len(rows),
        "label_means": of_labels,
        "silent_places": silent / (len(rows) * n_places),
    }


def _by_channel(state: ScanState, folder: Path, name: str, layer: str, rows: Array) -> Array:
    """A column as (C, N), in a file without a name that vanishes with the array: it may not fit in memory."""
    target = np.full(state.n_rows, -1)
    target[rows] = np.arange(len(rows))
    table: Array | None = None
    for first, values in state.parts(name, layer):
        if table is None:
            table = _table(folder, (values.shape[1], len(rows)), values.dtype)
        there = target[first : first + len(values)]
        table[:, there[there >= 0]] = values[there >= 0].T
    assert table is not None
    return table


def _table(folder: Path, shape: tuple[int, int], dtype: np.dtype[np.generic]) -> Array:
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=shape)
