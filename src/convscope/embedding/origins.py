"""Which network made some vectors, and whether the one at hand is the same."""

from __future__ import annotations

import time

from ..errors import StoreError
from ..models import Model, as_model
from ..store import EmbeddingStore, Origin


def origin_for(model: Model, layer: str, precision: str) -> Origin:
    """What vectors of this network at this layer say about themselves."""
    about = model.provenance("embed", {}, time.perf_counter())
    return Origin(about.model, layer, precision, about.versions)


def check_model(store: EmbeddingStore, model: Model | None, *, embeds: bool = False) -> None:
    """`StoreError` where another network than this one made the store.

    With ``embeds`` also where no network did, as its vectors were brought along: none can embed anything to be
    compared with them.
    """
    if not store.origin.layer:
        if embeds:
            raise StoreError(
                f"{store.place} holds vectors that were brought along: ask for its names, or with vectors"
            )
    elif model is not None:
        given = as_model(model).provenance("check", {}, 0.0).model
        store.origin.check(Origin(given, store.origin.layer, store.origin.precision), store.place)
