"""Which network made some vectors, and whether another one is the same."""

from __future__ import annotations

import time
from typing import Any

from ..errors import StoreError
from ..models import Model, as_model
from ..store import Origin
from .source import Source


def origin_for(model: Model, layer: str, precision: str) -> Origin:
    """The origin of vectors that this network makes at this layer."""
    about = model.provenance("embed", {}, time.perf_counter())
    return Origin(about.model, layer, precision, about.versions)


def check_model(source: Source, model: Any, *, embeds: bool = False) -> None:
    """Raise an error if another network made the vectors of a source; None is not checked.

    With ``embeds``, raise one also if the user brought the vectors along: no network can embed images to compare
    with them.
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
