"""`export`: the rows of a store for other programs, with the decisions on them carried out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..arguments import checks_arguments
from ..checks import ExportFormat
from ..errors import ParameterError
from ..outputs import GENERATOR, check_new, new_directory, new_file, replace_file
from ..tables import csv_text
from .decisions import DECIDED_LABEL, DECISION
from .keys import path_of
from .link_names import FreeNames
from .stored_rows import StoredRows

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = ("string", "float", "double", "int32", "int64", "bool")  # types of columns that a CSV file has
_NO_LABEL, _NO_FILE, _UNREAD = "without a label", "without a file", "that could not be read"


@dataclass(frozen=True)
class Exported:
    """What `export` has written.

    Attributes:
        place: the file or folder.
        n_images: images in it.
        n_dropped: images left out as a decision says.
        n_relabeled: images with another label as a decision says.
        left_out: why other images were left out -> how many.
        folders: label -> folder, where a folder cannot be called as its label is.
    """

    place: Path
    n_images: int
    n_dropped: int = 0
    n_relabeled: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)


@checks_arguments
def export(store: StoredRows, output: str | Path, *, format: ExportFormat = "csv") -> Exported:
    """Write the images of a store, or of a part of it, in a format of other programs.

    Decisions are carried out here, and only here: "drop" leaves an image out, "relabel" gives it the decided
    label. Files and the store stay as they are. Images without a vector, and those whose file is gone, are left
    out. The formats:

    - "csv": a file of all columns but vectors and pictures. A text that a spreadsheet would run as a formula has a
      ' before it, as in "'=1+1".
    - "parquet": a file of all columns, with vectors and thumbnails.
    - "imagefolder": a folder for each label with links to its images, as torchvision's ``ImageFolder`` reads it.
    - "coco": ``data/`` with links and ``labels.json`` with COCO's ``images``, ``categories`` and
      ``annotations``, each an image with its category.
    - "fiftyone": ``data/`` with links and ``labels.json`` as FiftyOne's ``FiftyOneImageClassificationDataset``.

    Links are absolute, and lie inside of the output whatever a label or a file is called; characters that Windows
    does not take become "_", and equal names get a number.

    Args:
        store: an `EmbeddingStore`, or a part of it by ``store.where(...)``.
        output: a new file or folder.
        format: "csv", "parquet", "imagefolder", "coco" or "fiftyone".

    Returns:
        `Exported`: how many images were written, dropped, relabeled and left out.

    Raises:
        ParameterError: no image is left to be written.
        OutputError: the output exists, or cannot be written.

    Cost: one pass over the rows; memory for the labels and paths of "coco" and "fiftyone".

    Example:
        >>> import tempfile
        >>> from convscope import EmbeddingStore
        >>> folder = tempfile.mkdtemp()
        >>> store = EmbeddingStore.of_vectors(folder + "/s.lance", [[1.0], [2.0]], names=["a", "b"])
        >>> store.decide(["a"], "drop")
        1
        >>> export(store, folder + "/rows.csv").n_images
        1
    """
    with store.reading():
        kept = _Kept(store)
        if not store.count(kept.condition):
            raise ParameterError(f"{store.place}: no image is left to be written")
        n_unread = len(store.unread())
        left_out, folders = _FORMATS[format](kept, Path(output))
    n_images = kept.n_rows - sum(left_out.values())
    told = dict(left_out) | ({_UNREAD: n_unread} if n_unread else {})
    return Exported(Path(output), n_images, kept.n_dropped, kept.n_relabeled, told, folders)


class _Kept:
    """The rows that are not dropped, with the labels that were decided."""

    def __init__(self, store: StoredRows) -> None:
        self.schema, self._store = store.schema, store
        self._has_decisions = DECISION in self.schema.names
        used = store.in_use()
        dropped = f"{DECISION} = 'drop'"
        self.condition = f"{used} AND ({DECISION} IS NULL OR NOT {dropped})" if self._has_decisions else used
        self.n_dropped = store.count(f"{used} AND {dropped}") if self._has_decisions else 0
        self.n_rows = self.n_relabeled = 0

    def batches(self, columns: list[str]) -> Iterator[pa.Table]:
        """These columns, a thousand rows at a time."""
        import pyarrow as pa
        import pyarrow.compute as pc

        more = [name for name in (DECISION, DECIDED_LABEL) if self._has_decisions and name not in columns]
        for batch in self._store.batches([*columns, *more], self.condition):
            rows = pa.table(batch)
            self.n_rows += len(rows)
            if self._has_decisions:
                is_new = pc.fill_null(pc.equal(rows[DECISION], "relabel"), False)
                self.n_relabeled += pc.sum(is_new).as_py() or 0
                label = pc.if_else(is_new, rows[DECIDED_LABEL], rows["label"])
                rows = rows.set_column(rows.schema.get_field_index("label"), "label", label)
            yield rows.select(columns)

    def rows(self, *columns: str) -> Iterator[dict[str, Any]]:
        """Path, label and other columns of one row after the other."""
        for batch in self.batches(["path", "label", *columns]):
            yield from batch.to_pylist()


_Told: TypeAlias = tuple[Mapping[str, int], Mapping[str, str]]  # rows left out, folders called otherwise


def _csv(kept: _Kept, output: Path) -> _Told:
    check_new(output)
    columns = [each.name for each in kept.schema if each.type in _TEXTS]

    def pieces() -> Iterator[str]:
        yield csv_text([columns])
        for batch in kept.batches(columns):
            yield csv_text(row.values() for row in batch.to_pylist())

    replace_file(output, pieces())
    return {}, {}


def _parquet(kept: _Kept, output: Path) -> _Told:
    import pyarrow as pa
    from pyarrow import parquet

    check_new(output)
    schema = pa.schema([each.with_nullable(True) for each in kept.schema])
    with new_file(output) as partial, parquet.ParquetWriter(partial, schema) as writer:
        for batch in kept.batches(schema.names):
            writer.write_table(batch.cast(schema))
    return {}, {}


class _Links:
    """Makes links to the files of images, and counts the images that are not there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, FreeNames] = {}
        self.left_out: Counter[str] = Counter()

    def link(self, row: Mapping[str, Any], folder: str) -> str | None:
        """The name of a new link to the file of a row in a folder; None if there is no file."""
        file = path_of(row["path"])
        if not os.path.isabs(file) or not os.path.isfile(file):  # a name that is no path
            self.left_out[_NO_FILE] += 1
            return None
        if folder not in self._names:
            (self._root / folder).mkdir()
            self._names[folder] = FreeNames()
        name = self._names[folder].free(os.path.basename(file))
        os.symlink(file, self._root / folder / name)
        return name

    def check_any(self) -> None:
        """`ParameterError` if no link was made."""
        if not self._names:
            why = " or ".join(f"{n} {why}" for why, n in self.left_out.items())
            raise ParameterError(f"no image is left to be linked: {why}")


