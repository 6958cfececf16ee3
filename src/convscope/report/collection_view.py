"""What the template shows of a collection: nearest images in both spaces, and the map of all images."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from ..render import data_uri, image_uri, neighbor_rows, query_label
from ..results import Neighbors
from .collection import Collection
from .wording import caption, number, share

View = dict[str, Any]


def collection_view(collection: Collection) -> View:
    """Everything that the sections on a collection show."""
    feature, pixel = collection.nearest[-1]
    projection = collection.projection
    kept = float(projection.explained_variance_ratio[:2].sum())
    return {
        "count": collection.count,
        "k": feature.indices.shape[1],
        "has_labels": any(label is not None for label in projection.labels),
        "metric": feature.metric,
        "precision": [share(one, ".0%").replace("%", " %") for one in collection.precision or ()],
        "queries": [query for pair in collection.nearest for query in _queries(*pair)],
        "captions": [*caption(feature), *caption(pixel)],
        "projection": data_uri(projection),
        "kept": number(100 * kept, ".1f"),
        "method": str(projection.provenance.parameters.get("method", "")),
        "projection_caption": caption(projection),
    }


def _queries(feature: Neighbors, pixel: Neighbors) -> list[View]:
    """Each query with its nearest images in feature space and in pixel space."""
    rows = [("feature space", feature, neighbor_rows(feature)), ("pixel space", pixel, neighbor_rows(pixel))]
    return [
        {
            "name": _name(feature.query_names[q]),
            "label": query_label(feature, q) or "",
            "uri": image_uri(feature.query_thumbnails[q], "jpeg"),
            "spaces": [
                {"name": name, "neighbors": [_neighbor(result, one) for one in found[q]]}
                for name, result, found in rows
            ],
        }
        for q in range(len(feature.indices))
    ]


def _neighbor(result: Neighbors, one: Any) -> View:
    return {
        "name": one.label or _name(one.name),
        "score": number(one.score, ".3f"),
        "is_wrong": one.is_wrong,
        "uri": image_uri(result.thumbnails[one.row], "jpeg"),
        "alt": f"{_name(one.name)}{', label ' + one.label if one.label else ''}",
    }


def _name(name: str) -> str:
    return PurePath(name).name or name
