"""`cluster`: groups of images that are near to one another, and the images that belong to none."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..errors import ParameterError
from ..results import Array, Clusters
from .projection import REDUCED, components_of, source_of
from .store import EmbeddingStore

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

    Args:
        store: an `EmbeddingStore` of at least 10 vectors.
        method: "hdbscan" or "kmeans".
        n_clusters: for "kmeans" only: how many; fewer are made of fewer different vectors.
        seed: of "kmeans".

    Returns:
        `Clusters`. ``agreement`` with the labels is the adjusted mutual information: 1 where groups are labels,
        about 0 where they have nothing to do with each other, NaN without labels; images without a label, and
        those in no group, are left out of it.

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
    k = min(REDUCED, len(components.axes))
    reduced = np.concatenate([components.transform(block, k) for block in source.blocks()])
    members = _hdbscan(reduced) if n_clusters is None else _kmeans(reduced, n_clusters, seed)
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
            source.provenance, method="cluster", parameters=parameters, seconds=time.perf_counter() - started
        ),
    )


def _hdbscan(points: Array) -> Array:
    from sklearn.cluster import HDBSCAN

    return np.asarray(HDBSCAN(min_cluster_size=_SMALLEST, copy=True).fit_predict(points), np.int32)


def _kmeans(points: Array, n_clusters: int, seed: int) -> Array:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():  # that there are fewer different vectors; documented, and seen in the result
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_clusters, n_init=4, random_state=seed).fit_predict(points)
    return np.unique(found, return_inverse=True)[1].astype(np.int32)  # copies may have left a group empty


def _middle(points: Array, mask: Array) -> int:
    """The member that is nearest to the mean of a group."""
    rows = np.flatnonzero(mask)
    return int(rows[np.linalg.norm(points[rows] - points[rows].mean(axis=0), axis=1).argmin()])


def _agreement(members: Array, labels: tuple[str | None, ...]) -> float:
    from sklearn.metrics import adjusted_mutual_info_score

    rows = [i for i, label in enumerate(labels) if label is not None and members[i] >= 0]
    if not rows:
        return float("nan")
    return float(adjusted_mutual_info_score([labels[i] for i in rows], members[rows]))


def _keep(store: EmbeddingStore, names: tuple[str, ...], members: Array) -> None:
    import pyarrow as pa

    columns: dict[str, Any] = {"path": pa.array(names), "cluster": pa.array(members, pa.int32())}
    store.add_columns(pa.table(columns))
