"""Images to feature vectors in memory."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..errors import Interrupted
from ..models import Model
from ..progress import Progress
from ..store.thumbnails import THUMBNAIL_PX, thumbnail_of
from .embeddings import Embeddings
from .features import Precision, batch_size, choose_layer, extracting, notes_on_layer


def embed_in_memory(
    model: Model,
    images: Any,
    layer: str | None = None,
    precision: Precision = "float32",
    compiled: bool = False,
    progress: Progress | None = None,
) -> Embeddings:
    """See `convscope.embed`."""
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
