"""`EmbeddingStore`: the vectors of a collection on disk, one row an image, to be asked and added to for years."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..checks import Engine, Method, Metric, as_array, shown, unfit
from ..errors import ParameterError, StoreError
from ..models import Model, as_model
from ..progress import Progress
from ..results import Array, Duplicates, Neighbors, Projection
from .fits import Fits
from .lance import (
    KEPT_FOR,
    ROWS,
    as_place,
    check_not_forked,
    connected,
    explained,
    has_table,
    in_parts,
    is_local,
    is_one_of,
    lock,
    make_folder,
    tables,
)
from .neighbors import Space
from .table import GONE, Origin, VectorType, origin_of, padded, schema_of, vector_type
from .writing import is_finished, set_columns, write_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from .account import Changes

_SCANNED_ROWS, _BATCH_ROWS = 16_384, 1024
_LIGHT = ("string", "float", "int32", "bool")  # types of columns that are scanned as they are


def without_texts(where: str) -> str:
    """A condition without the texts that it compares with."""
    return re.sub(r"'(?:[^']|'')*'", "''", where)


def names_gone(where: str | None) -> bool:
    """Whether a condition names the column that says whose file is gone."""
    return re.search(rf"\b{GONE}\b", without_texts(where or ""), re.IGNORECASE) is not None


class EmbeddingStore:
    """Vectors, labels, predictions and thumbnails of images: a LanceDB folder, or an object store's address.

    A store is made by ``convscope.embed(model, images, store=place)`` and opened again with `open`. Every row is
    one image, whose ``path`` is its key; ``id`` is a hash of its content, so that copies of a file share it. Every
    write is whole or not there at all, and may come from several processes. Of a store that `embed` has returned,
    ``changes`` says what was new, changed, moved, relabeled and gone.

    Example:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> from convscope import embed
        >>> place = tempfile.mkdtemp() + "/pictures.lance"
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 2))
        >>> len(embed(net, torch.rand(5, 3, 8, 8), store=place))
        5
        >>> EmbeddingStore.open(place).neighbors("image 0", k=2).indices.shape
        (1, 2)
    """

    @checks_arguments
    def __init__(self, database: Any, table: Any, place: str, model: Model | None = None) -> None:
        self.place = place
        self.model = model  # embeds new images to be searched for
        self.changes: Changes | None = None
        self._database, self._table = database, table
        self._origin = origin_of(table.schema, place)
        self._n_reading = 0  # of `reading`, one inside another
        self._kept: tuple[int, Any] | None = None  # of one version of the table
        self.fits = Fits(database, place)

    @classmethod
    @checks_arguments
    def create(cls, place: str | Path, origin: Origin, n_dims: int, *, vectors: VectorType = "float32") -> Self:
        """A new store, or the one of the same origin that is there already."""
        place = as_place(place)
        if is_local(place):
            make_folder(Path(place))
        with lock(place), explained(what=place):
            database = connected(place)
            if ROWS in tables(database, place):
                store = cls(database, database.open_table(ROWS), place)
            else:
                table = database.create_table(ROWS, schema=schema_of(origin, n_dims, vectors))
                table.set_unenforced_primary_key("path")  # so that two writers of one path get into conflict
                store = cls(database, table, place)
        store.origin.check(origin, place)
        held = vector_type(store.schema)
        if (store.n_dims, held) != (n_dims, vectors):
            raise StoreError(
                f"{place} holds vectors of {store.n_dims} values in {held}, not of {n_dims} in {vectors}"
            )
        return store

    @classmethod
    @checks_arguments
    def open(cls, place: str | Path, *, model: Model | nn.Module | None = None) -> Self:
        """The store at a place.

        Args:
            place: the folder, or an address like "s3://bucket/photos.lance".
            model: the network that made it, so that images can be searched for that are not in it.

        Raises:
            StoreError: there is none, or another network made it.
        """
        place = as_place(place)
        if is_local(place) and not has_table(Path(place)):
            raise StoreError(f"{place}: no store there; `convscope embed photos/ --store {place}` makes one")
        with explained(what=place):
            database = connected(place)
            if ROWS not in tables(database, place):
                raise StoreError(f"{place}: no store there; `convscope embed photos/ --store {place}` makes one")
            store = cls(database, database.open_table(ROWS), place, None if model is None else as_model(model))
        if store.model is not None:
            store.check_model(store.model)
        return store

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
        """A store of vectors that you bring along, from whatever encoder; added to what is there.

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
        from .own_vectors import check_vectors, read_vectors, tables_of

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

    def check_model(self, model: Model | None, *, embeds: bool = False) -> None:
        """`StoreError` where another network than this one made the store.

        For whoever brings a network to a store. With ``embeds`` also where no network did, as its vectors were
        brought along: none can embed anything to be compared with them.
        """
        if not self.origin.layer:
            if embeds:
                raise StoreError(
                    f"{self.place} holds vectors that were brought along: ask for its names, or with vectors"
                )
        elif model is not None:
            given = as_model(model).provenance("check", {}, 0.0).model
            self.origin.check(Origin(given, self.origin.layer, self.origin.precision), self.place)

    def __repr__(self) -> str:
        return (
            f"EmbeddingStore({self.place}: {len(self)} images, {self.n_dims} values of {self.origin.describe()})"
        )

    def __len__(self) -> int:
        self._latest()
        return int(self._table.count_rows())

    @property
    def origin(self) -> Origin:
        """The network, the layer and the preprocessing that made the vectors."""
        return self._origin

    @cached_property
    def n_dims(self) -> int:
        return int(self._table.schema.field("vector").type.list_size)

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        self._latest()
        found = self._table.schema
        return pa.schema([field for field in found if is_finished(field.name)], found.metadata)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One version of the rows for all that is read inside, whoever writes meanwhile."""
        self._latest()
        self._n_reading += 1
        try:
            yield
        finally:
            self._n_reading -= 1

    def _latest(self) -> None:
        check_not_forked(self.place)
        if not self._n_reading:
            with explained(what=self.place):
                self._table.checkout_latest()

    def _writer(self) -> Any:
        """The rows as they are now, by a handle of its own, so that a reader's version stays."""
        return self._database.open_table(ROWS)

    # --- reading ---------------------------------------------------------------------------------------------

    @checks_arguments
    def count(self, where: str | None = None) -> int:
        """The number of rows for which a condition holds; see `neighbors` for how it is written."""
        self._latest()
        with explained(where):
            return int(self._table.count_rows(where))

    @checks_arguments
    def check(self, where: str | None) -> None:
        """`ParameterError` for a condition that cannot be read, in the words in which it was given."""
        if where is not None:
            if not isinstance(where, str) or not where.strip():
                raise ParameterError(f"where={where!r}: expected a condition like \"label = 'cat'\", or None")
            if re.search(r"--|/\*|;", without_texts(where)):
                raise ParameterError(f"where={shown(where)}: one condition, without comments and without ';'")
            self.count(where)

    @checks_arguments
    def in_use(self, where: str | None = None) -> str:
        """A condition for the rows that take part in answers: they have a vector, and their file is not gone.

        One that names the column ``gone`` decides by itself about rows whose file is gone.
        """
        parts = ["error IS NULL"]  # asked so, as looking for a missing vector reads all of them
        if GONE in self.schema.names and not names_gone(where):
            parts.append(f"{GONE} IS NOT TRUE")
        return " AND ".join([*parts, f"({where})"] if where else parts)

    def unread(self) -> dict[str, str]:
        """Path -> why there is no vector, of files that are not gone."""
        still_there = f" AND {GONE} IS NOT TRUE" if GONE in self.schema.names else ""
        return self.by_path("error", f"error IS NOT NULL{still_there}")

    @checks_arguments
    def batches(
        self, columns: Sequence[str], where: str | None = None, *, row_ids: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows for which a condition holds, a thousand at a time; ``row_ids`` adds the column _rowid.

        Vectors and thumbnails are taken by row, as a scan reads half of the table ahead of who is slower.
        """
        self._latest()
        self._check_columns(columns)
        wanted = [*columns, "_rowid"] if row_ids else list(columns)
        is_heavy = any(self.schema.field(name).type not in _LIGHT for name in columns)
        with explained(what=self.place):
            query = self._table.search().select(["path"] if is_heavy else list(columns)).with_row_id(True)
            for batch in (query.where(where) if where else query).to_batches(_SCANNED_ROWS):
                if not is_heavy:
                    yield batch.select(wanted)
                    continue
                for first in range(0, len(batch), _BATCH_ROWS):
                    ids = batch["_rowid"][first : first + _BATCH_ROWS].to_pylist()
                    taken = self._table.take_row_ids(ids).select(list(columns)).with_row_id().to_arrow()
                    yield from taken.select(wanted).combine_chunks().to_batches()

    @checks_arguments
    def to_arrow(self, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """The rows as an Arrow table: all columns, or those named."""
        import pyarrow as pa

        chosen = list(columns or self.schema.names)
        self._check_columns(chosen)
        self.check(where)
        schema = pa.schema([self.schema.field(name) for name in chosen])
        return pa.Table.from_batches([b.select(chosen) for b in self.batches(chosen, where)], schema=schema)

    def _check_columns(self, names: Sequence[str]) -> None:
        if unknown := [name for name in names if name not in self.schema.names]:
            raise ParameterError(f"no column {shown(unknown[0])}; there are {', '.join(self.schema.names)}")

    @checks_arguments
    def to_pandas(self, columns: Sequence[str] | None = None, where: str | None = None) -> pd.DataFrame:
        """The rows as a pandas data frame, which has to be installed."""
        if importlib.util.find_spec("pandas") is None:
            raise ParameterError("to_pandas needs pandas: pip install pandas; to_arrow works without it")
        return self.to_arrow(columns, where).to_pandas()

    @checks_arguments
    def take(self, row_ids: Array, columns: Sequence[str]) -> pa.Table:
        """Rows by their _rowid, in the order asked for."""
        import pyarrow as pa
        import pyarrow.compute as pc

        given = as_array(row_ids, "row_ids", "whole numbers")
        if given.ndim != 1 or given.dtype.kind not in "iu" or (given < 0).any():
            raise unfit(row_ids, "row_ids", "whole numbers, as batches(row_ids=True) gives them")
        wanted = pa.array(given.astype(np.uint64))
        unique = pc.unique(wanted)
        with explained(what=self.place):
            found = self._table.take_row_ids(unique.to_pylist()).select([*columns]).with_row_id().to_arrow()
        return found.take(pc.index_in(wanted, found["_rowid"].combine_chunks())).select(list(columns))

    @checks_arguments
    def by_path(self, column: str, where: str | None = None) -> dict[str, Any]:
        """Path -> what a column holds, such as "label", or "stamp": size and time of change of a file as read."""
        found: dict[str, Any] = {}
        for batch in self.batches(["path", column], where):
            found.update(zip(batch["path"].to_pylist(), batch[column].to_pylist(), strict=True))
        return found

    def has_kept(self) -> bool:
        """Whether `kept` has what was made of the rows as they are now."""
        self._latest()
        return self._kept is not None and self._kept[0] == self._table.version

    @checks_arguments
    def kept(self, make: Callable[[], Any]) -> Any:
        """What was made of the rows before, as long as they are the same."""
        self._latest()
        if self._kept is None or self._kept[0] != self._table.version:
            self._kept = None
            self._kept = (self._table.version, make())
        return self._kept[1]

    # --- asking ----------------------------------------------------------------------------------------------

    @checks_arguments
    def neighbors(
        self,
        query: Any,
        *,
        k: int = 5,
        metric: Metric = "cosine",
        space: Space = "feature",
        where: str | None = None,
        exact: bool = True,
        progress: Progress | None = None,
    ) -> Neighbors:
        """The k images of the store nearest to each query.

        Args:
            query: a path or id of the store, or a list of them: each row is left out of its own neighbors. Or a
                float array (D,) or (Q, D) of vectors; or images, which are embedded first and need a `model`.
            k: neighbors of each query; fewer where there are not so many images.
            metric: "cosine" similarity, blind to a vector's length, "euclidean" distance, or "dot" product.
            space: "feature" compares the vectors, "pixel" the thumbnails' values in [0, 1].
            where: a condition on the rows, as SQL writes it: "label = 'cat' AND predicted != label".
            exact: look at every row; False asks the index that `index` made.
            progress: called with (rows looked at, all).

        Returns:
            `Neighbors`, with ``indices`` into its own ``names``, which are the paths of the rows that were found,
            the nearest first, and the ``thumbnails`` of the first 5,000 of them.

        Raises:
            ParameterError: an option out of range, a condition that cannot be read, no row left to find.
            StoreError: an image that is not in the store where no model is at hand, or no index.

        Cost: Q * N * D multiplications, or a share of that by the index. The vectors stay in memory where they
        take less than a quarter of what is free, and are read again for each question otherwise.
        """
        from .asking import neighbors_of

        return neighbors_of(
            self, query, k=k, metric=metric, space=space, where=where, exact=exact, progress=progress
        )

    @checks_arguments
    def duplicates(
        self,
        threshold: float | None = None,
        *,
        metric: Metric = "cosine",
        limit: int = 1000,
        progress: Progress | None = None,
    ) -> Duplicates:
        """Pairs of images that are nearly the same, nearest first; see `convscope.duplicates`."""
        from .duplicates import duplicates

        return duplicates(self, threshold, metric=metric, limit=limit, progress=progress)

    @checks_arguments
    def project(
        self,
        *,
        method: Method = "pca",
        n_components: int = 2,
        seed: int = 0,
        engine: Engine = "local",
        address: str | None = None,
    ) -> Projection:
        """A map in few dimensions, and how far it can be trusted; see `convscope.project`."""
        from .projection import project

        return project(self, method=method, n_components=n_components, seed=seed, engine=engine, address=address)

    @checks_arguments
    def index(
        self, *, metric: Metric = "cosine", recall: float = 0.95, k: int = 10, seed: int = 0
    ) -> dict[str, Any]:
        """An index for ``neighbors(..., exact=False)``: faster, and nearly the same.

        It looks into as few parts of the store as give the wanted recall, measured on rows of the store.

        Args:
            metric: which the index is for.
            recall: the share of the true k nearest that it should find.
            k: for which that is measured.
            seed: of the rows that it is measured on.

        Returns:
            What was measured: "recall", "ms" and "exact_ms" a query, "n_probes", "build_s".

        Cost: some minutes for a million rows; it is to be made again when many have been added.
        """
        from .index import make_index

        return make_index(self, metric=metric, recall=recall, k=k, seed=seed)

    @checks_arguments
    def search_index(
        self,
        vectors: Array,
        k: int,
        distance: str,
        n_probes: int,
        where: str | None,
    ) -> list[Array]:
        """The _rowid of what the index finds for each of the vectors (Q, D)."""
        self._latest()
        with explained(what=self.place):
            query = self._table.search(list(vectors), vector_column_name="vector").distance_type(distance)
            query = query.nprobes(n_probes).limit(k).select(["_distance"]).with_row_id(True)
            found = query.where(self.in_use(where), prefilter=True).to_arrow()
        row_ids = found["_rowid"].to_numpy()
        asked = found["query_index"].to_numpy() if len(vectors) > 1 else np.zeros(len(row_ids))
        return [row_ids[asked == i] for i in range(len(vectors))]

    @property
    def rows_uri(self) -> str:
        """Where the Lance table of the rows is."""
        return f"{self.place.rstrip('/')}/{ROWS}.lance"

    # --- writing ---------------------------------------------------------------------------------------------

    def write(self, rows: pa.Table) -> None:
        """Add rows, in place of those of the same paths; all of them, or none where the process dies.

        Columns that they do not have become null: a cluster or a place on a map was of the picture before.
        """
        with lock(self.place), explained(what=self.place):
            write_rows(self._writer(), rows, one_writer=is_local(self.place))

    def writing(self) -> AbstractContextManager[Any]:
        """Keeps other writers out, for one that does not come through `write`."""
        return lock(self.place)

    @checks_arguments
    def delete(self, where: str) -> int:
        """Remove the rows for which a condition holds; returns how many there were."""
        with lock(self.place), explained(where):
            table = self._writer()
            n = int(table.count_rows(where))
            if n:
                table.delete(where)
        return n

    @checks_arguments
    def prune(self, *, confirmed: bool = False) -> int:
        """Remove the rows whose file is gone, and return how many there were.

        A file is gone where it does not exist, although other files of the folder that was embedded do. A file
        that may not be looked at is none, whatever is confirmed.

        Args:
            confirmed: remove them also where that is more than half of all rows, or where a whole folder is not
                there, as of a disk that is not connected.

        Raises:
            StoreError: that has to be confirmed first; nothing was removed.
        """
        from .presence import missing_rows, remembered_folders

        missing = missing_rows(self.by_path("stamp"), remembered_folders(self))
        if not confirmed:
            missing.check_removable(len(self), self.place)
        paths = [*missing.gone, *missing.out_of_reach]
        for part in in_parts(paths):
            self.delete(is_one_of("path", part))
        return len(paths)

    def compact(self) -> None:
        """Put the small files of many writes together and drop old versions; `embed` does so at its end."""
        with lock(self.place), explained(what=self.place):
            self._writer().optimize(cleanup_older_than=KEPT_FOR)

    @checks_arguments
    def add_columns(self, rows: pa.Table, *, only: bool = False) -> None:
        """Set columns by path: coordinates of a map, clusters. New ones appear with all values or not at all.

        Rows that are not named keep what they have; with ``only`` they lose it, as of an earlier clustering.
        """
        if only:
            rows = self._with_others_empty(rows)
        with lock(self.place), explained(what=self.place):
            set_columns(self._writer(), rows)

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
        """LanceDB's own index over the vectors; `index` measures it."""
        from lancedb.index import IvfSq

        n_parts = max(1, round(self.count(self.in_use()) ** 0.5 / 2))
        with lock(self.place), explained(what=self.place):
            config = IvfSq(distance_type=distance, num_partitions=n_parts)
            self._writer().create_index("vector", config=config, replace=True)
