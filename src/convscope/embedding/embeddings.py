"""`Embeddings`: feature vectors of images in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..arguments import checks_arguments
from ..errors import ParameterError
from ..models import Model
from ..results import Array, Provenance, Result
from ..store import Block, Column, Space, Taken
from ..store.blocks import pixels, row_numbers

_ROWS = 4096  # of a block, so that copies of it stay small


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Embeddings(Result):
    """Feature vectors of N images: ``vectors`` (N, D) float32, what a network's ``layer`` makes of each.

    ``thumbnails`` (N, 64, 64, 3) uint8 are the centers of what the network saw, of volumes of the middle plane;
    flattened, they are the pixel space that feature space is compared with. Signals have none: (N, 0, 0, 3).
    ``model`` is the network that made them, which embeds the images
    that are searched for; it is not saved, and None after `load`. To see embeddings, draw their
    `convscope.neighbors` or a `convscope.project`.
    """

    has_picture: ClassVar[bool] = False

    vectors: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array
    layer: str
    model: Model | None = field(default=None, metadata={"saved": False})

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def made(self) -> Provenance:
        """What made the vectors; ``parameters`` tell the layer."""
        return replace(self.provenance, parameters={**self.provenance.parameters, "layer": self.layer})

    @property
    def n_dims(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def n_vectors(self) -> int:
        return len(self)

    @property
    def rows(self) -> Array:
        """Row numbers (N,)."""
        return np.arange(len(self))

    @property
    def ids(self) -> tuple[None, ...]:
        """Hashes of the images' contents, which embeddings in memory do not keep: all None."""
        return (None,) * len(self)

    @checks_arguments
    def column(self, name: Column) -> tuple[Any, ...]:
        """Names ("path") or labels ("label"); all None for what only a store keeps."""
        return {"path": self.names, "label": self.labels}.get(name, (None,) * len(self))

    def reading(self) -> AbstractContextManager[None]:
        """A context for reading one version of the rows; in memory there is only one."""
        return nullcontext()

    @checks_arguments
    def blocks(self, space: Space = "feature", where: str | None = None) -> Iterator[Block]:
        """All rows, some thousands at a time: "feature" gives the vectors, "pixel" thumbnails in [0, 1]."""
        self.check(where)
        self._check_space(space)
        for first in range(0, len(self), _ROWS):
            part = slice(first, first + _ROWS)
            vectors = self.vectors[part] if space == "feature" else pixels(self.thumbnails[part])
            yield Block(np.arange(first, first + len(vectors)), vectors)

    @checks_arguments
    def vectors_of(self, rows: Array, space: Space = "feature") -> Array:
        """Vectors, or pixels, (n, D) of rows, by their numbers."""
        numbers = row_numbers(rows, len(self))
        self._check_space(space)
        return self.vectors[numbers] if space == "feature" else pixels(self.thumbnails[numbers])

    @checks_arguments
    def take(self, rows: Array, *, n_thumbnails: int | None = None) -> Taken:
        """What is known of rows, by their numbers, in the order asked for; thumbnails of the first, or of all."""
        numbers = row_numbers(rows, len(self))
        thumbnails = self.thumbnails[numbers[:n_thumbnails]]
        return Taken(
            tuple(self.names[i] for i in numbers),
            tuple(self.labels[i] for i in numbers),
            (None,) * len(numbers),
            ("",) * len(numbers),
            thumbnails,
            np.full(len(thumbnails), thumbnails.size > 0),
        )

    @checks_arguments
    def find(self, names: Sequence[str]) -> Array | None:
        """The row numbers (n,) of names, in order; None where any is not there. The first of equal names."""
        places = {name: row for row, name in reversed(list(enumerate(self.names)))}
        if any(name not in places for name in names):
            return None
        return np.array([places[name] for name in names], np.int64)

    @property
    def held(self) -> Taken:
        """What is known of all rows."""
        n = len(self)
        has_thumbnail = np.full(n, self.thumbnails.size > 0)
        return Taken(self.names, self.labels, self.ids, ("",) * n, self.thumbnails, has_thumbnail)

    @checks_arguments
    def check_comparable(self, made: Provenance) -> None:
        """Raise `ParameterError` for vectors of another network or layer."""
        mine, theirs = (of.model.get("weights_sha256") for of in (self.provenance, made))
        layer = made.parameters.get("layer", "")
        if layer != self.layer or (mine and theirs and mine != theirs):
            raise ParameterError(
                f"the query was embedded by {made.model.get('name')} at {layer!r}, these by "
                f"{self.provenance.model.get('name')} at {self.layer!r}; vectors of different networks or layers "
                "cannot be compared: give the network that made them"
            )

    @checks_arguments
    def check(self, where: str | None) -> None:
        """Raise `ParameterError` for any condition, as there are no columns to compare."""
        if where is not None:
            raise ParameterError(
                f"where={where!r}: a condition needs a store; embed(model, images, store=...) makes one"
            )

    def _check_space(self, space: Space) -> None:
        if space == "pixel" and not self.thumbnails.size:
            raise ParameterError("space='pixel' compares thumbnails, and these vectors have none: use 'feature'")

    def remember(self, *_: object, **__: object) -> None:
        """Do nothing: embeddings in memory keep no maps and no clusters."""

    def recall(self, kind: str) -> None:
        """None, as nothing is kept."""
