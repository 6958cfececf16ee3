"""`project`: many dimensions to a few, as a flat map that says how far it can be trusted."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..arguments import checks_arguments
from ..checks import ProjectionMethod, Runner, check_address
from ..errors import ParameterError
from ..results import Array, Projection
from ..store.thumbnails import THUMBNAIL_PX
from .copies import Copies, copies_of
from .moments import Moments
from .placing import keep_map
from .quality import NEAREST, points_to_check, trust
from .ray_moments import moments_by_ray
from .reducing import REDUCED, Reduced, reduced, vectors_at, vectors_in
from .source import MOST_THUMBNAILS, Source, is_stored, provenance_of


@checks_arguments
def project(
    source: Source | Array,
    *,
    method: ProjectionMethod = "pca",
    n_components: int = 2,
    seed: int = 0,
    runner: Runner = "local",
    address: str | None = None,
) -> Projection:
    """A map of embeddings in few dimensions, and how far it can be trusted.

    "pca" turns the cloud of points so that its longest axes come first, and drops the others:

        coordinates = (X - mean(X)) V,   V: the first eigenvectors of the covariance of X

    No other linear map keeps more of the variance. ``explained_variance_ratio`` says how much that is: where
    it is small, points that look near in the map may be far apart. "tsne" and "umap" bend the space so that near
    points stay near, beginning with the first 50 principal components; distances between far groups, and the sizes
    of groups, mean nothing on their maps.

    Args:
        source: `Embeddings`, an `EmbeddingStore`, or an array (N, D). A store gets the coordinates as columns,
            "pca_x" and "pca_y", and remembers the map for `convscope.place`.
        method: "pca", "tsne" or "umap"; the last needs ``convscope[umap]``.
        n_components: dimensions of the map; for "pca" up to min(N, D), else 1 to 3.
        seed: 0 to 2^32 - 1, for what is random inside a method. The principal components do not depend on it.
        runner: "ray" lets the workers of a Ray cluster sum up the covariance of a store with more vectors than
            dimensions; see `convscope.embed`.
        address: of the cluster.

    Returns:
        `Projection`: ``coordinates`` (N, n_components) float32, for "pca" in the units of the embeddings;
        ``explained_variance_ratio`` (n_components,), each in [0, 1], NaN but for "pca"; ``trustworthiness`` and
        ``neighbors_kept``, see `quality.trust`, NaN for fewer than 5 points; on more than 3,162 points they are
        measured on some of them against all. ``provenance.measured`` says how many components keep 90, 95
        and 99 % of the variance. An axis points where its largest weight is positive.

        Equal vectors, and files of the same content, have one place. In the covariance each of them counts; "tsne"
        and "umap" lay each such group out once, and both measures of trust count it once. Where all vectors are
        equal the map is one point, and variance and trust are NaN. Fewer different vectors than n_components + 2
        are placed by their principal components, whatever the method. Notes say which of this happened.

    Raises:
        ParameterError: an unknown method, n_components or seed out of range, NaN, fewer than 2 vectors.
        StoreError: the store was written to while Ray read it.

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
    check_address(address, runner)
    given = vectors_in(source)
    summed: Callable[[], Moments] | None = None
    if runner == "ray":
        if not is_stored(given):
            raise ParameterError("runner='ray' projects a store, which its workers can open")
        summed = partial(moments_by_ray, given, address)
    with given.reading():
        projection, found, placed = mapped(given, method, n_components, seed, summed)
        keep_map(given, projection, found, placed)
    return projection


def mapped(
    source: Source,
    method: ProjectionMethod = "pca",
    n_components: int = 2,
    seed: int = 0,
    summed: Callable[[], Moments] | None = None,
) -> tuple[Projection, Reduced, Array]:
    """The map of a source, what it was made of, and where each of the different vectors lies on it (G, d)."""
    started = time.perf_counter()
    n = source.n_vectors
    most = min(n, source.n_dims) if method == "pca" else 3
    if n > 1 and n_components > most:
        raise ParameterError(f"n_components={n_components}: expected 1 to {most} for {n} vectors and {method!r}")
    found = reduced(source, n_components if method == "pca" else REDUCED, summed)
    placed, notes = _laid_out(method, found.points, n_components, seed, found.copies)
    trustworthiness, kept = _trusted(source, found.copies, placed, seed)
    is_told = len(found.copies.first) > 1  # there is a variance, and more than one place
    ratios = np.full(n_components, np.nan)
    if method == "pca" and is_told:
        ratios = found.components.ratios[:n_components]
    shares = (0.9, 0.95, 0.99) if is_told else ()
    projection = _projection(
        source,
        {"method": method, "n_components": n_components, "seed": seed},
        placed[found.copies.group],
        (trustworthiness, kept),
        started,
        ratios=ratios,
        measured={f"components_for_{share:.0%}": found.components.n_for(share) for share in shares},
        notes=notes,
    )
    return projection, found, placed


