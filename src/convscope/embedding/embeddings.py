"""`Embeddings`: feature vectors of images in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..arguments import checks_arguments
from ..checks import Metric
from ..errors import ParameterError
from ..models import Model
from ..results import Array, Neighbors, Provenance, Result
from ..store import Block, Space, Taken
from ..store.blocks import pixels
from ..store.thumbnails import THUMBNAIL_PX
from .neighbors import search
from .queries import check_alike, check_length, rows_of

_ROWS = 4096  # of a block, so that copies of it stay small


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Embeddings(Result):
    """Feature vectors of N images: ``vectors`` (N, D) float32, what a network's ``layer`` makes of each.

    ``thumbnails`` (N, 64, 64, 3) uint8 are the centers of what the network saw; flattened, they are the pixel
    space that feature space is compared with. ``model`` is the network that made them, so that new images can
    be embedded to be searched for; it is not saved, and None after `load`. To see embeddings, draw their
    `neighbors` or a `convscope.project`.
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
    def ids(self) -> tuple[None, ...]:
        """Of the contents of files, which are not kept here."""
        return (None,) * len(self)

    def reading(self) -> AbstractContextManager[None]:
        """What is read inside belongs together; here nobody changes it."""
        return nullcontext()

    @checks_arguments
    def blocks(self, space: Space = "feature", where: str | None = None) -> Iterator[Block]:
        """All rows, some thousands at a time: "feature" gives the vectors, "pixel" thumbnails in [0, 1]."""
        if where is not None:
            raise ParameterError(
                f"where={where!r}: a condition needs a store; embed(model, images, store=...) makes one"
            )
        for first in range(0, len(self), _ROWS):
            rows = np.arange(first, min(first + _ROWS, len(self)), dtype=np.uint64)
            yield Block(rows, self.vectors_of(rows, space))

    @checks_arguments
    def vectors_of(self, rows: Array, space: Space = "feature") -> Array:
        """Vectors, or pixels, (n, D) of rows, by their numbers."""
        return self.vectors[rows] if space == "feature" else pixels(self.thumbnails[rows])

    @checks_arguments
    def take(self, rows: Array, *, thumbnails: bool = True) -> Taken:
        """What is known of rows, by their numbers, in the order asked for."""
        return Taken(
            tuple(self.names[i] for i in rows),
            tuple(self.labels[i] for i in rows),
            (None,) * len(rows),
            ("",) * len(rows),
            self.thumbnails[rows if thumbnails else rows[:0]],
        )

    def find(self, names: Sequence[str]) -> Array | None:
        """The row numbers (n,) of names, in order; None where any is not there. The first of equal names."""
        places = {name: row for row, name in reversed(list(enumerate(self.names)))}
        if any(name not in places for name in names):
            return None
        return np.array([places[name] for name in names], np.uint64)

    @checks_arguments
    def neighbors(
        self, query: Any, *, k: int = 5, metric: Metric = "cosine", space: Space = "feature"
    ) -> Neighbors:
        """The k images nearest to each query, by exact search.

        Args:
            query: a row number or a name of these embeddings, or a list of them: each row's own image is left
                out. Or other `Embeddings` of the same network; a float array (D,) or (Q, D) of vectors; or
                images (see `convscope.load_images`), which are embedded first.
            k: neighbors of each query; fewer where there are not so many images.
            metric: "cosine" similarity, blind to a vector's length, "euclidean" distance, or "dot" product.
            space: "feature" compares the vectors, "pixel" the thumbnails' values in [0, 1].

        Returns:
            `Neighbors`: ``indices`` (Q, K) and ``scores`` (Q, K), nearest first; equal scores go by row. A zero
            vector is similar to none: its cosine is 0.

        Raises:
            ParameterError: an option out of range, a row that is not there, vectors of another length or
                another network, images where no model is remembered.

        Cost: Q * N * D multiplications, a block at a time; one forward pass for each new image.

        Example:
            >>> import torch
            >>> found = embed(nn.Sequential(nn.Conv2d(3, 4, 8)), torch.rand(3, 3, 8, 8), layer="0").neighbors(0)
            >>> found.indices.shape
            (1, 2)
        """
        started = time.perf_counter()
        queries, own_rows = self._queries(query, space)
        indices, scores = search(_points(self, space), _points(queries, space), k, metric, own_rows)
        parameters = {"layer": self.layer, "k": k, "metric": metric, "space": space}
        seconds = time.perf_counter() - started
        skipped = () if own_rows is not None else queries.provenance.skipped
        return Neighbors(
            indices=indices,
            scores=scores,
            metric=metric,
            space=space,
            query_names=queries.names,
            names=self.names,
            labels=self.labels,
            query_labels=queries.labels,
            query_thumbnails=queries.thumbnails,
            thumbnails=self.thumbnails,
            provenance=replace(
                self.provenance, method="neighbors", parameters=parameters, seconds=seconds, skipped=skipped
            ),
        )

    @checks_arguments
    def label_precision(self, k: int = 5, *, metric: Metric = "cosine", space: Space = "feature") -> float:
        """The mean share of the k images nearest to an image that have its label, in [0, 1].

        Every labeled image is the query once and is left out of its own neighbors.
        """
        labels = np.array(self.labels, dtype=object)
        rows = np.flatnonzero([label is not None for label in self.labels])
        if not len(rows):
            raise ParameterError("no image has a label; embed a folder whose subfolders are the labels")
        found = self.neighbors(rows, k=k, metric=metric, space=space).indices
        return float((labels[found] == labels[rows][:, None]).mean())

    def _queries(self, query: Any, space: Space) -> tuple[Embeddings, Array | None]:
        """Whatever a query is, as embeddings; and its rows, where it is among these."""
        rows = rows_of(query, self.names)
        if rows is not None:
            return self._take(rows), rows
        if isinstance(query, Embeddings):
            check_alike(self, query)
            return query, None
        if isinstance(query, np.ndarray) and np.issubdtype(query.dtype, np.floating) and query.ndim <= 2:
            if space == "pixel":
                raise ParameterError("a vector has no pixels: space='pixel' takes rows, images or Embeddings")
            return self._of_vectors(query), None
        if self.model is None:
            what = repr(str(query)) if isinstance(query, str | Path) else f"a {type(query).__name__}"
            raise ParameterError(
                f"{what} is none of the embedded images, and no model is at hand to embed it (it is not "
                "saved); pass embed(model, query) instead, with the model and layer of these embeddings"
            )
        from .in_memory import embed_in_memory

        return embed_in_memory(self.model, query, layer=self.layer), None

    def _take(self, rows: Array) -> Embeddings:
        return replace(
            self,
            vectors=self.vectors[rows],
            names=tuple(self.names[i] for i in rows),
            labels=tuple(self.labels[i] for i in rows),
            thumbnails=self.thumbnails[rows],
        )

    def _of_vectors(self, vectors: Array) -> Embeddings:
        """Bare vectors as embeddings, with blank thumbnails."""
        vectors = np.atleast_2d(vectors)
        check_length(self, vectors)
        n = len(vectors)
        blank = np.full((n, THUMBNAIL_PX, THUMBNAIL_PX, 3), 255, np.uint8)
        names = tuple(f"vector {i}" for i in range(n))
        origin = replace(self.provenance, skipped=())  # what these embeddings left out, the vectors did not
        return replace(self, vectors=vectors, names=names, labels=(None,) * n, thumbnails=blank, provenance=origin)


def _points(embeddings: Embeddings, space: Space) -> Array:
    if space == "feature":
        return embeddings.vectors
    return embeddings.thumbnails.reshape(len(embeddings), -1)
