"""What a projection is saved with: a page to explore, where it has thumbnails."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.render.results import projection
from tests.report.test_map_page import Page

import convscope.render
from convscope import EmbeddingStore, Projection, project
from convscope.report import projection_map


def test_a_projection_is_saved_with_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convscope.render, "save_png", lambda result, path: path.write_bytes(b"png"))
    names = tuple(f"{tmp_path}/photos/{i}.jpg" for i in range(9))
    made = dataclasses.replace(projection(), names=names)
    page = Page(made.save(tmp_path / "a") / "map.html")
    np.testing.assert_allclose(page.array("coordinates", "<f4").reshape(9, 2), made.coordinates, rtol=1e-6)
    assert (np.diff(page.array("offsets", "<u4").astype(int)) > 0).all(), "every image has its picture"
    assert str(tmp_path) not in page.raw
    assert "is not in this file" in page.raw, "the nearest are not promised"
    assert Projection.load(tmp_path / "a").names == names

    monkeypatch.setattr(projection_map, "BYTE_BUDGET", (tmp_path / "a" / "map.html").stat().st_size - 2000)
    small = made.save(tmp_path / "b") / "map.html"
    assert small.stat().st_size < projection_map.BYTE_BUDGET
    assert "others, chosen at random" in small.read_text()

    points = np.random.default_rng(0).normal(size=(9, 4))
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points, names=names, labels=["a", "b", "c"] * 3)
    whole = project(store.where("label != 'c'")).save(tmp_path / "of a store") / "map.html"
    assert Page(whole).array("neighbors", "<i4").size, "a store knows which images are nearest"
    assert Projection.load(whole.parent).store is None

    bare = dataclasses.replace(made, thumbnails=np.zeros((0, 64, 64, 3), np.uint8))
    assert not (bare.save(tmp_path / "c") / "map.html").exists()
