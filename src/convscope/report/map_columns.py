"""What is known of the points of a map, as columns that its page colors, filters and searches by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..embedding.label_checks import NOT_JUDGED, RIGHT, disagreement, verdicts
from ..render.colors import CLASS_COLORS, OTHER, by_frequency, class_colors
from ..render.style import PALE, WRONG
from ..results import Array
from .map_data import Column, MapData

NO_CLUSTER, CAME_LATER = -1, -2
SUSPECT, SUSPECT_TITLE = "neighbors", "Suspect: neighbors disagree"
MOSTLY, PARTLY = "#e69f00", "#d9c98f"  # between `WRONG` and `PALE`


def columns_of(points: MapData) -> Iterator[Column]:
    """The columns in the order in which the page offers them; those without any value are left out.

    What the nearest say of a label is told where there is one map: of two, those who made them know more.
    """
    colors = class_colors(points.labels, points.predicted)
    if any(label is not None for label in points.labels):
        yield _texts("label", "Label", points.labels, colors, none="no label")
    yield from points.made
    if any(name is not None for name in points.predicted):
        yield _texts("predicted", "Prediction", points.predicted, colors, none="no prediction")
    judged = verdicts(points.labels, points.predicted) if points.predicted else None
    if judged is not None:
        yield _error(points, judged)
    shares = disagreement(points.labels, points.neighbors) if points.second is None else None
    if shares is not None:
        yield _suspects(shares)
    if points.clusters is not None and (points.clusters > NO_CLUSTER).any():
        yield _cluster(points.clusters)
    if points.probability is not None and np.isfinite(points.probability).any():
        yield Column("probability", "Probability", numbers=points.probability, none="no prediction")
    for title, array in points.columns.items():
        yield from _other(title, array)


def _other(title: str, array: Array) -> Iterator[Column]:
    """A column of numbers or of texts, unless all its values are equal, which tells nothing apart."""
    if array.dtype.kind in "fiu":
        if len(np.unique(array)) > 1:  # counts NaN once
            yield Column(title, title.capitalize(), numbers=array)
    else:
        texts = [None if value is None else str(value) for value in array.tolist()]
        if len(set(texts)) > 1:
            yield _texts(title, title.capitalize(), texts, class_colors(texts))


def _texts(
    name: str, title: str, texts: Sequence[str | None], colors: dict[str, str], none: str = "no value"
) -> Column:
    """A column of texts, the most frequent first."""
    values = tuple(value for value, _ in by_frequency(texts))
    places = {value: place for place, value in enumerate(values)}
    codes = np.array([-1 if text is None else places[text] for text in texts], np.int32)
    return Column(name, title, codes, values, tuple(map(colors.get, values)), none=none, is_searched=True)


def _error(points: MapData, judged: Array) -> Column:
    lacks = [label is None or name is None for label, name in zip(points.labels, points.predicted, strict=True)]
    codes = np.select([np.array(lacks), judged == NOT_JUDGED, judged == RIGHT], [-1, 2, 1], 0)
    return Column(
        "error", "Error", codes,
        ("wrong: predicted ≠ label", "right", "not judged: the label is never predicted"), (WRONG, PALE, OTHER),
        quiet=(1, 2), none="no label or prediction",
    )  # fmt: skip


def _suspects(shares: Array) -> Column:
    """By how many of the nearest have another label: a wrong label stands alone among its neighbors."""
    codes = np.select([np.isnan(shares), shares == 1, shares > 0.5, shares > 0], [-1, 0, 1, 2], 3)
    return Column(
        SUSPECT, SUSPECT_TITLE, codes,
        ("all nearest have another label", "most nearest have another label", "some nearest have another label",
         "all nearest have its label"),
        (WRONG, MOSTLY, PARTLY, PALE), quiet=(2, 3), none="no label, or none among the nearest",
    )  # fmt: skip


def _cluster(clusters: Array) -> Column:
    """The clusters, the largest first, and as the last value what was added after them."""
    names = {number: f"cluster {number}" for number in np.unique(clusters[clusters > NO_CLUSTER])}
    sizes = {number: int((clusters == number).sum()) for number in names}
    order = sorted(names, key=lambda number: (-sizes[number], number))
    places = {number: place for place, number in enumerate(order)} | {CAME_LATER: len(order)}
    codes = np.array([places.get(int(number), -1) for number in clusters], np.int32)
    colors = (*CLASS_COLORS, *[None] * len(order))[: len(order)]
    values = (*(names[number] for number in order), "added after clustering")
    return Column(
        "cluster",
        "Cluster",
        codes,
        values,
        (*colors, OTHER),
        quiet=(len(order),),
        none="no cluster",
        is_searched=True,
    )
