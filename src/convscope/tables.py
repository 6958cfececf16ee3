"""Tables that list images: CSV or Parquet, with a column ``path`` and, if there are labels, ``label``."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import texts
from .errors import ImageError, UnavailableError

KINDS = (".csv", ".tsv", ".parquet")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_GUESSED = "Latin-1"  # of bytes that are no Unicode: it fits any
_TRIED = 10  # paths that show which folder they are relative to
_NAMED = 5  # paths named in a note
# Names that people give these columns, to suggest the right ones.
_LIKE_PATH = (
    *("path", "paths", "file", "files", "filename", "file_name", "filepath", "file_path"),
    *("image", "images", "image_path", "img", "name"),
)
_LIKE_LABEL = ("label", "labels", "class", "class_name", "category", "target")
Row = tuple[Any, Any]


@dataclass
class Listing:
    """The contents of a table: paths, resolved from its folder, with their labels.

    ``says_label``: it has a column for labels. ``notes``: remarks on the contents.
    """

    rows: list[tuple[Path, str | None]] = field(default_factory=list)
    says_label: bool = False
    notes: list[str] = field(default_factory=list)


def read_table(table: Path) -> Listing:
    """Read a table.

    Raises:
        ImageError: the table cannot be read, or has no column ``path``.
    """
    listing = Listing()
    rows = _from_parquet(table, listing) if table.suffix.lower() == ".parquet" else _from_csv(table, listing)
    first_labels: dict[str, str | None] = {}
    others: list[str] = []
    tried: list[tuple[Path, Path]] = []  # the first paths, resolved and as written
    for number, (path, label) in rows:
        place = _place(table, number, path)
        if len(tried) < _TRIED:
            tried.append((place, Path(os.fsdecode(path))))
        label = _plain(label)
        first = first_labels.setdefault(os.path.normpath(place), label)
        if first == label:
            listing.rows.append((place, label))
        else:
            others.append(f"{path} ({first or 'none'}, not {label or 'none'})")
    if not listing.rows:
        raise ImageError(f"{table}: lists no images")
    if others:
        listing.notes.append(
            f"{table}: {len(others)} rows repeat a path with another label; the first label counts: "
            f"{texts.listed(others, _NAMED)}"
        )
    _check_places(table, tried)
    return listing


def read_cells(table: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file, each with the number of its line and its cells by column, as `csv_text` writes them.

    Raises:
        ImageError: the table cannot be read, is in no Unicode, or a column occurs twice.
    """
    text, guessed = _text(table)
    if guessed == _GUESSED:  # a label in the code page of Windows, or of another country, would be another text
        raise ImageError(f"{table}: neither UTF-8 nor UTF-16, so its letters are unknown; save it as CSV UTF-8")
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
        names = [name.strip() for name in next(rows, [])]
        if twice := [name for name, n in Counter(names).items() if n > 1 and name]:
            raise ImageError(f"{table}: the column {twice[0]!r} occurs twice")
        found = []
        for cells in rows:
            if any(cells[len(names) :]):
                raise ImageError(f"{table}: line {rows.line_num} has {len(cells)} cells for {len(names)} columns")
            if any(cell.strip() for cell in cells):
                cells += [""] * (len(names) - len(cells))
                found.append((rows.line_num, dict(zip(names, map(texts.from_cell, cells), strict=False))))
    except csv.Error as error:
        raise ImageError(f"{table}: cannot be read as CSV ({error})") from error
    return found


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as the text of a CSV file, in which no text is a formula; see `texts.as_cell`."""
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [texts.as_cell(value) if isinstance(value, str) else value for value in row]
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if has_return else plain).writerow(cells)  # the module csv leaves \r without quotes
    return text.getvalue()


def _place(table: Path, number: int, path: Any) -> Path:
    """The place of a file, resolved from the folder of the table."""
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str | None):
        raise ImageError(f"{table}: the column 'path' holds {type(path).__name__}, not text")
    if not path or not path.strip():
        raise ImageError(f"{table}: row {number} has no path")
    if "\0" in path:
        raise ImageError(f"{table}: row {number} has a NUL byte in its path")
    place = table.parent / path
    if not os.path.exists(place):
        place = table.parent / (path := texts.from_cell(path))
    if path != path.strip() and not os.path.exists(place):  # blanks next to a separator
        place = table.parent / path.strip()
    if "\n" in path and not os.path.exists(place):
        raise ImageError(f"{table}: row {number} has a line break in its path; is a quote not closed?")
    return place


def _plain(label: Any) -> str | None:
    """A label as stripped text; 3.0, an integer in a column that an empty cell turned into floats, becomes "3"."""
    if label is None or label != label:
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return texts.from_cell(str(label).strip()) or None


def _check_places(table: Path, first: Sequence[tuple[Path, Path]]) -> None:
    """Raise `ImageError` if no path exists from the table's folder, but some do from the current one."""
    if any(os.path.exists(place) for place, _ in first):
        return
    for place, given in first:
        if os.path.exists(given):
            raise ImageError(
                f"{table}: paths are relative to the table's folder, where there is no {place}; from the current "
                f"folder there is {given}. Move the table there, or make its paths relative to its own folder"
            )


