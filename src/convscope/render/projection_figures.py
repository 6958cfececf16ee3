"""Projections: a map of points colored by label, with thumbnails where there is room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from ..results import Array, Projection
from .colors import OTHER, class_colors
from .style import LINE, SOFT, drawable, headline, new_figure, plain_axes, short_label, text

THUMBNAIL_PT = 30.0
CANDIDATES = 200  # points that may get a thumbnail; there is no room for more
MARKERS = ("o", "s", "^", "D", "v")
PER_MARKER = 8  # colors with one shape
MOST_IN_COLUMN = 24  # entries of the legend


def label_styles(labels: Sequence[str | None]) -> dict[str, tuple[str, str]]:
    """The color and marker of each label; where these run out, labels share a gray circle."""
    colors = class_colors(labels)
    styles = {name: (color, MARKERS[i // PER_MARKER]) for i, (name, color) in enumerate(colors.items())}
    return dict.fromkeys(sorted({one for one in labels if one is not None}), (OTHER, "o")) | styles


def draw_projection(ax: Axes, result: Projection, *, thumbnails: bool = True) -> None:
    """Points colored by label, and thumbnails beside points where they cover nothing."""
    points = _plane(result.coordinates)
    styles = label_styles(result.labels)
    groups: dict[str, list[int]] = {}
    for i, label in enumerate(result.labels):
        style = styles.get(label or "")
        name = "no label" if label is None else label if style and style[0] != OTHER else "other labels"
        groups.setdefault(name, []).append(i)
    for name, members in sorted(groups.items(), key=lambda group: (group[0] not in styles, group[0])):
        color, marker = styles.get(name, (OTHER, "o"))
        ax.scatter(
            points[members, 0], points[members, 1], s=26, c=color, marker=marker, linewidths=0.5,
            edgecolors="white", label=drawable(short_label(name, 24)), zorder=2,
        )  # fmt: skip
    plain_axes(ax)
    ax.spines[["left", "bottom"]].set(visible=True, color=LINE)
    ax.set_xlabel(axis_title(result, 0), **text(size=8, color=SOFT))
    ax.set_ylabel(axis_title(result, 1), **text(size=8, color=SOFT))
    ax.margins(0.14)
    ax.set_aspect("equal", adjustable="datalim")
    if set(groups) != {"no label"}:
        legend = ax.legend(
            loc="upper left",
            bbox_to_anchor=(1.01, 1),
            frameon=False,
            handletextpad=0.2,
            fontsize=8 if len(groups) <= MOST_IN_COLUMN else 7,
            ncols=-(-len(groups) // MOST_IN_COLUMN),
            columnspacing=0.8,
        )
        for entry in legend.get_texts():
            entry.set_parse_math(False)
    if thumbnails and result.thumbnails.size:
        _add_thumbnails(ax, result, points, styles)


def _plane(coordinates: Array) -> Array:
    if coordinates.shape[1] >= 2:
        return coordinates[:, :2]
    return np.column_stack([coordinates[:, 0], np.zeros(len(coordinates))])


def axis_title(result: Projection, axis: int) -> str:
    """The component, and the share of the variance that it keeps where that is known."""
    ratios = result.explained_variance_ratio
    if axis < len(ratios) and np.isfinite(ratios[axis]):
        return f"component {axis + 1} ({ratios[axis]:.1%} of the variance)"
    return f"dimension {axis + 1}" if axis < result.coordinates.shape[1] else ""


def _add_thumbnails(ax: Axes, result: Projection, points: Array, styles: dict[str, tuple[str, str]]) -> None:
    """Thumbnails beside their points, each joined to its point by a line."""
    ax.figure.canvas.figure.draw_without_rendering()  # fixes the layout, and with it the places of the points
    per_pixel = 72 / ax.figure.dpi
    in_points, bounds = ax.transData.transform(points) * per_pixel, ax.bbox.get_points() * per_pixel
    order = round_robin(result.labels)[:CANDIDATES]
    for i, shift in place_beside(in_points, order, THUMBNAIL_PT, bounds).items():
        picture = result.thumbnails[i]
        color = styles.get(result.labels[i] or "", (OTHER, ""))[0]
        zoom = (THUMBNAIL_PT - 4) / max(picture.shape[:2])
        box = AnnotationBbox(
            OffsetImage(picture, zoom=zoom),
            points[i],
            shift,
            boxcoords="offset points",
            pad=0.1,
            bboxprops={"edgecolor": color, "linewidth": 1.2},
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8, "shrinkB": 2},
        )
        box.set_zorder(1)
        box.set_in_layout(False)
        ax.add_artist(box)


def round_robin(labels: Sequence[str | None]) -> list[int]:
    """Indices ordered so that the first of every label come first, then the second of every label, and so on."""
    seen: dict[str | None, int] = {}
    turns = []
    for i, label in enumerate(labels):
        turns.append((seen.get(label, 0), i))
        seen[label] = seen.get(label, 0) + 1
    return [i for _, i in sorted(turns)]


def place_beside(
    points: Array, order: Sequence[int], size: float, bounds: Array
) -> dict[int, tuple[float, float]]:
    """Find room for a square beside each point: point -> the shift of the square's center from it.

    Squares lie within the bounds ((left, bottom), (right, top)) and cover neither a point nor one another; a point
    without room gets none. Points choose in the given order, and each takes the nearest free place.
    """
    shifts = [
        size * reach * np.array([np.cos(turn), np.sin(turn)])
        for reach in (0.9, 1.3)
        for turn in np.arange(8) * np.pi / 4
    ]
    placed: dict[int, tuple[float, float]] = {}
    taken = points  # no square may cover these: points, and the middles of lines
    centers = np.empty((0, 2))
    for i in order:
        for shift in shifts:
            center, middle = points[i] + shift, points[i] + shift / 2
            outside = (center < bounds[0] + size / 2).any() or (center > bounds[1] - size / 2).any()
            if outside or _distance(taken, center) < size / 2 + 3:
                continue
            if _distance(centers, center) > size + 2 and _distance(centers, middle) > size / 2:
                placed[i] = (float(shift[0]), float(shift[1]))
                taken, centers = np.vstack([taken, middle]), np.vstack([centers, center])
                break
    return placed


def _distance(points: Array, point: Array) -> float:
    """The distance to the nearest of the points, in the maximum norm, as squares require."""
    return float(np.abs(points - point).max(axis=1).min(initial=np.inf))


def compose_projection(result: Projection, *, thumbnails: bool = True) -> Figure:
    """The map with its headline."""
    figure = new_figure(7.6, 5.8)
    method = str(result.provenance.parameters.get("method", result.provenance.method))
    notes = []
    kept = float(result.explained_variance_ratio[:2].sum())
    if method == "pca" and np.isfinite(kept):
        notes.append(f"The plane keeps {kept:.1%} of the variance; points near here can be far apart in the rest.")
    if np.isfinite(result.trustworthiness):
        notes.append(
            f"Trustworthiness {result.trustworthiness:.2f}; of an image's nearest in the vectors, "
            f"{result.neighbors_kept:.0%} are among its nearest here."
        )
    headline(
        figure, f"Projection of the embeddings ({method.upper() if method == 'pca' else method})", result, notes
    )
    draw_projection(figure.subplots(), result, thumbnails=thumbnails)  # last, as it needs the final layout
    return figure
