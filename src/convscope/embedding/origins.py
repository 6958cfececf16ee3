"""Which network made some vectors, and whether the one at hand is the same."""

from __future__ import annotations

import time
from typing import Any

from ..errors import StoreError
from ..models import Model, as_model
from ..store import Origin
from .source import Source


def origin_for(model: Model, layer: str, precision: str) -> Origin:
    """What vectors of this network at this layer say about themselves."""
    about = model.provenance("embed", {}, time.perf_counter())
    return Origin(about.model, layer, precision, about.versions)


def check_model(source: Source, model: Any, *, embeds: bool = False) -> None:
    """An error where another network than this one made the vectors of a source; None is not checked.

    With ``embeds`` also where no network did, as they were brought along: none can embed anything to be compared.
    """
    layer = source.made.parameters["layer"]
    if not layer:
        if embeds:
            raise StoreError(
                "the collection holds vectors that were brought along: ask for its names, or with vectors"
            )
    elif model is not None:
        given = as_model(model).provenance("check", {"layer": layer}, 0.0)
        source.check_comparable(given)
