"""Duplicates: a row for each group of images that are nearly the same, the one to keep first."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..results import Duplicates
from ..results.collection_faults import size_of
from .labeled_tiles import draw_tile, thumbnail
from .style import ACCENT, BLANK, INK, SOFT, cut_note, drawable, headline, new_figure, pick, short_name, text

GROUPS, MOST = 8, 24
COLUMNS = 7
_WIDTH, _HEIGHT = 1.12, 1.5


def _chosen(result: Duplicates, n: int | Sequence[int] | None) -> list[int]:
    return pick(n, len(result.sizes), GROUPS)[:MOST]


def _n_columns(result: Duplicates, chosen: list[int]) -> int:
    """The most tiles in a row, of which the last may say how many more there are."""
    return max((min(int(result.sizes[group]), COLUMNS + 1) for group in chosen), default=4)


def draw_duplicates(ax: Axes, result: Duplicates, *, n: int | Sequence[int] | None = None) -> None:
    """A row of tiles for each group; the one to keep is framed and apart on the left."""
    chosen = _chosen(result, n)
    starts = result.starts
    for row, group in enumerate(chosen):
        top, size = row * _HEIGHT, int(result.sizes[group])
        shown = min(size, COLUMNS)
        for place in range(shown):
            at = int(starts[group]) + place
            left = place * _WIDTH + (0.25 if place else 0)
            draw_tile(ax, left, top, thumbnail(result.thumbnails, at), None if place else ACCENT)
            lines = (short_name(result.names[at], 16), INK), (_note(result, at, int(starts[group])), SOFT)
            for line, (words, color) in enumerate(lines):
                style = text(size=7, color=color if place else ACCENT)
                ax.text(left, top + 1.05 + 0.15 * line, drawable(words), va="top", **style)
        if shown < size:
            ax.text(
                shown * _WIDTH + 0.25,
                top + 0.5,
                f"and {size - shown} more",
                va="center",
                **text(size=7.5, color=SOFT),
            )
    if not chosen:
        ax.fill_between((0, 4), 0.6, 0, color=BLANK)
        ax.text(0.15, 0.3, "no two images are nearly the same", va="center", **text(size=9, color=SOFT))
    columns = _n_columns(result, chosen)
    ax.set(
        xlim=(-0.05, columns * _WIDTH + 0.3),
        ylim=(max(len(chosen), 0.5) * _HEIGHT - 0.05, -0.05),
        aspect="equal",
        anchor="NW",
    )
    ax.set_axis_off()


def _note(result: Duplicates, at: int, first: int) -> str:
    """What is said of an image beside its name."""
    size = size_of(result, at)
    if at == first:
        return f"keep: {size}" if size else "keep"
    return "the same file" if result.content[at] == result.content[first] else size or "nearly the same"


def compose_duplicates(result: Duplicates, *, n: int | Sequence[int] | None = None) -> Figure:
    """The rows with their headline."""
    chosen = _chosen(result, n)
    columns = _n_columns(result, chosen)
    figure = new_figure(max(6.0, 1.15 * (columns * _WIDTH + 0.4)), 1.1 + 1.15 * _HEIGHT * max(len(chosen), 0.5))
    draw_duplicates(figure.subplots(), result, n=n)
    n_again = len(result.names) - len(result.sizes)
    notes = [
        f"{len(result.names)} images in {len(result.sizes)} groups: {n_again} could go. Framed: the one to keep."
    ]
    notes += cut_note(len(chosen), len(result.sizes), "groups")
    headline(figure, "Images that are nearly the same", result, notes)
    return figure
