"""The table of a store's rows: its versions, read and written through LanceDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Metric, shown
from ..errors import ConvscopeError, ParameterError, StoreError
from ..results import Array
from .conditions import as_whole, check_condition, in_parts, in_use, is_at_fault, is_one_of, refused
from .lance import (
    KEPT_FOR,
    ROWS,
    as_place,
    check_not_forked,
    connected,
    explained,
    has_table,
    is_local,
    lock,
    make_folder,
    tables,
)
from .writing import is_finished, set_columns, with_others_empty, write_rows

if TYPE_CHECKING:
    import pyarrow as pa

_SCANNED_ROWS, _BATCH_ROWS = 16_384, 1024
_LIGHT = ("string", "float", "int32", "bool")  # types of columns that are scanned as they are
_DISTANCE = {"cosine": "cosine", "euclidean": "l2", "dot": "dot"}  # LanceDB's names of metrics


class LanceTable:
    """One row an image. Every reading sees the latest version, or one version within `reading`."""

    def __init__(self, database: Any, table: Any, place: str) -> None:
        self.place, self.database = place, database
        self._table = table
        self._n_reading = 0  # of `reading`, one inside another

    @classmethod
    def open(cls, place: str | Path) -> LanceTable:
        """The table at a place; `StoreError` where there is none."""
        place = as_place(place)
        absent = StoreError(f"{place}: no store there; `convscope embed photos/ --store {place}` makes one")
        if is_local(place) and not has_table(Path(place)):
            raise absent
        with explained(place):
            database = connected(place)
            if ROWS not in tables(database, place):
                raise absent
            return cls(database, database.open_table(ROWS), place)

    @classmethod
    def create(cls, place: str | Path, schema: pa.Schema) -> LanceTable:
        """A new table, or the one that is there already, whatever its schema."""
        place = as_place(place)
        if is_local(place):
            make_folder(Path(place))
        with lock(place), explained(place):
            database = connected(place)
            if ROWS in tables(database, place):
                return cls(database, database.open_table(ROWS), place)
            table = database.create_table(ROWS, schema=schema)
            table.set_unenforced_primary_key("path")  # so that two writers of one path get into conflict
            return cls(database, table, place)

    # --- versions --------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A context in which everything is read from one version of the rows."""
        self._latest()
        self._n_reading += 1
        try:
            yield
        finally:
            self._n_reading -= 1

    @property
    def uri(self) -> str:
        """Where Lance finds this table."""
        return f"{self.place.rstrip('/')}/{ROWS}.lance"

    @property
    def version(self) -> int:
        return int(self._latest().version)

    @property
    def schema(self) -> pa.Schema:
        """The columns, without those that a killed process left unfinished."""
        import pyarrow as pa

        found = self._latest().schema
        return pa.schema([field for field in found if is_finished(field.name)], found.metadata)

    def _latest(self) -> Any:
        check_not_forked(self.place)
        if not self._n_reading:
            with explained(self.place):
                self._table.checkout_latest()
        return self._table

    @contextmanager
    def _explained(self, where: str | None) -> Iterator[None]:
        """Turn what LanceDB raises into `ParameterError` for a mistyped condition, else into `StoreError`."""
        if where is not None:
            check_condition(where)
        with explained(self.place):
            try:
                yield
            except ConvscopeError:
                raise
            except Exception as error:
                if where is None or not is_at_fault(error):
                    raise
                raise refused(where, self.schema.names, error) from error

    # --- reading ---------------------------------------------------------------------------------------------

    def count(self, where: str | None = None) -> int:
        table = self._latest()
        with self._explained(where):
            return int(table.count_rows(as_whole(where)))

    def scan(
        self, columns: Sequence[str], where: str | None = None, *, row_ids: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows for which a condition holds, a thousand at a time; ``row_ids`` adds the column _rowid.

        Vectors and thumbnails are taken row by row, as a scan reads half of the table ahead of a slow reader.
        """
        schema = self.schema
        if unknown := [name for name in columns if name not in schema.names]:
            raise ParameterError(f"no column {shown(unknown[0])}; there are {', '.join(schema.names)}")
        wanted = [*columns, "_rowid"] if row_ids else list(columns)
        is_heavy = any(schema.field(name).type not in _LIGHT for name in columns)
        with self._explained(where):
            query = self._table.search().select(["path"] if is_heavy else list(columns)).with_row_id(True)
            for batch in (query.where(as_whole(where)) if where else query).to_batches(_SCANNED_ROWS):
                if not is_heavy:
                    yield batch.select(wanted)
                    continue
                for first in range(0, len(batch), _BATCH_ROWS):
                    ids = batch["_rowid"][first : first + _BATCH_ROWS].to_pylist()
                    taken = self._table.take_row_ids(ids).select(list(columns)).with_row_id().to_arrow()
                    yield from taken.select(wanted).combine_chunks().to_batches()

    def to_arrow(self, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """The rows as a whole: all columns, or those named."""
        import pyarrow as pa

        chosen, schema = list(columns or self.schema.names), self.schema
        if where is not None:
            self.count(where)  # which says what is wrong with it
        found = [batch.select(chosen) for batch in self.scan(chosen, where)]
        return pa.Table.from_batches(found, schema=pa.schema([schema.field(name) for name in chosen]))

    def row_ids(self, where: str | None = None) -> Array:
        """The _rowid (n,) uint64 of the rows for which a condition holds, in their order."""
        found = [batch["_rowid"].to_numpy() for batch in self.scan(["path"], where, row_ids=True)]
        return np.concatenate([np.zeros(0, np.uint64), *found])

    def rows(self, row_ids: Array, columns: Sequence[str]) -> pa.Table:
        """Rows by their _rowid, in the order asked for; `StoreError` unless all are there."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(row_ids.astype(np.uint64))
        unique = pc.unique(wanted)
        with explained(self.place):
            found = self._table.take_row_ids(unique.to_pylist()).select([*columns]).with_row_id().to_arrow()
        places = pc.index_in(wanted, found["_rowid"].combine_chunks())
        if places.null_count:
            raise StoreError(
                f"{self.place}: {places.null_count} of {len(wanted)} rows are not there (any more): ask blocks() "
                "or find() for their numbers, inside reading() where others write"
            )
        return found.take(places).select(list(columns))

    # --- writing, by a handle of its own, so that a reader's version stays --------------------------------------

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """LanceDB's table as it is now, and no other writer meanwhile."""
        with lock(self.place):
            yield self.database.open_table(ROWS)

    def write(self, rows: pa.Table) -> None:
        with explained(self.place), self.writing() as table:
            write_rows(table, rows, one_writer=is_local(self.place))

    def set_columns(self, rows: pa.Table, *, only: bool = False) -> None:
        """Set columns by path; with ``only`` they become null in rows that are not named."""
        if only and (old := [name for name in rows.schema.names if name != "path" and name in self.schema.names]):
            filled = self.to_arrow(["path"], " OR ".join(f"{name} IS NOT NULL" for name in old))
            rows = with_others_empty(rows, filled["path"].to_pylist())
        with explained(self.place), self.writing() as table:
            set_columns(table, rows)

    def delete(self, where: str) -> int:
        """Remove rows, and return their number."""
        with self._explained(where), self.writing() as table:
            n = int(table.count_rows(as_whole(where)))
            if n:
                table.delete(as_whole(where))
        return n

    def delete_paths(self, paths: Sequence[str]) -> int:
        """Remove the rows of some paths, and return how many paths there are."""
        for part in in_parts(paths):
            self.delete(is_one_of("path", part))
        return len(paths)

    def compact(self) -> None:
        """Merge the small files of many writes and drop old versions."""
        with explained(self.place), self.writing() as table:
            table.optimize(cleanup_older_than=KEPT_FOR)

    # --- LanceDB's own index -------------------------------------------------------------------------------------

    def build_index(self, metric: Metric) -> None:
        """An index over the vectors of rows that are in use."""
        from lancedb.index import IvfSq

        n_parts = max(1, round(self.count(in_use(self.schema.names, None)) ** 0.5 / 2))
        with explained(self.place), self.writing() as table:
            config = IvfSq(distance_type=_DISTANCE[metric], num_partitions=n_parts)
            table.create_index("vector", config=config, replace=True)

    def search_index(
        self, vectors: Array, k: int, metric: Metric, n_probes: int, where: str | None
    ) -> list[Array]:
        """The _rowid of what the index finds for each of the vectors (Q, D), among rows that are in use."""
        table, where = self._latest(), in_use(self.schema.names, where)
        with self._explained(where):
            query = table.search(list(vectors), vector_column_name="vector").distance_type(_DISTANCE[metric])
            query = query.nprobes(n_probes).limit(k).select(["_distance"]).with_row_id(True)
            found = query.where(where, prefilter=True).to_arrow()
        row_ids = found["_rowid"].to_numpy()
        asked = found["query_index"].to_numpy() if len(vectors) > 1 else np.zeros(len(row_ids))
        return [row_ids[asked == i] for i in range(len(vectors))]
