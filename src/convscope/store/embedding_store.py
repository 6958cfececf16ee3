"""`EmbeddingStore`: the vectors of a collection on disk, one row an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..arguments import checks_arguments
from ..checks import Decision
from .decision_table import decisions_in
from .decisions import check_decision, check_label, decided, paths_named
from .lance_table import LanceTable
from .own_vectors import own_vectors, tables_of
from .presence import missing_rows, remembered_folders
from .schema import Origin, VectorType, check_vector_type, schema_of
from .stored_rows import StoredRows
from .writing import Columns, columns_of

if TYPE_CHECKING:
    import pyarrow as pa


class EmbeddingStore(StoredRows):
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

    @checks_arguments
    def __init__(self, table: LanceTable) -> None:
        super().__init__(table)
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
            labels: N labels or None; None, NaN and blank texts in them are no label.
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

    # --- writing ---------------------------------------------------------------------------------------------

    def write(self, rows: pa.Table) -> None:
        """Add rows, in place of those of the same paths; columns that they lack become null."""
        self.table.write(rows)

    @checks_arguments
    def set_labels(self, labels: Mapping[str, str | None]) -> int:
        """Give rows another label, or none, by their paths, and return their number; files stay where they are.

        The end of a path that no other row has, such as "cup/01.jpg", is enough.

        A later run of `embed` keeps these labels; only a table, which states labels, changes them.

        Raises:
            ParameterError: what is no label, or a path that has no row or several; nothing was changed then.
        """
        import pyarrow as pa

        for label in labels.values():
            check_label(label)
        found = {path: labels[name] for name, path in paths_named(self.table, list(labels)).items()}
        if found:
            self.add_columns(pa.table({"path": list(found), "label": pa.array(list(found.values()), pa.string())}))
        return len(found)

    @checks_arguments
    def decide(self, names: Sequence[str], decision: Decision | None, *, label: str | None = None) -> int:
        """Record what is to become of some images, with the time, and return their number.

        The columns ``decision``, ``decided_label`` and ``decided_at`` (UTC) hold it. Only `convscope.export` acts
        on it: files and labels stay as they are. A file with new content loses the decision on the old one.

        Args:
            names: paths of rows, or the end of a path that no other row has, such as "cup/01.jpg".
            decision: "keep", "relabel" or "drop"; None takes a decision back.
            label: for "relabel", and only there.

        Raises:
            ParameterError: a label missing or not wanted, or a path that has no row or several; nothing was
                changed then.
        """
        check_decision(decision, label)
        paths = list(dict.fromkeys(paths_named(self.table, names).values()))
        if paths:
            self.add_columns(decided(dict.fromkeys(paths, (decision, label))))
        return len(paths)

    @checks_arguments
    def decide_table(
        self, table: str | Path, decision: Decision | None = None, *, label: str | None = None
    ) -> dict[str, int]:
        """Record the decisions that a CSV file states, such as one of suspects that was edited in a spreadsheet.

        All are recorded in one write, or none. Columns: ``path`` or ``name``, as for `decide`; ``decision``, which
        is "keep", "relabel", "drop", or empty for none; and ``label``, for "relabel", the new label.

        Args:
            table: the file. One of pairs, with the columns ``path``, ``other`` and ``keep`` as
                ``duplicates --csv`` writes it, takes ``decision="drop"``, which drops all of its images but those
                to keep; of pairs of two stores those of the second, if this is the second.
            decision: the same decision on every row; then ``decision`` has to be empty, or no column.
            label: for the decision "relabel", and only there.

        Returns:
            How many images each decision was made on: {"drop": 12}.

        Raises:
            ParameterError: a row that fits no image or several, an unknown decision, a relabeling without a new
                label, two decisions on one image, nothing to keep of a pair, or no decision; with the line and the
                value. Nothing was changed then.
            ImageError: the file cannot be read as CSV in UTF-8 or UTF-16.
        """
        check_decision(decision, label)
        decisions = decisions_in(self.table, Path(table), decision, label)
        self.add_columns(decided(decisions))
        return dict(Counter(str(what) for what, _ in decisions.values()))

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
