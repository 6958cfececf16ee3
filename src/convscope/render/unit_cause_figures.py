"""What a channel is made from and what needs it, as bars that go to both sides of zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Array, Feeds, Necessity
from ..texts import counted
from .style import (
    ACCENT,
    INK,
    SOFT,
    WRONG,
    cut_note,
    decimal,
    drawable,
    heading,
    headline,
    new_figure,
    plain_axes,
    short_label,
    text,
)

BARS, PANELS = 8, 4


def draw_necessity(ax: Axes, result: Necessity, *, channel: int | None = None) -> None:
    """The classes whose scores change most without a channel; without one, the channels that classes need most."""
    if channel is None and len(result.channels) > 1:
        strongest = np.abs(result.effects).argmax(axis=1)
        values = result.effects[np.arange(len(strongest)), strongest]
        order = np.argsort(-np.abs(values), kind="stable")[:BARS]
        names = [f"{result.channels[i]}: {short_label(result.classes[strongest[i]], 20)}" for i in order]
        _bars(ax, values[order], names)
        heading(ax, "Scores without each channel", "how far the class that changes most falls; orange: it rises")
        return
    channel = int(result.channels[0]) if channel is None else channel
    effect_bars(ax, result, channel)
    heading(ax, f"Scores without channel {channel}", "how far a class falls in its images; orange: it rises")


def effect_bars(ax: Axes, result: Necessity, channel: int, n: int = BARS) -> None:
    """The classes whose scores change most without a channel."""
    top = result.top(channel, n)
    _bars(ax, np.array([one.effect for one in top]), [short_label(one.label, 26) for one in top])


def compose_necessity(result: Necessity) -> Figure:
    """The effects on scores and, where any image changes, on how many stay right."""
    is_one = len(result.channels) == 1
    changes = (result.right_without - result.right)[0] / result.counts
    if not is_one:
        changes = result.accuracy_without - result.accuracy
    figure = new_figure(9.6 if changes.any() else 5.4, 3.9)
    axes = figure.subplots(1, 2 if changes.any() else 1, squeeze=False)[0]
    draw_necessity(axes[0], result)
    what = "Accuracy" if result.by == "labels" else "Images with the same prediction"
    if changes.any():
        names = [short_label(label, 26) for label in result.classes] if is_one else list(map(str, result.channels))
        order = [i for i in np.argsort(changes, kind="stable")[:BARS] if changes[i]]
        _bars(axes[1], 100 * changes[order], [names[i] for i in order], wanted=-1)
        heading(axes[1], what, f"change in percentage points; {result.accuracy:.0%} with all channels")
    notes = [] if changes.any() else [f"{what}: unchanged, {result.accuracy:.0%}."]
    notes += [] if is_one else cut_note(min(BARS, len(result.channels)), len(result.channels), "channels")
    images = counted(len(result.names), "image")
    headline(figure, f"Necessity: what {images} lose without channels of {result.layer}", result, notes)
    return figure


def draw_feeds(ax: Axes, result: Feeds, *, channel: int | None = None) -> None:
    """The channels of the layer before that add most to a channel, by default the first, or take from it."""
    channel = int(result.channels[0]) if channel is None else channel
    feed_bars(ax, result, channel)
    heading(ax, f"Channel {channel}", f"of {counted(len(result.means), 'channel')}: weight × mean activation")


def feed_bars(ax: Axes, result: Feeds, channel: int) -> None:
    """The channels of the layer before that add most to a channel or take most from it."""
    top = result.top(channel, BARS)
    _bars(ax, np.array([feed.contribution for feed in top]), [f"{feed.channel}" for feed in top])


def compose_feeds(result: Feeds) -> Figure:
    """A panel for each of the first channels."""
    channels = result.channels[:PANELS].tolist()
    figure = new_figure(max(5.4, 2.9 * len(channels)), 3.9)
    for ax, channel in zip(figure.subplots(1, len(channels), squeeze=False)[0], channels, strict=True):
        draw_feeds(ax, result, channel=channel)
    notes = cut_note(len(channels), len(result.channels), "channels")
    headline(figure, f"What feeds {result.layer}: channels of {result.source}", result, notes)
    return figure


def _bars(ax: Axes, values: Array, names: Sequence[str], *, wanted: int = 1) -> None:
    """Horizontal bars, the first on top, each with its value; orange where the sign is not the ``wanted`` one."""
    n = max(1, len(values))
    colors = [ACCENT if wanted * value >= 0 else WRONG for value in values]
    ax.barh(np.arange(len(values)), values, color=colors, height=0.62)
    ax.axvline(0, color=SOFT, linewidth=0.8)
    ax.set(ylim=(max(n, 3) - 0.5, -0.5), yticks=range(len(values)))
    ax.set_yticklabels([drawable(name) for name in names], **text(size=7.5, color=INK))
    plain_axes(ax, grid="x")
    low, high = (min(0.0, *values), max(0.0, *values)) if len(values) else (0.0, 0.0)
    room = 0.22 * ((high - low) or 1.0)
    ax.set_xlim(low - (room if low else 0), high + (room if high else 0) or 1)
    for i, value in enumerate(values.tolist()):
        ax.text(
            value, i, f" {decimal(value)} ", va="center", ha="left" if value >= 0 else "right",
            **text(size=7, color=SOFT),
        )  # fmt: skip
