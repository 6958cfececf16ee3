"""A map as a layer of its own that a page lays over a photo: transparent where the map is zero."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from ..results import Array
from .colors import Scale

_LEVELS = 255  # odd, so that zero on a signed scale is one of them


def layer_uri(values: Array, scale: Scale) -> str:
    """A map (H, W) as the data URI of a PNG whose palette is the scale: one byte for each pixel.

    The stronger a value, the less the photo is seen through it, so that weak values tint the photo and do not veil
    it. Over the color of zero (`ground`) the layer shows the map by itself.
    """
    spread = scale.high - scale.low
    place = np.clip((np.nan_to_num(np.asarray(values, np.float64)) - scale.low) / spread, 0, 1)
    levels = scale.low + np.linspace(0, 1, _LEVELS) * spread
    picture = Image.fromarray(np.rint(place * (_LEVELS - 1)).astype(np.uint8), "P")
    picture.putpalette(scale.colors(levels).tobytes())
    opacity = np.rint(255 * np.minimum(1, 1.15 * scale.strength(levels) ** 0.6)).astype(np.uint8)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=opacity.tobytes())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def ground(scale: Scale) -> str:
    """The color of zero, "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*scale.colors(np.zeros(1))[0])
