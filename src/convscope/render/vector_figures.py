"""Attributions of vectors, such as the values of a table's row: a bar for each."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..results import Array, Attribution
from .colors import SIGNED, color_map
from .style import ACCENT, LINE, SOFT, plain_axes, text

BARS = 16


def draw_vector(ax: Axes, result: Attribution, n: int) -> None:
    """A bar for each value of vector n, with the value itself; of many the strongest, in their order."""
    chosen = strongest(result.values[n])
    values, given = result.values[n][chosen], result.images[n][chosen]
    against, supports = (color_map(SIGNED)(end) for end in (0.08, 0.92))
    colors = [supports if value > 0 else against for value in values] if result.signed else ACCENT
    places = np.arange(len(chosen))
    ax.barh(places, values, height=0.62, color=colors)
    ax.axvline(0, color=LINE, linewidth=0.8)
    plain_axes(ax, grid="x")
    names = [f"{at}:  {value:.3g}" for at, value in zip(chosen, given, strict=True)]
    ax.set_yticks(places, names)
    ax.set_ylim(max(len(places), 4) - 0.4, -0.6)  # few bars are not thick
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel(result.unit, **text(size=7.5, color=SOFT))
    ax.set_ylabel("index:  value given", **text(size=7.5, color=SOFT))


def strongest(values: Array) -> Array:
    """The places of at most `BARS` values, the strongest ones, in ascending order."""
    return np.sort(np.argsort(-np.abs(values), kind="stable")[:BARS])
