"""`EmbeddingStore`: the vectors of a collection on disk, one row an image, to be asked and added to for years."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..arguments import checks_arguments
from ..checks import as_array, unfit
from ..errors import ParameterError, StoreError
from ..results import Array, Provenance
from .blocks import Block, Blocks, Space, Taken
from .conditions import in_parts, in_use, is_one_of
from .fits import Fits
from .keys import as_key, key_of
from .lance import ROWS
from .lance_table import LanceTable
from .own_vectors import check_vectors, read_vectors, tables_of
from .presence import missing_rows, remembered_folders
from .schema import GONE, Origin, VectorType, origin_of, padded, schema_of, vector_type
from .thumbnails import THUMBNAIL_PX, decode

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class EmbeddingStore:
    """Vectors, labels, predictions and thumbnails of images: a LanceDB folder, or an object store's address.

    ``convscope.embed(model, images, store=place)`` makes a store, `open` opens it again. Every row is one image:
    its ``path`` is the key, and its ``id`` a hash of its content, which copies of a file share. Every write is
    whole or not there at all, and may come from several processes. ``changes`` of a store that `embed` has
    returned says what was new, changed, moved, relabeled and gone.

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

    @checks_arguments
    def __init__(self, table: LanceTable) -> None:
        self._table = table
        self._origin = origin_of(table.schema, table.place)
        self._blocks = Blocks(table, self.n_dims)
        self.place = table.place
        self.fits = Fits(table.database, table.place)
        self.changes: Any = None  # `account.Changes`
        self.model: Any = None  # embeds new images to be searched for

    @classmethod
    @checks_arguments
    def create(cls, place: str | Path, origin: Origin, n_dims: int, *, vectors: VectorType = "float32") -> Self:
        """A new store, or the one of the same origin that is there already."""
        store = cls(LanceTable.create(place, schema_of(origin, n_dims, vectors)))
        store.origin.check(origin, store.place)
        held = vector_type(store.schema)
        if (store.n_dims, held) != (n_dims, vectors):
            raise StoreError(
                f"{store.place} holds vectors of {store.n_dims} values in {held}, not of {n_dims} in {vectors}"
            )
        return store

    @classmethod
    @checks_arguments
    def open(cls, place: str | Path) -> Self:
        """The store at a place: a folder, or an address like "s3://bucket/photos.lance".

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
        """A store of vectors that you bring along, from whatever encoder; they are added to what is there.

        Args:
            place: as for `open`.
            vectors: (N, D) numbers, or the path of a .npy file or of a Parquet table with columns ``vector``, and
                perhaps ``path`` and ``label``.
            names: N different ones, the keys of the rows; a name that is there already gets the new vector.
            labels: N labels or None.
            encoder: what made them; a store takes no vectors of another.

        Returns:
            The `EmbeddingStore`.

        Raises:
            ParameterError: vectors that are not finite or not (N, D), names or labels of another number.
            StoreError: the store is of another encoder, or of vectors of another length.
        """
        if isinstance(vectors, str | Path):
            vectors, found_names, found_labels = read_vectors(Path(vectors))
            names = found_names if names is None else names
            labels = found_labels if labels is None else labels
        array, keys, marks = check_vectors(vectors, names, labels)
        store = cls.create(place, Origin({"name": encoder}, "", "float32"), array.shape[1])
        for rows in tables_of(array, keys, marks, store.schema):
            store.write(rows)
        store.compact()
        return store

    def __repr__(self) -> str:
        return (
            f"EmbeddingStore({self.place}: {len(self)} images, {self.n_dims} values of {self.origin.describe()})"
        )

    def __len__(self) -> int:
        """The number of rows, also of images that could not be read and of files that are gone."""
        return self._table.count()

    # --- what is in it ---------------------------------------------------------------------------------------

    @property
    def origin(self) -> Origin:
        """The network, the layer and the preprocessing that made the vectors."""
        return self._origin

    @property
    def made(self) -> Provenance:
        """The same as the provenance of a result."""
        of = self._origin
        return Provenance("embed", {"layer": of.layer}, of.model, "cpu", of.versions, 0.0)

    @cached_property
    def n_dims(self) -> int:
        return int(self._table.schema.field("vector").type.list_size)

    @property
    def n_vectors(self) -> int:
        """The number of images that take part in answers: they have a vector, and their file is not gone."""
        return self.count(self.in_use())

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the images that take part in answers; read anew each time, as are labels and ids."""
        return self._column("path")

    @property
    def labels(self) -> tuple[str | None, ...]:
        return self._column("label")

    @property
    def ids(self) -> tuple[str | None, ...]:
        """Hashes of the contents of their files."""
        return self._column("id")

    @property
    def held(self) -> None:
        """Nothing: rows are read when they are needed."""

    @property
    def schema(self) -> pa.Schema:
        return self._table.schema

    def _column(self, name: str) -> tuple[Any, ...]:
        return tuple(value for b in self.batches([name], self.in_use()) for value in b[name].to_pylist())

    def reading(self) -> AbstractContextManager[None]:
        """One version of the rows for all that is read inside, whoever writes meanwhile."""
        return self._table.reading()

    @checks_arguments
    def blocks(self, space: Space = "feature", where: str | None = None) -> Iterator[Block]:
        """The images that take part in answers, some thousands at a time, in the order of `names`.

        Args:
            space: "feature" gives their vectors, "pixel" the values of their thumbnails in [0, 1].
            where: a condition on the rows, like "label = 'cat'".

        Cost: vectors that take less than a quarter of the free memory stay there for the next time; others, and
        thumbnails, are read again.
        """
        return self._blocks.read(space, where)

    @checks_arguments
    def vectors_of(self, rows: Array, space: Space = "feature") -> Array:
        """Vectors, or pixels, (n, D) float32 of rows, by the numbers that `blocks` gives them."""
        return self._blocks.of(_numbers(rows), space)

    @checks_arguments
    def take(self, rows: Array, *, thumbnails: bool = True) -> Taken:
        """What is known of rows, by the numbers that `blocks` gives them, in the order asked for."""
        columns = ["path", "label", "id", "stamp", *(["thumbnail"] if thumbnails else [])]
        found = self._table.rows(_numbers(rows), columns).to_pydict()
        names, labels, ids, stamps = (tuple(found[name]) for name in columns[:4])
        encoded = found.get("thumbnail", [])
        pictures = np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
        if encoded:
            pictures = np.stack([decode(data) for data in encoded])
        return Taken(names, labels, ids, stamps, pictures, np.array([data is not None for data in encoded], bool))

    def find(self, names: Sequence[str]) -> Array | None:
        """The row numbers (n,) of paths or ids, in order; None where any is no row with a vector.

        Also of a file that is gone.
        """
        wanted = {name: (key_of(name), as_key(name)) for name in names}
        by_path: dict[str, int] = {}
        by_id: dict[str, int] = {}
        for part in in_parts(sorted({key for both in wanted.values() for key in both})):
            chosen = f"error IS NULL AND ({is_one_of('path', part)} OR {is_one_of('id', part)})"
            for batch in self.batches(["path", "id"], chosen, row_ids=True):
                for row in batch.to_pylist():
                    by_path.setdefault(row["path"], row["_rowid"])
                    by_id.setdefault(row["id"], row["_rowid"])
        known = by_id | by_path
        found = [next((known[key] for key in wanted[name] if key in known), None) for name in names]
        return None if None in found else np.array(found, np.uint64)

    @checks_arguments
    def search_index(
        self, vectors: Array, k: int, distance: str, n_probes: int, where: str | None = None
    ) -> list[Array]:
        """The row numbers of what LanceDB's index finds for each of the vectors (Q, D)."""
        return self._table.search_index(vectors, k, distance, n_probes, self.in_use(where))

    @checks_arguments
    def remember(
        self,
        kind: str,
        about: Mapping[str, Any],
        data: bytes = b"",
        columns: Mapping[str, Array | None] | None = None,
    ) -> None:
        """Keep what was computed from all images that take part in answers, in place of what was kept before.

        Args:
            kind: what it is, such as "clusters".
            about: what is to be known of it.
            data: what it needs to be used again.
            columns: values of the images, in the order of `names`; None empties a column that is there.
        """
        import pyarrow as pa

        self.fits.remember(kind, None)  # so that nothing is said of other columns than those there
        if columns:
            names, known = self.names, self.schema.names
            rows: dict[str, Any] = {"path": pa.array(names)}
            for name, values in columns.items():
                if values is not None:
                    rows[name] = pa.array(values)
                elif name in known:
                    rows[name] = pa.nulls(len(names), self.schema.field(name).type)
            self.add_columns(pa.table(rows), only=True)
        self.fits.remember(kind, about, data)

    def recall(self, kind: str) -> tuple[dict[str, Any], bytes] | None:
        """What `remember` kept, or None."""
        return self.fits.recall(kind)

    # --- rows as a table -----------------------------------------------------------------------------------------

    @checks_arguments
    def count(self, where: str | None = None) -> int:
        """The number of rows for which a condition holds, like "label = 'cat' AND predicted != label"."""
        return self._table.count(where)

    def check_comparable(self, made: Provenance) -> None:
        """`StoreError` where vectors are of another network or layer than these."""
        self.origin.check(Origin(made.model, made.parameters["layer"], self.origin.precision), self.place)

    @checks_arguments
    def check(self, where: str | None) -> None:
        """`ParameterError` for a condition that cannot be read, in the words in which it was given."""
        if where is not None:
            self.count(where)

    @checks_arguments
    def in_use(self, where: str | None = None) -> str:
        """A condition for the rows that take part in answers: they have a vector, and their file is not gone.

        One that names the column ``gone`` decides by itself about rows whose file is gone.
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
        return self._table.scan(columns, where, row_ids=row_ids)

    @checks_arguments
    def to_arrow(self, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """The rows as an Arrow table: all columns, or those named."""
        import pyarrow as pa

        chosen = list(columns or self.schema.names)
        self.check(where)
        found = [batch.select(chosen) for batch in self.batches(chosen, where)]
        return pa.Table.from_batches(found, schema=pa.schema([self.schema.field(name) for name in chosen]))

    @checks_arguments
    def to_pandas(self, columns: Sequence[str] | None = None, where: str | None = None) -> pd.DataFrame:
        """The rows as a pandas data frame, which has to be installed."""
        if importlib.util.find_spec("pandas") is None:
            raise ParameterError("to_pandas needs pandas: pip install pandas; to_arrow works without it")
        return self.to_arrow(columns, where).to_pandas()

    @checks_arguments
    def by_path(self, column: str, where: str | None = None) -> dict[str, Any]:
        """Path -> what a column holds, such as "label", or "stamp": size and time of change of a file as read."""
        found: dict[str, Any] = {}
        for batch in self.batches(["path", column], where):
            found.update(zip(batch["path"].to_pylist(), batch[column].to_pylist(), strict=True))
        return found

    # --- writing ---------------------------------------------------------------------------------------------

    def write(self, rows: pa.Table) -> None:
        """Add rows, in place of those of the same paths; all of them, or none where the process dies.

        Columns that they do not have become null: a cluster or a place on a map was of the picture before.
        """
        self._table.write(rows)

    def writing(self) -> AbstractContextManager[Any]:
        """Keeps other writers out, for one that does not come through `write`."""
        return self._table.writing()

    @property
    def rows_uri(self) -> str:
        """Where the Lance table of the rows is."""
        return f"{self.place.rstrip('/')}/{ROWS}.lance"

    @checks_arguments
    def delete(self, where: str) -> int:
        """Remove the rows for which a condition holds; returns how many there were."""
        return self._table.delete(where)

    @checks_arguments
    def prune(self, *, confirmed: bool = False) -> int:
        """Remove the rows whose file is gone, and return how many there were.

        A file is gone where it does not exist, although other files of the folder that was embedded do. A file
        that may not be looked at is never gone, whatever is confirmed.

        Args:
            confirmed: remove them also where that is more than half of all rows, or where a whole folder is not
                there, as of a disk that is not connected.

        Raises:
            StoreError: that has to be confirmed first; nothing was removed.
        """
        missing = missing_rows(self.by_path("stamp"), remembered_folders(self.fits))
        if not confirmed:
            missing.check_removable(len(self), self.place)
        paths = [*missing.gone, *missing.out_of_reach]
        for part in in_parts(paths):
            self.delete(is_one_of("path", part))
        return len(paths)

    def compact(self) -> None:
        """Put the small files of many writes together and drop old versions; `embed` does so at its end."""
        self._table.compact()

    @checks_arguments
    def add_columns(self, rows: pa.Table, *, only: bool = False) -> None:
        """Set columns by path: coordinates of a map, clusters. New ones appear with all values or not at all.

        Rows that are not named keep what they have; with ``only`` they lose it, as of an earlier clustering.
        """
        self._table.set_columns(self._with_others_empty(rows) if only else rows)

    def _with_others_empty(self, rows: pa.Table) -> pa.Table:
        import pyarrow as pa

        old = [name for name in rows.schema.names if name != "path" and name in self.schema.names]
        if not old:
            return rows
        named = set(rows["path"].to_pylist())
        filled = self.to_arrow(["path"], " OR ".join(f"{name} IS NOT NULL" for name in old))["path"].to_pylist()
        others = pa.table(
            {"path": [path for path in filled if path not in named]}, pa.schema([rows.schema.field("path")])
        )
        return pa.concat_tables([rows, padded(others, rows.schema)])

    @checks_arguments
    def build_index(self, distance: str) -> None:
        """Build LanceDB's index over the vectors; `convscope.index` does so and measures it."""
        self._table.build_index(distance, max(1, round(self.n_vectors**0.5 / 2)))


def _numbers(rows: Array) -> Array:
    given: Array = as_array(rows, "rows", "whole numbers")
    if given.ndim != 1 or given.dtype.kind not in "iu" or (given < 0).any():
        raise unfit(rows, "rows", "whole numbers, as blocks() gives them")
    return given.astype(np.uint64)
