"""`cluster`: groups of images that are near to one another, and the images that belong to none."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..errors import ParameterError
from ..results import Array, Clusters
from ..store import EmbeddingStore
from .copies import Copies
from .reducing import REDUCED, components_of, copies_in, reduced_of, source_of

Method: TypeAlias = Literal["hdbscan", "kmeans"]

_SMALLEST = 5  # images that make a group for HDBSCAN


@checks_arguments
def cluster(
    store: EmbeddingStore, *, method: Method = "hdbscan", n_clusters: int | None = None, seed: int = 0
) -> Clusters:
    """Groups of near images, written into the store's column ``cluster``.

    On the first 50 principal components: in more dimensions all points are about as far from one another.
    "hdbscan" finds how many groups there are, and leaves out what lies in none (-1); "kmeans" makes as many as
    it is told to, and puts every image into one.

    Equal vectors, and files of the same content, are always together. HDBSCAN looks at each of them once: a group
    is made of at least 5 different ones, or of 5 equal ones that lie in no other. k-means weighs each by how often
    it is there. Where all are equal they are one group.

    Args:
        store: an `EmbeddingStore` of at least 10 vectors.
        method: "hdbscan" or "kmeans".
        n_clusters: for "kmeans" only: how many; fewer are made of fewer different vectors.
        seed: of "kmeans".

    Returns:
        `Clusters`. ``agreement`` with the labels is the adjusted mutual information: 1 where groups are labels,
        about 0 where they have nothing to do with each other, NaN without two labels to tell apart; images without
        a label, and those in no group, are left out of it.

    Raises:
        ParameterError: an unknown method, n_clusters missing, too many or not wanted, too few vectors.

    Cost: one pass to reduce; then HDBSCAN compares all pairs in 50 dimensions, k-means each point with each
    center, some ten times. Memory for N x 50 numbers.

    References:
        Campello, Moulavi, Sander: Density-based clustering based on hierarchical density estimates, 2013. Vinh,
        Epps, Bailey: Information theoretic measures for clusterings comparison, 2010.
    """
    started = time.perf_counter()
    if (method == "kmeans") != (n_clusters is not None):
        what = "needs n_clusters" if method == "kmeans" else "finds out how many there are; leave n_clusters out"
        raise ParameterError(f"method={method!r} {what}")
    source = source_of(store)
    n = len(source.names)
    if n < 2 * _SMALLEST:
        raise ParameterError(f"{n} vectors: groups need at least {2 * _SMALLEST}")
    if n_clusters is not None and n_clusters > n:
        raise ParameterError(f"n_clusters={n_clusters}: expected at most {n}")
    components = components_of(source, n)
    copies = copies_in(source, components)
    points = reduced_of(source, components, copies, REDUCED)
    counts = copies.counts
    found = _hdbscan(points, counts) if n_clusters is None else _kmeans(points, counts, n_clusters, seed)
    members, reduced = found[copies.group], points[copies.group]
    sizes = np.bincount(members[members >= 0], minlength=members.max() + 1)
    representatives = np.array([_middle(reduced, members == g) for g in range(len(sizes))], np.int64)
    agreement = _agreement(members, source.labels)
    store.fits.remember("clusters", None)  # so that what is said of clusters is never of other ones
    _keep(store, source.names, members)
    about = {
        "method": method,
        "agreement": None if np.isnan(agreement) else agreement,
        "representatives": [source.names[representatives[g]] for g in np.argsort(-sizes, kind="stable")],
    }
    store.fits.remember("clusters", about)
    assert source.provenance is not None
    parameters = {"method": method, "n_clusters": n_clusters, "seed": seed}
    return Clusters(
        members=members,
        sizes=sizes,
        representatives=representatives,
        agreement=agreement,
        names=source.names,
        labels=source.labels,
        provenance=replace(
            source.provenance,
            method="cluster",
            parameters=parameters,
            seconds=time.perf_counter() - started,
            notes=_notes(copies, n_clusters),
        ),
    )


def _hdbscan(points: Array, counts: Array) -> Array:
    """The group of each different vector (G,), of which there are ``counts``."""
    from sklearn.cluster import HDBSCAN

    if len(points) == 1:
        return np.zeros(1, np.int32)
    found = np.full(len(points), -1, np.int32)
    if len(points) >= _SMALLEST:
        found[:] = HDBSCAN(min_cluster_size=_SMALLEST, copy=True).fit_predict(points)
    alone = np.flatnonzero((found < 0) & (counts >= _SMALLEST))
    found[alone] = found.max() + 1 + np.arange(len(alone))
    return found


def _kmeans(points: Array, counts: Array, n_clusters: int, seed: int) -> Array:
    from sklearn.cluster import KMeans

    made = KMeans(min(n_clusters, len(points)), n_init=4, random_state=seed)
    found = made.fit_predict(points, sample_weight=counts.astype(points.dtype) if counts.max() > 1 else None)
    return np.unique(found, return_inverse=True)[1].reshape(-1).astype(np.int32)  # there may be an empty one


def _notes(copies: Copies, n_clusters: int | None) -> tuple[str, ...]:
    n, n_different = len(copies.group), len(copies.first)
    if n_different == 1:
        return (f"All {n} vectors are equal: they are one group.",)
    notes = []
    if copies.n_again:
        notes.append(f"{copies.n_again} of {n} vectors are equal to another one before them, and in its group.")
    if n_clusters is not None and n_different < n_clusters:
        notes.append(f"Fewer than {n_clusters} groups, as only {n_different} vectors are different.")
    return tuple(notes)


def _middle(points: Array, mask: Array) -> int:
    """The member that is nearest to the mean of a group."""
    rows = np.flatnonzero(mask)
    return int(rows[np.linalg.norm(points[rows] - points[rows].mean(axis=0), axis=1).argmin()])


def _agreement(members: Array, labels: tuple[str | None, ...]) -> float:
    from sklearn.metrics import adjusted_mutual_info_score

    rows = [i for i, label in enumerate(labels) if label is not None and members[i] >= 0]
    if len({labels[i] for i in rows}) < 2:
        return float("nan")
    return float(adjusted_mutual_info_score([labels[i] for i in rows], members[rows]))


def _keep(store: EmbeddingStore, names: tuple[str, ...], members: Array) -> None:
    import pyarrow as pa

    columns: dict[str, Any] = {"path": pa.array(names), "cluster": pa.array(members, pa.int32())}
    store.add_columns(pa.table(columns), only=True)
