"""`cluster`: groups of images that are near to one another, and the images that belong to none."""

from __future__ import annotations

import time

import numpy as np

from ..arguments import checks_arguments
from ..checks import ClusterMethod
from ..errors import ParameterError
from ..results import Array, Clusters
from .copies import Copies
from .reducing import REDUCED, reduced, vectors_in
from .source import Source, provenance_of

_SMALLEST = 5  # images that make a group for HDBSCAN


@checks_arguments
def cluster(
    source: Source | Array, *, method: ClusterMethod = "hdbscan", n_clusters: int | None = None, seed: int = 0
) -> Clusters:
    """Groups of images that are near to one another; a store gets them as its column ``cluster``.

    They are made on the first 50 principal components: in more dimensions all points are about equally far apart.
    "hdbscan" finds how many groups there are, and leaves out what lies in none (-1); "kmeans" makes as many as
    it is told to, and puts every image into one.

    Equal vectors, and files of the same content, are always together. HDBSCAN counts them once: a group has at
    least 5 different ones, or 5 equal ones that lie in no other group. k-means weighs each by how often it is
    there. If all are equal, they are one group.

    Args:
        source: `Embeddings`, an `EmbeddingStore`, or an array (N, D), of at least 10 vectors.
        method: "hdbscan" or "kmeans".
        n_clusters: for "kmeans" only: how many; fewer are made of fewer different vectors.
        seed: of "kmeans".

    Returns:
        `Clusters`. ``agreement`` with the labels is the adjusted mutual information: 1 where groups are labels,
        about 0 where they are independent, NaN without two labels. Images without a label, and those in no group,
        are left out of it.

    Raises:
        ParameterError: an unknown method, n_clusters missing, too many or not wanted, too few vectors.

    Cost: one pass to reduce; then HDBSCAN compares all pairs in 50 dimensions, k-means each point with each
    center, some ten times. Memory for N x 50 numbers.

    Example:
        >>> points = np.repeat([[0.0, 0], [9, 9]], 6, axis=0) + np.random.default_rng(0).normal(size=(12, 2))
        >>> cluster(points, method="kmeans", n_clusters=2).sizes
        array([6, 6])

    References:
        Campello, Moulavi, Sander: Density-based clustering based on hierarchical density estimates, 2013. Vinh,
        Epps, Bailey: Information theoretic measures for clusterings comparison, 2010.
    """
    started = time.perf_counter()
    if (method == "kmeans") != (n_clusters is not None):
        what = "needs n_clusters" if method == "kmeans" else "finds out how many there are; leave n_clusters out"
        raise ParameterError(f"method={method!r} {what}")
    given = vectors_in(source)
    with given.reading():
        n = given.n_vectors
        if n < 2 * _SMALLEST:
            raise ParameterError(f"{n} vectors: groups need at least {2 * _SMALLEST}")
        if n_clusters is not None and n_clusters > n:
            raise ParameterError(f"n_clusters={n_clusters}: expected at most {n}")
        members, representatives, copies = _grouped(given, n_clusters, seed)
        names, labels = tuple(given.names), tuple(given.labels)
        found = Clusters(
            members=members,
            sizes=np.bincount(members[members >= 0], minlength=members.max() + 1),
            representatives=representatives,
            agreement=_agreement(members, labels),
            names=names,
            labels=labels,
            provenance=provenance_of(
                given,
                "cluster",
                {"method": method, "n_clusters": n_clusters, "seed": seed},
                started,
                notes=_notes(copies, n_clusters),
            ),
        )
        _keep(given, found, method)
    return found


def _grouped(source: Source, n_clusters: int | None, seed: int) -> tuple[Array, Array, Copies]:
    """The group of each image (N,), -1 for none; the image in the middle of each group; which images are equal."""
    found = reduced(source, REDUCED)
    points, copies = found.points, found.copies
    counts = copies.counts
    groups = _hdbscan(points, counts) if n_clusters is None else _kmeans(points, counts, n_clusters, seed)
    members, everywhere = groups[copies.group], points[copies.group]
    middles = [_middle(everywhere, members == g) for g in range(members.max() + 1)]
    return members, np.array(middles, np.int64), copies


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


def _keep(source: Source, found: Clusters, method: ClusterMethod) -> None:
    """Write the groups into a store, with what is said of them, largest group first."""
    about = {
        "method": method,
        "agreement": None if np.isnan(found.agreement) else found.agreement,
        "representatives": [
            found.names[found.representatives[g]] for g in np.argsort(-found.sizes, kind="stable")
        ],
    }
    source.remember("clusters", about, columns={"cluster": found.members})
