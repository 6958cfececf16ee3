"""A store remembers its maps, so that new images can be placed on them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from ..arguments import checks_arguments
from ..checks import Method
from ..errors import ParameterError, StoreError
from ..results import Array
from ..store import EmbeddingStore
from .moments import Components, check_finite

_PLACED_BY = 10  # nearest old points, for a new one


def keep_map(
    store: EmbeddingStore,
    method: str,
    seed: int,
    components: Components,
    reduced: Array,
    placed: Array,
    names: tuple[str, ...],
    coordinates: Array,
) -> None:
    """Write a map's coordinates into the rows, and keep what places new vectors on it.

    That is ``reduced`` (G, k) and ``placed`` (G, d) of the different vectors: copies of one image would be the ten
    nearest of a new one, and hide the others.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {"path": pa.array(names)}
    for name, values in zip("xyz", coordinates.T, strict=False):
        columns[f"{method}_{name}"] = pa.array(values.astype(np.float32))
    for name in (f"{method}_{name}" for name in "xyz"):  # of a map with more dimensions, made before
        if name not in columns and name in store.schema.names:
            columns[name] = pa.nulls(len(names), pa.float32())
    store.add_columns(pa.table(columns), only=True)
    data = io.BytesIO()
    arrays = {"mean": components.mean, "axes": components.axes[: reduced.shape[1]]}
    if method != "pca":  # a new point goes where its nearest old ones are
        arrays |= {"reduced": reduced, "coordinates": placed}
    np.savez(data, allow_pickle=False, **arrays)
    store.fits.remember(f"projection {method}", {"method": method, "seed": seed, "n": len(names)}, data.getvalue())


@checks_arguments
def place(store: EmbeddingStore, vectors: Array, *, method: Method = "pca") -> Array:
    """Where new vectors (n, D) lie on the map that `project` made of a store: coordinates (n, n_components).

    On a map by "tsne" or "umap" that is the mean of the 10 nearest old points, in principal components, each
    weighted by one over its distance: a copy lies on its original. A map cannot show what is unlike all that it
    was made of; such a point comes to lie somewhere between the groups.

    Raises:
        ParameterError: vectors of another length than the store's, or NaN.
        StoreError: there is no such map, or it is damaged.
    """
    made = _recalled(store, method)
    vectors, axes = check_finite(np.atleast_2d(vectors)), made["axes"]
    if vectors.shape[1] != store.n_dims:
        raise ParameterError(f"vectors of {vectors.shape[1]} values; {store.place} holds those of {store.n_dims}")
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
