"""The map of a store as a page: points, thumbnails, and the images nearest to each in the vectors."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..embedding.nearest import nearest
from ..errors import ConvscopeError, StoreError
from ..images import ImageSource, open_image
from ..results import Array, Projection
from ..store import StoredRows
from ..store.keys import path_of
from ..store.schema import GONE
from .map_columns import CAME_LATER, NO_CLUSTER
from .map_data import MapData
from .map_page import map_page
from .projection_facts import facts_of, plane, title_of
from .short_paths import without_common_folder
from .wording import share

NEIGHBORS = 8
_MOST_EXACT = 30_000  # points for which neighbors are searched, which then takes some seconds
_COLUMNS = ("path", "label", "predicted", "probability", "thumbnail", "cluster")
# Columns that the page shows in another way, or that are of no use to a reader.
_NOT_SHOWN = frozenset({*_COLUMNS, "id", "vector", "error", "stamp", GONE})
_PLACE = re.compile(r"(pca|tsne|umap)_[xyz]")  # of a point on a map
_LARGER_PX = 256
_MOST_LARGER, _MOST_READ = 1000, 500_000_000  # images, and their pixels, which are read for larger pictures


def store_map(store: StoredRows, projection: Projection, output: Path) -> Path:
    """Write map.html for a projection of a store.

    Names are shown relative to the folder that all images share, which keeps the paths of this machine private.
    Images that could not be read, or whose files are gone, are left out, and the page says how many.

    Args:
        store: the store, or the part of one, that was projected; it gives thumbnails, predictions, clusters and
            neighbors. Above 30,000 points neighbors are left out, as every pair would have to be compared.
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


def _page(store: StoredRows, projection: Projection) -> MapData:
    more = _more_columns(store)
    columns = [*(name for name in _COLUMNS if name in store.schema.names), *more]
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
        coordinates=plane(coordinates),
        names=without_common_folder(rows["path"]),
        labels=tuple(rows["label"]),
        predicted=tuple(rows["predicted"]) if has_predictions else (),
        probability=np.array([np.nan if p is None else p for p in probability]) if has_predictions else None,
        clusters=clusters,
        representatives=_representatives(store, rows["path"], clusters),
        columns={name: _values(rows[name]) for name in more},
        thumbnails=rows["thumbnail"],
        pictures=larger_pictures(rows),
        neighbors=neighbors,
        scores=scores,
        title=title_of(projection, len(coordinates)),
        subtitle=f"{store.origin.describe()}. {left_out}".removesuffix(". "),
        facts=facts_of(projection) | _cluster_facts(store, clusters),
    )


def _more_columns(store: StoredRows) -> list[str]:
    """The columns of numbers and texts that convscope or the user has added, such as the width."""
    import pyarrow.types as kinds

    fitting = (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_string, kinds.is_large_string)
    shown = [each for each in store.schema if each.name not in _NOT_SHOWN and not _PLACE.fullmatch(each.name)]
    return [each.name for each in shown if any(fits(each.type) for fits in fitting)]


def _values(values: list[Any]) -> Array:
    """Numbers with NaN for none, or texts with None; yes and no are texts."""
    if any(isinstance(value, str | bool) for value in values):
        return np.array([{True: "yes", False: "no"}.get(value, value) for value in values], object)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def larger_pictures(rows: dict[str, list[Any]]) -> list[bytes | None]:
    """Pictures of at most 256 pixels, where the files are there; empty where reading them would take long.

    Args:
        rows: path, width and height of each.
    """
    n_pixels = sum(
        (width or 0) * (height or 0) for width, height in zip(rows["width"], rows["height"], strict=True)
    )
    if len(rows["path"]) > _MOST_LARGER or n_pixels > _MOST_READ:
        return []
    return [_larger_of(Path(path_of(name))) for name in rows["path"]]


def _larger_of(path: Path) -> bytes | None:
    if not path.is_absolute() or not path.is_file():  # rows of given vectors have names only
        return None
    try:
        pixels = open_image(ImageSource(path.name, path), at_least=_LARGER_PX)
    except ConvscopeError:  # it was an image when the store was filled
        return None
    picture, data = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((_LARGER_PX, _LARGER_PX))
    picture.save(data, "JPEG", quality=85)
    return data.getvalue()


def _left_out(store: StoredRows, n_new: int) -> str:
    """A sentence on the rows of the store that are not on the map; empty where all of them are."""
    n_gone = store.count(GONE) if GONE in store.schema.names else 0
    n_unread = len(store) - store.count(store.in_use()) - n_gone
    counts = {"whose file is gone": n_gone, "that could not be read": n_unread, "added since": n_new}
    said = [f"{n:,} {why}" for why, n in counts.items() if n]
    return f"Left out: {', '.join(said)}." if said else ""


def _clusters(members: list[Any] | None) -> Array | None:
    return None if members is None else np.array([CAME_LATER if m is None else m for m in members], np.int32)


def _representatives(store: StoredRows, paths: list[str], clusters: Array | None) -> Array | None:
    """The rows of the clusters' representatives, largest cluster first, without images that changed since."""
    kept = store.fits.recall("clusters")
    if kept is None or clusters is None:
        return None
    row_of = {path: i for i, path in enumerate(paths) if clusters[i] > NO_CLUSTER}
    return np.array([row_of[path] for path in kept[0]["representatives"] if path in row_of], np.int32)


def _neighbors(store: StoredRows, row_ids: list[int]) -> tuple[Array | None, Array | None]:
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


def _cluster_facts(store: StoredRows, clusters: Array | None) -> dict[str, str]:
    kept = store.fits.recall("clusters")
    if kept is None or clusters is None:
        return {}
    about = kept[0]
    n_later = int((clusters == CAME_LATER).sum())
    later = f", without {n_later:,} that came later" if n_later else ""
    facts = {"Clusters": f"{len(about['representatives'])} by {about['method']}{later}"}
    if about["agreement"] is not None:
        facts["Agreement of clusters and labels"] = share(about["agreement"], ".2f") + later
    return facts
