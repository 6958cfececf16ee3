"""The controls: maps that know nothing of the network, which every method has to beat."""

from __future__ import annotations

import numpy as np

from ..results import CONTROLS, Array


def control_maps(size: tuple[int, ...], seed: int) -> list[Array]:
    """A map (H, W) for each of `CONTROLS`: random numbers, and a Gaussian with sigma a quarter of each side."""
    y, x = (((np.arange(n) + 0.5) / n - 0.5) / 0.25 for n in size)
    maps = {
        "random": np.random.default_rng(seed).random(size).astype(np.float32),
        "center": np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / 2).astype(np.float32),
    }
    return [maps[name] for name in CONTROLS]
