"""What the template shows of faults: doubtful labels, with what speaks against them, and groups of duplicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..render import image_uri
from ..render.labeled_tiles import thumbnail
from ..render.suspect_figures import what_maps_show
from ..results import Array, Attribution, Duplicates, Suspects
from ..results.collection_faults import has_other_label
from .image_views import map_views, photo_uri
from .wording import caption

View = dict[str, Any]

NEAR = 5  # of the nearest images of each suspect
COPIES = 6  # of each group of duplicates


def over_photo(maps: Attribution | None) -> Callable[[str], View]:
    """From the name of an image to its map, and the photo that it lies over; neither where there is no map."""
    places = {} if maps is None else {name: at for at, name in enumerate(maps.names)}

    def over(name: str) -> View:
        at = places.get(name)
        if maps is None or at is None:
            return {"maps": ()}
        return {"photo": photo_uri(maps, at), "maps": map_views(maps, at)}

    return over


def suspect_views(found: Suspects | None, limit: int, maps: Attribution | None, names: Mapping[str, str]) -> View:
    """The images whose label is doubted, at most ``limit``, and how many there are; none without an answer.

    ``names`` are those that the page shows.
    """
    if found is None:
        return {"suspects": ()}
    over = over_photo(maps)
    doubted = np.flatnonzero(found.is_doubted[: len(found.near)])[:limit].tolist()
    return {
        "suspects": [_suspect(found, i, names) | over(found.names[i]) for i in doubted],
        "suspect_maps": None if maps is None else what_maps_show(maps, found.kind),
        "n_doubted": found.n_doubted,
        "n_ranked": len(found),
        "suspects_caption": [*caption(found), *(caption(maps) if maps is not None else ())],
    }


def _suspect(found: Suspects, i: int, names: Mapping[str, str]) -> View:
    return {
        "name": names[found.names[i]],
        "label": found.labels[i],
        "suggested": found.suggested[i],
        "reason": found.reasons[i],
        "uri": thumbnail_uri(found.thumbnails, i),
        "near": [
            {
                "name": names[found.near_names[j]],
                "label": found.near_labels[j],
                "is_other": has_other_label(found, i, j),
                "uri": thumbnail_uri(found.near_thumbnails, j),
            }
            for j in found.near[i, :NEAR].tolist()
        ],
    }


def duplicate_views(found: Duplicates | None, limit: int, names: Mapping[str, str]) -> View:
    """The largest groups, at most ``limit``, the image to keep first in each; none without an answer.

    ``names`` are those that the page shows.
    """
    if found is None:
        return {"duplicates": ()}
    groups = list(zip(found.starts.tolist(), found.sizes.tolist(), strict=True))
    return {
        "duplicates": [_group(found, at, n, names) for at, n in groups[:limit]],
        "n_groups": len(groups),
        "duplicates_caption": caption(found),
    }


def _group(found: Duplicates, at: int, n: int, names: Mapping[str, str]) -> View:
    shown = range(at, at + min(n, COPIES))
    labels = set(found.labels[at : at + n]) - {None}
    return {
        "images": [
            {
                "name": names[found.names[i]],
                "label": found.labels[i],
                "uri": thumbnail_uri(found.thumbnails, i),
            }
            for i in shown
        ],
        "n_more": n - len(shown),
        "is_copy": len({int(i) for i in found.content[at : at + n]}) == 1,
        "are_labels_mixed": len(labels) > 1,
    }


def thumbnail_uri(thumbnails: Array, i: int) -> str | None:
    """Thumbnail i as a data URI, or None where there is none."""
    picture = thumbnail(thumbnails, i)
    return None if picture is None else image_uri(picture, "jpeg")
