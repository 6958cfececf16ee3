"""Two embeddings of the same images, compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..texts import printable
from .base import Array, Result

_SHOWN = 3  # images and confusions in a repr


class ConfusionChange(NamedTuple):
    """How many images of a class the neighbors took for another, in either embedding."""

    true: str
    voted: str
    n_a: int
    n_b: int


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class StoreComparison(Result):
    """What two networks, or layers, think of the same N images; ``encoders`` says in words which the two are.

    ``neighbors_a`` and ``neighbors_b`` (Q, K) are the nearest of each of the ``queries`` (Q,), as numbers of
    images in ``names`` and ``labels``. ``shared`` (Q,) float32 is the share of the K nearest that is in both
    lists, and ``chance`` what two unrelated embeddings would share on average.

    ``cka`` in [0, 1] compares the embeddings as a whole, ``cka_unbiased`` (at most 1, about 0 where they are
    unrelated) also where there are fewer images than dimensions. ``voted`` (2, Q) is the class in ``classes``
    that the labeled ones of the K nearest vote for, -1 where there are none.

    ``coordinates`` (2, N, 2) float32 are a map of each embedding, centered and of equal size, the second turned
    and mirrored onto the first; ``disparity`` in [0, 1] is what remains between them. ``changed`` (W,) are the
    places in ``queries`` of the images whose neighbors changed most. ``shown`` (T,) are images with
    ``thumbnails`` (T, 64, 64, 3): those and their neighbors.
    """

    encoders: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    queries: Array
    neighbors_a: Array
    neighbors_b: Array
    shared: Array
    chance: float
    classes: tuple[str, ...]
    voted: Array
    cka: float
    cka_unbiased: float
    coordinates: Array
    disparity: float
    changed: Array
    shown: Array
    thumbnails: Array
    metric: str

    @property
    def codes(self) -> Array:
        """The class (N,) of each image in ``classes``, -1 where it has no label."""
        numbers = {name: i for i, name in enumerate(self.classes)}
        return np.array([-1 if label is None else numbers[label] for label in self.labels], np.int64)

    @property
    def jaccard(self) -> float:
        """The mean over the queries of |A and B| / |A or B| of the two lists of neighbors."""
        return float((self.shared / (2 - self.shared)).mean())

    @property
    def class_shared(self) -> Array:
        """The mean of ``shared`` over the queries of each class (C,), NaN where there are none."""
        codes = self.codes[self.queries]
        labeled = codes >= 0
        counts = np.bincount(codes[labeled], minlength=len(self.classes))
        sums = np.bincount(codes[labeled], weights=self.shared[labeled], minlength=len(self.classes))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    @property
    def accuracies(self) -> tuple[float, float]:
        """The share of labeled queries whose neighbors vote for their label, in either embedding; NaN for none."""
        codes = self.codes[self.queries]
        labeled = codes >= 0
        if not labeled.any():
            return float("nan"), float("nan")
        right = (self.voted[:, labeled] == codes[labeled]).mean(axis=1)
        return float(right[0]), float(right[1])

    @property
    def confusions(self) -> Array:
        """(2, C, C) int64: the true label of labeled queries by the one that the neighbors voted for."""
        n, codes = len(self.classes), self.codes[self.queries]
        tables = np.zeros((2, n, n), np.int64)
        for table, voted in zip(tables, self.voted, strict=True):
            told = (codes >= 0) & (voted >= 0)
            np.add.at(table, (codes[told], voted[told]), 1)
        return tables

    @property
    def confusion_changes(self) -> tuple[ConfusionChange, ...]:
        """Pairs of classes that one embedding confuses more often than the other, the largest difference first."""
        a, b = self.confusions
        change = np.abs(b - a)
        np.fill_diagonal(change, 0)
        order = np.argsort(-change, axis=None, kind="stable")[: np.count_nonzero(change)]
        return tuple(
            ConfusionChange(self.classes[i], self.classes[j], int(a[i, j]), int(b[i, j]))
            for i, j in zip(*np.unravel_index(order, change.shape), strict=True)
        )

    def __repr__(self) -> str:
        k = self.neighbors_a.shape[1]
        lines = [f"StoreComparison({len(self.names)} images in both)"]
        lines += [f"  {which}: {encoder}" for which, encoder in zip("ab", self.encoders, strict=True)]
        lines.append(
            f"  of the {k} nearest, {self.shared.mean():.1%} are the same (chance: {self.chance:.1%}; Jaccard "
            f"{self.jaccard:.3f})"
        )
        lines.append(f"  linear CKA {self.cka:.3f}, without bias {self.cka_unbiased:.3f}")
        if len(self.classes):
            a, b = self.accuracies
            lines.append(f"  right label by the vote of the {k} nearest: a {a:.1%}, b {b:.1%}")
        lines += [
            f"  {true} taken for {voted}: a {n_a}, b {n_b}"
            for true, voted, n_a, n_b in self.confusion_changes[:_SHOWN]
        ]
        lines += [
            f"  changed: {self.names[self.queries[q]]} shares {self.shared[q]:.0%}" for q in self.changed[:_SHOWN]
        ]
        return "\n".join([*map(printable, lines), f"  {self.provenance.caption}"])
