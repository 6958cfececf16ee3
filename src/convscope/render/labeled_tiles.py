"""Thumbnails with two lines of text under each, placed in the coordinates of one axes."""

from __future__ import annotations

from matplotlib.axes import Axes

from ..results import Array
from .style import BLANK, INK, SOFT, drawable, short_label, text


def thumbnail(thumbnails: Array, i: int) -> Array | None:
    """Thumbnail i, or None where there is none."""
    return thumbnails[i] if i < len(thumbnails) and thumbnails.shape[1] else None


def draw_tile(
    ax: Axes, left: float, top: float, picture: Array | None, frame: str | None = None, *, side: float = 1.0
) -> None:
    """A picture, or a gray square without one; ``frame`` is the color of its frame."""
    right, bottom = left + side, top + side
    if picture is not None:
        ax.imshow(picture, extent=(left, right, bottom, top), interpolation="antialiased")
    else:
        ax.fill_between((left, right), bottom, top, color=BLANK)
    if frame is not None:
        x, y = (left, right, right, left, left), (top, top, bottom, bottom, top)
        ax.plot(x, y, color=frame, linewidth=2 * side, solid_joinstyle="miter")


def write_under(ax: Axes, left: float, top: float, name: str, note: str, color: str) -> None:
    """A name and a quieter note under the tile at this place."""
    ax.text(left, top + 1.05, drawable(name), va="top", **text(size=7, color=color))
    soft = SOFT if color == INK else color
    ax.text(left, top + 1.2, drawable(short_label(note, 16)), va="top", **text(size=7, color=soft))
