"""Many dimensions to a few: a flat map of the embeddings that says how much of them it shows."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..results import Array, Projection, Provenance
from .extract import Embeddings

_SMALL = 500  # up to here a full decomposition takes no time; beyond, only the components asked for are found


def project(
    embeddings: Embeddings | Array, *, method: str = "pca", n_components: int = 2, seed: int = 0
) -> Projection:
    """A map of embeddings in few dimensions.

    "pca" turns the cloud of points so that its longest axes come first and drops the others:

        coordinates = (X - mean(X)) V,   V: the first right singular vectors of X - mean(X)

    No other linear map keeps more of the variance. ``explained_variance_ratio`` says how much that is: where
    it is small, points that look near in the map may be far apart.

    Args:
        embeddings: `Embeddings`, or an array (N, D).
        method: "pca".
        n_components: dimensions of the map, 1 to min(N, D).
        seed: for what is random inside a method. The principal components do not depend on it.

    Returns:
        `Projection`: ``coordinates`` (N, n_components) float32, in the units of the embeddings, and
        ``explained_variance_ratio`` (n_components,), each in [0, 1]. An axis points where its largest weight
        is positive. Vectors that are all the same give zeros.

    Raises:
        ParameterError: an unknown method, n_components out of range, fewer than 2 vectors, NaN.

    Cost: a float64 copy of the vectors, and N * D * n_components operations, some tens of times.

    Example:
        >>> points = np.array([[0.0, 0, 1], [1, 1, 1], [2, 2, 1]])
        >>> project(points, n_components=1).explained_variance_ratio
        array([1.], dtype=float32)

    References: Pearson, On lines and planes of closest fit to systems of points in space, 1901.
    """
    started = time.perf_counter()
    source = embeddings if isinstance(embeddings, Embeddings) else None
    points = _check(embeddings if source is None else source.vectors)
    if method not in METHODS:
        raise ParameterError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    if not 1 <= n_components <= min(points.shape):
        raise ParameterError(
            f"n_components={n_components}: expected 1 to {min(points.shape)} for vectors {points.shape}"
        )
    coordinates, ratio = METHODS[method](points, n_components, seed)
    parameters = {"method": method, "n_components": n_components, "seed": seed}
    return Projection(
        coordinates=coordinates.astype(np.float32),
        explained_variance_ratio=ratio.astype(np.float32),
        names=source.names if source is not None else tuple(f"vector {i}" for i in range(len(points))),
        labels=source.labels if source is not None else (None,) * len(points),
        thumbnails=source.thumbnails if source is not None else np.zeros((0, 0, 0, 3), np.uint8),
        provenance=_provenance(source, parameters, started),
    )


def _check(vectors: Any) -> Array:
    points = np.asarray(vectors)
    if points.ndim != 2 or points.dtype.kind not in "fiu":
        raise ParameterError(f"an array {points.shape} of {points.dtype}; expected vectors (N, D)")
    if len(points) < 2:
        raise ParameterError(f"{len(points)} vector(s): a projection needs at least 2")
    if not np.isfinite(points).all():
        raise ParameterError("the vectors hold NaN or infinite values, which cannot be projected")
    return points.astype(np.float64)


def _pca(points: Array, n_components: int, seed: int) -> tuple[Array, Array]:
    from sklearn.decomposition import PCA

    if (points == points[0]).all():
        return np.zeros((len(points), n_components)), np.zeros(n_components)
    solver = "arpack" if min(points.shape) > _SMALL and n_components < min(points.shape) else "full"
    pca = PCA(n_components, svd_solver=solver, random_state=seed)
    coordinates: Array = pca.fit_transform(points)
    return coordinates, pca.explained_variance_ratio_


METHODS: dict[str, Callable[[Array, int, int], tuple[Array, Array]]] = {"pca": _pca}


def _provenance(source: Embeddings | None, parameters: dict[str, Any], started: float) -> Provenance:
    seconds = time.perf_counter() - started
    if source is not None:
        return replace(source.provenance, method="project", parameters=parameters, seconds=seconds, skipped=())
    versions = {name: importlib.metadata.version(name) for name in ("convscope", "scikit-learn", "numpy")}
    return Provenance("project", parameters, {"name": "an array of vectors"}, "cpu", versions, seconds)
