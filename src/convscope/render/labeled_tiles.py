"""Thumbnails with two lines of text under each, placed in the coordinates of one axes."""

from __future__ import annotations

from matplotlib.axes import Axes

from ..results import Array
from .style import INK, SOFT, drawable, short_label, text


def thumbnail(thumbnails: Array, i: int) -> Array | None:
    """Thumbnail i, or None where there is none."""
    return thumbnails[i] if i < len(thumbnails) and thumbnails.shape[1] else None


def draw_tile(ax: Axes, left: float, top: float, picture: Array | None, frame: str | None = None) -> None:
    """A picture of side 1, or a gray square without one; ``frame`` is the color of its frame."""
    box = (left, left + 1, top + 1, top)
    if picture is not None:
        ax.imshow(picture, extent=box, interpolation="antialiased")
    else:
        ax.fill_between(box[:2], box[2], box[3], color="#f0f0f2")
    if frame is not None:
        x, y = (box[0], box[1], box[1], box[0], box[0]), (top, top, top + 1, top + 1, top)
        ax.plot(x, y, color=frame, linewidth=2, solid_joinstyle="miter")


def write_under(ax: Axes, left: float, top: float, name: str, note: str, color: str) -> None:
    """A name and a quieter note under the tile at this place."""
    ax.text(left, top + 1.05, drawable(name), va="top", **text(size=7, color=color))
    soft = SOFT if color == INK else color
    ax.text(left, top + 1.2, drawable(short_label(note, 16)), va="top", **text(size=7, color=soft))
