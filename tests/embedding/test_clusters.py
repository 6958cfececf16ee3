"""Groups of vectors: those that were put there are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope import Clusters, EmbeddingStore, ParameterError, cluster, load_images
from convscope.images import open_image

from .conftest import make_embeddings

GROUPS, EACH, ODD = 4, 20, 3


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    rng = np.random.default_rng(0)
    centers = 20 * np.eye(GROUPS, 60)
    points = np.concatenate([np.repeat(centers, EACH, axis=0), 100 * rng.normal(size=(ODD, 60))])
    points += rng.normal(size=points.shape) * 0.3
    labels = [f"label {i // EACH}" for i in range(GROUPS * EACH)] + [None] * ODD
    return EmbeddingStore.of_vectors(tmp_path / "s.lance", points.astype(np.float32), labels=labels)


def test_hdbscan_finds_the_groups_and_the_odd_ones(store: EmbeddingStore) -> None:
    found = cluster(store)
    assert found.agreement == pytest.approx(1)
    assert sorted(found.sizes) == [EACH] * GROUPS
    assert found.outliers == tuple(f"vector {GROUPS * EACH + i}" for i in range(ODD))
    for group, row in enumerate(found.representatives):
        assert found.members[row] == group
    rows = {row["path"]: row["cluster"] for row in store.to_arrow(["path", "cluster"]).to_pylist()}
    assert [rows[name] for name in found.names] == found.members.tolist()
    assert "agreement with the labels: 1.00" in repr(found)


def test_embeddings_and_arrays_are_grouped_as_a_store_is(store: EmbeddingStore) -> None:
    found, vectors = cluster(store), next(store.blocks()).vectors
    for source in (vectors, make_embeddings(vectors, store.labels)):
        np.testing.assert_array_equal(cluster(source).members, found.members)


def test_groups_are_found_after_images_were_opened(tmp_path: Path, store: EmbeddingStore) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    open_image(load_images(tmp_path / "a.png").sources[0])  # with filters of warnings, which scikit-learn reads
    assert len(cluster(store).sizes) == GROUPS


def test_kmeans_puts_each_into_one(store: EmbeddingStore) -> None:
    found = cluster(store, method="kmeans", n_clusters=7, seed=1)
    assert found.sizes.sum() == len(store)
    assert found.outliers == ()
    np.testing.assert_array_equal(found.members, cluster(store, method="kmeans", n_clusters=7, seed=1).members)


def test_kmeans_of_copies_makes_no_empty_group(tmp_path: Path) -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(3, 6)), 10, axis=0)
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    found = cluster(store, method="kmeans", n_clusters=8)
    assert found.sizes.tolist() == [10, 10, 10]
    assert "only 3 vectors are different" in found.provenance.notes[1]


@pytest.mark.parametrize("options", [{}, {"method": "kmeans", "n_clusters": 4}])
def test_equal_vectors_are_one_group(tmp_path: Path, options: dict[str, object]) -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(1, 6)), 12, axis=0).astype(np.float32)
    points[::2] = np.nextafter(points[::2], np.float32(9))  # as it may be rounded
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points, labels=["a"] * 12)
    found = cluster(store, **options)  # type: ignore[arg-type]
    assert found.sizes.tolist() == [12]
    assert found.provenance.notes == ("All 12 vectors are equal: they are one group.",)
    assert np.isnan(found.agreement)  # one label leaves nothing to agree about


def test_copies_are_together_and_make_no_group_of_others_apart(store: EmbeddingStore, tmp_path: Path) -> None:
    rows = store.to_arrow(["vector"])["vector"].to_numpy()
    points = np.stack([*rows, *[rows[5]] * 50, *[rows[-1]] * 6])  # of one in a group, and of an odd one
    found = cluster(EmbeddingStore.of_vectors(tmp_path / "c.lance", points))
    assert sorted(found.sizes) == [7, EACH, EACH, EACH, EACH + 50]
    by_name = dict(zip(found.names, found.members, strict=True))
    n = len(rows)
    assert {by_name[f"vector {i}"] for i in (*range(EACH), *range(n, n + 50))} == {by_name["vector 5"]}
    assert {by_name[f"vector {i}"] for i in range(n + 50, n + 56)} == {by_name[f"vector {n - 1}"]}
    assert "56 of" in found.provenance.notes[0]


def test_kmeans_weighs_copies_by_how_many_there_are(tmp_path: Path) -> None:
    points = np.repeat([[0.0, 0], [1, 0], [10, 0]], [1, 99, 20], axis=0)
    found = cluster(EmbeddingStore.of_vectors(tmp_path / "s.lance", points), method="kmeans", n_clusters=2)
    assert sorted(found.sizes) == [20, 100]


def test_it_is_saved_and_read_back(store: EmbeddingStore, tmp_path: Path) -> None:
    found = cluster(store)
    back = Clusters.load(found.save(tmp_path / "c"))
    np.testing.assert_array_equal(back.members, found.members)
    assert (back.agreement, back.outliers) == (found.agreement, found.outliers)


def test_without_labels_there_is_no_agreement(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(30, 4))
    assert np.isnan(cluster(EmbeddingStore.of_vectors(tmp_path / "s.lance", points)).agreement)


def test_what_cannot_be_clustered(store: EmbeddingStore, tmp_path: Path) -> None:
    for options, message in (
        ({"method": "dbscan"}, "expected 'hdbscan' or 'kmeans'"),
        ({"method": "kmeans"}, "needs n_clusters"),
        ({"n_clusters": 3}, "leave n_clusters out"),
        ({"method": "kmeans", "n_clusters": 500}, "at most 83"),
        ({"method": "kmeans", "n_clusters": 0}, "n_clusters=0"),
        ({"method": "kmeans", "n_clusters": 2, "seed": -1}, "seed=-1"),
    ):
        with pytest.raises(ParameterError, match=message):
            cluster(store, **options)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="at least 10"):
        cluster(EmbeddingStore.of_vectors(tmp_path / "few.lance", np.eye(4)))
