"""A map of any kind as a small panel: over its photo, behind its signal, or on one plane of its volume."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..results import Array
from .colors import Scale
from .overlays import overlay
from .signal_figures import draw_background, draw_lines
from .style import show


def show_input(ax: Axes, image: Array, depth: int) -> None:
    """What the network saw: a photo (H, W, 3), a signal (C, L), or of a volume (D, H, W, 3) one plane."""
    if image.ndim == 2:
        _show_signal(ax, image, *draw_lines(ax, image))
    else:
        show(ax, image[depth] if image.ndim == 4 else image, sharp=image.ndim == 4)


def show_map(ax: Axes, image: Array, values: Array, scale: Scale, depth: int) -> None:
    """The same with its map, (H, W), (L,) or (D, H, W)."""
    if image.ndim == 2:
        low, high = draw_lines(ax, image)
        draw_background(ax, values, scale, low, high)
        _show_signal(ax, image, low, high)
    elif image.ndim == 4:
        show(ax, overlay(image[depth], values[depth], scale), sharp=True)
    else:
        show(ax, overlay(image, values, scale))


def peak_depth(values: Array) -> int:
    """The plane of a volume (D, H, W) that holds the strongest value; 0 for other maps, which are shown whole."""
    if values.ndim != 3:
        return 0
    return int(np.unravel_index(np.nan_to_num(np.abs(values)).argmax(), values.shape)[0])


def note_on_planes(values: Array, of: str) -> list[str]:
    """What to say below panels of a volume (D, H, W); nothing for other maps."""
    if values.ndim != 3:
        return []
    return [f"Of a volume, all panels show the plane at the depth of the strongest value of {of}."]


def _show_signal(ax: Axes, image: Array, low: float, high: float) -> None:
    ax.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(low, high))
    ax.set_axis_off()
