"""The columns of a store, and what made its vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ..errors import StoreError
from ..results import Array

if TYPE_CHECKING:
    import pyarrow as pa

VectorType: TypeAlias = Literal["float32", "float16"]
Column: TypeAlias = Literal["path", "id", "label", "predicted", "probability", "width", "height", "stamp"]

_KEY = b"convscope"
_FORMAT = 1
GONE = "gone"  # the column that says of which rows the file is gone; stores made before it lack it


@dataclass(frozen=True)
class Origin:
    """What made the vectors of a store: the same for all of them.

    ``model`` is as in a result's provenance: name, SHA-256 of the weights, preprocessing.
    """

    model: Mapping[str, Any]
    layer: str
    precision: str = "float32"
    versions: Mapping[str, str] = field(default_factory=dict)

    def check(self, other: Origin, place: str) -> None:
        """Raise `StoreError` if vectors of another origin were to be added or compared."""
        for what, mine, theirs in (
            ("encoders", self.model.get("name"), other.model.get("name")),
            ("weights", self.model.get("weights_sha256"), other.model.get("weights_sha256")),
            ("layer", self.layer, other.layer),
            ("preprocessing", _plain(self.model.get("preprocessing")), _plain(other.model.get("preprocessing"))),
            ("precision", self.precision, other.precision),
        ):
            if mine != theirs:
                raise StoreError(
                    f"{place} holds vectors of {self.describe()}, not of {other.describe()}: the {what} differ. "
                    "Vectors of different networks cannot be compared; give the network that made this store, or "
                    "choose another one"
                )

    def describe(self) -> str:
        weights = str(self.model.get("weights_sha256") or "")[:8]
        place = f" at {self.layer!r}, {self.precision}" if self.layer else ""
        return f"{self.model.get('name')}{f' ({weights})' if weights else ''}{place}"


def schema_of(origin: Origin, n_dims: int, vectors: VectorType) -> pa.Schema:
    """The columns of a store."""
    import pyarrow as pa

    kind = pa.float16() if vectors == "float16" else pa.float32()
    about = {"format": _FORMAT, "model": dict(origin.model), "layer": origin.layer, "precision": origin.precision}
    about["versions"] = dict(origin.versions)
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),  # of a file, or a name: the key
            pa.field("id", pa.string()),  # of the content
            pa.field("label", pa.string()),
            pa.field("predicted", pa.string()),
            pa.field("probability", pa.float32()),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("thumbnail", pa.binary()),
            pa.field("vector", pa.list_(kind, n_dims)),
            pa.field("error", pa.string()),
            pa.field("stamp", pa.string()),  # of the file as it was read: size and time of change
            pa.field(GONE, pa.bool_()),
        ],
        metadata={_KEY: json.dumps(about, default=list).encode()},
    )


def origin_of(schema: pa.Schema, place: str) -> Origin:
    """The origin that a table's schema states."""
    try:
        about = json.loads((schema.metadata or {})[_KEY])
        if about["format"] != _FORMAT:
            raise StoreError(f"{place} is of format {about['format']}; this convscope reads {_FORMAT}: update it")
        return Origin(about["model"], about["layer"], about["precision"], about["versions"])
    except (KeyError, TypeError, ValueError):
        raise StoreError(f"{place} is a Lance table, but none that convscope has written") from None


def vector_type(schema: pa.Schema) -> VectorType:
    """The type in which a store holds its vectors."""
    return "float16" if str(schema.field("vector").type.value_type) == "halffloat" else "float32"


def check_vector_type(schema: pa.Schema, n_dims: int, vectors: VectorType, place: str) -> None:
    """`StoreError` for vectors of another length or type than a store holds."""
    held = (schema.field("vector").type.list_size, vector_type(schema))
    if held != (n_dims, vectors):
        raise StoreError(
            f"{place} holds vectors of {held[0]} values in {held[1]}, not of {n_dims} in {vectors}; "
            "choose another place"
        )


def is_finite_in(vectors: Array, schema: pa.Schema) -> Array:
    """Which vectors (N, D) are finite in the type of the store: (N,) bool."""
    with np.errstate(over="ignore"):
        return np.asarray(np.isfinite(vectors.astype(vector_type(schema))).all(axis=1))


def vector_column(vectors: Array | Sequence[Array | None], schema: pa.Schema) -> pa.Array:
    """Vectors (N, D), or None, as a column."""
    import pyarrow as pa

    kind = schema.field("vector").type
    given = [v is not None for v in vectors]
    flat = np.zeros((len(given), kind.list_size), vector_type(schema))
    for row, vector in enumerate(vectors):
        if vector is not None:
            flat[row] = vector
    missing = pa.array([not g for g in given])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=kind, mask=missing)


def padded(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with nulls in those columns of a schema that they lack."""
    import pyarrow as pa

    columns = [
        rows[field.name] if field.name in rows.schema.names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(list(schema)))


def _plain(value: Any) -> Any:
    """A value as JSON returns it: with lists for tuples."""
    return json.loads(json.dumps(value, default=list))
