"""The page of a store: points, neighbors and facts are the store's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope import EmbeddingStore, cluster, project
from convscope.report import store_map as page


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
