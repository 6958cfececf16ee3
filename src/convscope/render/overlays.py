"""A map over its photo. The photo turns gray, so that every hue in the picture is a value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..results import Array, Attribution
from .colors import IMPORTANCE, Scale, fit_scale, known_color_map

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def overlay(photo: Array, values: Array, scale: Scale) -> Array:
    """Lay values (H, W) over a photo (H, W, 3) uint8: zero leaves the photo bare, strong values cover it.

    The photo fades toward the color of zero. On a signed scale zero is near-white: the photo is light, and the map
    tints it like colored glass. On an unsigned scale zero is near-black: the photo is dark, and the map shines on
    it like a lamp. Plain mixing would whiten or blacken the photo under weak values, so that weak and medium
    values would look alike.
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


def map_scale(values: Array, *, signed: bool) -> Scale:
    """The scale of one map alone, as scores of different images differ.

    The map of a method that can find negative values has a scale around zero, even where it found none.
    """
    return fit_scale(values, IMPORTANCE, signed=True if signed else None)


def attribution_scale(result: Attribution, n: int, cmap: str | None = None) -> Scale:
    """The scale of map n of an attribution; each has its own. ``cmap`` replaces its color map."""
    scale = map_scale(result.values[n], signed=result.signed)
    return scale if cmap is None else replace(scale, map_name=known_color_map(cmap))


def blend(photo: Array, colors: Array, alpha: float) -> Array:
    """A share ``alpha`` of a map's colors (H, W, 3) and the rest of the photo, uint8."""
    return np.asarray(np.rint(alpha * colors + (1 - alpha) * np.asarray(photo, np.float64)), np.uint8)


def enlarge(values: Array, size: tuple[int, int]) -> Array:
    """A map (h, w) enlarged to the photo's size (H, W), bilinear between the centers of its cells."""
    for axis, n in enumerate(size):
        have = values.shape[axis]
        places = np.clip((np.arange(n) + 0.5) * have / n - 0.5, 0, have - 1)
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, have - 1)
        part = (places - below)[:, None] if axis == 0 else (places - below)[None, :]
        values = values.take(below, axis) * (1 - part) + values.take(above, axis) * part
    return values


def spotlight(photos: Array, maps: Array, threshold: float, *, at_least_px: int = 224) -> Array:
    """Photos (N, H, W, 3) with all dimmed but the places where their maps (N, h, w) are above a threshold.

    Small photos are magnified by a whole number to about ``at_least_px``, so that the outline of the lit places is
    fine. Photos with maps that have no places, (N, 0, 0), stay as they are.
    """
    factor = max(1, round(at_least_px / max(photos.shape[1:3])))
    large = photos.repeat(factor, axis=1).repeat(factor, axis=2)
    if not maps[0].size:
        return large
    lit = np.stack([enlarge(one, large.shape[1:3]) > threshold for one in maps])
    dim = np.where(lit[..., None], large, (_DIM * large + 24).astype(np.uint8))
    dim[lit & _grown(~lit)] = _EDGE  # with a dark line around it, so that it is seen on any photo
    dim[_grown(lit) & ~lit] = 0
    return np.asarray(dim, np.uint8)


_DIM = 0.45
_EDGE = np.array([255, 214, 64], np.uint8)


def _grown(mask: Array) -> Array:
    """A mask (N, H, W) with a pixel more on each side; it does not wrap around."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    return np.asarray(
        padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:] | mask
    )
