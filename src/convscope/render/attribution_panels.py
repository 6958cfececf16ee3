"""The parts of a picture of an attribution: a map over what the network saw, with its color bar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..errors import ParameterError
from ..results import Array, Attribution
from .overlays import attribution_scale, blend, overlay
from .signal_figures import draw_signal
from .style import color_bar, outline, show
from .vector_figures import draw_vector
from .volume_figures import draw_volume


def attribution_overlay(
    result: Attribution, n: int, *, cmap: str | None = None, alpha: float | None = None
) -> Array:
    """The map of image n over its photo, uint8 (H, W, 3).

    With ``alpha``, a share in [0, 1], the colors of the map are mixed with those of the photo. Without, the photo
    turns gray, so that every hue is a value, and shows where the map is weak.
    """
    photo, values, scale = result.images[n], result.values[n], attribution_scale(result, n, cmap)
    if alpha is not None:
        return blend(photo, scale.colors(values), alpha)
    return overlay(photo, values, scale)


def attribution_map(result: Attribution, n: int) -> Array:
    """The map of image n by itself, uint8 (H, W, 3)."""
    return attribution_scale(result, n).colors(result.values[n])


def is_grainy(values: Array) -> bool:
    """Whether neighboring pixels differ about as much as any two pixels, which is illegible over a photo."""
    spread = np.abs(values - values.mean()).mean()
    steps = np.abs(np.diff(values, axis=1)).mean() if values.shape[1] > 1 else 0.0
    return bool(steps > 0.3 * spread)


def draw_map(
    ax: Axes,
    result: Attribution,
    n: int,
    *,
    as_video: bool = False,
    cmap: str | None = None,
    alpha: float | None = None,
) -> None:
    """Map n with its color bar, without a heading.

    Over a photo, in the colors ``cmap`` and as opaque as ``alpha`` says (see `attribution_overlay`); behind a
    signal; of a volume on three planes, or ``as_video`` on frames; of a vector as bars.
    """
    sides = result.values.ndim - 1
    if sides != 2 and not (cmap is None and alpha is None):
        raise ParameterError("cmap and alpha: for maps over pictures; these maps have other forms")
    if result.images.ndim == 2:
        draw_vector(ax, result, n)
    elif sides == 1:
        draw_signal(ax, result, n)
    elif sides == 3:
        draw_volume(ax, result, n, as_video=as_video)
    else:
        show(ax, attribution_overlay(result, n, cmap=cmap, alpha=alpha), sharp=alpha == 1)
        outline_target(ax, result, n)
        color_bar(ax, attribution_scale(result, n, cmap), result.unit)


def outline_target(ax: Axes, result: Attribution, n: int) -> None:
    """The box of the detection that map n is about."""
    box = result.boxes[n] if result.boxes else None
    if box is not None:
        outline(ax, box)
