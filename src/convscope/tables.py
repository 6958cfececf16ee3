"""Tables that list images: CSV or Parquet, with a column ``path`` and perhaps one ``label``."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from .errors import ImageError

KINDS = (".csv", ".parquet")


def listed(table: Path) -> Iterator[tuple[Path, str | None]]:
    """Paths, as seen from the table's folder, and labels.

    Raises:
        ImageError: the table cannot be read, or has no column ``path``.
    """
    row = -1
    for row, (path, label) in enumerate(
        _from_csv(table) if table.suffix.lower() == ".csv" else _from_parquet(table)
    ):
        if not path:
            raise ImageError(f"{table}: row {row + 1} has no path")
        yield table.parent / path, label or None
    if row < 0:
        raise ImageError(f"{table}: lists no images")


def _from_csv(table: Path) -> Iterator[tuple[str | None, str | None]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            _check(table, list(rows.fieldnames or ()))
            for row in rows:
                yield row["path"], row.get("label")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{table}: cannot be read as CSV ({error})") from error


def _from_parquet(table: Path) -> Iterator[tuple[str | None, str | None]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(table) as file:
            names = file.schema_arrow.names
            _check(table, names)
            chosen = [name for name in ("path", "label") if name in names]
            for batch in file.iter_batches(columns=chosen):
                for row in batch.to_pylist():
                    label = row.get("label")
                    if not isinstance(row["path"], str | None):
                        raise ImageError(
                            f"{table}: the column 'path' holds {type(row['path']).__name__}, not text"
                        )
                    yield row["path"], None if label is None or label != label else str(label)
    except (OSError, pyarrow.ArrowException) as error:
        raise ImageError(f"{table}: cannot be read as Parquet ({error})") from error


def _check(table: Path, names: list[str]) -> None:
    if "path" not in names:
        raise ImageError(
            f"{table}: no column 'path' among {', '.join(names) or 'none'}; 'label' is optional, and columns of a "
            "CSV file have commas between them"
        )
    if len(set(names)) < len(names):
        raise ImageError(f"{table}: a column occurs twice among {', '.join(names)}")
