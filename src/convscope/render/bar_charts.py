"""Horizontal bars that go to both sides of zero, each with its name and its value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from .style import ACCENT, INK, SOFT, WRONG, decimal, drawable, plain_axes, text

_ROOM = 0.22  # of the longest bars' span, beside them, for their values
_LEAST = 3  # bars for which there is room, so that a single one is not thick


def draw_bars(
    ax: Axes, names: Sequence[str], values: Sequence[float], *, zero: float = 0.0, is_bad_below: bool = True
) -> None:
    """Bars from ``zero`` to each value, the first on top; orange on the bad side of zero."""
    lengths = np.asarray(values, float) - zero
    is_bad = lengths < 0 if is_bad_below else lengths > 0
    ax.barh(range(len(names)), lengths, left=zero, height=0.6, color=[WRONG if bad else ACCENT for bad in is_bad])
    ax.axvline(zero, color=SOFT, linewidth=0.8)
    plain_axes(ax, grid="x")
    ax.set(ylim=(max(len(names), _LEAST) - 0.5, -0.5), yticks=range(len(names)))
    ax.set_yticklabels([drawable(name) for name in names], **text(size=7.5, color=INK))
    low, high = lengths.min(initial=0.0), lengths.max(initial=0.0)
    room = _ROOM * (high - low)
    ax.set_xlim(zero + low - room * (low < 0), zero + (high + room * (high > 0) if high > low else 1.0))
    for at, (value, length) in enumerate(zip(values, lengths, strict=True)):
        ax.annotate(
            decimal(value), (value, at), (4 if length >= 0 else -4, 0), textcoords="offset points", va="center",
            ha="left" if length >= 0 else "right", **text(size=7, color=SOFT),
        )  # fmt: skip
