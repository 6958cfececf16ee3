"""What a map of images shows, and whether its parts fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..checks import Metric
from ..errors import ParameterError
from ..results import Array


@dataclass(frozen=True, eq=False)
class Column:
    """One column: (N,) ``numbers``, or (N,) ``codes`` of ``values``, -1 for none, with a color for each.

    A color is None where the value belongs to the others of the legend. ``quiet`` values are drawn below the rest.
    """

    id: str
    title: str
    codes: Array | None = None
    values: tuple[str, ...] = ()
    colors: tuple[str | None, ...] = ()
    quiet: tuple[int, ...] = ()
    none: str = "no value"
    is_searched: bool = False
    numbers: Array | None = None

    def about(self) -> dict[str, object]:
        """All but the numbers, as the page's script reads it."""
        found: dict[str, object] = {"id": self.id, "title": self.title, "none": self.none}
        if self.codes is not None:
            found |= {
                "values": self.values,
                "colors": self.colors,
                "quiet": self.quiet,
                "isSearched": self.is_searched,
            }
        return found


@dataclass(frozen=True, eq=False)
class SecondMap:
    """Another map of the same N points: (N, 2) coordinates, and the (N, K) nearest in the vectors behind it."""

    coordinates: Array
    neighbors: Array


@dataclass(frozen=True, eq=False)
class MapData:
    """What a map shows of N points, each with K neighbors.

    Attributes:
        coordinates: (N, 2) float, finite: places on the map. Only relative distances matter.
        names: N names of images; the page shows and searches them.
        labels: N labels, None for an image without one.
        predicted: N predicted labels, None for an image without one; empty without any predictions. They are
            judged right or wrong only where labels are classes of the network, see `verdicts`.
        probability: (N,) probabilities of the predicted labels, in [0, 1], NaN for none; or None.
        clusters: (N,) int, -1 for no cluster, -2 for an image added after the clusters were made; or None.
        representatives: (G,) int rows whose thumbnails stand for their clusters at every zoom; or None.
        columns: title -> what else is known of the N images: numbers, NaN for none, or texts, None for none. The
            page colors and filters by them.
        made: columns with colors of their own, which the page offers after the labels.
        thumbnails: N JPEG files as bytes (about 64 x 64 pixels, 2 KB), None for an image without one; or empty.
        pictures: N larger JPEG files, for the image that a reader opens; or empty, which shows thumbnails.
        neighbors: (N, K) int rows of the nearest points in the vectors, nearest first, negative where there are
            fewer; or None. A point that is its own neighbor is not shown as one.
        scores: (N, K) float: the similarity or distance of each neighbor; or None.
        metric: what the scores are.
        second: another map of the same images, which is shown beside the first, as B beside A, and linked to it.
        title, subtitle: the header.
        facts: name -> text, such as {"Trustworthiness": "0.93"}; shown above the map.
        meanings: name of a fact -> an explanation in plain words; known facts have one already.
    """

    coordinates: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    predicted: tuple[str | None, ...] = ()
    probability: Array | None = None
    clusters: Array | None = None
    representatives: Array | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)
    made: Sequence[Column] = ()
    thumbnails: Sequence[bytes | None] = ()
    pictures: Sequence[bytes | None] = ()
    neighbors: Array | None = None
    scores: Array | None = None
    metric: Metric = "cosine"
    second: SecondMap | None = None
    title: str = "Map of the images"
    subtitle: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)


def check_map(points: MapData) -> None:
    """Refuse data whose parts do not fit together, such as one label too few."""
    n = len(points.names)
    if n == 0:
        raise ParameterError("a map needs at least one point, but there are no names")
    _check_places(points.coordinates, n)
    if len(points.labels) != n:
        raise ParameterError(f"there are {n} names and {len(points.labels)} labels; use None for no label")
    optional = {"predicted": points.predicted, "thumbnails": points.thumbnails, "pictures": points.pictures}
    for name, sequence in optional.items():
        if len(sequence) not in (0, n):
            raise ParameterError(f"there are {n} names and {len(sequence)} in {name}; give one for each, or none")
    arrays = {"probability": points.probability, "clusters": points.clusters}
    for name, array in {
        **arrays,
        **{f"the column {title!r}": one for title, one in points.columns.items()},
    }.items():
        if array is not None and np.shape(array) != (n,):
            raise ParameterError(f"{name} must have the shape ({n},); it has {np.shape(array)}")
    rows = points.representatives
    if rows is not None and len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < n):
        raise ParameterError(f"representatives are rows from 0 to {n - 1}; they are {rows.min()} to {rows.max()}")
    reserved = {"name", "x", "y", "label", "predicted", "error", "neighbors", "cluster", "probability"}
    taken = sorted(reserved & set(points.columns))
    if taken:
        raise ParameterError(f"the page has columns {', '.join(taken)} of its own; give these another title")
    if points.second is not None:
        _check_places(points.second.coordinates, n)
        _check_neighbors(points.second.neighbors, n)
    if points.neighbors is not None:
        _check_neighbors(points.neighbors, n)
        shape = np.shape(points.neighbors)
        if points.scores is not None and np.shape(points.scores) != shape:
            raise ParameterError(
                f"scores must have the neighbors' shape {shape}; they have {np.shape(points.scores)}"
            )
    elif points.scores is not None:
        raise ParameterError("there are scores but no neighbors; give both")


def _check_places(coordinates: Array, n: int) -> None:
    shape = np.shape(coordinates)
    if shape != (n, 2):
        raise ParameterError(f"coordinates must have the shape ({n}, 2) for {n} names; they have {shape}")
    n_lost = int((~np.isfinite(coordinates)).any(axis=1).sum())
    if n_lost:
        raise ParameterError(f"{n_lost} of {n} points have coordinates that are not finite; leave them out")


def _check_neighbors(neighbors: Array, n: int) -> None:
    shape = np.shape(neighbors)
    if len(shape) != 2 or shape[0] != n:
        raise ParameterError(f"neighbors must have the shape ({n}, K); they have {shape}")
    if neighbors.size and int(neighbors.max()) >= n:
        raise ParameterError(f"neighbors are rows from 0 to {n - 1}; the largest is {int(neighbors.max())}")
