"""Predictions: the most probable classes as bars; values as numbers."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Prediction
from .style import (
    ACCENT,
    BLANK,
    SOFT,
    cut_note,
    decimal,
    drawable,
    heading,
    headline,
    new_figure,
    pick,
    short_label,
    short_name,
    text,
)  # fmt: skip

LIMIT = 12  # images


def draw_prediction(ax: Axes, result: Prediction, *, n: int = 0, k: int = 5) -> None:
    """The k most probable classes of one image, with probabilities and scores; of values the first k."""
    (n,) = pick(n, len(result.scores), 1)
    ranked = result.top(k)[n]
    for place, entry in enumerate(ranked):
        ax.barh(place, 1, height=0.03 if result.are_values else 0.34, color=BLANK)
        if not result.are_values:  # which have no common scale
            ax.barh(place, entry.probability, height=0.34, color=ACCENT)
        ax.text(0, place - 0.24, drawable(short_label(entry.label, 44)), va="bottom", **text(size=8))
        numbers = f"{entry.probability:.1%}   score {decimal(entry.score)}"
        if result.are_values:
            numbers = f"{entry.score:.6g}"
        ax.text(1, place - 0.24, numbers, va="bottom", ha="right", **text(size=7, color=SOFT))
    ax.set(xlim=(0, 1), ylim=(len(ranked) - 0.7, -0.75))
    ax.set_axis_off()
    label = result.true_labels[n] if result.true_labels else None
    heading(ax, short_name(result.names[n], 40), f"label {short_label(label)}" if label else "")


def compose_prediction(result: Prediction, *, n: int | Sequence[int] | None = None, k: int = 5) -> Figure:
    """A panel per image, two side by side."""
    images = pick(n, len(result.scores), LIMIT)
    columns = min(2, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(4.2 * columns, 0.9 + rows * (0.5 + 0.42 * min(k, result.scores.shape[1])))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, i in zip(axes, images, strict=False):
        draw_prediction(ax, result, n=i, k=k)
    for ax in axes[len(images) :]:
        ax.set_axis_off()
    notes = cut_note(len(images), len(result.scores), "images") if n is None else []
    headline(figure, "Prediction", result, notes)
    return figure
