"""What images say about concepts, collected one by one, and put in order at the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..results import Array, Concepts, Provenance
from .concept_views import ConceptView
from .crops import Crops
from .factorization import Factors

_SHOWN = 6  # images whose pixels are kept


class Collected:
    """Keeps the numbers of all images, and the pixels of some: best crops, and images with the highest scores.

    Args:
        crops: all that were factorized.
        best: for each concept the numbers of its best crops, best first.
        side: of a crop in pixels.
    """

    def __init__(self, crops: Crops, best: list[list[int]], side: int) -> None:
        self.seen: list[ConceptView] = []
        self._crops, self._best, self._side = crops, best, side
        self._cuts: dict[int, Array] = {}
        self._names: dict[int, str] = {}
        self._wanted = {n for row in best for n in row}
        self._pixels: dict[int, Array] = {}  # by the place of the image among those seen

    def add(self, seen: ConceptView) -> None:
        """Take in the next image."""
        for n in np.flatnonzero(self._crops.images == seen.position):
            if int(n) in self._wanted:
                top, left = self._crops.corners[n]
                self._cuts[int(n)] = seen.pixels[top : top + self._side, left : left + self._side].copy()
                self._names[int(n)] = seen.name
        self._pixels[len(self.seen)] = seen.pixels
        self.seen.append(replace(seen, pixels=np.zeros((0, 0, 3), np.uint8)))
        if len(self._pixels) > _SHOWN:
            del self._pixels[min(self._pixels, key=lambda i: (self.seen[i].score, -i))]

    def result(self, factors: Factors, layer: str, provenance: Provenance) -> Concepts:
        """The concepts, the most important first."""
        importances = np.stack([one.importance for one in self.seen])
        importance = importances.mean(axis=0)
        order = np.argsort(-importance, kind="stable")
        best = [self._best[k] for k in order]
        blank = np.full((self._side, self._side, 3), 255, np.uint8)  # of an image that was not reached
        shown = sorted(self._pixels, key=lambda i: (-self.seen[i].score, i))
        return Concepts(
            basis=factors.basis[order].astype(np.float32),
            importance=importance[order],
            importances=importances[:, order],
            effect=np.stack([one.effect for one in self.seen]).mean(axis=0)[order],
            stability=factors.stability[order],
            maps=np.stack([one.maps[order] for one in self.seen]),
            crops=np.stack([[self._cuts.get(n, blank) for n in row] for row in best]),
            crop_strengths=np.stack([factors.coefficients[row, k] for k, row in zip(order, best, strict=True)]),
            crop_names=tuple(tuple(self._names.get(n, "") for n in row) for row in best),
            images=np.stack([self._pixels[i] for i in shown]),
            shown=np.asarray(shown),
            layer=layer,
            factoring=factors.kind,
            error=factors.error,
            targets=tuple(one.target for one in self.seen),
            scores=np.asarray([one.score for one in self.seen], np.float32),
            names=tuple(one.name for one in self.seen),
            provenance=provenance,
        )
