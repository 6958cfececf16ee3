"""The page of a store: points, neighbors and facts are the store's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from convscope import EmbeddingStore, Model, cluster, embed, project
from convscope.errors import StoreError
from convscope.report import store_map as page
from convscope.report.wording import share


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the pages were made of."""
    made: list[Any] = []
    monkeypatch.setattr(page, "map_page", lambda points, output, **_: (made.append(points), output)[1])
    return made


def test_the_page_shows_the_store(tmp_path: Path, shown: list[Any]) -> None:
    points = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points, labels=["a", "b"] * 20)
    projection = project(store)
    groups = cluster(store, method="kmeans", n_clusters=3)
    page.store_map(store, projection, tmp_path / "map.html")
    (found,) = shown
    order = [int(name.split()[1]) for name in found.names]
    np.testing.assert_allclose(found.coordinates, project(points).coordinates[order], atol=1e-4)
    unit = points[order] / np.linalg.norm(points[order], axis=1, keepdims=True)
    similarity = unit @ unit.T - 3 * np.eye(40)
    np.testing.assert_array_equal(found.neighbors, np.argsort(-similarity, axis=1)[:, :8])
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(similarity, found.neighbors.astype(int), 1), atol=1e-6
    )
    assert set(found.clusters) == {0, 1, 2}
    middles = [found.names[row] for row in found.representatives]
    assert middles == [groups.names[groups.representatives[g]] for g in np.argsort(-groups.sizes, kind="stable")]
    assert found.facts["Clusters"] == "3 by kmeans"
    assert found.facts["Agreement of clusters and labels"] == f"{groups.agreement:.2f}"
    assert (found.predicted, found.probability) == ((), None)
    assert found.facts["Trustworthiness"] == f"{projection.trustworthiness:.2f}"
    assert found.subtitle == "your own vectors"


def test_neighbors_are_left_out_where_there_are_too_many(
    tmp_path: Path, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "_MOST_EXACT", 10)
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", np.random.default_rng(0).normal(size=(12, 6)))
    page.store_map(store, project(store, n_components=1), tmp_path / "map.html")
    assert shown[0].neighbors is None
    assert (shown[0].coordinates[:, 1] == 0).all()


def test_what_is_measured_in_more_dimensions_says_so(tmp_path: Path, shown: list[Any]) -> None:
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", np.random.default_rng(0).normal(size=(12, 6)))
    page.store_map(store, project(store, n_components=3), tmp_path / "map.html")
    assert {"Trustworthiness in all 3 dimensions", "Neighbors kept in all 3 dimensions"} <= set(shown[0].facts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve photos in two folders, and a file that is none."""
    for i in range(12):
        place = tmp_path / "home-of-mine" / "photos" / ("cat" if i % 2 else "dog") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place)
    (place.parent / "broken.png").write_bytes(b"no image")
    return tmp_path / "home-of-mine" / "photos"


def test_no_path_of_this_machine_is_in_the_file(tiny: Model, tmp_path: Path, folder: Path) -> None:
    store = embed(tiny, folder, store=tmp_path / "s.lance")
    cluster(store, method="kmeans", n_clusters=2)
    made = page.store_map(store, project(store), tmp_path / "map.html")
    text = made.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "home-of-mine" not in text
    assert "cat/1.png" in text
    assert 'id="data-larger"' in text, "the card's pictures"
    assert "Left out: 1 that could not be read." in text


def test_images_whose_file_is_gone_are_left_out_and_said(
    tiny: Model, tmp_path: Path, folder: Path, shown: list[Any]
) -> None:
    store = embed(tiny, folder, store=tmp_path / "s.lance")
    projection = project(store)
    gone = [name for name in projection.names if name.endswith(("/1.png", "/2.png"))]
    store.add_columns(pa.table({"path": gone, "gone": pa.array([True, True])}))
    page.store_map(store, projection, tmp_path / "map.html")
    (found,) = shown
    assert not found.columns.keys() & {"id", "gone", "pca_x", "stamp"}
    np.testing.assert_array_equal(found.columns["width"], np.full(10, 20))
    assert [Image.open(io.BytesIO(one)).size for one in found.pictures] == [(20, 20)] * 10
    assert sorted(found.names) == sorted(
        f"{'cat' if i % 2 else 'dog'}/{i}.png" for i in range(12) if i not in (1, 2)
    )
    assert found.title == "10 images by PCA"
    assert found.subtitle.endswith("Left out: 2 whose file is gone, 1 that could not be read.")
    assert (found.neighbors >= 0).all(), "they are nobody's neighbors"
    store.add_columns(pa.table({"path": list(projection.names), "gone": pa.array([True] * 12)}))
    with pytest.raises(StoreError, match=r"no image is left.*: 12 whose file is gone"):
        page.store_map(store, projection, tmp_path / "map.html")


def test_what_came_after_the_clusters_is_not_without_one(tmp_path: Path, shown: list[Any]) -> None:
    points = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    names = [f"p{i}" for i in range(12)]
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points[:10], names=names[:10])
    groups = cluster(store, method="kmeans", n_clusters=2)
    middle = groups.names[groups.representatives[0]]
    EmbeddingStore.of_vectors(tmp_path / "s.lance", points[10:], names=names[10:])
    EmbeddingStore.of_vectors(tmp_path / "s.lance", points[:1] + 1, names=[middle])  # another picture by now
    page.store_map(store, project(store), tmp_path / "map.html")
    (found,) = shown
    assert {found.names[i] for i in np.flatnonzero(found.clusters == -2)} == {"p10", "p11", middle}
    assert found.facts["Clusters"] == "2 by kmeans, without 3 that came later"
    assert middle not in [found.names[i] for i in found.representatives]


def test_rows_that_are_not_on_the_projection_are_said(tmp_path: Path, shown: list[Any]) -> None:
    points = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    projection = project(store)
    EmbeddingStore.of_vectors(tmp_path / "s.lance", points[:1] + 1, names=["later"])
    page.store_map(store, projection, tmp_path / "map.html")
    assert shown[0].subtitle == "your own vectors. Left out: 1 added since."


def test_what_is_only_rounded_to_always_says_so() -> None:
    assert [share(v, ".2f") for v in (0.994, 0.996, 1.0)] == ["0.99", "almost 1.00", "1.00"]


def test_folders_that_are_no_classes_are_not_called_wrong(tiny: Model, tmp_path: Path, folder: Path) -> None:
    store = embed(tiny, folder, store=tmp_path / "s.lance")  # of the classes a, b, c
    text = page.store_map(store, project(store), tmp_path / "map.html").read_text(encoding="utf-8")
    assert '"id":"predicted"' in text
    assert '"id":"error"' not in text
    assert '"id":"neighbors"' in text
