"""What a report says about a collection, from its images or from vectors that were made of them before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from ..embedding import Embeddings, duplicates, embed, neighbors, suspects
from ..embedding.origins import check_model
from ..embedding.projection import kept_map, mapped
from ..embedding.source import Source, is_source, is_stored
from ..errors import ParameterError
from ..images import ImageSet, load_images
from ..models import Model, check_tensor
from ..results import Array, Duplicates, Neighbors, Projection, Suspects
from ..results.files import is_saved
from ..store import EmbeddingStore, Space, is_store
from .labeled_rows import LabeledRows, labeled_rows
from .limits import Limits
from .short_paths import without_common_folder

QUERIES = 5  # at least: the images of the report, and if they are fewer, images of the collection
NEIGHBORS = 5
MEASURED = 4000  # up to so many images, each is a query for the share of neighbors with the right label


@dataclass(frozen=True)
class Collection:
    """The nearest images of a few queries, in feature space and in pixel space, and a map of all images.

    ``name`` is that of the store or of the folder, empty where it has none.
    ``nearest`` pairs the neighbors in feature space with those in pixel space: for the images of the report first,
    then for some of the collection's own. ``precision`` is the mean share of neighbors that have the query's
    label, (feature space, pixel space); None without labels. ``rows`` are the labels and predictions of all
    images. ``thumbnails`` are pictures (64, 64, 3) uint8 of the errors and of some images of each label, by name.
    ``skipped`` are the images that could not be read, and why. ``suspects`` is None without labels that can be
    doubted, ``left_out`` says why that is so where it is not plain.
    """

    name: str
    rows: LabeledRows
    nearest: tuple[tuple[Neighbors, Neighbors], ...]
    projection: Projection
    precision: tuple[float, float] | None
    thumbnails: Mapping[str, Array]
    skipped: tuple[str, ...]
    suspects: Suspects | None
    duplicates: Duplicates | None
    left_out: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.rows.names)

    @property
    def map_names(self) -> tuple[str, ...]:
        """The names of all images as a page shows them."""
        return without_common_folder(self.projection.names)


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


@contextmanager
def vectors_of(model: Model, collection: Any, progress: Any) -> Iterator[Source]:
    """The vectors of a collection (see `open_collection`), read from one version of it.

    Images are embedded into a store that lasts as long as the context, as a store keeps predictions as well.
    """
    if is_source(collection):
        with collection.reading():
            yield collection
        return
    with tempfile.TemporaryDirectory(prefix="convscope-") as folder:
        is_set = isinstance(collection, ImageSet) and model.several is None
        store = Path(folder) / "store" if is_set else None
        made: Any = embed(model, collection, store=store, progress=progress)
        _check_number(made.n_vectors)
        with made.reading():
            yield made


def name_of(collection: Any) -> str:
    """The name of a store without its ending, or of the folder that all images share; empty without one."""
    if is_source(collection):
        return PurePath(collection.place).name.removesuffix(".lance") if is_stored(collection) else ""
    folders = {os.path.dirname(name) for name in getattr(collection, "names", ()) if os.path.isabs(name)}
    return PurePath(os.path.commonpath(folders)).name if folders else ""


def collect(model: Model, source: Source, shown: Any, limits: Limits, name: str = "") -> Collection:
    """Find what is near some of the images of a collection, and near the ``shown`` images, if there are any."""
    nearest = []
    if shown is not None:
        nearest.append(_nearest(source, embed(model, shown, layer=source.made.parameters["layer"])))
    n = source.n_vectors
    if n_own := max(QUERIES - sum(len(one.query_names) for one, _ in nearest), 0):
        nearest.append(_nearest(source, np.unique(np.linspace(0, n - 1, min(n_own, n)).round().astype(int))))
    labels = source.labels
    agree, precision = np.full(n, np.nan), None
    labeled = np.flatnonzero([label is not None for label in labels])
    if n <= MEASURED and len(set(labels) - {None}) > 1:
        agree[labeled] = _agreement(source, labeled, "feature")
        precision = (float(agree[labeled].mean()), float(_agreement(source, labeled, "pixel").mean()))
    # A new map is not kept: a report changes nothing in a store.
    projection = kept_map(source) or mapped(source)[0]
    rows = labeled_rows(source, agree)
    left_out: list[str] = []
    doubted = None
    if limits.n_suspects and len(set(labels) - {None}) > 1:
        doubted = _asked(left_out, suspects, source, limit=limits.n_suspects)
    pictured = [*rows.errors[: limits.n_errors], *(i for one in rows.classes for i in one.examples)]
    return Collection(
        name=name,
        rows=rows,
        nearest=tuple(nearest),
        projection=projection,
        precision=precision,
        thumbnails=_thumbnails(source, pictured),
        suspects=doubted,
        duplicates=_asked(left_out, duplicates, source) if limits.n_duplicates else None,
        left_out=tuple(left_out),
        skipped=tuple(source.unread().values()) if is_stored(source) else source.made.skipped,
    )


def _asked(left_out: list[str], question: Callable[..., Any], source: Source, **options: Any) -> Any:
    """The answer, or None where the vectors do not allow the question; then ``left_out`` gets the reason."""
    try:
        return question(source, **options)
    except ParameterError as error:  # such as vectors that are all equal
        left_out.append(f"{question.__name__}: {error}")
        return None


def _thumbnails(source: Source, places: Sequence[int]) -> dict[str, Array]:
    """The pictures of images at some positions, by name."""
    taken = source.take(source.rows[np.unique(np.array(places, np.int64))])
    shown = zip(taken.names, taken.thumbnails, taken.has_thumbnail, strict=False)
    return {name: picture for name, picture, has_one in shown if has_one}


def _agreement(source: Source, labeled: Array, space: Space) -> Array:
    """The share of the nearest of each labeled image that have its label."""
    found = neighbors(source, labeled, k=NEIGHBORS, space=space)
    own = np.array(found.query_labels, dtype=object)[:, None]
    return np.asarray((np.array(found.labels, dtype=object)[found.indices] == own).mean(axis=1))


def _nearest(source: Source, query: Any) -> tuple[Neighbors, Neighbors]:
    """Neighbors in feature space and in pixel space."""
    return neighbors(source, query, k=NEIGHBORS), neighbors(source, query, k=NEIGHBORS, space="pixel")