def kept_map(source: Source) -> Projection | None:
    """The flat map by "tsne" or "umap" that a store remembers of all these images; None without one.

    How far it can be trusted is measured again, as a store does not keep that.
    """
    if not is_stored(source):
        return None
    started = time.perf_counter()
    for method in ("tsne", "umap"):
        kept, columns = source.recall(f"projection {method}"), [f"{method}_x", f"{method}_y"]
        if kept is None or not set(columns) <= set(source.schema.names):
            continue
        batches = source.batches(columns, source.in_use())
        values = [[batch[name].to_numpy(zero_copy_only=False) for name in columns] for batch in batches]
        coordinates = np.concatenate(values, axis=1).T.astype(np.float32)
        if not np.isfinite(coordinates).all():  # images that came later
            continue
        copies = copies_of((block.vectors for block in source.blocks()), source.ids)
        seed = int(kept[0]["seed"])
        return _projection(
            source,
            {"method": method, "n_components": 2, "seed": seed},
            coordinates,
            _trusted(source, copies, coordinates[copies.first], seed),
            started,
            ratios=np.full(2, np.nan),
        )
    return None


def _projection(
    source: Source,
    parameters: dict[str, Any],
    coordinates: Array,
    trusted: tuple[float, float],
    started: float,
    *,
    ratios: Array,
    measured: dict[str, int] | None = None,
    notes: tuple[str, ...] = (),
) -> Projection:
    """A map of a source with what is known of its images."""
    return Projection(
        coordinates=coordinates,
        explained_variance_ratio=ratios.astype(np.float32),
        trustworthiness=trusted[0],
        neighbors_kept=trusted[1],
        names=tuple(source.names),
        labels=tuple(source.labels),
        thumbnails=_thumbnails(source),
        store=source if is_stored(source) else None,
        provenance=provenance_of(source, "project", parameters, started, notes=notes, measured=measured),
    )


def _thumbnails(source: Source) -> Array:
    """Of all images; of none, where a store holds too many for memory."""
    if source.held is not None:
        return source.held.thumbnails
    if source.n_vectors > MOST_THUMBNAILS:
        return np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
    return source.take(source.rows).thumbnails


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
    from umap import UMAP

    near = min(15, len(reduced) - 1)
    made = UMAP(n_neighbors=near, n_components=n_components, random_state=seed, n_jobs=1).fit_transform(reduced)
    return np.asarray(made, np.float32)


METHODS: dict[str, Callable[[Array, int, int], Array]] = {"pca": _pca, "tsne": _tsne, "umap": _umap}


def _laid_out(
    method: str, reduced: Array, n_components: int, seed: int, copies: Copies
) -> tuple[Array, tuple[str, ...]]:
    """Where each group of equal vectors lies, (G, n_components), and what is to be said of that."""
    n, n_places = len(copies.group), len(reduced)
    if n_places == 1:
        note = f"All {n} vectors are equal: the map is one point, and nothing can be told of variance or trust."
        return np.zeros((1, n_components), np.float32), (note,)
    notes = []
    if copies.n_again:
        notes.append(
            f"{copies.n_again} of {n} vectors are equal to another one before them: equal ones share one place, "
            "and count once in trustworthiness and neighbors kept."
        )
    if method != "pca" and n_places < n_components + 2:
        notes.append(f"{n_places} different vectors are too few for {method}: principal components place them.")
        method = "pca"
    made = METHODS[method](reduced, n_components, seed)
    placed = np.zeros((n_places, n_components), np.float32)
    placed[:, : made.shape[1]] = made
    return placed, tuple(notes)


def _trusted(source: Source, copies: Copies, placed: Array, seed: int) -> tuple[float, float]:
    """`quality.trust` of the groups of equal vectors; NaN where they are too few."""
    n = len(placed)
    if n < 5:
        return float("nan"), float("nan")
    rows = points_to_check(n, seed)
    queries = np.concatenate(list(vectors_at(source, copies.first[rows])))
    return trust(vectors_at(source, copies.first), queries, rows, placed, min(NEAREST, (n - 1) // 2), seed)
