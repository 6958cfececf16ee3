"""The controls: maps that know nothing of the network, which every method has to beat."""

from __future__ import annotations

import numpy as np

from ..results import CONTROLS, Array


def control_maps(size: tuple[int, ...], seed: int) -> list[Array]:
    """A map (H, W) for each of `CONTROLS`: random numbers, and a Gaussian with sigma a quarter of each side."""
    off = np.ix_(*(((np.arange(n) + 0.5) / n - 0.5) / 0.25 for n in size))
    maps = {
        "random": np.random.default_rng(seed).random(size).astype(np.float32),
        "center": np.exp(-sum(along**2 for along in off) / 2).astype(np.float32),
    }
    return [maps[name] for name in CONTROLS]
