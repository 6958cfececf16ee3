"""What a folder is: a result that was saved, a store, or neither."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from convscope import EmbeddingStore, project
from convscope.results.files import is_saved
from convscope.store import is_store


def test_a_result_that_was_saved_is_one(tmp_path: Path) -> None:
    project(np.eye(4)).save(tmp_path / "map")
    assert is_saved(tmp_path / "map")
    assert not is_store(tmp_path / "map")


@pytest.mark.parametrize("name", ["manifest.json", "arrays.npz"])
def test_half_a_result_is_none(tmp_path: Path, name: str) -> None:
    project(np.eye(4)).save(tmp_path / "map")
    (tmp_path / "map" / name).unlink()
    assert not is_saved(tmp_path / "map")


def test_files_of_the_same_names_make_no_result(tmp_path: Path) -> None:
    for name in ("manifest.json", "arrays.npz"):
        (tmp_path / name).write_text('{"icons": []}')
    assert not is_saved(tmp_path)
    assert not is_saved(tmp_path / "absent")


def test_a_store_is_one_and_so_is_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EmbeddingStore.of_vectors(tmp_path / "s.lance", np.eye(3))
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in (tmp_path / "s.lance", "~/s.lance", "s3://bucket/s.lance"):
        assert is_store(place)
    shutil.rmtree(tmp_path / "s.lance" / "images.lance" / "_versions")
    assert not is_store(tmp_path / "s.lance")
