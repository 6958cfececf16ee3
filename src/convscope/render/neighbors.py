"""Neighbors: rows of thumbnails, the query first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..checks import which_is_nearer
from ..results import Array, Neighbors
from .style import INK, SOFT, WRONG, cut_note, headline, new_figure, pick, printable, short_label, short_name, text

ROWS = 8
COLUMNS, MOST_ROWS = 12, 12  # a picture has no more, whatever was asked for


class Neighbor(NamedTuple):
    """One neighbor as it is shown; ``is_wrong`` where its label is not the query's."""

    row: int
    name: str
    label: str | None
    score: float
    is_wrong: bool


def neighbor_rows(result: Neighbors) -> list[list[Neighbor]]:
    """The neighbors of each query, with labels compared."""
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
    """The label of a query, where it has one."""
    return result.query_labels[q] if result.query_labels else None


def draw_neighbors(ax: Axes, result: Neighbors, *, n: int | Sequence[int] | None = None) -> None:
    """All rows in one axes: a tile is 1 wide and 1.42 high, the query stands apart on the left."""
    chosen, columns = _chosen(result, n), min(COLUMNS, result.indices.shape[1])
    for row, q in enumerate(chosen):
        top = row * 1.5
        draw_tile(ax, -0.35, top, _picture(result.query_thumbnails, q))
        write_under(ax, -0.35, top, short_name(result.query_names[q], 15), query_label(result, q) or "query", INK)
        for k, neighbor in enumerate(_row(result, q, columns)):
            left = 1.0 + 1.08 * k
            color = WRONG if neighbor.is_wrong else INK
            draw_tile(
                ax, left, top, _picture(result.thumbnails, neighbor.row), WRONG if neighbor.is_wrong else None
            )
            name = short_label(neighbor.label, 15) if neighbor.label else short_name(neighbor.name, 15)
            write_under(ax, left, top, name, f"{neighbor.score:.3f}", color)
    ax.set(xlim=(-0.4, 1.0 + 1.08 * columns), ylim=(len(chosen) * 1.5 - 0.1, -0.05), aspect="equal")
    ax.set_axis_off()


def _picture(thumbnails: Array, i: int) -> Array | None:
    return thumbnails[i] if i < len(thumbnails) and thumbnails.shape[1] else None


def draw_tile(ax: Axes, left: float, top: float, picture: Array | None, frame: str | None = None) -> None:
    box = (left, left + 1, top + 1, top)
    if picture is not None:
        ax.imshow(picture, extent=box, interpolation="antialiased")
    else:
        ax.fill_between(box[:2], box[2], box[3], color="#f0f0f2")
    if frame is not None:
        x, y = (box[0], box[1], box[1], box[0], box[0]), (top, top, top + 1, top + 1, top)
        ax.plot(x, y, color=frame, linewidth=2, solid_joinstyle="miter")


def write_under(ax: Axes, left: float, top: float, name: str, note: str, color: str) -> None:
    ax.text(left, top + 1.05, printable(name), va="top", **text(size=7, color=color))
    soft = SOFT if color == INK else color
    ax.text(left, top + 1.2, printable(short_label(note, 16)), va="top", **text(size=7, color=soft))


def compose_neighbors(result: Neighbors, *, n: int | Sequence[int] | None = None) -> Figure:
    """The rows with their headline."""
    chosen, k = _chosen(result, n), result.indices.shape[1]
    columns = min(COLUMNS, k)
    width = 1.4 + 1.08 * columns
    figure = new_figure(1.15 * width + 0.2, 0.9 + 1.15 * 1.5 * len(chosen))
    draw_neighbors(figure.subplots(), result, n=n)
    notes = [f"Left: the query. Numbers: {result.metric}, {which_is_nearer(result.metric)}."]
    n_asked = len(pick(n, len(result.indices), len(result.indices)))
    notes += cut_note(len(chosen), n_asked, "queries")
    if columns < k:
        notes.append(f"The nearest {columns} of {k} neighbors are shown.")
    if any(neighbor.is_wrong for q in chosen for neighbor in _row(result, q, columns)):
        notes.append("Orange: another label than the query's.")
    headline(figure, f"Nearest neighbors in {result.space} space", result, notes)
    return figure
