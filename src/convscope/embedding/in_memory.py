"""Feature vectors in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from ..checks import Precision
from ..errors import ImageError, Interrupted
from ..images import ImageSet
from ..models import Model
from ..progress import Progress
from ..store.thumbnails import THUMBNAIL_PX
from .embeddings import Embeddings
from .extracting import extract_each
from .features import Extractor, Features
from .reading import Picture
from .supply import Files, Supply, supply_of


def embed_in_memory(
    model: Model,
    images: Any,
    *,
    layer: str | None = None,
    precision: Precision = "float32",
    compiled: bool = False,
    progress: Progress | None = None,
) -> Embeddings:
    """See `convscope.embed`."""
    started = time.perf_counter()
    supply = supply_of(model, images)
    extractor = Extractor.at(model, supply.shape, layer, precision=precision, compiled=compiled)
    memory = Memory(supply, extractor, extractor.notes(layer), started)
    extract_each(supply, extractor, memory, progress)
    return memory.result()


class Memory:
    """Keeps vectors and thumbnails in arrays, and lists images that could not be read."""

    def __init__(self, supply: Supply, extractor: Extractor, notes: tuple[str, ...], started: float) -> None:
        self._supply, self._extractor, self._notes, self._started = supply, extractor, notes, started
        self._vectors = np.empty((len(supply), extractor.n_dims), np.float32)
        side = THUMBNAIL_PX if supply.has_pictures else 0
        self._thumbnails = np.empty((len(supply), side, side, 3), np.uint8)
        self._kept: list[Picture] = []
        self._skipped = list(supply.images.unreadable) if isinstance(supply, Files) else []

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt) and self._kept:
            note = f"interrupted after {len(self._kept)} of {len(self._supply)} images"
            raise Interrupted(self.result(note)) from error

    def select(self, images: ImageSet) -> tuple[ImageSet, int]:
        return images, 0

    def wants(self, picture: Picture) -> bool:
        if picture.error is not None:
            self._skipped.append(str(picture.error))
        return picture.error is None

    def keep(self, pictures: Sequence[Picture], features: Features | None) -> None:
        assert features is not None
        rows = slice(len(self._kept), len(self._kept) + len(pictures))
        self._vectors[rows] = features.vectors
        if self._thumbnails.size:
            self._thumbnails[rows] = np.array([picture.thumbnail for picture in pictures])
        self._kept += [replace(picture, thumbnail=None) for picture in pictures]

    def result(self, *notes: str) -> Embeddings:
        n, model, at = len(self._kept), self._extractor.model, self._extractor
        if not n:
            raise ImageError(
                f"none of the {len(self._supply)} images could be read; the first: {self._skipped[0]}"
            )
        return Embeddings(
            vectors=self._vectors[:n],
            names=tuple(picture.name for picture in self._kept),
            labels=tuple(picture.label for picture in self._kept),
            thumbnails=self._thumbnails[:n],
            layer=at.layer.name,
            model=model,
            provenance=model.provenance(
                "embed",
                {"layer": at.layer.name, "precision": at.precision, "compiled": at.compiled},
                self._started,
                notes=(*self._supply.notes, *self._notes, *notes),
                skipped=self._skipped,
            ),
        )
