"""From values to colors: the limits of a scale, its color map, and what becomes of values outside the limits.

Each of the three color maps means the same everywhere: `SIGNED` is for values around zero (red is positive, blue
is negative, near-white is zero), `IMPORTANCE` for relevance without a sign, and `ACTIVATION` for feature maps. In
the last two dark is zero, and equal steps of the value look equally far apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap

from ..errors import ParameterError
from ..results import Array

SIGNED = "RdBu_r"
IMPORTANCE = "inferno"
ACTIVATION = "viridis"

# In a map of gradients a few pixels can be ten times as strong as all others and would leave the rest black. Where
# the maximum exceeds this percentile by more than this factor, the percentile is the limit.
PERCENTILE = 99.5
STANDS_OUT = 1.25


@dataclass(frozen=True)
class Scale:
    """A linear scale from ``low`` to ``high`` with its color map; ``extend`` says where values are clipped."""

    low: float
    high: float
    map_name: str
    extend: Literal["neither", "min", "max", "both"] = "neither"

    @property
    def is_signed(self) -> bool:
        return self.low < 0

    @property
    def map(self) -> Colormap:
        return color_map(self.map_name)

    def colors(self, values: Array) -> Array:
        """Values (...) -> uint8 (..., 3)."""
        spread = self.high - self.low
        place = (np.nan_to_num(np.asarray(values, np.float64)) - self.low) / spread
        rgba = self.map(np.clip(place, 0, 1), bytes=True)
        return np.ascontiguousarray(rgba[..., :3])

    def strength(self, values: Array) -> Array:
        """The size of each value as a share of the limit, (...) in [0, 1]."""
        magnitude = np.abs(np.nan_to_num(np.asarray(values, np.float64)))
        return np.clip(magnitude / max(abs(self.low), abs(self.high)), 0, 1)

    def gradient(self, stops: int = 17) -> tuple[str, ...]:
        """Colors from low to high as "#rrggbb", for a color bar that matplotlib does not draw."""
        colors = self.colors(np.linspace(self.low, self.high, stops))
        return tuple("#{:02x}{:02x}{:02x}".format(*color) for color in colors)


@cache
def color_map(name: str) -> Colormap:
    """A color map with an odd number of colors, so that zero on a signed scale gets exactly the middle one."""
    return colormaps[name].resampled(257)


def known_color_map(name: str) -> str:
    """The name, if matplotlib has a color map of that name."""
    if name not in colormaps:
        near = get_close_matches(name, list(colormaps), 3, 0.5) or [SIGNED, IMPORTANCE, ACTIVATION]
        raise ParameterError(f"cmap={name!r}: matplotlib has no such color map; for example {', '.join(near)}")
    return name


def fit_scale(values: Array, map_name: str, *, signed: bool | None = None) -> Scale:
    """The scale for these values: from zero up, or symmetric around zero for signed values.

    With ``signed=None``, values are signed where one of them is negative. Signed values always get the map
    `SIGNED`.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if signed is None:
        signed = low < 0
    limit = _limit(finite if signed else finite.clip(min=0))
    beyond = (signed and low < -limit, high > limit)
    extend: Literal["neither", "min", "max", "both"] = (
        "both" if all(beyond) else "min" if beyond[0] else "max" if beyond[1] else "neither"
    )
    return Scale(-limit if signed else 0.0, limit, SIGNED if signed else map_name, extend)


def _limit(values: Array) -> float:
    """The largest magnitude; the 99.5th percentile where that stands out; 1 where everything is zero."""
    if not values.size:
        return 1.0
    magnitude = np.abs(values)
    largest, usual = float(magnitude.max()), float(np.percentile(magnitude, PERCENTILE))
    if largest < np.finfo(np.float32).tiny:
        return 1.0
    return usual if usual > 0 and largest > STANDS_OUT * usual else largest


def zero_centered(values: Array, limit: Array | float) -> Array:
    """Weights as gray or RGB, uint8 of the same shape: middle gray (128) is zero, white is +limit."""
    safe = np.where(np.asarray(limit) > 0, limit, 1.0)
    return np.clip(np.rint(128 + 127 * np.nan_to_num(values) / safe), 0, 255).astype(np.uint8)
