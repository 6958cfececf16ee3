"""`place`: where new images lie on a map that `project` made of a store, which remembers it."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from ..arguments import checks_arguments
from ..checks import ProjectionMethod
from ..errors import StoreError
from ..results import Array, Projection
from ..store import EmbeddingStore
from .moments import Components
from .queries import queries_of
from .reducing import Reduced
from .source import Source

_PLACED_BY = 10  # nearest old points, for a new one


@checks_arguments
def place(store: EmbeddingStore, images: Any, *, method: ProjectionMethod = "pca", model: Any = None) -> Array:
    """Where images lie on the map that `convscope.project` made of a store.

    On a map by "tsne" or "umap" that is the mean of the 10 nearest old points, in principal components, each
    weighted by one over its distance: a copy lies on its original. A map cannot show what is unlike everything
    that it was made of; such an image comes to lie somewhere between the groups.

    Args:
        store: an `EmbeddingStore` that was projected.
        images: images, `Embeddings`, a float array (D,) or (n, D) of vectors, or names in the store: whatever
            `convscope.neighbors` can search for.
        method: of the map, "pca", "tsne" or "umap".
        model: the network that made the store, to embed images with.

    Returns:
        Coordinates (n, n_components) float32, in the units of the map.

    Raises:
        ParameterError: vectors of another length or network, NaN, or images and no model to embed them.
        StoreError: there is no such map, or it is damaged.

    Cost: one forward pass an image; for "tsne" and "umap" n * N * 50 multiplications.

    Example:
        >>> import tempfile
        >>> from convscope import project
        >>> vectors = np.random.default_rng(0).normal(size=(20, 4))
        >>> store = EmbeddingStore.of_vectors(tempfile.mkdtemp() + "/s.lance", vectors)
        >>> found = project(store)
        >>> np.allclose(place(store, vectors), found.coordinates, atol=1e-5)
        True
    """
    made = _recalled(store, method)
    vectors, axes = queries_of(store, images, model=model).vectors, made["axes"]
    reduced = Components(0, made["mean"], axes, np.zeros(len(axes))).transform(vectors, len(axes))
    if method == "pca":
        return reduced
    placed = []
    for point in reduced:
        distances = np.linalg.norm(made["reduced"] - point, axis=1)
        nearest = np.argsort(distances, kind="stable")[:_PLACED_BY]
        weights = 1 / np.maximum(distances[nearest], 1e-6 * max(float(distances[nearest[-1]]), 1e-12))
        placed.append(weights @ made["coordinates"][nearest] / weights.sum())
    return np.asarray(placed, np.float32)


def keep_map(source: Source, projection: Projection, found: Reduced, placed: Array) -> None:
    """Let a store remember a map: coordinates in its rows, and what places new vectors.

    That is where the different vectors lie, in principal components and on the map (``placed``): the ten nearest
    of a new image could otherwise all be copies of one.
    """
    method, seed = (projection.provenance.parameters[name] for name in ("method", "seed"))
    columns: dict[str, Array | None] = dict.fromkeys(f"{method}_{name}" for name in "xyz")  # an older map's, too
    for name, values in zip("xyz", projection.coordinates.T, strict=False):
        columns[f"{method}_{name}"] = values
    arrays = {"mean": found.components.mean, "axes": found.components.axes[: found.points.shape[1]]}
    if method != "pca":  # a new point goes where its nearest old ones are
        arrays |= {"reduced": found.points, "coordinates": placed}
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **arrays)
    about = {"method": method, "seed": seed, "n": len(projection.names)}
    source.remember(f"projection {method}", about, data.getvalue(), columns)


def _recalled(store: EmbeddingStore, method: str) -> dict[str, Array]:
    """The arrays of a map. A store may be a stranger's: nothing in it is unpickled, and shapes are checked."""
    kept = store.fits.recall(f"projection {method}")
    if kept is None:
        raise StoreError(
            f"{store.place} has no map by {method!r}; make one with project(store, method={method!r})"
        )
    damaged = f"{store.place}: the map by {method!r} is damaged; make it again"
    try:
        with np.load(io.BytesIO(kept[1]), allow_pickle=False) as found:
            made = {name: np.asarray(found[name], np.float64) for name in found.files}
        (n_dims,), (k, width) = made["mean"].shape, made["axes"].shape
        is_whole = n_dims == width == store.n_dims
        if method != "pca":
            (n, n_reduced), (n_placed, _) = made["reduced"].shape, made["coordinates"].shape
            is_whole = is_whole and n == n_placed > 0 and n_reduced == k
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise StoreError(damaged) from error
    if not is_whole:
        raise StoreError(damaged)
    return made
