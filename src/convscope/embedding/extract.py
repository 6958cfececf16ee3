"""`embed`: many images to feature vectors, and `Embeddings`, which finds the alike among them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..checks import Engine, check_address
from ..errors import Interrupted, ParameterError
from ..models import Model, as_model
from ..progress import Progress
from ..results import Array, Neighbors, Result
from .features import Precision, batch_size, choose_layer, extracting, notes_on_layer
from .neighbors import Metric, Space, search
from .queries import check_alike, check_length, rows_of
from .table import THUMBNAIL_PX, VectorType, thumbnail_of

if TYPE_CHECKING:
    from .store import EmbeddingStore


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
        return embed(self.model, query, layer=self.layer), None

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


@overload
def embed(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str | None = None,
    store: None = None,
    precision: Precision = "float32",
    compiled: bool = False,
    progress: Progress | None = None,
) -> Embeddings: ...
@overload
def embed(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str | None = None,
    store: str | Path,
    vectors: VectorType = "float32",
    precision: Precision = "float32",
    compiled: bool = False,
    engine: Engine = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> EmbeddingStore: ...
@checks_arguments
def embed(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str | None = None,
    store: str | Path | None = None,
    vectors: VectorType = "float32",
    precision: Precision = "float32",
    compiled: bool = False,
    engine: Engine = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> Embeddings | EmbeddingStore:
    """Feature vectors of images: what a late layer makes of them.

    Two images that the network thinks are alike have vectors that point the same way, however different their
    pixels are. An image's vector is the layer's output; of a spatial layer, each channel's mean over the map.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed, and with ``store``
            also a ``DataLoader`` of such. A file of a folder that cannot be read is left out and listed in
            ``provenance.skipped``; in a store its row says why.
        layer: a name from `Model.layers`; by default what the classifier takes in. In torchvision's VGG and
            AlexNet, "classifier.4" gives the 4096 values of the last hidden layer.
        store: where to keep the vectors, a folder or an address like "s3://bucket/photos.lance". What is in it
            and has not changed is not embedded again, so that a run that was killed goes on where it stood.
        vectors: how a store holds them; "float16" takes half the space.
        precision: what the network computes with; "bfloat16" is faster where the processor knows it.
        compiled: compile the network first, which takes a minute and pays from some thousand images on.
        engine: "ray" fills a store by the workers of a Ray cluster, which needs ``convscope[ray]``; the rows are
            the same.
        address: of the cluster; by default Ray runs on this machine.
        progress: called with (images done, images in all).

    Returns:
        `Embeddings` with vectors (N, D) float32, raw activations; or the `EmbeddingStore`.

    Raises:
        LayerError: there is no such layer, or no layer with weights to choose by default.
        ImageError: an image that is not in a folder cannot be read, or none can.
        StoreError: the store is of another network, or no store.
        Interrupted: Ctrl-C after the first batch; its ``result`` holds the `Embeddings` made so far.

    Cost: one forward pass an image, only as far as the layer. Besides the result, memory for one batch.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> embed(net, torch.zeros(5, 3, 8, 8)).vectors.shape
        (5, 144)
    """
    model = as_model(model)
    check_address(address, engine)
    if engine == "ray":
        if store is None or compiled:
            raise ParameterError("engine='ray' fills a store, and not with compiled=True")
        from .distributed import fill_by_ray

        options: dict[str, Any] = {"vectors": vectors, "precision": precision, "address": address}
        return fill_by_ray(store, model, images, layer=layer, progress=progress, **options)
    if store is not None:
        from .filling import fill

        options = {"vectors": vectors, "precision": precision, "compiled": compiled}
        return fill(store, model, images, layer=layer, progress=progress, **options)
    return _in_memory(model, images, layer, precision, compiled, progress)


def _in_memory(
    model: Model, images: Any, layer: str | None, precision: Precision, compiled: bool, progress: Progress | None
) -> Embeddings:
    started = time.perf_counter()
    inputs = model.inputs(images)
    size = batch_size(model, inputs.shape, precision, compiled)
    found = choose_layer(model, inputs.shape, layer)
    vectors = np.empty((len(inputs), found.shape[0]), np.float32)
    thumbnails = np.empty((len(inputs), THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
    done: list[tuple[str, str | None]] = []

    def result(*notes: str) -> Embeddings:
        n = len(done)
        parameters = {"layer": found.name, "precision": precision, "compiled": compiled}
        return Embeddings(
            vectors=vectors[:n],
            names=tuple(name for name, _ in done),
            labels=tuple(label for _, label in done),
            thumbnails=thumbnails[:n],
            layer=found.name,
            model=model,
            provenance=model.provenance(
                "embed",
                parameters,
                started,
                notes=(*inputs.notes, *notes_on_layer(model, found, layer), *notes),
                skipped=inputs.skipped,
            ),
        )

    try:
        with extracting(model, found, inputs.shape, precision=precision, compiled=compiled) as extract:
            for batch in model.batches(inputs, size=size):
                rows = slice(len(done), len(done) + len(batch.names))
                pixels = batch.cuts or model.to_pixels(batch.x)
                thumbnails[rows] = [thumbnail_of(one) for one in pixels]
                vectors[rows] = extract(batch.x).vectors
                done.extend(zip(batch.names, batch.labels, strict=True))
                if progress:
                    progress(batch.positions[-1] + 1, len(inputs))
    except KeyboardInterrupt as interrupt:
        if not done:
            raise
        raise Interrupted(result(f"interrupted after {len(done)} of {len(inputs)} images")) from interrupt
    if progress:
        progress(len(inputs), len(inputs))  # also where the last images could not be read
    return result()
