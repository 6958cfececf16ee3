"""The map of a projection as a page: with all that a store knows, or with what a projection knows by itself."""

from __future__ import annotations

from pathlib import Path

from ..results import Projection
from ..store.thumbnails import encode
from .map_data import MapData
from .map_page import map_page
from .projection_facts import facts_of, plane, title_of
from .short_paths import without_common_folder
from .store_map import store_map

BYTE_BUDGET = 20_000_000


def projection_map(projection: Projection, output: Path) -> Path:
    """Write map.html for a projection of a store (see `store_map`), or for one that has thumbnails.

    Names are shown without the folder that all share. Which images are nearest in the vectors is in the page of a
    store alone, as the vectors are not in a projection.

    Returns:
        The path of the file; of a projection that knows no store, of about 20 MB at most.

    Raises:
        StoreError: no image of the store is left to show.
        OutputError: the file cannot be written.
    """
    if projection.store is not None:
        return store_map(projection.store, projection, output)
    points = MapData(
        coordinates=plane(projection.coordinates),
        names=without_common_folder(projection.names),
        labels=projection.labels,
        thumbnails=[encode(one) for one in projection.thumbnails],
        title=title_of(projection, len(projection.names)),
        subtitle=str(projection.provenance.model.get("name", "")),
        facts=facts_of(projection),
    )
    return map_page(points, output, byte_budget=BYTE_BUDGET)
