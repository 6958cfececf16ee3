"""Queries: which rows of the embeddings they are, and whether other embeddings can be compared with these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import unfit
from ..errors import ParameterError
from ..models import Model
from ..results import Array

if TYPE_CHECKING:
    from .embeddings import Embeddings


def rows_of(query: Any, names: Sequence[str]) -> Array | None:
    """Row numbers, if the query is made of row numbers or of names; None for anything else."""
    items = _items(query)
    if items and all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in items):
        if min(items) < 0 or max(items) >= len(names):
            raise unfit(query, "query", f"rows from 0 to {len(names) - 1}")
        return np.array(items, np.int64)
    if items and all(isinstance(i, str | Path) for i in items):
        places = {name: row for row, name in reversed(list(enumerate(names)))}
        if all(str(i) in places for i in items):
            return np.array([places[str(i)] for i in items])
    return None


def _items(query: Any) -> list[Any]:
    """What is in a list or an array of integers; anything else is one thing."""
    if isinstance(query, np.ndarray):
        return list(query.reshape(-1).tolist()) if query.ndim < 2 and query.dtype.kind in "iu" else [None]
    is_list = isinstance(query, Sequence) and not isinstance(query, str | bytes)
    return list(query) if is_list else [query]


def check_alike(embeddings: Embeddings, query: Embeddings) -> None:
    """`ParameterError` where the two are of different networks or layers."""
    _check_origin(embeddings, query.provenance.model, query.layer)
    check_length(embeddings, query.vectors)


def check_network(embeddings: Embeddings, model: Model) -> None:
    """`ParameterError` where another network than this one made the embeddings, before it embeds a query."""
    _check_origin(embeddings, model.provenance("check", {}, 0.0).model, embeddings.layer)


def _check_origin(embeddings: Embeddings, about: Mapping[str, Any], layer: str) -> None:
    mine, theirs = (e.get("weights_sha256") for e in (embeddings.provenance.model, about))
    if layer != embeddings.layer or (mine and theirs and mine != theirs):
        raise ParameterError(
            f"the query was embedded by {about.get('name')} at {layer!r}, these by "
            f"{embeddings.provenance.model.get('name')} at {embeddings.layer!r}; vectors of different networks or "
            "layers cannot be compared: give the network that made them"
        )


def check_length(embeddings: Embeddings, vectors: Array) -> None:
    have, given = embeddings.vectors.shape[1], vectors.shape[1]
    if given != have:
        raise ParameterError(f"vectors of {given} dimensions as query; these embeddings have {have}")
