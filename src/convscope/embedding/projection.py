"""Many dimensions to a few: a flat map of the embeddings that says how far it can be trusted."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import linalg

from ..arguments import checks_arguments
from ..checks import Engine, as_array, as_choice, check_engine
from ..errors import ParameterError, StoreError
from ..results import Array, Projection, Provenance
from .extract import Embeddings
from .moments import Components, Moments, check_finite, moments_of
from .placing import keep_map
from .quality import NEAREST, looked_at, trust
from .store import EmbeddingStore
from .table import THUMBNAIL_PX, decode

REDUCED = 50  # principal components that t-SNE and UMAP begin with
_MOST_THUMBNAILS = 5000  # of a store, which are held in memory
_ROWS = 4096  # of an array at once, so that float64 copies stay small


@dataclass(frozen=True)
class Source:
    """What is projected: ``blocks`` gives all vectors, some thousands at a time, as often as it is called."""

    blocks: Callable[[], Iterator[Array]]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array
    provenance: Provenance | None


@checks_arguments
def project(
    embeddings: Embeddings | EmbeddingStore | Array | Source,
    *,
    method: str = "pca",
    n_components: int = 2,
    seed: int = 0,
    engine: Engine = "local",
    address: str | None = None,
) -> Projection:
    """A map of embeddings in few dimensions, and how far it can be trusted.

    "pca" turns the cloud of points so that its longest axes come first and drops the others:

        coordinates = (X - mean(X)) V,   V: the first eigenvectors of the covariance of X

    No other linear map keeps more of the variance. ``explained_variance_ratio`` says how much that is: where
    it is small, points that look near in the map may be far apart. "tsne" and "umap" bend the space so that near
    points stay near, beginning with the first 50 principal components; distances between far groups, and the sizes
    of groups, mean nothing on their maps.

    Args:
        embeddings: `Embeddings`, an `EmbeddingStore`, or an array (N, D). A store gets the coordinates as
            columns, "pca_x" and "pca_y", and remembers the map for `place`; the `source_of` one leaves it alone.
        method: "pca", "tsne" or "umap"; the last needs ``convscope[umap]``.
        n_components: dimensions of the map; for "pca" up to min(N, D), else 1 to 3.
        seed: 0 to 2^32 - 1, for what is random inside a method. The principal components do not depend on it.
        engine: "ray" lets the workers of a Ray cluster sum up the covariance of a store that is larger than it has
            dimensions; see `convscope.embed`.
        address: of the cluster.

    Returns:
        `Projection`: ``coordinates`` (N, n_components) float32, for "pca" in the units of the embeddings;
        ``explained_variance_ratio`` (n_components,), each in [0, 1], NaN but for "pca"; ``trustworthiness`` and
        ``neighbors_kept``, see `quality.trust`, NaN for fewer than 5 points; on more than 3,162 points they are
        measured on some of them against all. ``provenance.measured`` says how many components keep 90, 95
        and 99 % of the variance. An axis points where its largest weight is positive.

    Raises:
        ParameterError: an unknown method, n_components or seed out of range, NaN, fewer than 2 vectors (for "umap"
            than n_components + 2).
        StoreError: the store was written to while it was read.

    Cost: for "pca" one pass to sum N * D^2 / 2 products, one to project; memory D^2 numbers, however many vectors
    a store has. Where N is less than D, all vectors at once.

    Example:
        >>> points = np.array([[0.0, 0, 1], [1, 1, 1], [2, 2, 1]])
        >>> project(points, n_components=1).explained_variance_ratio
        array([1.], dtype=float32)

    References:
        Pearson: On lines and planes of closest fit to systems of points in space, 1901. van der Maaten, Hinton:
        Visualizing data using t-SNE, 2008. McInnes, Healy, Melville: UMAP, 2018, arXiv 1802.03426.
    """
    started = time.perf_counter()
    as_choice(method, "method", tuple(METHODS))
    check_engine(engine, address)
    summed: Callable[[], Moments] | None = None
    if engine == "ray":
        from .distributed import moments_by_ray

        if not isinstance(embeddings, EmbeddingStore):
            raise ParameterError("engine='ray' projects a store, which its workers can open")
        summed = partial(moments_by_ray, embeddings, address)
    source = source_of(embeddings)
    n = len(source.names)
    if n < 2:
        raise ParameterError(f"{n} vector(s): a projection needs at least 2")
    components = components_of(source, n, summed)
    most = min(n, len(components.mean)) if method == "pca" else 3
    if n_components > most:
        raise ParameterError(f"n_components={n_components}: expected 1 to {most} for {n} vectors and {method!r}")
    k = n_components if method == "pca" else min(REDUCED, len(components.axes))
    reduced = np.concatenate([components.transform(block, k) for block in source.blocks()])
    coordinates = METHODS[method](reduced, n_components, seed)
    trustworthiness, kept = _trusted(source, coordinates, seed)
    is_linear = method == "pca"
    ratios = components.ratios[:n_components] if is_linear else np.full(n_components, np.nan)
    if isinstance(embeddings, EmbeddingStore):
        keep_map(embeddings, method, seed, components, reduced, coordinates, source.names)
    measured = {f"components_for_{share:.0%}": components.n_for(share) for share in (0.9, 0.95, 0.99)}
    parameters = {"method": method, "n_components": n_components, "seed": seed}
    return Projection(
        coordinates=coordinates.astype(np.float32),
        explained_variance_ratio=ratios.astype(np.float32),
        trustworthiness=trustworthiness,
        neighbors_kept=kept,
        names=source.names,
        labels=source.labels,
        thumbnails=source.thumbnails,
        provenance=replace(_provenance(source, parameters, started), measured=measured),
    )


# --- what is projected -----------------------------------------------------------------------------------------


def source_of(embeddings: Any) -> Source:
    if isinstance(embeddings, Source):
        return embeddings
    if isinstance(embeddings, EmbeddingStore):
        return _of_store(embeddings)
    if isinstance(embeddings, Embeddings):
        vectors = check_finite(embeddings.vectors)
        return Source(
            lambda: _cut(vectors),
            embeddings.names,
            embeddings.labels,
            embeddings.thumbnails,
            embeddings.provenance,
        )
    points = check_finite(as_array(embeddings, "embeddings", "Embeddings, an EmbeddingStore or vectors (N, D)"))
    names = tuple(f"vector {i}" for i in range(len(points)))
    return Source(lambda: _cut(points), names, (None,) * len(points), np.zeros((0, 0, 0, 3), np.uint8), None)


def _cut(vectors: Array) -> Iterator[Array]:
    return (vectors[first : first + _ROWS] for first in range(0, len(vectors), _ROWS))


def _of_store(store: EmbeddingStore) -> Source:
    n = store.count(store.in_use())
    columns = ["path", "label"] + (["thumbnail"] if n <= _MOST_THUMBNAILS else [])
    rows = store.to_arrow(columns, store.in_use())
    names = rows["path"].to_pylist()
    thumbnails = np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
    if "thumbnail" in columns and n:
        thumbnails = np.stack([decode(data) for data in rows["thumbnail"].to_pylist()])

    def blocks() -> Iterator[Array]:
        first = 0
        for batch in store.batches(["path", "vector"], store.in_use()):
            if batch["path"].to_pylist() != names[first : first + len(batch)]:
                raise changed
            first += len(batch)
            flat = batch["vector"].flatten().to_numpy(zero_copy_only=False)
            yield check_finite(flat.astype(np.float32, copy=False).reshape(len(batch), -1))
        if first < len(names):
            raise changed

    changed = StoreError(f"{store.place} was written to while it was read; try again when that is done")
    origin = store.origin
    made = Provenance("embed", {}, origin.model, "cpu", origin.versions, 0.0)
    return Source(blocks, tuple(names), tuple(rows["label"].to_pylist()), thumbnails, made)


def components_of(source: Source, n: int, summed: Callable[[], Moments] | None = None) -> Components:
    """From the covariance, one block at a time or as ``summed``; of few vectors from the vectors themselves."""
    first = next(source.blocks())
    if n > first.shape[1]:
        return Components.of(summed() if summed else moments_of(source.blocks()))
    points = np.concatenate(list(source.blocks())).astype(np.float64)
    mean = points.mean(axis=0)
    _, sizes, axes = linalg.svd(points - mean, full_matrices=False)
    return Components(n, mean, axes, sizes**2 / (n - 1)).upright()


# --- methods: from principal components (N, k), how many, seed -> coordinates -----------------------------------


def _pca(reduced: Array, n_components: int, seed: int) -> Array:
    return reduced[:, :n_components]


def _tsne(reduced: Array, n_components: int, seed: int) -> Array:
    from openTSNE import TSNE

    n = len(reduced)
    # It begins with the first components, made small, and a bit of noise that keeps copies apart.
    start = np.zeros((n, n_components))
    start[:, : reduced.shape[1]] = reduced[:, :n_components]
    spread = float(start[:, 0].std())
    start *= 1e-4 / spread if spread > 0 else 0.0
    start += np.random.default_rng(seed).normal(scale=1e-6, size=start.shape)
    tsne = TSNE(
        n_components,
        perplexity=min(30.0, (n - 1) / 3),
        initialization=start,
        negative_gradient_method="auto" if n_components < 3 else "bh",  # the other way is for two dimensions only
        random_state=seed,
        n_jobs=-1,
    )
    return np.asarray(tsne.fit(reduced), np.float32)


def _umap(reduced: Array, n_components: int, seed: int) -> Array:
    if importlib.util.find_spec("umap") is None:
        raise ParameterError("umap is not installed: pip install 'convscope[umap]'")
    if len(reduced) < n_components + 2:
        raise ParameterError(f"{len(reduced)} vectors: 'umap' needs at least {n_components + 2}")
    from umap import UMAP

    near = min(15, len(reduced) - 1)
    made = UMAP(n_neighbors=near, n_components=n_components, random_state=seed, n_jobs=1).fit_transform(reduced)
    return np.asarray(made, np.float32)


METHODS: dict[str, Callable[[Array, int, int], Array]] = {"pca": _pca, "tsne": _tsne, "umap": _umap}


def _trusted(source: Source, coordinates: Array, seed: int) -> tuple[float, float]:
    n = len(coordinates)
    k = min(NEAREST, (n - 1) // 2)
    if n < 5:
        return float("nan"), float("nan")
    rows = looked_at(n, seed)
    first, chosen = 0, []
    for block in source.blocks():
        chosen.append(block[rows[(rows >= first) & (rows < first + len(block))] - first])
        first += len(block)
    return trust(source.blocks(), np.concatenate(chosen), rows, coordinates, k)


def _provenance(source: Source, parameters: dict[str, Any], started: float) -> Provenance:
    seconds = time.perf_counter() - started
    if source.provenance is not None:
        return replace(source.provenance, method="project", parameters=parameters, seconds=seconds, skipped=())
    versions = {name: importlib.metadata.version(name) for name in ("convscope", "scipy", "numpy")}
    return Provenance("project", parameters, {"name": "an array of vectors"}, "cpu", versions, seconds)
