"""What a network shows at one moment of its training, and how it is read back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..results import Array, Attribution, Filters, Result, Visualization, files

N_FILTERS = 16  # at most


class Views(NamedTuple):
    """What a network shows at one moment."""

    maps: Attribution
    filters: Filters | None
    pictures: tuple[Visualization, ...]


def write(views: Views, moment: Path) -> None:
    """Keep a moment in a new folder, without pictures, which would take more time than the look itself."""
    results: dict[str, Result | None] = {"maps": views.maps, "filters": views.filters}
    results |= {f"class-{c}": picture for c, picture in enumerate(views.pictures)}
    for name, result in results.items():
        if result is not None:
            (moment / name).mkdir()
            files.write(result, moment / name)


def read(moment: Path) -> Views:
    """What is kept of a moment."""
    first = moment / "filters"
    pictures = sorted(moment.glob("class-*"))
    return Views(
        Attribution.load(moment / "maps"),
        Filters.load(first) if first.is_dir() else None,
        tuple(Visualization.load(place) for place in pictures),
    )


def is_alike(one: Views, other: Views) -> bool:
    """Whether two moments can stand in one strip."""
    return (
        one.maps.provenance.method == other.maps.provenance.method
        and one.maps.names == other.maps.names
        and np.array_equal(one.maps.images, other.maps.images)
        and [picture.target for picture in one.pictures] == [picture.target for picture in other.pictures]
        and shown_filters(one.filters).shape == shown_filters(other.filters).shape
    )


def shown_filters(found: Filters | None) -> Array:
    """The first filters: as color pictures where they have three input channels, else of the first channel."""
    if found is None:
        return np.zeros((0, 1, 1, 1), np.float32)
    planes = 3 if found.values.shape[1] == 3 else 1
    return np.asarray(found.values[:N_FILTERS, :planes])