def _from_csv(table: Path, listing: Listing) -> Iterator[tuple[int, Row]]:
    text, encoding = _text(table)
    if encoding is not None:
        listing.notes.append(f"{table}: not UTF-8, read as {encoding}")
    separator = _separator(text)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        names = [name.strip() for name in next(rows, [])]
        path, label = _columns(table, names, listing)
        for number, row in enumerate(rows, start=1):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if any(cells[len(names) :]):
                raise ImageError(
                    f"{table}: row {number} has {len(row)} cells for {len(names)} columns; a name with "
                    f"{separator!r} in it needs quotes"
                )
            row += [""] * (len(names) - len(row))
            place = row[path] if encoding is None else _on_disk(table.parent, row[path])
            yield number, (place, row[label] if label is not None else None)
    except csv.Error as error:
        raise ImageError(f"{table}: cannot be read as CSV ({error})") from error


def _text(table: Path) -> tuple[str, str | None]:
    """The text of a file, and its encoding if that is not UTF-8."""
    try:
        data = table.read_bytes()
    except OSError as error:
        raise UnavailableError(f"{table}: cannot be reached ({error.strerror})") from error
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16"), "UTF-16"
        if b"\0" in data:
            raise ImageError(f"{table}: cannot be read as CSV (it holds NUL bytes)")
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        if error.encoding == "utf-16":
            raise ImageError(f"{table}: cannot be read as CSV (neither UTF-8 nor UTF-16)") from error
    return data.decode("latin-1"), _GUESSED


def _on_disk(folder: Path, path: str) -> str:
    """The path by the bytes of a Latin-1 table, if that file exists; otherwise by its letters."""
    try:
        same_bytes = os.fsdecode(path.encode("latin-1"))
    except UnicodeEncodeError:  # the table is UTF-16
        return path
    return same_bytes if os.path.exists(folder / same_bytes) else path


def _separator(text: str) -> str:
    """The separator of the columns: the one by which the first line has a column ``path``, or a ``name``."""
    header = text.partition("\n")[0]
    for sign in _SEPARATORS:
        if {"path", "name"} & set(_cells(header, sign)):
            return sign
    return max(_SEPARATORS, key=lambda sign: header.count(sign))


def _cells(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]
    except csv.Error:
        return []


def _from_parquet(table: Path, listing: Listing) -> Iterator[tuple[int, Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(table) as file:
            names = file.schema_arrow.names
            path, label = _columns(table, names, listing)
            chosen = [names[i] for i in (path, label) if i is not None]
            number = 0
            for batch in file.iter_batches(columns=chosen):
                for row in batch.to_pylist():
                    number += 1
                    yield number, (row[names[path]], None if label is None else row[names[label]])
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UnavailableError(f"{table}: cannot be reached ({error.strerror or error})") from error
        raise ImageError(f"{table}: cannot be read as Parquet ({error})") from error


def _columns(table: Path, names: Sequence[str], listing: Listing) -> tuple[int, int | None]:
    """Indices of the columns ``path`` and ``label``."""
    twice = [name for name, n in Counter(names).items() if n > 1 and name in ("path", "label")]
    if twice:
        raise ImageError(f"{table}: a column occurs twice among {', '.join(names)}")
    if "path" not in names:
        alike = next((name for name in names if name.lower() in _LIKE_PATH), None)
        tried = (
            "" if table.suffix.lower() == ".parquet" else f", with {_or(list(_SEPARATORS.values()))} between them"
        )
        raise ImageError(
            f"{table}: no column 'path' among {', '.join(names) or 'none'}{tried}; "
            f"{f'rename the column {alike!r} to path' if alike else 'the first line has to name the columns'}, "
            "and a column of labels to label"
        )
    if "label" not in names:
        alike = next((name for name in names if name.lower() in _LIKE_LABEL), None)
        if alike is not None:
            listing.notes.append(f"{table}: no column 'label'; rename the column {alike!r} to label to use it")
        return names.index("path"), None
    listing.says_label = True
    return names.index("path"), names.index("label")


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
