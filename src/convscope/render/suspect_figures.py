"""Suspects: a contact sheet of images with their label, the suggested one, the nearest others, and a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Attribution, Suspects
from ..results.collection_faults import has_other_label
from .attribution_panels import attribution_overlay
from .labeled_tiles import draw_tile, thumbnail
from .style import (
    ACCENT,
    INK,
    SOFT,
    WRONG,
    cut_note,
    drawable,
    headline,
    new_figure,
    pick,
    short_label,
    short_name,
    text,
)  # fmt: skip

IMAGES, MOST = 12, 48
COLUMNS = 3
NEAREST = 3
_GAP = 0.25  # between an image and its neighbors
_WIDTH = 1 + _GAP + 0.76 * NEAREST + 0.35
_FOR_MAP = 1.08
_HEIGHT = 1.55
SUSPECT_TITLES = {
    "label": "Labels to look at",
    "outlier": "Images that lie apart from all others",
    "uncertain": "Images that the network is least sure of",
}


def _chosen(result: Suspects, n: int | Sequence[int] | None) -> list[int]:
    """The images that are drawn: of doubtful labels by default those for which another one is suggested."""
    if n is None and result.kind == "label":
        doubted = np.flatnonzero(result.is_doubted[: len(result.near)])
        if len(doubted):
            return [int(i) for i in doubted[:IMAGES]]
    return pick(n, len(result.near), IMAGES if result.kind != "label" else COLUMNS)[:MOST]


def _columns(chosen: Sequence[int], maps: Attribution | None) -> tuple[int, float]:
    """How many images stand side by side, and how wide each is with what is beside it."""
    width, most = (_WIDTH, COLUMNS) if maps is None else (_WIDTH + _FOR_MAP, COLUMNS - 1)
    return min(most, max(1, len(chosen))), width


def draw_suspects(
    ax: Axes, result: Suspects, *, n: int | Sequence[int] | None = None, maps: Attribution | None = None
) -> None:
    """Each image with two lines below it, and smaller its nearest others with their labels.

    ``maps`` are those of `convscope.suspect_maps`; each stands beside its image.
    """
    chosen = _chosen(result, n)
    columns, width = _columns(chosen, maps)
    map_of = {} if maps is None else {name: at for at, name in enumerate(maps.names)}
    for place, i in enumerate(chosen):
        left, top = (place % columns) * width, (place // columns) * _HEIGHT
        draw_tile(ax, left, top, thumbnail(result.thumbnails, i))
        for line, (words, color, weight) in enumerate(_said(result, i)):
            ax.text(
                left,
                top + 1.06 + 0.16 * line,
                drawable(words),
                va="top",
                **text(size=7.5, color=color, weight=weight),
            )
        if maps is not None:
            at = map_of.get(result.names[i])
            left += _FOR_MAP
            draw_tile(ax, left, top, None if at is None else attribution_overlay(maps, at))
        for rank, j in enumerate(result.near[i, :NEAREST]):
            _draw_neighbor(ax, result, i, int(j), left + 1 + _GAP + 0.76 * rank, top)
        name = drawable(short_name(result.names[i], 34))
        ax.text(left + 1 + _GAP, top + 1.06, name, va="top", **text(size=6.5, color=SOFT))
    rows = -(-len(chosen) // columns)
    ax.set(
        xlim=(-0.05, columns * width - 0.3),
        ylim=(max(rows, 1) * _HEIGHT - 0.05, -0.05),
        aspect="equal",
        anchor="NW",
    )
    ax.set_axis_off()


def _draw_neighbor(ax: Axes, result: Suspects, i: int, j: int, left: float, top: float) -> None:
    """A neighbor at 0.7 of the size; an orange frame where its label is not the image's."""
    label, differs = result.near_labels[j], has_other_label(result, i, j)
    draw_tile(ax, left, top, thumbnail(result.near_thumbnails, j), WRONG if differs else None, side=0.7)
    words = short_label(label, 11) if label is not None else short_name(result.near_names[j], 11)
    ax.text(left, top + 0.74, drawable(words), va="top", **text(size=6.5, color=WRONG if differs else SOFT))


def _said(result: Suspects, i: int) -> list[tuple[str, str, str]]:
    """The lines under an image: words, color and weight."""
    label, score = result.labels[i], float(result.scores[i])
    lines = [(short_label(label, 18) if label is not None else short_name(result.names[i], 18), INK, "normal")]
    if result.kind == "outlier":
        lines.append((f"distance {score:.2f}", SOFT, "normal"))
    elif result.kind == "uncertain":
        guess = result.predicted[i] if result.predicted else None
        lines.append((f"{short_label(guess or '?', 12)} {1 - score:.0%}", SOFT, "normal"))
    elif (other := result.suggested[i]) is not None and other != label:
        lines.append((f"→ {short_label(other, 16)}", ACCENT, "bold"))
    else:
        lines.append(("no other label", SOFT, "normal"))
    return lines


def what_maps_show(maps: Attribution, kind: str) -> str:
    """What the maps of `convscope.suspect_maps` show, as the end of a sentence."""
    if kind != "label":
        return "what speaks for the predicted class"
    if all(" rather than " in target for target in maps.targets):
        return "what speaks for the suggested class (red), and for the label (blue)"
    return "what it has in common with its nearest of the suggested label (red)"


def compose_suspects(
    result: Suspects, *, n: int | Sequence[int] | None = None, maps: Attribution | None = None
) -> Figure:
    """The sheet with its headline."""
    chosen = _chosen(result, n)
    columns, width = _columns(chosen, maps)
    rows = max(1, -(-len(chosen) // columns))
    figure = new_figure(max(6.0, 1.02 * columns * width + 0.2), 1.1 + 1.02 * rows * _HEIGHT)
    draw_suspects(figure.subplots(), result, n=n, maps=maps)
    notes = [] if maps is None else [f"Beside each image: {what_maps_show(maps, result.kind)}."]
    if result.kind == "label":
        notes.append("Below each image: its label, and the label that the evidence favors.")
    notes.append(f"Smaller: its {NEAREST} nearest; orange: their label is not the image's.")
    if result.kind == "label":
        notes.append(
            f"{result.n_doubted} of {len(result)} images have another label suggested; {len(chosen)} are shown."
        )
    else:
        notes += cut_note(len(chosen), len(result), "images")
    headline(figure, SUSPECT_TITLES[result.kind], result, notes)
    return figure
