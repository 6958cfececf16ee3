"""What a report tells of a collection: found by embedding its images, or in vectors that were made before."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from ..embedding import Embeddings, EmbeddingStore, embed, project
from ..embedding.origins import check_model
from ..embedding.queries import check_network
from ..embedding.reducing import source_of
from ..errors import ParameterError
from ..images import load_images
from ..models import Model, check_tensor
from ..results import Neighbors, Projection
from ..results.files import is_saved
from ..store import Space, is_store

QUERIES = 5  # of the neighbors: the images of the report, and of the collection as many as are missing
NEIGHBORS = 5
MEASURED = 2000  # images up to here are compared all with all, for the share of right neighbors

Vectors: TypeAlias = Embeddings | EmbeddingStore


@dataclass(frozen=True)
class Collection:
    """How the images of a collection lie: the nearest of a few, in both spaces, and a map of all.

    ``nearest`` pairs neighbors in feature space with those in pixel space: first of the images that the report is
    about, then of some of the collection's own. ``precision`` is the share of the nearest images that have the
    query's label, (feature space, pixel space); None without labels. ``skipped`` says what could not be read.
    """

    count: int
    nearest: tuple[tuple[Neighbors, Neighbors], ...]
    projection: Projection
    precision: tuple[float, float] | None
    skipped: tuple[str, ...]


def opened(collection: Any, model: Model) -> Any:
    """What a collection is, before the long work: vectors of this network, or images that are to be embedded.

    Raises:
        ImageError: there is no such folder, or nothing in it.
        ParameterError, StoreError: the vectors are another network's, or too few.
    """
    found = _found(collection, model)
    if isinstance(found, Embeddings):
        check_network(found, model)
    if isinstance(found, EmbeddingStore):
        check_model(found, model, embeds=True)
    _check_number(found.count(found.in_use()) if isinstance(found, EmbeddingStore) else len(found))
    return found


def _found(collection: Any, model: Model) -> Any:
    if isinstance(collection, torch.Tensor):
        return check_tensor(collection, model.n_channels)
    if isinstance(collection, Embeddings):
        return collection
    if isinstance(collection, EmbeddingStore):
        return EmbeddingStore.open(collection.place, model=model)
    if isinstance(collection, str | Path):
        if is_store(collection):
            return EmbeddingStore.open(collection, model=model)
        if is_saved(collection):
            return Embeddings.load(collection)
    return load_images(collection)


def _check_number(n: int) -> None:
    if n < 2:
        raise ParameterError(f"a collection of {n} image(s) has no neighbors and no map; give two or more")


def collect(model: Model, collection: Any, shown: Any, progress: Any) -> Collection:
    """Ask a collection, as `opened` gives it, for what is near the shown images and near some of its own."""
    vectors: Vectors = collection
    if not isinstance(collection, Embeddings | EmbeddingStore):
        vectors = embed(model, collection, progress=progress)
        _check_number(len(vectors))
    with vectors.reading() if isinstance(vectors, EmbeddingStore) else nullcontext():
        return _asked(model, vectors, shown)


def _asked(model: Model, vectors: Vectors, shown: Any) -> Collection:
    names, labels, skipped = _rows(vectors)
    asked = shown if isinstance(vectors, EmbeddingStore) else embed(model, shown, layer=vectors.layer)
    nearest = [_nearest(vectors, asked)]
    if n_own := max(QUERIES - len(nearest[0][0].query_names), 0):
        places = np.unique(np.linspace(0, len(names) - 1, min(n_own, len(names))).round().astype(int)).tolist()
        own = [names[i] for i in places] if isinstance(vectors, EmbeddingStore) else places
        nearest.append(_nearest(vectors, own))
    precision = None
    if len(names) <= MEASURED and len(set(labels) - {None}) > 1:
        precision = (_precision(vectors, names, labels, "feature"), _precision(vectors, names, labels, "pixel"))
    return Collection(
        count=len(names),
        nearest=tuple(nearest),
        projection=project(source_of(vectors)),  # of a store as it is: a report changes nothing in it
        precision=precision,
        skipped=skipped,
    )


# --- embeddings and stores alike -------------------------------------------------------------------------------


def _rows(vectors: Vectors) -> tuple[tuple[str, ...], tuple[str | None, ...], tuple[str, ...]]:
    """Names, labels, and what could not be read."""
    if isinstance(vectors, Embeddings):
        return vectors.names, vectors.labels, vectors.provenance.skipped
    rows = vectors.to_arrow(["path", "label"], vectors.in_use())
    return tuple(rows["path"].to_pylist()), tuple(rows["label"].to_pylist()), tuple(vectors.unread().values())


def _nearest(vectors: Vectors, query: Any) -> tuple[Neighbors, Neighbors]:
    return _near(vectors, query, "feature"), _near(vectors, query, "pixel")


def _near(vectors: Vectors, query: Any, space: Space) -> Neighbors:
    return vectors.neighbors(query, k=NEIGHBORS, space=space)


def _precision(vectors: Vectors, names: Any, labels: Any, space: Space) -> float:
    """The mean share of the nearest images to a labeled one that have its label."""
    if isinstance(vectors, Embeddings):
        return vectors.label_precision(NEIGHBORS, space=space)
    found = _near(vectors, [name for name, label in zip(names, labels, strict=True) if label is not None], space)
    label_of = np.array(found.labels, dtype=object)
    return float((label_of[found.indices] == np.array(found.query_labels, dtype=object)[:, None]).mean())
