"""project: the same as the singular value decomposition, and blobs stay apart."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.embedding import Embeddings, project
from convscope.errors import ParameterError


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
    np.testing.assert_array_equal(found.explained_variance_ratio, [0, 0])


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.eye(4), {"method": "tsne"}, "expected one of pca"),
        (np.eye(4), {"n_components": 5}, "expected 1 to 4"),
        (np.ones((3, 9)), {"n_components": 4}, "expected 1 to 3"),
        (np.eye(4), {"n_components": 0}, "expected 1 to 4"),
        (np.ones((1, 4)), {"n_components": 1}, "at least 2"),
        (np.ones(4), {}, r"vectors \(N, D\)"),
        (np.array([["a", "b"]]), {}, r"vectors \(N, D\)"),
        (np.array([[0, np.nan], [1, 1]]), {}, "NaN"),
        (np.array([[0, np.inf], [1, 1]]), {}, "NaN or infinite"),
    ],
)
def test_what_cannot_be_projected(points: np.ndarray, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        project(points, **options)
