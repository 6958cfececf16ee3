"""Attributions of signals: the signal as a line, over a background in the colors of its map."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from ..results import Array, Attribution
from .colors import Scale
from .overlays import attribution_scale
from .style import INK, SOFT, color_bar, heading, new_figure, plain_axes, short_label, short_name, text

LANES = 12  # channels that are drawn, one above the other
COLUMNS = 2000  # of the background: more cannot be seen


def draw_signal(ax: Axes, result: Attribution, n: int) -> None:
    """Signal n: a line for each channel, and its map behind them."""
    signal, scale = np.asarray(result.images[n], np.float64), attribution_scale(result, n)
    low, high = draw_lines(ax, signal)
    draw_background(ax, result.values[n], scale, low, high)
    plain_axes(ax)
    if len(signal) == 1:
        ax.set_ylabel("input", **text(size=7.5, color=SOFT))
    else:
        n_lanes = min(len(signal), LANES)
        ax.set_yticks(np.arange(n_lanes)[::-1], [str(channel) for channel in range(n_lanes)])
        ax.set_ylabel("channel", **text(size=7.5, color=SOFT))
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xlim(-0.5, signal.shape[1] - 0.5)
    ax.set_ylim(low, high)
    ax.set_xlabel("sample", **text(size=7.5, color=SOFT))
    color_bar(ax, scale, result.unit, width=0.02)


def compose_signals(result: Attribution, rows: list[int], notes_of: list[str]) -> tuple[Figure, list[str]]:
    """A row for each of these signals, and what to say below them; ``notes_of`` stand above each."""
    n_channels = result.images.shape[1]
    height = 1.9 if n_channels == 1 else 0.9 + 0.42 * min(n_channels, LANES)
    figure = new_figure(9.0, 0.9 + len(rows) * (height + 0.5))
    for ax, n, note in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, notes_of, strict=True):
        draw_signal(ax, result, n)
        heading(ax, f"{short_name(result.names[n])}: {short_label(result.targets[n])}", note)
    notes = []
    if n_channels > LANES:
        notes.append(f"The first {LANES} of {n_channels} channels are shown.")
    if n_channels > 1:
        notes.append("Each channel is drawn from its own least to its own greatest value.")
    if result.values.shape[1] > COLUMNS:
        notes.append("Where samples lie closer than the colors can show, the strongest value is shown.")
    return figure, notes


def draw_lines(ax: Axes, signal: Array) -> tuple[float, float]:
    """The channels (C, L): one on an axis of its own values, several in lanes; from where to where they reach."""
    lines = np.asarray(signal[:LANES], np.float64)
    if len(lines) == 1:
        margin = 0.08 * float(np.ptp(lines)) or 1.0
        low, high = float(lines.min()) - margin, float(lines.max()) + margin
    else:
        least, spread = lines.min(axis=1, keepdims=True), np.ptp(lines, axis=1, keepdims=True)
        middles = np.arange(len(lines))[::-1, None]
        lines = middles + 0.8 * ((lines - least) / np.where(spread > 0, spread, 1.0) - 0.5)
        low, high = -0.5, len(lines) - 0.5
    halo = [Stroke(linewidth=2.6, foreground="white"), Normal()]  # or it would vanish on a dark color
    for line in lines:
        ax.plot(line, color=INK, linewidth=1.0, path_effects=halo, zorder=2)
    return low, high


def draw_background(ax: Axes, values: Array, scale: Scale, low: float, high: float) -> None:
    """The colors of a map (L,) behind its signal, from ``low`` to ``high``."""
    box = (-0.5, len(values) - 0.5, low, high)
    colors = scale.colors(_strongest(values))[None]
    ax.imshow(colors, extent=box, aspect="auto", interpolation="nearest", zorder=1)


def _strongest(values: Array) -> Array:
    """At most `COLUMNS` values, each the one of largest magnitude among its neighbors."""
    each = -(-len(values) // COLUMNS)
    if each == 1:
        return values
    padded = np.pad(values, (0, -len(values) % each), mode="edge").reshape(-1, each)
    return np.take_along_axis(padded, np.abs(padded).argmax(axis=1)[:, None], axis=1)[:, 0]
