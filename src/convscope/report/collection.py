"""What a report says about a collection, from its images or from vectors that were made of them before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..embedding import Embeddings, embed, label_precision, neighbors
from ..embedding.origins import check_model
from ..embedding.projection import mapped
from ..embedding.source import Source, is_source, is_stored
from ..errors import ParameterError
from ..images import load_images
from ..models import Model, check_tensor
from ..results import Neighbors, Projection
from ..results.files import is_saved
from ..store import EmbeddingStore, is_store

QUERIES = 5  # at least: the images of the report, and if they are fewer, images of the collection
NEIGHBORS = 5
MEASURED = 2000  # up to so many images, each is a query for the share of neighbors with the right label


@dataclass(frozen=True)
class Collection:
    """The nearest images of a few queries, in feature space and in pixel space, and a map of all images.

    ``nearest`` pairs the neighbors in feature space with those in pixel space: for the images of the report first,
    then for some of the collection's own. ``precision`` is the mean share of neighbors that have the query's
    label, (feature space, pixel space); None without labels. ``skipped`` are the images that could not be read,
    and why.
    """

    count: int
    nearest: tuple[tuple[Neighbors, Neighbors], ...]
    projection: Projection
    precision: tuple[float, float] | None
    skipped: tuple[str, ...]


def open_collection(collection: Any, model: Model) -> Any:
    """Open a collection before the long work starts: vectors of this network, or images to be embedded.

    Raises:
        ImageError: there is no such folder, or no image in it.
        ParameterError, StoreError: the vectors come from another network, or are fewer than two.
    """
    found = _found(collection, model)
    if is_source(found):
        check_model(found, model, embeds=True)
        _check_number(found.n_vectors)
    else:
        _check_number(len(found))
    return found


def _found(collection: Any, model: Model) -> Any:
    if isinstance(collection, torch.Tensor):
        return check_tensor(collection, model.n_channels, pictures="a report shows pictures")
    if is_source(collection):
        return collection
    if isinstance(collection, str | Path):
        if is_store(collection):
            return EmbeddingStore.open(collection)
        if is_saved(collection):
            return Embeddings.load(collection)
    return load_images(collection)


def _check_number(n: int) -> None:
    if n < 2:
        raise ParameterError(f"a collection needs at least 2 images for neighbors and a map; it has {n}")


def collect(model: Model, collection: Any, shown: Any, progress: Any) -> Collection:
    """Find what is near the shown images, and near some of the images of a collection (see `open_collection`)."""
    vectors = collection
    if not is_source(vectors):
        vectors = embed(model, collection, progress=progress)
        _check_number(len(vectors))
    with vectors.reading():
        return _asked(model, vectors, shown)


def _asked(model: Model, source: Source, shown: Any) -> Collection:
    names, labels = source.names, source.labels
    nearest = [_nearest(source, embed(model, shown, layer=source.made.parameters["layer"]))]
    if n_own := max(QUERIES - len(nearest[0][0].query_names), 0):
        places = np.unique(np.linspace(0, len(names) - 1, min(n_own, len(names))).round().astype(int))
        nearest.append(_nearest(source, places))
    precision = None
    if len(names) <= MEASURED and len(set(labels) - {None}) > 1:
        by_feature, by_pixel = (
            label_precision(source, k=NEIGHBORS, space=space) for space in ("feature", "pixel")
        )
        precision = (by_feature, by_pixel)
    projection, _, _ = mapped(source)  # without keeping it: a report changes nothing in a store
    return Collection(
        count=len(names),
        nearest=tuple(nearest),
        projection=projection,
        precision=precision,
        skipped=tuple(source.unread().values()) if is_stored(source) else source.made.skipped,
    )


def _nearest(source: Source, query: Any) -> tuple[Neighbors, Neighbors]:
    """Neighbors in feature space and in pixel space."""
    return neighbors(source, query, k=NEIGHBORS), neighbors(source, query, k=NEIGHBORS, space="pixel")
