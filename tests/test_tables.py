"""Listings of images: patterns, tables and data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from torch.utils.data import Dataset

from convscope import ImageError, load_images


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
    with pytest.raises(ImageError, match="no image has such a name"):
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
