"""`EmbeddingStore`: the vectors of a collection on disk, one row an image."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..arguments import checks_arguments
from ..errors import ParameterError
from ..results import Array, Provenance
from ..texts import counted
from .blocks import Block, Blocks, Space, Taken, row_numbers, rows_named
from .conditions import in_use
from .fits import Fits
from .lance_table import LanceTable
from .own_vectors import own_vectors, tables_of
from .presence import missing_rows, remembered_folders
from .schema import GONE, Column, Origin, VectorType, check_vector_type, origin_of, schema_of
from .writing import Columns, columns_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class EmbeddingStore:
    """Vectors, labels, predictions and thumbnails of images: a LanceDB folder, or an object store's address.

    ``convscope.embed(model, images, store=place)`` makes a store, `open` opens it again. Every row is one image:
    its ``path`` is the key, and its ``id`` a hash of its content, which copies of a file share. A write is whole
    or not there at all, and several processes may write. ``origin`` is the network, layer and preprocessing that
    made the vectors, ``n_dims`` their length. A store that `embed` returned has ``changes``: what was new,
    changed, moved, relabeled and gone.

    Example:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> from convscope import embed
        >>> place = tempfile.mkdtemp() + "/pictures.lance"
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 2))
        >>> len(embed(net, torch.rand(5, 3, 8, 8), store=place))
        5
        >>> EmbeddingStore.open(place).n_dims
        4
    """

    model = None  # a store knows no network: who asks for images gives it along
    held = None  # rows are read when they are needed

    @checks_arguments
    def __init__(self, table: LanceTable) -> None:
        self.table = table
        self.place = table.place
        self.origin = origin_of(table.schema, table.place)
        self.n_dims = int(table.schema.field("vector").type.list_size)
        self.fits = Fits(table.database, table.place)
        self._blocks = Blocks(table, self.n_dims)
        self.changes: Any = None  # `account.StoreChanges`

    @classmethod
    @checks_arguments
    def create(cls, place: str | Path, origin: Origin, n_dims: int, *, vectors: VectorType = "float32") -> Self:
        """Make a store, or open the one of the same origin that is there already."""
        store = cls(LanceTable.create(place, schema_of(origin, n_dims, vectors)))
        store.origin.check(origin, store.place)
        check_vector_type(store.schema, n_dims, vectors, store.place)
        return store

    @classmethod
    @checks_arguments
    def open(cls, place: str | Path) -> Self:
        """Open the store at a place: a folder, or an address like "s3://bucket/photos.lance".

        Raises:
            StoreError: there is none.
        """
        return cls(LanceTable.open(place))

    @classmethod
    @checks_arguments
    def of_vectors(
        cls,
        place: str | Path,
        vectors: Any,
        *,
        names: Sequence[object] | None = None,
        labels: Sequence[object] | None = None,
        encoder: str = "your own vectors",
    ) -> Self:
        """Put vectors from any encoder into a store; they are added to those that are there.

        Args:
            place: as for `open`.
            vectors: (N, D) numbers, a .npy file, or a Parquet file with columns ``vector``, ``path``, ``label``.
            names: N different keys of rows; a key that is there already gets the new vector.
            labels: N labels or None.
            encoder: what made the vectors; a store holds those of one encoder.

        Raises:
            ParameterError: vectors that are not finite or not (N, D), or not as many names or labels.
            StoreError: the store holds vectors of another encoder or length.
        """
        array, keys, marks = own_vectors(vectors, names, labels)
        store = cls.create(place, Origin({"name": encoder}, "", "float32"), array.shape[1])
        for rows in tables_of(array, keys, marks, store.schema):
            store.write(rows)
        store.compact()
        return store

    def __repr__(self) -> str:
        about = f"{counted(len(self), 'image')}, {self.n_dims} values of {self.origin.describe()}"
        return f"EmbeddingStore({self.place}: {about})"

    def __len__(self) -> int:
        """The number of rows, also of images that could not be read and of files that are gone."""
        return self.table.count()

    @property
    def made(self) -> Provenance:
        """``origin`` in the form of a result's provenance."""
        of = self.origin
        return Provenance("embed", {"layer": of.layer}, of.model, "cpu", of.versions, 0.0)

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
    def ids(self) -> tuple[str | None, ...]:  # hashes of the contents of their files
        return self.column("id")

    @property
    def rows(self) -> Array:
        """Their row numbers (N,) int64, in the order of `names`."""
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
        return self._blocks.read(space, where)

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
        """Keep what was computed from all images that take part in answers, in place of the last of its kind.

        ``columns`` has values of the images, in the order of `names`; None empties a column that is there.
        """
        self.fits.remember(kind, None)  # so that it never speaks of other columns than those there
        if columns:
            self.add_columns(columns_of(self.names, columns, self.schema), only=True)
        self.fits.remember(kind, about, data)

    def recall(self, kind: str) -> tuple[dict[str, Any], bytes] | None:
        """What `remember` kept, or None."""
        return self.fits.recall(kind)

    # --- rows as a table -----------------------------------------------------------------------------------------

    @checks_arguments
    def count(self, where: str | None = None) -> int:
        """The number of rows for which a condition holds, like "label = 'cat' AND predicted != label"."""
        return self.table.count(where)

    @checks_arguments
    def check(self, where: str | None) -> None:
        """Raise `ParameterError` for a condition that cannot be read."""
        if where is not None:
            self.count(where)

    @checks_arguments
    def in_use(self, where: str | None = None) -> str:
        """A condition for the rows that take part in answers: they have a vector, and their file is not gone.

        A condition that names the column ``gone`` decides itself about rows whose file is gone.
        """
        return in_use(self.schema.names, where)

    def unread(self) -> dict[str, str]:
        """Path -> why there is no vector, of files that are not gone."""
        still_there = f" AND {GONE} IS NOT TRUE" if GONE in self.schema.names else ""
        return self.by_path("error", f"error IS NOT NULL{still_there}")

    @checks_arguments
    def batches(
        self, columns: Sequence[str], where: str | None = None, *, row_ids: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows for which a condition holds, a thousand at a time; ``row_ids`` adds the column _rowid."""
        return self.table.scan(columns, where, row_ids=row_ids)

    @checks_arguments
    def to_arrow(self, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """The rows as an Arrow table: all columns, or those named."""
        return self.table.to_arrow(columns, where)

    @checks_arguments
    def to_pandas(self, columns: Sequence[str] | None = None, where: str | None = None) -> pd.DataFrame:
        """The rows as a pandas data frame, which has to be installed."""
        if importlib.util.find_spec("pandas") is None:
            raise ParameterError("to_pandas needs pandas: pip install pandas; to_arrow works without it")
        return self.to_arrow(columns, where).to_pandas()

    @checks_arguments
    def by_path(self, column: str, where: str | None = None) -> dict[str, Any]:
        """The values of a column, such as "label", by path."""
        rows = self.table.to_arrow(["path", column], where)
        return dict(zip(rows["path"].to_pylist(), rows[column].to_pylist(), strict=True))

    # --- writing ---------------------------------------------------------------------------------------------

    def write(self, rows: pa.Table) -> None:
        """Add rows, in place of those of the same paths; columns that they lack become null."""
        self.table.write(rows)

    @checks_arguments
    def delete(self, where: str) -> int:
        """Remove the rows for which a condition holds, and return their number."""
        return self.table.delete(where)

    @checks_arguments
    def prune(self, *, confirmed: bool = False) -> int:
        """Remove the rows whose file is gone, and return how many there were.

        A file is gone if it does not exist while other files of its embedded folder do. A file that may not be
        looked at is never gone, whatever is confirmed.

        Args:
            confirmed: remove them even if they are more than half of all rows, or if a whole folder is missing, as
                when a disk is not connected.

        Raises:
            StoreError: this has to be confirmed first; nothing was removed.
        """
        missing = missing_rows(self.by_path("stamp"), remembered_folders(self.fits))
        if not confirmed:
            missing.check_removable(len(self), self.place)
        return self.table.delete_paths([*missing.gone, *missing.out_of_reach])

    def compact(self) -> None:
        """Merge the small files of many writes and drop old versions; `embed` does so at its end."""
        self.table.compact()

    @checks_arguments
    def add_columns(self, rows: pa.Table, *, only: bool = False) -> None:
        """Set columns by path: coordinates of a map, clusters. New ones appear with all values or not at all.

        Other rows keep their values; with ``only`` they lose them, as after an earlier clustering.
        """
        self.table.set_columns(rows, only=only)
