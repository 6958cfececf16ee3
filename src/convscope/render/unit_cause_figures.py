"""What a channel is made from and what needs it, as bars that go to both sides of zero."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Feeds, Necessity
from ..texts import counted
from .bar_charts import draw_bars
from .style import cut_note, heading, headline, new_figure, short_label

BARS, PANELS = 8, 4


def draw_necessity(ax: Axes, result: Necessity, *, channel: int | None = None) -> None:
    """The classes whose scores change most without a channel; without one, the channels that classes need most."""
    if channel is None and len(result.channels) > 1:
        strongest = np.abs(result.effects).argmax(axis=1)
        values = result.effects[np.arange(len(strongest)), strongest]
        order = np.argsort(-np.abs(values), kind="stable")[:BARS]
        names = [f"{result.channels[i]}: {short_label(result.classes[strongest[i]], 20)}" for i in order]
        draw_bars(ax, names, values[order].tolist())
        heading(ax, "Scores without each channel", "how far the class that changes most falls; orange: it rises")
        return
    channel = int(result.channels[0]) if channel is None else channel
    effect_bars(ax, result, channel)
    heading(ax, f"Scores without channel {channel}", "how far a class falls in its images; orange: it rises")


def effect_bars(ax: Axes, result: Necessity, channel: int, n: int = BARS) -> None:
    """The classes whose scores change most without a channel."""
    top = result.top(channel, n)
    draw_bars(ax, [short_label(one.label, 26) for one in top], [one.effect for one in top])


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
        draw_bars(axes[1], [names[i] for i in order], (100 * changes[order]).tolist(), is_bad_below=False)
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
    draw_bars(ax, [f"{feed.channel}" for feed in top], [feed.contribution for feed in top])


def compose_feeds(result: Feeds) -> Figure:
    """A panel for each of the first channels."""
    channels = result.channels[:PANELS].tolist()
    figure = new_figure(max(5.4, 2.9 * len(channels)), 3.9)
    for ax, channel in zip(figure.subplots(1, len(channels), squeeze=False)[0], channels, strict=True):
        draw_feeds(ax, result, channel=channel)
    notes = cut_note(len(channels), len(result.channels), "channels")
    headline(figure, f"What feeds {result.layer}: channels of {result.source}", result, notes)
    return figure
