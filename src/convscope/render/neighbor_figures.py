"""Neighbors: rows of thumbnails, the query first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..checks import which_is_nearer
from ..results import Neighbors
from .labeled_tiles import draw_tile, thumbnail, write_under
from .style import INK, WRONG, cut_note, headline, new_figure, pick, short_label, short_name

ROWS = 8
COLUMNS, MOST_ROWS = 12, 12  # of one picture, however many were asked for


class Neighbor(NamedTuple):
    """One neighbor to be shown; ``is_wrong`` where its label differs from the query's."""

    row: int
    name: str
    label: str | None
    score: float
    is_wrong: bool


def neighbor_rows(result: Neighbors) -> list[list[Neighbor]]:
    """The neighbors of each query, their labels compared with the query's."""
    return [_row(result, q, result.indices.shape[1]) for q in range(len(result.indices))]


def _row(result: Neighbors, q: int, n: int) -> list[Neighbor]:
    """The n nearest of one query."""
    expected = query_label(result, q)
    row = []
    for i, score in zip(result.indices[q, :n], result.scores[q, :n], strict=True):
        label = result.labels[i]
        wrong = expected is not None and label is not None and label != expected
        row.append(Neighbor(int(i), result.names[i], label, float(score), wrong))
    return row


def _chosen(result: Neighbors, n: int | Sequence[int] | None) -> list[int]:
    """The queries that are drawn."""
    return pick(n, len(result.indices), ROWS)[:MOST_ROWS]


def query_label(result: Neighbors, q: int) -> str | None:
    """The label of a query, or None."""
    return result.query_labels[q] if result.query_labels else None


def draw_neighbors(ax: Axes, result: Neighbors, *, n: int | Sequence[int] | None = None) -> None:
    """A row of tiles per query, with the query apart on the left. A tile with its text is 1 wide and 1.42 high.

    Where there are no pictures, as of signals, only the text.
    """
    chosen, columns = _chosen(result, n), min(COLUMNS, result.indices.shape[1])
    height = _row_height(result)
    for row, q in enumerate(chosen):
        top = (row + 1) * height - 1.5
        if result.thumbnails.size:
            draw_tile(ax, -0.35, top, thumbnail(result.query_thumbnails, q))
        write_under(ax, -0.35, top, short_name(result.query_names[q], 15), query_label(result, q) or "query", INK)
        for k, neighbor in enumerate(_row(result, q, columns)):
            left = 1.0 + 1.08 * k
            color = WRONG if neighbor.is_wrong else INK
            if result.thumbnails.size:
                framed = WRONG if neighbor.is_wrong else None
                draw_tile(ax, left, top, thumbnail(result.thumbnails, neighbor.row), framed)
            name = short_label(neighbor.label, 15) if neighbor.label else short_name(neighbor.name, 15)
            write_under(ax, left, top, name, f"{neighbor.score:.3f}", color)
    ax.set(xlim=(-0.4, 1.0 + 1.08 * columns), ylim=(len(chosen) * height - 0.1, -0.05), aspect="equal")
    ax.set_axis_off()


def _row_height(result: Neighbors) -> float:
    return 1.5 if result.thumbnails.size else 0.5


def compose_neighbors(result: Neighbors, *, n: int | Sequence[int] | None = None) -> Figure:
    """The rows with their headline."""
    chosen, k = _chosen(result, n), result.indices.shape[1]
    columns = min(COLUMNS, k)
    width = 1.4 + 1.08 * columns
    figure = new_figure(1.15 * width + 0.2, 0.9 + 1.15 * _row_height(result) * len(chosen))
    draw_neighbors(figure.subplots(), result, n=n)
    notes = [f"Left: the query. Numbers: {result.metric}, {which_is_nearer(result.metric)}."]
    n_asked = len(pick(n, len(result.indices), len(result.indices)))
    notes += cut_note(len(chosen), n_asked, "queries")
    if columns < k:
        notes.append(f"The nearest {columns} of {k} neighbors are shown.")
    if any(neighbor.is_wrong for q in chosen for neighbor in _row(result, q, columns)):
        notes.append("Orange: not the query's label.")
    headline(figure, f"Nearest neighbors in {result.space} space", result, notes)
    return figure