def _imagefolder(kept: _Kept, output: Path) -> _Told:
    names, folders = FreeNames(), dict[str, str]()
    with new_directory(output) as partial:
        links = _Links(partial)
        for row in kept.rows():
            label = row["label"]
            if label is None:
                links.left_out[_NO_LABEL] += 1
                continue
            if label not in folders:
                folders[label] = names.free_folder(label)
            links.link(row, folders[label])
        links.check_any()
    return links.left_out, {label: folder for label, folder in folders.items() if folder != label}


def _linked(kept: _Kept, root: Path, *columns: str) -> tuple[_Links, list[tuple[str, dict[str, Any]]], list[str]]:
    """Links in ``data/``: of each its name and its row; and the labels in alphabetical order."""
    links = _Links(root)
    rows = [(name, row) for row in kept.rows(*columns) if (name := links.link(row, "data")) is not None]
    links.check_any()
    return links, rows, sorted({row["label"] for _, row in rows if row["label"] is not None})


def _coco(kept: _Kept, output: Path) -> _Told:
    images, annotations = list[dict[str, Any]](), list[dict[str, int]]()
    with new_directory(output) as partial:
        links, rows, labels = _linked(kept, partial, "width", "height")
        category = {label: number for number, label in enumerate(labels, 1)}
        for number, (name, row) in enumerate(rows, 1):
            size = {side: row[side] for side in ("width", "height") if row[side] is not None}
            images.append({"id": number, "file_name": name} | size)
            if row["label"] is not None:
                about = {"id": len(annotations) + 1, "image_id": number, "category_id": category[row["label"]]}
                annotations.append(about)
        categories = [{"id": number, "name": label} for label, number in category.items()]
        parts = {"images": images, "categories": categories, "annotations": annotations}
        _write_json(partial / "labels.json", {"info": {"description": GENERATOR}} | parts)
    return links.left_out, {}


def _fiftyone(kept: _Kept, output: Path) -> _Told:
    """Labels are numbers of classes, by the name of the file without its suffix; null for none."""
    with new_directory(output) as partial:
        links, rows, classes = _linked(kept, partial)
        number = {label: n for n, label in enumerate(classes)}
        labels = {os.path.splitext(name)[0]: number.get(row["label"]) for name, row in rows}
        _write_json(partial / "labels.json", {"classes": classes, "labels": labels})
    return links.left_out, {}


def _write_json(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")


_FORMATS: dict[str, Callable[[_Kept, Path], _Told]] = {
    "csv": _csv,
    "parquet": _parquet,
    "imagefolder": _imagefolder,
    "coco": _coco,
    "fiftyone": _fiftyone,
}
