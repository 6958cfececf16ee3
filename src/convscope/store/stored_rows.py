"""`StoredRows`: what can be read of a store, of all its rows or of those for which a condition holds."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ..arguments import checks_arguments
from ..errors import ParameterError
from ..results import Array, Provenance
from ..texts import counted
from .blocks import Block, Blocks, Space, Taken, row_numbers, rows_named
from .conditions import both, in_use
from .fits import Fits
from .lance_table import LanceTable
from .schema import GONE, Column, Origin, origin_of
from .writing import Columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class StoredRows:
    """The rows of a store, or those for which a condition holds; questions take them as they take the store.

    ``store.where("label = 'cat'")`` makes a part. A name asked for may lie outside of it, so that the cats nearest
    to a dog can be found. What is computed from a part is returned, and not kept in the store.
    """

    model = None  # a store knows no network: who asks for images gives it along
    held = None  # rows are read when they are needed

    def __init__(self, table: LanceTable, condition: str | None = None, blocks: Blocks | None = None) -> None:
        self.table = table
        self.place = table.place
        self.condition = condition
        self.origin = origin_of(table.schema, table.place)
        self.n_dims = int(table.schema.field("vector").type.list_size)
        self.fits = Fits(table.database, table.place)
        self._blocks = blocks or Blocks(table, self.n_dims)

    def __repr__(self) -> str:
        about = f"{counted(len(self), 'image')}, {self.n_dims} values of {self.origin.describe()}"
        part = f" where {self.condition}" if self.condition else ""
        return f"{type(self).__name__}({self.place}{part}: {about})"

    def __len__(self) -> int:
        """The number of rows, also of images that could not be read and of files that are gone."""
        return self.count()

    @checks_arguments
    def where(self, condition: str) -> StoredRows:
        """The rows for which a condition holds, to be asked like the store: ``project(store.where("..."))``.

        Args:
            condition: as SQL writes it, on the columns of the store: "label = 'cat' AND probability > 0.9".

        Raises:
            ParameterError: it cannot be read.
        """
        self.check(condition)
        return StoredRows(self.table, both(self.condition, condition), self._blocks)

    @property
    def made(self) -> Provenance:
        """``origin`` in the form of a result's provenance; of a part of the rows also its condition, ``where``."""
        of, part = self.origin, {"where": self.condition} if self.condition else {}
        return Provenance("embed", {"layer": of.layer} | part, of.model, "cpu", of.versions, 0.0)

    @checks_arguments
    def check_comparable(self, made: Provenance) -> None:
        """Raise `StoreError` for vectors of another network, layer or preprocessing."""
        self.origin.check(Origin(made.model, made.parameters.get("layer", ""), self.origin.precision), self.place)

    @property
    def n_vectors(self) -> int:
        """The number of images that take part in answers: they have a vector, and their file is not gone."""
        return self.count(self.in_use())

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the images that take part in answers; read anew each time, as are labels and ids."""
        return self.column("path")

    @property
    def labels(self) -> tuple[str | None, ...]:
        return self.column("label")

    @property
    def ids(self) -> tuple[str | None, ...]:
        """Hashes of the contents of their files."""
        return self.column("id")

    @property
    def rows(self) -> Array:
        """The row numbers (N,) int64 of the images that take part in answers, in the order of `names`."""
        return self.table.row_ids(self.in_use()).astype("int64")

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    @checks_arguments
    def column(self, name: Column) -> tuple[Any, ...]:
        """A column of the images that take part in answers, in the order of `names`."""
        return tuple(value for b in self.batches([name], self.in_use()) for value in b[name].to_pylist())

    def reading(self) -> AbstractContextManager[None]:
        """A context in which everything is read from one version of the rows, even if others write meanwhile."""
        return self.table.reading()

    @checks_arguments
    def blocks(self, space: Space = "feature", where: str | None = None) -> Iterator[Block]:
        """The images that take part in answers, some thousands at a time, in the order of `names`.

        In "feature" space their vectors, in "pixel" space the values of their thumbnails in [0, 1]. Vectors
        that take less than a quarter of the free memory stay there for the next time.
        """
        return self._blocks.read(space, both(self.condition, where))

    @checks_arguments
    def vectors_of(self, rows: Array, space: Space = "feature") -> Array:
        """Vectors, or pixels, (n, D) float32 of rows, by the numbers that `blocks` gives."""
        return self._blocks.of(row_numbers(rows), space)

    @checks_arguments
    def take(self, rows: Array, *, n_thumbnails: int | None = None) -> Taken:
        """Names, labels and, of the first rows or of all, thumbnails, by the numbers that `blocks` gives."""
        return self._blocks.take(row_numbers(rows), n_thumbnails)

    @checks_arguments
    def find(self, names: Sequence[str]) -> Array | None:
        """The row numbers (n,) of paths or ids, in order; None where any of them has no row with a vector."""
        return rows_named(self.table, names)

    @checks_arguments
    def remember(
        self, kind: str, about: Mapping[str, Any], data: bytes = b"", columns: Columns | None = None
    ) -> None:
        """Do nothing: what is computed from a part of the rows is not kept."""

    def recall(self, kind: str) -> tuple[dict[str, Any], bytes] | None:
        """What `remember` kept, or None."""
        return self.fits.recall(kind)

    # --- rows as a table -----------------------------------------------------------------------------------------

    @checks_arguments
    def count(self, where: str | None = None) -> int:
        """The number of rows for which a condition holds, like "label = 'cat' AND predicted != label"."""
        return self.table.count(both(self.condition, where))

    @checks_arguments
    def check(self, where: str | None) -> None:
        """Raise `ParameterError` for a condition that cannot be read."""
        if where is not None:
            self.table.count(where)

    @checks_arguments
    def in_use(self, where: str | None = None) -> str:
        """A condition for the rows that take part in answers: they have a vector, and their file is not gone.

        A condition that names the column ``gone`` decides itself about rows whose file is gone.
        """
        return in_use(self.schema.names, both(self.condition, where))

    def unread(self) -> dict[str, str]:
        """Path -> why there is no vector, of files that are not gone."""
        still_there = f" AND {GONE} IS NOT TRUE" if GONE in self.schema.names else ""
        return self.by_path("error", f"error IS NOT NULL{still_there}")

    @checks_arguments
    def batches(
        self, columns: Sequence[str], where: str | None = None, *, row_ids: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows for which a condition holds, a thousand at a time; ``row_ids`` adds the column _rowid."""
        return self.table.scan(columns, both(self.condition, where), row_ids=row_ids)

    @checks_arguments
    def to_arrow(self, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """The rows as an Arrow table: all columns, or those named."""
        return self.table.to_arrow(columns, both(self.condition, where))

    @checks_arguments
    def to_pandas(self, columns: Sequence[str] | None = None, where: str | None = None) -> pd.DataFrame:
        """The rows as a pandas data frame, which has to be installed."""
        if importlib.util.find_spec("pandas") is None:
            raise ParameterError("to_pandas needs pandas: pip install pandas; to_arrow works without it")
        return self.to_arrow(columns, where).to_pandas()

    @checks_arguments
    def by_path(self, column: str, where: str | None = None) -> dict[str, Any]:
        """The values of a column, such as "label", by path."""
        rows = self.to_arrow(["path", column], where)
        return dict(zip(rows["path"].to_pylist(), rows[column].to_pylist(), strict=True))
