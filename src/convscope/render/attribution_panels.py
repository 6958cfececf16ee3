"""The parts of a picture of an attribution: a map over what the network saw, with its color bar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..results import Array, Attribution
from .overlays import attribution_scale, map_overlay
from .signal_figures import draw_signal
from .style import color_bar, outline, show
from .vector_figures import draw_vector
from .volume_figures import draw_volume


def attribution_overlay(result: Attribution, n: int) -> Array:
    """The map of image n over its photo, uint8 (H, W, 3)."""
    return map_overlay(result.images[n], result.values[n], signed=result.signed)


def attribution_map(result: Attribution, n: int) -> Array:
    """The map of image n by itself, uint8 (H, W, 3)."""
    return attribution_scale(result, n).colors(result.values[n])


def is_grainy(values: Array) -> bool:
    """Whether neighboring pixels differ about as much as any two pixels, which is illegible over a photo."""
    spread = np.abs(values - values.mean()).mean()
    steps = np.abs(np.diff(values, axis=1)).mean() if values.shape[1] > 1 else 0.0
    return bool(steps > 0.3 * spread)


def draw_map(ax: Axes, result: Attribution, n: int, *, by_itself: bool = False, as_video: bool = False) -> None:
    """Map n with its color bar, without a heading.

    Over a photo, or ``by_itself``; behind a signal; of a volume on three planes, or ``as_video`` on frames; of a
    vector as bars.
    """
    sides = result.values.ndim - 1
    if result.images.ndim == 2:
        draw_vector(ax, result, n)
    elif sides == 1:
        draw_signal(ax, result, n)
    elif sides == 3:
        draw_volume(ax, result, n, as_video=as_video)
    else:
        picture = attribution_map(result, n) if by_itself else attribution_overlay(result, n)
        show(ax, picture, sharp=by_itself)
        outline_target(ax, result, n)
        color_bar(ax, attribution_scale(result, n), result.unit)


def outline_target(ax: Axes, result: Attribution, n: int) -> None:
    """The box of the detection that map n is about."""
    box = result.boxes[n] if result.boxes else None
    if box is not None:
        outline(ax, box)
