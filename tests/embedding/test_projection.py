"""project: the same as the singular value decomposition, and blobs stay apart."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from convscope.embedding import Embeddings, embed, place, project, quality
from convscope.embedding.projection import kept_map
from convscope.embedding.reducing import vectors_in
from convscope.errors import ParameterError, StoreError
from convscope.models import Model
from convscope.render import figure
from convscope.store import Block, EmbeddingStore


def by_svd(points: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    centered = points - points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centered, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    return (centered @ (axes * signs[:, None]).T)[:, :n], (sizes**2 / (sizes**2).sum())[:n]


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (600, 550)])
def test_equal_to_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=shape) * np.linspace(3, 0.5, shape[1]) + 100
    found = project(points, n_components=3)
    coordinates, ratio = by_svd(points, 3)
    np.testing.assert_allclose(found.coordinates, coordinates, atol=1e-4)
    np.testing.assert_allclose(found.explained_variance_ratio, ratio, rtol=1e-5)
    assert found.coordinates.dtype == np.float32


def test_real_embeddings(views: Embeddings) -> None:
    found = project(views)
    coordinates, ratio = by_svd(views.vectors.astype(float), 2)
    np.testing.assert_allclose(found.coordinates, coordinates, atol=1e-3)
    np.testing.assert_allclose(found.explained_variance_ratio, ratio, rtol=1e-4)
    assert (found.names, found.labels) == (views.names, views.labels)
    assert found.thumbnails is views.thumbnails
    assert found.provenance.model == views.provenance.model


def test_all_components_keep_all_variance() -> None:
    points = np.random.default_rng(1).normal(size=(6, 9))
    found = project(points, n_components=6)
    assert found.explained_variance_ratio.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("n", [60, 700])
def test_separated_blobs_stay_separated(n: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    points = rng.normal(size=(n, 600)) * 0.1 + 10 * np.eye(3, 600)[labels]
    map_2d = project(points).coordinates
    centers = np.stack([map_2d[labels == i].mean(axis=0) for i in range(3)])
    spread = max(np.linalg.norm(map_2d[labels == i] - centers[i], axis=1).max() for i in range(3))
    gaps = [np.linalg.norm(centers[i] - centers[j]) for i in range(3) for j in range(i)]
    assert min(gaps) > 10 * spread


def test_the_same_every_time_whatever_the_seed() -> None:
    points = np.random.default_rng(2).normal(size=(800, 520))
    first = project(points, seed=0)
    np.testing.assert_array_equal(first.coordinates, project(points, seed=0).coordinates)
    np.testing.assert_allclose(first.coordinates, project(points, seed=5).coordinates, atol=1e-4)


def test_vectors_that_are_all_the_same() -> None:
    found = project(np.full((5, 3), 0.1, np.float32))
    np.testing.assert_array_equal(found.coordinates, np.zeros((5, 2)))
    assert np.isnan(found.explained_variance_ratio).all()


ALL_EQUAL = np.repeat(np.random.default_rng(5).normal(size=(1, 20)).astype(np.float32), 12, axis=0)
ROUNDED = np.nextafter(ALL_EQUAL, np.float32(9), where=np.arange(12)[:, None] % 2 == 0, out=ALL_EQUAL.copy())


@pytest.mark.parametrize(
    "points", [ALL_EQUAL, ROUNDED, np.repeat(ALL_EQUAL, 4, axis=0)], ids=["12", "rounded", "48"]
)
@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_equal_vectors_are_one_point_of_which_nothing_can_be_told(
    points: np.ndarray, method: str, tmp_path: Path
) -> None:
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    for found in (project(points, method=method), project(store, method=method)):
        np.testing.assert_array_equal(found.coordinates, np.zeros((len(points), 2)))
        assert np.isnan([found.trustworthiness, found.neighbors_kept, *found.explained_variance_ratio]).all()
        assert found.provenance.measured == {}
        assert f"All {len(points)} vectors are equal" in found.provenance.notes[0]
        assert "%" not in repr(found)
        assert "nan" not in figure(found).get_supxlabel()
    np.testing.assert_allclose(place(store, points[:1], method=method), [[0, 0]], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_copies_lie_together_and_count_once(method: str, tmp_path: Path) -> None:
    different = clustered(60)
    points = np.concatenate([different, np.repeat(different[[7]], 50, axis=0)])
    found = project(points, method=method)
    assert (found.coordinates[60:] == found.coordinates[7]).all()
    assert "50 of 110 vectors are equal to another one" in found.provenance.notes[0]
    if method != "pca":  # whose axes are those of all vectors
        alone = project(different - points.mean(axis=0) + different.mean(axis=0), method=method)
        assert found.trustworthiness == pytest.approx(alone.trustworthiness, abs=0.05)
        store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
        project(store, method=method)
        near = different[7] + 0.3 * (different[10] - different[7])  # its ten nearest are not ten copies
        assert not np.allclose(place(store, near, method=method), found.coordinates[7], atol=1e-3)


def test_files_of_the_same_content_lie_together_though_their_vectors_are_rounded_otherwise(tmp_path: Path) -> None:
    points = clustered(40)
    points[30:] = points[3] * (1 + 1e-3 * np.random.default_rng(0).normal(size=(10, 1)))
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    rows = store.to_arrow()
    ids = [f"{i if i < 30 else 3:032x}" for i in range(40)]
    store.write(rows.set_column(rows.schema.get_field_index("id"), "id", pa.array(ids)))
    found = project(store, method="tsne")
    at = dict(zip(found.names, found.coordinates, strict=True))
    assert all((at[f"vector {i}"] == at["vector 3"]).all() for i in range(30, 40))


@pytest.mark.parametrize("method", ["tsne", "umap"])
@pytest.mark.parametrize("n", [2, 3])
def test_a_few_different_vectors_keep_their_distances(method: str, n: int) -> None:
    points = np.repeat(clustered(n), 4, axis=0)
    found = project(points, method=method)
    apart, expected = ((x[::4][:, None] - x[::4]) for x in (found.coordinates, points))
    np.testing.assert_allclose(np.linalg.norm(apart, axis=2), np.linalg.norm(expected, axis=2), rtol=1e-4)
    assert f"{n} different vectors are too few for {method}" in found.provenance.notes[1]


def test_ties_are_no_merit_of_a_map() -> None:
    points = np.eye(200)  # all are equally far: any map is as good as chance
    coordinates = np.random.default_rng(0).normal(size=(200, 2))
    trusted, kept = quality.trust([points], points, np.arange(200), coordinates, 10, 0)
    assert kept == pytest.approx(10 / 199, abs=0.03)  # 2000 draws: five standard errors
    assert trusted == pytest.approx(0.5, abs=0.1)
    grid = np.stack(np.meshgrid(np.arange(14.0), np.arange(14.0)), axis=-1).reshape(-1, 2)
    every = np.arange(len(grid))
    assert quality.trust([grid], grid, every, grid, 10, 0) == (1, 1)  # the same ties on the map
    one_place = quality.trust([grid], grid, every, np.zeros_like(grid), 10, 0)
    assert one_place[1] == pytest.approx(10 / 195, abs=0.03)


def test_the_order_of_the_rows_does_not_help_a_map() -> None:
    points = np.arange(60.0)[:, None]
    for rows in (np.arange(60), np.arange(60)[::-1]):
        trusted, kept = quality.trust([points[rows]], points[rows], np.arange(60), np.zeros((60, 2)), 10, 0)
        assert kept < 0.3
        assert trusted == pytest.approx(0.5, abs=0.08)  # by the order of the rows: 0.36


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.eye(4), {"method": "mds"}, "expected 'pca', 'tsne' or 'umap'"),
        (np.eye(4), {"method": "tsne", "n_components": 4}, "expected 1 to 3"),
        (np.eye(4), {"n_components": 5}, "expected 1 to 4"),
        (np.ones((3, 9)), {"n_components": 4}, "expected 1 to 3"),
        (np.eye(4), {"n_components": 0}, "n_components=0"),
        (np.ones((1, 4)), {"n_components": 1}, "at least 2"),
        (np.ones(4), {}, r"vectors \(N, D\)"),
        (np.array([["a", "b"]]), {}, r"vectors \(N, D\)"),
        (np.eye(4), {"seed": -1}, "seed=-1"),
        (np.eye(4), {"seed": 2**32}, "from 0 to 4,294,967,295"),
        (np.array([[0, np.nan], [1, 1]]), {}, "NaN"),
        (np.array([[0, np.inf], [1, 1]]), {}, "NaN or infinite"),
    ],
)
def test_what_cannot_be_projected(points: np.ndarray, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        project(points, **options)


def clustered(n: int = 300, d: int = 20) -> np.ndarray:
    rng = np.random.default_rng(3)
    return (rng.normal(size=(n, d)) + 8 * np.eye(3, d)[np.arange(n) % 3]).astype(np.float32)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_how_far_a_map_can_be_trusted(method: str) -> None:
    points = clustered()
    found = project(points, method=method)
    oracle = trustworthiness(points, found.coordinates, n_neighbors=10)
    assert found.trustworthiness == pytest.approx(oracle, abs=1e-6)
    near = [
        NearestNeighbors(n_neighbors=10).fit(x).kneighbors(return_distance=False)
        for x in (points, found.coordinates)
    ]
    kept = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(*near, strict=True)])
    assert found.neighbors_kept == pytest.approx(kept, abs=1e-6)


def test_a_sample_is_looked_at_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = project(clustered(800))
    monkeypatch.setattr(quality, "_DISTANCES", 160_000)
    part = project(clustered(800))
    assert part.trustworthiness != whole.trustworthiness
    assert part.trustworthiness == pytest.approx(whole.trustworthiness, abs=0.02)


def test_how_many_components_keep_a_share() -> None:
    points = clustered()
    kept = np.cumsum(by_svd(points.astype(float), 20)[1])
    measured = project(points).provenance.measured
    assert measured["components_for_90%"] == int((kept < 0.9).sum()) + 1
    assert measured["components_for_99%"] == int((kept < 0.99).sum()) + 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tsne", "umap"])
@pytest.mark.filterwarnings("ignore")
def test_maps_that_bend_the_space_keep_groups_apart(method: str) -> None:
    points = clustered()
    found = project(points, method=method, seed=1)
    np.testing.assert_array_equal(found.coordinates, project(points, method=method, seed=1).coordinates)
    labels = np.arange(len(points)) % 3
    near = NearestNeighbors(n_neighbors=5).fit(found.coordinates).kneighbors(return_distance=False)
    assert (labels[near] == labels[:, None]).mean() > 0.99
    assert np.isnan(found.explained_variance_ratio).all()


def test_the_map_that_a_store_keeps_is_told_apart_from_a_new_one(tmp_path: Path) -> None:
    points = clustered()
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    project(store)
    assert kept_map(store) is None, "principal components are as quickly made as read"
    found, kept = project(store, method="tsne", seed=3), kept_map(store)
    assert kept is not None
    np.testing.assert_array_equal(kept.coordinates, found.coordinates)
    assert kept.names == found.names
    assert kept.provenance.parameters == found.provenance.parameters
    assert kept.trustworthiness == pytest.approx(found.trustworthiness, abs=1e-6)
    assert kept.neighbors_kept == pytest.approx(found.neighbors_kept, abs=1e-6)
    part = kept_map(store.where(f"path IN {found.names[:3]}"))
    assert part is not None
    np.testing.assert_array_equal(part.coordinates, found.coordinates[:3])
    rows = store.to_arrow()
    more = rows.slice(0, 1).set_column(rows.schema.get_field_index("path"), "path", pa.array(["later"]))
    emptied = more.schema.get_field_index("tsne_x")
    store.write(more.set_column(emptied, "tsne_x", pa.nulls(1, more.schema.field(emptied).type)))
    assert kept_map(store) is None, "an image that came later has no place on it"
    assert kept_map(vectors_in(points)) is None


@pytest.mark.parametrize("method", ["pca", pytest.param("tsne", marks=pytest.mark.slow)])
def test_a_store_remembers_its_map(method: str, tmp_path: Path) -> None:
    points = clustered()
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    found = project(store, method=method)
    np.testing.assert_allclose(found.coordinates, project(points, method=method).coordinates, atol=1e-3)
    rows = store.to_arrow(["path", f"{method}_x", f"{method}_y"]).to_pylist()
    by_path = {row["path"]: (row[f"{method}_x"], row[f"{method}_y"]) for row in rows}
    np.testing.assert_array_equal([by_path[name] for name in found.names], found.coordinates)
    again = EmbeddingStore.open(tmp_path / "s.lance")
    np.testing.assert_allclose(place(again, points[:5], method=method), found.coordinates[:5], atol=1e-3)
    by_name = place(again, list(found.names[:5]), method=method)
    np.testing.assert_allclose(by_name, found.coordinates[:5], atol=1e-3)
    np.testing.assert_array_equal(project(again, method=method).coordinates, found.coordinates)
    with pytest.raises(StoreError, match="has no map by 'umap'"):
        place(again, points[:5], method="umap")


def test_a_map_of_fewer_dimensions_leaves_no_third_coordinate_behind(tmp_path: Path) -> None:
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", clustered())
    project(store, n_components=3)
    assert store.to_arrow(["pca_z"])["pca_z"].null_count == 0
    found = project(store, n_components=2)
    assert store.to_arrow(["pca_z"])["pca_z"].null_count == len(store)
    np.testing.assert_array_equal(store.to_arrow(["pca_x"])["pca_x"].to_pylist(), found.coordinates[:, 0])


def test_images_are_placed_by_the_network_that_made_the_store(tiny: Model, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    store = embed(tiny, pictures, store=tmp_path / "s.lance")
    found = project(store)
    for images in (pictures[:2], embed(tiny, pictures[:2])):
        np.testing.assert_allclose(place(store, images, model=tiny), found.coordinates[:2], atol=1e-4)
    with pytest.raises(ParameterError, match="no model is at hand"):
        place(store, pictures[:2])


def test_only_a_store_is_summed_up_elsewhere() -> None:
    with pytest.raises(ParameterError, match="projects a store"):
        project(clustered(), runner="ray")
    with pytest.raises(ParameterError, match="address belongs to runner='ray'"):
        project(clustered(), address="here")


def test_fewer_vectors_than_dimensions_in_a_store(tmp_path: Path) -> None:
    points = clustered(30, 60)
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    np.testing.assert_allclose(project(store).coordinates, by_svd(points.astype(float), 2)[0], atol=1e-3)


@pytest.mark.parametrize("points", [np.ones((30, 6)), np.arange(30.0)[:, None], np.eye(2)])
@pytest.mark.slow
def test_tsne_of_hardly_any_variety(points: np.ndarray) -> None:
    assert np.isfinite(project(points, method="tsne").coordinates).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_damaged_map_is_refused(method: str, tmp_path: Path) -> None:
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", clustered(40))
    project(store, method=method)
    with pytest.raises(ParameterError, match="19 dimensions"):
        place(store, np.ones((2, 19)), method=method)
    with pytest.raises(ParameterError, match="NaN"):
        place(store, np.full((2, 20), np.nan), method=method)
    pickled, cut = io.BytesIO(), io.BytesIO()
    np.savez(pickled, mean=np.array([object()] * 20), axes=np.zeros((2, 20)))
    np.savez(cut, mean=np.zeros(20), axes=np.zeros((2, 19)))
    for data in (pickled.getvalue(), cut.getvalue(), pickled.getvalue()[:100], b"", b"junk"):
        store.fits.remember(f"projection {method}", {}, data)
        with pytest.raises(StoreError, match="is damaged"):
            place(store, np.ones((2, 20)), method=method)


def test_a_map_is_of_one_version_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = clustered(40)
    store, blocks = EmbeddingStore.of_vectors(tmp_path / "s.lance", points), EmbeddingStore.blocks

    def written_to(self: EmbeddingStore, *args: Any) -> Iterator[Block]:
        EmbeddingStore.of_vectors(tmp_path / "s.lance", np.ones((1, points.shape[1])), names=["new"])
        return blocks(self, *args)

    monkeypatch.setattr(EmbeddingStore, "blocks", written_to)
    found = project(store)
    np.testing.assert_allclose(found.coordinates, project(points).coordinates, atol=1e-4)
    assert "new" not in found.names
    assert store.count("pca_x IS NULL") == 1  # of the row that came meanwhile


def test_rows_of_many_writes_stay_with_their_names(tmp_path: Path) -> None:
    points = clustered(300)
    for first in range(0, 300, 60):
        names = [f"image {i}" for i in range(first, first + 60)]
        EmbeddingStore.of_vectors(tmp_path / "s.lance", points[first : first + 60], names=names)
    again = points[100:200] + 1  # in place of those that were there
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", again, names=[f"image {i}" for i in range(100, 200)])
    points[100:200] = again
    found = project(store)
    order = [int(name.removeprefix("image ")) for name in found.names]
    np.testing.assert_allclose(found.coordinates, project(points).coordinates[order], atol=1e-4)
