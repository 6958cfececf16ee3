"""`embed`: many images to feature vectors, in memory or in a store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, overload

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..checks import Engine, check_address
from ..errors import Interrupted, ParameterError
from ..models import Model, as_model
from ..progress import Progress
from ..store import EmbeddingStore, VectorType
from ..store.thumbnails import THUMBNAIL_PX, thumbnail_of
from .embeddings import Embeddings
from .features import Precision, batch_size, choose_layer, extracting, notes_on_layer


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
