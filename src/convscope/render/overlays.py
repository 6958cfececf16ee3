"""A map laid over its photo: the photo in gray, so that every hue in the picture is a value."""

from __future__ import annotations

import numpy as np

from ..results import Array
from .colors import Scale

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def overlay(photo: Array, values: Array, scale: Scale) -> Array:
    """Lay values (H, W) over a photo (H, W, 3) uint8: zero leaves the photo bare, strength covers it.

    The photo steps back toward the neutral end of the scale. Under a signed map, whose zero is near-white, it
    is light, and the map tints it like colored glass; on a sequential one, whose zero is near-black, it is dark,
    and the map shines on it like a lamp. (Plain mixing would first whiten or blacken the photo where a value is
    weak, so that weak and middling values look alike.)
    """
    gray = (np.asarray(photo, np.float64) @ _LUMA)[..., None] / 255
    strength = scale.strength(values)[..., None]
    colors = scale.colors(values) / 255
    if scale.is_signed:
        ground, opacity = 0.4 + 0.55 * gray, 0.92 * strength**2
        glass = colors / (scale.colors(np.zeros(1)) / 255)
        mixed = glass * (ground * (1 - opacity) + opacity)
    else:
        ground, light = 0.5 * gray, colors * strength**0.5
        mixed = 1 - (1 - light) * (1 - ground)
    return np.asarray(np.rint(255 * mixed.clip(0, 1)), np.uint8)


def enlarge(values: Array, size: tuple[int, int]) -> Array:
    """A map (h, w) at the size (H, W) of the photo, bilinear between the centers of its cells."""
    for axis, n in enumerate(size):
        have = values.shape[axis]
        places = np.clip((np.arange(n) + 0.5) * have / n - 0.5, 0, have - 1)
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, have - 1)
        part = (places - below)[:, None] if axis == 0 else (places - below)[None, :]
        values = values.take(below, axis) * (1 - part) + values.take(above, axis) * part
    return values
