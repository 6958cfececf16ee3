"""What the vectors of many images tell: neighbors, duplicates, groups, maps, and how well retrieval works."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..texts import listed, printable
from .base import Array, Result
from .renderer import map_pages

_SHOWN = 3  # queries, neighbors and pairs in a repr
_SHOWN_CLUSTERS = 10


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Neighbors(Result):
    """The K nearest of each query: ``indices`` (Q, K) into the embeddings, ``scores`` (Q, K), nearest first.

    ``metric`` says what a score is: "cosine" similarity or "dot" product (higher is nearer), or "euclidean"
    distance (lower is nearer). ``names``, ``labels`` and ``thumbnails`` are those of the embeddings, which
    ``indices`` point into.
    """

    indices: Array
    scores: Array
    metric: str
    space: str
    query_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    query_thumbnails: Array
    thumbnails: Array
    query_labels: tuple[str | None, ...] = ()

    def __repr__(self) -> str:
        n_queries, k = self.indices.shape
        queries = "1 query" if n_queries == 1 else f"{n_queries} queries"
        where = f"{self.space} space by {self.metric}"
        lines = [f"Neighbors({queries}, the {k} nearest in {where})"]
        for query, row, scores in zip(self.query_names[:_SHOWN], self.indices, self.scores, strict=False):
            near = [f"{self.names[i]} ({score:.3f})" for i, score in zip(row, scores, strict=True)]
            lines.append(printable(f"  {query}: {listed(near, _SHOWN)}"))
        if n_queries > _SHOWN:
            lines.append(f"  and {n_queries - _SHOWN} more")
        return "\n".join([*lines, f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Retrieval(Result):
    """How often the nearest neighbors of a labeled image have its label: by features, by pixels, and by chance.

    ``accuracy``, ``precision`` and ``average_precision`` (S, C) in [0, 1]: a row for each of ``spaces``
    ("feature", "pixel", "chance"), a column for each of ``classes``; each value is the mean over the queries of
    its class, NaN for a class with a single image, which has nothing to find. ``counts`` (C,) are the queries of
    each class. ``confusion`` (C, C) int64: true label by the label that the neighbors voted for, in feature space.
    The W worst queries in feature space: ``worst`` (W,) and ``worst_neighbors`` (W, K) index into ``names``,
    ``labels`` and ``thumbnails``; ``worst_shares`` (W,) is the share of their neighbors that have their label.
    """

    spaces: tuple[str, ...]
    classes: tuple[str, ...]
    counts: Array
    accuracy: Array
    precision: Array
    average_precision: Array
    confusion: Array
    worst: Array
    worst_neighbors: Array
    worst_shares: Array
    k: int
    metric: str
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array

    @property
    def macro(self) -> dict[str, dict[str, float]]:
        """Space -> measure -> mean over the classes, weighted equally; classes without a value are left out."""
        measures = {
            "accuracy": self.accuracy,
            "precision": self.precision,
            "average_precision": self.average_precision,
        }
        return {
            space: {name: float(np.nanmean(values[s])) for name, values in measures.items()}
            for s, space in enumerate(self.spaces)
        }

    def __repr__(self) -> str:
        lines = [f"Retrieval({int(self.counts.sum())} queries, {len(self.classes)} classes, k={self.k})"]
        for space, means in self.macro.items():
            numbers = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in means.items())
            lines.append(f"  {space}: {numbers}")
        return "\n".join([*lines, f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Projection(Result):
    """Points in few dimensions: ``coordinates`` (N, D), ``explained_variance_ratio`` (D,), NaN if unknown.

    ``trustworthiness`` in [0, 1]: 1 where images that are near on the map are near in the vectors, too.
    ``neighbors_kept`` in [0, 1]: the share of an image's nearest in the vectors that are its nearest on the map.
    ``store`` is the `EmbeddingStore`, or the part of one, that was projected; it is not saved, and None after
    `load`. With it ``save`` also writes map.html, a page to explore with all that the store knows, of about 100 MB
    at most; without it, where there are thumbnails, one of about 20 MB at most.
    """

    coordinates: Array
    explained_variance_ratio: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    trustworthiness: float = float("nan")
    neighbors_kept: float = float("nan")
    store: Any = field(default=None, metadata={"saved": False})

    def __repr__(self) -> str:
        lines = [f"Projection({len(self.names)} images in {self.coordinates.shape[1]} dimensions)"]
        if not np.isnan(self.trustworthiness):
            lines.append(f"  trustworthiness {self.trustworthiness:.3f}, neighbors kept {self.neighbors_kept:.0%}")
        if np.isfinite(self.explained_variance_ratio).all():
            lines.append(f"  variance kept {self.explained_variance_ratio.sum():.1%}")
        return "\n".join([*lines, f"  {self.provenance.caption}"])

    def _save_more(self, directory: Path) -> None:
        has_all_thumbnails = self.thumbnails.size and len(self.thumbnails) == len(self.names)
        if self.store is not None or has_all_thumbnails:
            map_pages().projection_map(self, directory / "map.html")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Clusters(Result):
    """Groups of N images: ``members`` (N,) int32 is each image's group, -1 for none; ``sizes`` (G,) of the groups.

    ``representatives`` (G,) is the row of the image nearest to the middle of each group. ``agreement`` is the
    adjusted mutual information of groups and labels: 1 where they are the same, about 0 where they are unrelated,
    NaN without labels.
    """

    has_picture: ClassVar[bool] = False

    members: Array
    sizes: Array
    representatives: Array
    agreement: float
    names: tuple[str, ...]
    labels: tuple[str | None, ...]

    @property
    def outliers(self) -> tuple[str, ...]:
        """The names of the images that are in no group."""
        return tuple(self.names[i] for i in np.flatnonzero(self.members < 0))

    def __repr__(self) -> str:
        lines = [f"Clusters({len(self.sizes)} of {len(self.names)} images, {len(self.outliers)} in none)"]
        lines.extend(
            printable(f"  {g}: {self.sizes[g]} images like {self.names[self.representatives[g]]}")
            for g in np.argsort(-self.sizes, kind="stable")[:_SHOWN_CLUSTERS]
        )
        if len(self.sizes) > _SHOWN_CLUSTERS:
            lines.append(f"  and {len(self.sizes) - _SHOWN_CLUSTERS} smaller ones")
        if not np.isnan(self.agreement):
            lines.append(f"  agreement with the labels: {self.agreement:.2f} (adjusted mutual information)")
        return "\n".join([*lines, f"  {self.provenance.caption}"])
