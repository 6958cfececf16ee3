"""The map of a store as a page: points, thumbnails, and the images nearest to each in the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..embedding.nearest import nearest
from ..errors import StoreError
from ..results import Array, Projection
from ..store import EmbeddingStore
from ..store.keys import path_of
from ..store.schema import GONE
from .map_data import MapData
from .map_page import map_page
from .short_paths import without_common_folder
from .wording import share

NEIGHBORS = 8
_MOST_EXACT = 30_000  # points for which neighbors are searched, which then takes some seconds
_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_COLUMNS = ("path", "label", "predicted", "probability", "thumbnail", "cluster")
_NO_CLUSTER, _CAME_LATER = -1, -2


def store_map(store: EmbeddingStore, projection: Projection, output: Path) -> Path:
    """Write map.html for a projection of a store.

    Names are shown relative to the folder that all images share, which keeps the paths of this machine private.
    Images that could not be read, or whose files are gone, are left out, and the page says how many.

    Args:
        store: the store that was projected; it gives thumbnails, predictions, clusters and neighbors. Above 30,000
            points neighbors are left out, as every pair would have to be compared.
        projection: the projection of the store.
        output: path of the HTML file; a page that convscope wrote there is replaced.

    Returns:
        The path of the file.

    Raises:
        StoreError: no image is left to show.
        OutputError: the file cannot be written.
    """
    with store.reading():
        files = [path_of(name) for name in projection.names]
        return map_page(_page(store, projection), output, inputs=files)


def _page(store: EmbeddingStore, projection: Projection) -> MapData:
    columns = [name for name in _COLUMNS if name in store.schema.names]
    batches = list(store.batches(columns, store.in_use(), row_ids=True))
    rows = {name: [v for batch in batches for v in batch[name].to_pylist()] for name in (*columns, "_rowid")}
    place = {name: i for i, name in enumerate(projection.names)}
    here = [i for i, path in enumerate(rows["path"]) if path in place]  # without rows added since the projection
    left_out = _left_out(store, n_new=len(rows["path"]) - len(here))
    if not here:
        raise StoreError(f"{store.place}: no image is left for a map. {left_out}".rstrip())
    rows = {name: [values[i] for i in here] for name, values in rows.items()}
    coordinates = projection.coordinates[[place[path] for path in rows["path"]]]
    neighbors, scores = _neighbors(store, rows["_rowid"])
    clusters = _clusters(rows.get("cluster"))
    probability = rows["probability"]
    has_predictions = any(p is not None for p in rows["predicted"])
    return MapData(
        coordinates=_plane(coordinates),
        names=without_common_folder(rows["path"]),
        labels=tuple(rows["label"]),
        predicted=tuple(rows["predicted"]) if has_predictions else (),
        probability=np.array([np.nan if p is None else p for p in probability]) if has_predictions else None,
        clusters=clusters,
        representatives=_representatives(store, rows["path"], clusters),
        thumbnails=rows["thumbnail"],
        neighbors=neighbors,
        scores=scores,
        title=f"{len(coordinates):,} images by {_TITLES[str(projection.provenance.parameters['method'])]}",
        subtitle=f"{store.origin.describe()}. {left_out}".removesuffix(". "),
        facts=_facts(projection) | _cluster_facts(store, clusters),
    )


def _left_out(store: EmbeddingStore, n_new: int) -> str:
    """A sentence on the rows of the store that are not on the map; empty where all of them are."""
    n_gone = store.count(GONE) if GONE in store.schema.names else 0
    n_unread = len(store) - store.count(store.in_use()) - n_gone
    counts = {"whose file is gone": n_gone, "that could not be read": n_unread, "added since": n_new}
    said = [f"{n:,} {why}" for why, n in counts.items() if n]
    return f"Left out: {', '.join(said)}." if said else ""


def _plane(coordinates: Array) -> Array:
    """The first two dimensions; if there is only one, the second is zero."""
    flat = np.zeros((len(coordinates), 2), np.float32)
    flat[:, : min(2, coordinates.shape[1])] = coordinates[:, :2]
    return flat


def _clusters(members: list[Any] | None) -> Array | None:
    return None if members is None else np.array([_CAME_LATER if m is None else m for m in members], np.int32)


def _representatives(store: EmbeddingStore, paths: list[str], clusters: Array | None) -> Array | None:
    """The rows of the clusters' representatives, largest cluster first, without images that changed since."""
    kept = store.fits.recall("clusters")
    if kept is None or clusters is None:
        return None
    row_of = {path: i for i, path in enumerate(paths) if clusters[i] > _NO_CLUSTER}
    return np.array([row_of[path] for path in kept[0]["representatives"] if path in row_of], np.int32)


def _neighbors(store: EmbeddingStore, row_ids: list[int]) -> tuple[Array | None, Array | None]:
    """The nearest of each as (N, K) positions in ``row_ids``, -1 for one not there, and cosine similarities."""
    if not 2 <= len(row_ids) <= _MOST_EXACT:
        return None, None
    row_of = {row_id: i for i, row_id in enumerate(row_ids)}
    found = np.full((len(row_ids), min(NEIGHBORS, len(row_ids) - 1)), -1, np.int32)
    scores = np.zeros(found.shape, np.float32)
    for block in store.blocks():
        ids, near = nearest(store.blocks(), block.vectors, found.shape[1], "cosine", own=block.rows)
        for own, others, values in zip(block.rows, ids, near, strict=True):
            if (i := row_of.get(int(own))) is not None:
                found[i, : len(others)] = [row_of.get(int(other), -1) for other in others]
                scores[i, : len(values)] = values
    return found, scores


def _facts(projection: Projection) -> dict[str, str]:
    facts = {}
    n_dims = projection.coordinates.shape[1]
    where = "" if n_dims <= 2 else f" in all {n_dims} dimensions"  # the page shows two of them
    ratios = projection.explained_variance_ratio[:2]
    if np.isfinite(ratios).all():
        facts["Variance kept"] = share(float(ratios.sum()), ".1%")
    if np.isfinite(projection.trustworthiness):
        facts[f"Trustworthiness{where}"] = share(projection.trustworthiness, ".2f")
        facts[f"Neighbors kept{where}"] = share(projection.neighbors_kept, ".0%")
    measured = projection.provenance.measured
    if "components_for_90%" in measured:
        facts["Components for 90 %"] = str(measured["components_for_90%"])
    return facts


def _cluster_facts(store: EmbeddingStore, clusters: Array | None) -> dict[str, str]:
    kept = store.fits.recall("clusters")
    if kept is None or clusters is None:
        return {}
    about = kept[0]
    n_later = int((clusters == _CAME_LATER).sum())
    later = f", without {n_later:,} that came later" if n_later else ""
    facts = {"Clusters": f"{len(about['representatives'])} by {about['method']}{later}"}
    if about["agreement"] is not None:
        facts["Agreement of clusters and labels"] = share(about["agreement"], ".2f") + later
    return facts
