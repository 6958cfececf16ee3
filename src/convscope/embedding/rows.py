"""From pictures and their features to rows of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import ImageError
from ..results import probabilities
from ..store.schema import is_finite_in, vector_column, vector_type
from .features import Features
from .reading import Picture

if TYPE_CHECKING:
    import pyarrow as pa


def table_of(
    pictures: Sequence[Picture],
    features: Features | None,
    labels: Sequence[str],
    schema: pa.Schema,
) -> pa.Table:
    """Rows for pictures; the features are of those that could be read, in the same order.

    A vector with NaN or infinite values, also where float16 does not reach so far, is an error of its row.
    """
    import pyarrow as pa

    pictures, features = _without_bad_vectors(pictures, features, schema)
    given = iter(range(len(pictures)))
    place = [None if picture.error is not None else next(given) for picture in pictures]
    predicted, probabilities = _predictions(features, labels)

    def each(values: Sequence[Any] | None) -> list[Any]:
        return [None if at is None or values is None else values[at] for at in place]

    columns: dict[str, Any] = {
        "path": [p.name for p in pictures],
        "id": [p.id for p in pictures],
        "label": [p.label for p in pictures],
        "predicted": each(predicted),
        "probability": each(probabilities),
        "width": [p.size and p.size[1] for p in pictures],
        "height": [p.size and p.size[0] for p in pictures],
        "thumbnail": [p.jpeg for p in pictures],
        "vector": vector_column(each(None if features is None else list(features.vectors)), schema),
        "error": [None if p.error is None else str(p.error) for p in pictures],
        "stamp": [p.stamp for p in pictures],
    }
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, schema.field(name).type)
        for name, value in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema([schema.field(name) for name in columns]))


def _without_bad_vectors(
    pictures: Sequence[Picture], features: Features | None, schema: pa.Schema
) -> tuple[Sequence[Picture], Features | None]:
    if features is None:
        return pictures, None
    is_good = is_finite_in(features.vectors, schema)
    if is_good.all():
        return pictures, features
    error = f"the network gives NaN or infinite values in {vector_type(schema)}"
    good = iter(is_good)
    marked = [
        p if p.error is not None or next(good) else replace(p, error=ImageError(f"{p.name}: {error}"))
        for p in pictures
    ]
    scores = None if features.scores is None else features.scores[is_good]
    return marked, replace(features, vectors=features.vectors[is_good], scores=scores)


def _predictions(features: Features | None, labels: Sequence[str]) -> tuple[list[str] | None, list[float] | None]:
    """Name and probability of the best class of each image, where the network gives class scores."""
    if features is None or features.scores is None or features.normalization == "values":
        return None, None
    best = features.scores.argmax(axis=1)
    found = probabilities(features.scores, features.normalization).max(axis=1)
    return [labels[i] if i < len(labels) else str(i) for i in best], found.tolist()
