"""Vectors from any encoder, checked and made into rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParameterError
from ..results import Array
from .keys import digest_of, stamp_of
from .schema import padded, vector_column

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS, _SMALL = 10_000, 1000  # written at once; read at once
_MOST = 100_000_000  # whose names are held in memory
_COLUMNS = ("vector", "path", "label")
_LARGEST = np.finfo(np.float32).max


def own_vectors(
    vectors: Any, names: Sequence[object] | None, labels: Sequence[object] | None
) -> tuple[Array, list[str], list[str | None]]:
    """Vectors (N, D), names and labels, as given or from a file; given names and labels take precedence."""
    if isinstance(vectors, str | Path):
        vectors, found_names, found_labels = read_vectors(Path(vectors))
        names = found_names if names is None else names
        labels = found_labels if labels is None else labels
    return check_vectors(vectors, names, labels)


def read_vectors(path: Path) -> tuple[Array, list[str] | None, list[str | None] | None]:
    """Vectors, names and labels from a .npy file (N, D), or a Parquet table with columns vector, path, label.

    Raises:
        ParameterError: the file is of another kind, cannot be read, or holds more than fits into the free memory.
    """
    import pyarrow as pa

    try:
        if path.suffix.lower() == ".npy":
            # Mapped: where a header claims more rows than the file holds, that shows before any memory is taken.
            with np.errstate(over="raise"):
                return np.load(path, allow_pickle=False, mmap_mode="r"), None, None
        if path.suffix.lower() == ".parquet":
            return _from_parquet(path)
    except (OSError, EOFError, ArithmeticError, TypeError, ValueError, pa.ArrowException) as error:
        raise ParameterError(f"{path}: cannot be read ({error})") from error
    raise ParameterError(f"{path}: expected vectors in a .npy file or a .parquet table")


def _from_parquet(path: Path) -> tuple[Array, list[str] | None, list[str | None] | None]:
    import pyarrow as pa
    import torch
    from pyarrow import parquet

    from ..execution import free_memory

    room = free_memory(torch.device("cpu")) // 4  # as there will be Python's names and the vectors as one array
    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if "vector" not in names:
            raise ParameterError(f"{path}: no column 'vector' among {', '.join(names)}")
        chosen = [name for name in _COLUMNS if name in names]
        batches = []
        for batch in file.iter_batches(_SMALL, columns=chosen):
            room -= batch.nbytes  # and not by the file's size: a few bytes may say the same row a million times
            if room < 0:
                raise ParameterError(f"{path}: holds more than fits into the free memory; give it in parts")
            batches.append(batch)
        table = pa.Table.from_batches(batches, file.schema_arrow.empty_table().select(chosen).schema)
    vectors = np.stack(table["vector"].to_numpy()).astype(np.float32) if len(table) else np.zeros((0, 0))
    given = [table[name].to_pylist() if name in chosen else None for name in ("path", "label")]
    return vectors, given[0], given[1]


def check_vectors(
    vectors: Any, names: Sequence[object] | None, labels: Sequence[object] | None
) -> tuple[Array, list[str], list[str | None]]:
    """Vectors (N, D) with a name and a label each; `ParameterError` if they do not match."""
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParameterError(f"vectors that make no array (N, D): {error}") from error
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise ParameterError(f"an array {array.shape} of {array.dtype}; expected vectors (N, D)")
    n = len(array)
    if n > _MOST:
        raise ParameterError(f"{n:,} vectors; a store takes {_MOST:,} at once, so give them in parts")
    bad: list[int] = []
    for first in range(0, n, _ROWS):  # so that no copy of all of them is made
        block = array[first : first + _ROWS]
        bad += (first + np.flatnonzero(~np.isfinite(block).all(axis=1))).tolist()
        if np.nanmax(np.abs(block.astype(np.float64)), initial=0, where=np.isfinite(block)) > _LARGEST:
            raise ParameterError("some values are too large for float32; scale the vectors down")
    if bad:
        raise ParameterError(f"{len(bad)} vectors hold NaN or infinite values, the first of them vector {bad[0]}")
    for name, given_ones in (("names", names), ("labels", labels)):
        if given_ones is not None and len(given_ones) != n:
            raise ParameterError(f"{len(given_ones)} {name} for {n} vectors")
    if names is not None and any(name is None for name in names):
        raise ParameterError("some names are missing; a name is the key of its row")
    given = [f"vector {i}" for i in range(n)] if names is None else [str(name) for name in names]
    marks: list[str | None] = [None] * n if labels is None else [_mark(label) for label in labels]
    try:
        "".join([*given, *(mark for mark in marks if mark)]).encode()
    except UnicodeEncodeError:
        raise ParameterError("some names or labels cannot be written as UTF-8, as those of files may be") from None
    if len(set(given)) != n:
        raise ParameterError("some names occur more than once; a name is the key of its row")
    return array, given, marks


def _mark(label: Any) -> str | None:
    """A label as text; None for none, for NaN, as pandas has it in an empty cell, and for blanks."""
    if label is None or (isinstance(label, float | np.floating) and np.isnan(label)):
        return None
    return text if (text := str(label)).strip() else None


def tables_of(vectors: Array, names: list[str], labels: list[str | None], schema: pa.Schema) -> Iterator[pa.Table]:
    """Their rows, some thousands at a time."""
    import pyarrow as pa

    for first in range(0, len(vectors), _ROWS):
        rows = slice(first, first + _ROWS)
        known = {
            "path": pa.array(names[rows]),
            "id": pa.array([digest_of(vector) for vector in vectors[rows]]),
            "label": pa.array(labels[rows], pa.string()),
            "stamp": pa.array([stamp_of(vector) for vector in vectors[rows]]),
            "vector": vector_column(vectors[rows], schema),
        }
        yield padded(pa.table(known), schema)
