"""The map of a store as a page: points, thumbnails, and each point's nearest in the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..embedding import EmbeddingStore
from ..embedding.exact import nearest
from ..embedding.points import points_of
from ..embedding.store import HAS_VECTOR
from ..results import Array, Projection
from .map_page import MapData, map_page

NEIGHBORS = 8
_MOST_EXACT = 30_000  # points whose neighbors are all looked for, which takes some seconds
_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_COLUMNS = ("path", "label", "predicted", "probability", "thumbnail", "cluster")


def store_map(store: EmbeddingStore, projection: Projection, output: Path, *, overwrite: bool = False) -> Path:
    """Write map.html for a projection of a store.

    Args:
        store: that was projected, for thumbnails, predictions, clusters and neighbors. With more than 30,000
            points the neighbors are left out, as all pairs would be compared.
        projection: of the store.
        output: the HTML file; a page of convscope that is there is replaced.
        overwrite: replace a file, too, that convscope did not write.

    Returns:
        Its path.
    """
    with store.reading():
        return map_page(_page(store, projection), output, overwrite=overwrite)


def _page(store: EmbeddingStore, projection: Projection) -> MapData:
    columns = [name for name in _COLUMNS if name in store.schema.names]
    batches = list(store.batches(columns, HAS_VECTOR, row_ids=True))
    rows = {name: [v for batch in batches for v in batch[name].to_pylist()] for name in (*columns, "_rowid")}
    place = {name: i for i, name in enumerate(projection.names)}
    here = [i for i, path in enumerate(rows["path"]) if path in place]  # without what came in the meantime
    rows = {name: [values[i] for i in here] for name, values in rows.items()}
    coordinates = projection.coordinates[[place[path] for path in rows["path"]]]
    neighbors, scores = _neighbors(store, rows["_rowid"])
    probability = rows["probability"]
    has_predictions = any(p is not None for p in rows["predicted"])
    return MapData(
        coordinates=_plane(coordinates),
        names=tuple(rows["path"]),
        labels=tuple(rows["label"]),
        predicted=tuple(rows["predicted"]) if has_predictions else (),
        probability=np.array([np.nan if p is None else p for p in probability]) if has_predictions else None,
        clusters=_clusters(rows.get("cluster")),
        representatives=_representatives(store, rows["path"]),
        thumbnails=rows["thumbnail"],
        neighbors=neighbors,
        scores=scores,
        title=f"{len(coordinates):,} images by {_TITLES[str(projection.provenance.parameters['method'])]}",
        subtitle=store.origin.describe(),
        facts=_facts(projection) | _cluster_facts(store),
    )


def _plane(coordinates: Array) -> Array:
    """The first two dimensions; a second one of zeros where there is one alone."""
    flat = np.zeros((len(coordinates), 2), np.float32)
    flat[:, : min(2, coordinates.shape[1])] = coordinates[:, :2]
    return flat


def _clusters(members: list[Any] | None) -> Array | None:
    return None if members is None else np.array([-1 if m is None else m for m in members], np.int32)


def _representatives(store: EmbeddingStore, paths: list[str]) -> Array | None:
    """The rows of the images in the middle of the clusters, largest cluster first."""
    kept = store.fits.recall("clusters")
    if kept is None:
        return None
    row_of = {path: i for i, path in enumerate(paths)}
    return np.array([row_of[path] for path in kept[0]["representatives"] if path in row_of], np.int32)


def _neighbors(store: EmbeddingStore, row_ids: list[int]) -> tuple[Array | None, Array | None]:
    """(N, K) rows among ``row_ids``, -1 for one that is not there, and their cosine similarities."""
    if not 2 <= len(row_ids) <= _MOST_EXACT:
        return None, None
    row_of = {row_id: i for i, row_id in enumerate(row_ids)}
    found = np.full((len(row_ids), min(NEIGHBORS, len(row_ids) - 1)), -1, np.int32)
    scores = np.zeros(found.shape, np.float32)
    for block in points_of(store):
        ids, near = nearest(store, block.vectors, found.shape[1], "cosine", own=block.row_ids)
        for own, others, values in zip(block.row_ids, ids, near, strict=True):
            if (i := row_of.get(int(own))) is not None:
                found[i, : len(others)] = [row_of.get(int(other), -1) for other in others]
                scores[i, : len(values)] = values
    return found, scores


def _facts(projection: Projection) -> dict[str, str]:
    facts = {}
    n_dims = projection.coordinates.shape[1]
    where = "" if n_dims <= 2 else f" in all {n_dims} dimensions"  # of which the page shows two
    ratios = projection.explained_variance_ratio[:2]
    if np.isfinite(ratios).all():
        facts["Variance kept"] = f"{ratios.sum():.1%}"
    if np.isfinite(projection.trustworthiness):
        facts[f"Trustworthiness{where}"] = f"{projection.trustworthiness:.2f}"
        facts[f"Neighbors kept{where}"] = f"{projection.neighbors_kept:.0%}"
    measured = projection.provenance.measured
    if "components_for_90%" in measured:
        facts["Components for 90 %"] = str(measured["components_for_90%"])
    return facts


def _cluster_facts(store: EmbeddingStore) -> dict[str, str]:
    kept = store.fits.recall("clusters")
    if kept is None:
        return {}
    about = kept[0]
    facts = {"Clusters": f"{len(about['representatives'])} by {about['method']}"}
    if about["agreement"] is not None:
        facts["Agreement of clusters and labels"] = f"{about['agreement']:.2f}"
    return facts
