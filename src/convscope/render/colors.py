"""From values to colors: the limits of a scale, its color map, and what becomes of values outside the limits.

Each of the three color maps means the same everywhere: `SIGNED` is for values around zero (red is positive, blue
is negative, near-white is zero), `IMPORTANCE` for relevance without a sign, and `ACTIVATION` for feature maps. In
the last two dark is zero, and equal steps of the value look equally far apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
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

# The colors of classes, in pictures and pages alike, on white and on the dark ground of a page. The first six are
# Okabe and Ito's without yellow (too pale on white) and black (the ink of the text). The others were chosen one by
# one, each the farthest (in OKLab) from those before, from both grounds and from the gray of the others, for usual
# sight and for simulated protanopia, deuteranopia and tritanopia (Machado et al. 2009). Nobody tells forty colors
# apart at a glance: pictures vary the shape as well, and in pages a click on a class shows it alone.
CLASS_COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#783c3c", "#0000c3", "#a5e1a5", "#a54bff",
    "#b41e78", "#5a0f87", "#e1d200", "#00e1ff", "#692de1", "#8787f0", "#965a3c", "#87c378", "#78005a", "#c32db4",
    "#a50000", "#006978", "#f0a5c3", "#693c96", "#f01ed2", "#d21e00", "#f0783c", "#ff78d2", "#a56996", "#4bb469",
    "#2d3c69", "#5ae178", "#785a96", "#b4694b", "#78000f", "#ffb4f0", "#1e78e1", "#962d5a", "#5a2d3c", "#960fc3",
)  # fmt: skip
OTHER = "#a0a0a6"  # what has no class, and classes for which no color is left

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


def class_colors(labels: Sequence[str | None], more: Sequence[str | None] = ()) -> dict[str, str]:
    """The color of each class, by the order of the names; of the 40 most frequent where there are more.

    Args:
        labels: one for each image, None for none.
        more: further names, such as predictions. Those that are no label get the colors that are left, the most
            frequent first, so that a class has one color in both.
    """
    most = sorted(name for name, _ in by_frequency(labels)[: len(CLASS_COLORS)])
    colors = dict(zip(most, CLASS_COLORS, strict=False))
    known = set(labels)
    rest = [name for name, _ in by_frequency(more) if name not in known]
    return colors | dict(zip(rest, CLASS_COLORS[len(colors) :], strict=False))


def by_frequency(names: Iterable[str | None]) -> list[tuple[str, int]]:
    """Names with their counts, the most frequent first, equally frequent ones by name."""
    counts = Counter(name for name in names if name is not None)
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def zero_centered(values: Array, limit: Array | float) -> Array:
    """Weights as gray or RGB, uint8 of the same shape: middle gray (128) is zero, white is +limit."""
    safe = np.where(np.asarray(limit) > 0, limit, 1.0)
    return np.clip(np.rint(128 + 127 * np.nan_to_num(values) / safe), 0, 255).astype(np.uint8)
