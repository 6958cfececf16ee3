"""Listings of images: patterns, tables and data sets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from torch.utils.data import Dataset

from convscope import ImageError, load_images
from convscope.errors import UnavailableError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (4, 3), "red").save(tmp_path / label / "1.png")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    return tmp_path


def test_a_pattern_finds_files_labeled_by_their_folder(folder: Path) -> None:
    found = load_images(str(folder / "**" / "*.png"))
    assert found.labels == ("cat", "dog")
    assert found.skip_errors
    assert load_images(folder / "*" / "[12].png").names == found.names
    with pytest.raises(ImageError, match="no image matches this pattern"):
        load_images(folder / "*.jpg")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_lists_paths_and_labels(folder: Path, kind: str) -> None:
    place = folder / f"list.{kind}"
    rows = {"path": ["cat/1.png", str(folder / "dog" / "1.png"), "gone.png"], "label": ["tom", "rex", None]}
    if kind == "csv":
        lines = [f"{a},{b or ''}" for a, b in zip(*rows.values(), strict=True)]
        place.write_text("path,label\n" + "\n".join(lines), encoding="utf-8-sig")
    else:
        parquet.write_table(pa.table(rows), place)
    found = load_images(place)
    assert found.labels == ("tom", "rex", None)
    assert found[1].shape == (3, 4, 3)
    assert found.skip_errors


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"file,label\nx.png,cat\n", "no column 'path' among file, label"),
        ("a.csv", b"", "no column 'path' among none"),
        ("a.csv", b"path\n\xff\xfe\x00", "cannot be read as CSV"),
        ("a.csv", b"path,label\n,cat\n", "row 1 has no path"),
        ("a.parquet", b"no parquet", "cannot be read as Parquet"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        load_images(tmp_path / name)


class Pairs(Dataset[tuple[torch.Tensor, int]]):
    classes = ("cat", "dog")
    targets = (1, 0, 1)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.full((3, 4, 5), i / 4), self.targets[i]


class Odd(Pairs):
    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        raise RuntimeError("the disk is gone")


def test_a_data_set_of_torch() -> None:
    found = load_images(Pairs())
    assert found.labels == ("dog", "cat", "dog")
    np.testing.assert_array_equal(found[2], np.full((4, 5, 3), 0.5, np.float32))
    with pytest.raises(ImageError, match="item 0: cannot be read \\(the disk is gone\\)"):
        load_images(Odd())[0]


# --- tables as people write them ---------------------------------------------------------------------------------


def table(folder: Path, text: str | bytes, name: str = "list.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_any_usual_separator_is_found(folder: Path, sign: str) -> None:
    rows = [("label", "path", "note"), (" cat ", "cat/1.png", "a, b; c"), ("", "dog/1.png ", "")]
    text = "\r\n".join(sign.join(f'"{c}"' if c == "a, b; c" else c for c in row) for row in rows)
    found = load_images(table(folder, text, "list.tsv" if sign == "\t" else "list.csv"))
    assert found.labels == ("cat", None)
    assert [p.shape for p in found] == [(3, 4, 3)] * 2
    assert [source.says_label for source in found.sources] == [True, True]


def test_without_a_column_for_labels_none_is_said(folder: Path) -> None:
    found = load_images(table(folder, "path,class\ncat/1.png,cat\n\n,\n"))
    assert found.labels == (None,)
    assert not found.sources[0].says_label
    assert "rename the column 'class' to label" in found.notes[0]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("Path", "rename the column 'Path' to path"),
        ("filename;label", "rename the column 'filename' to path"),
        ("x.png,cat", "the first line has to name the columns"),
        ("a", "with commas, semicolons, tabs or bars between them"),
    ],
)
def test_a_table_without_paths_says_what_was_tried_and_what_to_write(folder: Path, header: str, says: str) -> None:
    with pytest.raises(ImageError, match=f"no column 'path' among .*{says}"):
        load_images(table(folder, header + "\ncat/1.png\n"))


def test_paths_from_the_current_folder_are_told_from_those_of_the_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "lists").mkdir()
    place = table(folder / "lists", "path\ngone.png\ncat/1.png\n")
    assert len(load_images(place)) == 2, "they may all be gone"
    monkeypatch.chdir(folder)
    for given in (place, Path("lists/list.csv")):
        with pytest.raises(
            ImageError, match=r"there is no .*lists/cat/1\.png; from the current folder there is cat/1"
        ):
            load_images(given)
    assert len(load_images(table(folder, "path\ngone.png\ncat/1.png\n"))) == 2


def test_a_table_that_is_not_utf_8_finds_names_by_bytes_or_letters(folder: Path) -> None:
    for name in (b"caf\xe9.png", "th\xe9.png".encode()):
        Image.new("RGB", (4, 3)).save(Path(os.fsdecode(os.path.join(os.fsencode(folder), name))), "PNG")
    place = table(folder, "path,label\ncafé.png,é\nthé.png,ü\n".encode("latin-1"))
    found = load_images(place)
    assert found.labels == ("é", "ü")
    assert [p.shape for p in found] == [(3, 4, 3)] * 2
    assert found.notes == (f"{place}: not UTF-8, read as Latin-1",)
    found = load_images(table(folder, "path\tlabel\nthé.png\tü\n".encode("utf-16"), "list.tsv"))
    assert found.labels == ("ü",)
    assert found[0].shape == (3, 4, 3)


def test_of_several_labels_of_a_path_the_first_counts_and_it_is_told(folder: Path) -> None:
    text = "path,label\ncat/1.png,cat\n./cat/1.png,dog\ncat/1.png,cat\ncat/../cat/1.png,\ndog/1.png,dog\n"
    found = load_images(table(folder, text))
    assert found.labels == ("cat", "cat", "dog")
    assert "2 rows repeat a path with another label" in found.notes[0]
    assert "./cat/1.png (cat, not dog), cat/../cat/1.png (cat, not none)" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\na\0b.png,cat\n", "NUL bytes"),
        ('path,label\n"cat/1.png,cat\ndog/1.png,dog\n', "cannot be read as CSV"),
        ('path,label\n"cat/1.png,cat\ndog/1.png",dog\n', "row 1 has a line break in its path"),
        ("path,label\n" + "x" * 200_000 + ",cat\n", "field larger than"),
        ("path,label\na,b.png,cat\n", "row 1 has 3 cells for 2 columns"),
        ("path,path\na.png,b.png\n", "occurs twice"),
        ("path\n", "lists no images"),
    ],
)
def test_damaged_tables_are_errors_that_name_them(folder: Path, text: str, says: str) -> None:
    with pytest.raises(ImageError, match=says) as raised:
        load_images(table(folder, text))
    assert "list.csv" in str(raised.value)


def test_cells_beyond_the_columns_may_be_empty_and_missing_ones_are_none(folder: Path) -> None:
    assert load_images(table(folder, "path,label\ncat/1.png,cat,,\ndog/1.png\n")).labels == ("cat", None)


def test_parquet_has_labels_of_any_kind_and_paths_of_bytes(folder: Path) -> None:
    for labels, expected in (
        ([1.0, None], ("1", None)),
        ([True, False], ("True", "False")),
        ([" a ", ""], ("a", None)),
    ):
        parquet.write_table(
            pa.table({"path": [b"cat/1.png", b"dog/1.png"], "label": labels}), folder / "l.parquet"
        )
        assert load_images(folder / "l.parquet").labels == expected
    parquet.write_table(pa.table({"path": [1]}), folder / "l.parquet")
    with pytest.raises(ImageError, match="holds int, not text"):
        load_images(folder / "l.parquet")


def test_a_table_that_cannot_be_reached_may_be_another_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = table(folder, "path\ncat/1.png\n")

    def fail(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UnavailableError, match=r"list\.csv: cannot be reached \(Permission denied\)"):
        load_images(place)
