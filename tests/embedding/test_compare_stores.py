"""Two embeddings of the same images against formulas written out by hand, scikit-learn and SciPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial import procrustes
from sklearn.neighbors import KNeighborsClassifier

from convscope import Embeddings, EmbeddingStore, ParameterError, StoreComparison, compare_stores, project
from convscope.embedding.alignment import linear_cka
from convscope.embedding.compare_stores import overlaps
from convscope.embedding.reducing import vectors_in

N, K = 60, 5
LABELS = tuple(f"c{i % 3}" for i in range(N))


def vectors(seed: int, n_dims: int, noise: float) -> np.ndarray:
    """Three groups, which noise hides more or less."""
    rng = np.random.default_rng(seed)
    return (np.eye(3, n_dims)[np.arange(N) % 3] * 4 + noise * rng.normal(size=(N, n_dims))).astype(np.float32)


def embeddings(array: np.ndarray, names: list[str] | None = None) -> Embeddings:
    named = [f"i{n}" for n in range(len(array))] if names is None else names
    return replace(vectors_in(array), names=tuple(named), labels=LABELS[: len(array)])


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    return vectors(0, 6, 1.0), vectors(1, 8, 2.0)


@pytest.fixture(scope="module")
def found(pair: tuple[np.ndarray, np.ndarray]) -> StoreComparison:
    return compare_stores(*map(embeddings, pair), k=K, metric="euclidean", worst=4)


def brute(x: np.ndarray) -> np.ndarray:
    far = np.linalg.norm(x[:, None].astype(float) - x, axis=2)
    np.fill_diagonal(far, np.inf)
    return np.argsort(far, axis=1)[:, :K]


def test_shared_neighbors_and_votes(pair: tuple[np.ndarray, np.ndarray], found: StoreComparison) -> None:
    lists = [brute(x) for x in pair]
    shares = np.array([len(set(a) & set(b)) / K for a, b in zip(*lists, strict=True)])
    assert_allclose(found.shared, shares, rtol=1e-6)
    jaccard = np.mean([len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in zip(*lists, strict=True)])
    assert_allclose([found.jaccard, found.chance], [jaccard, K / (N - 1)])
    classes = np.array(LABELS)
    assert_allclose(found.class_shared, [shares[classes == c].mean() for c in found.classes])
    assert list(found.shared[found.changed]) == sorted(shares.astype(np.float32))[:4]
    rows = np.arange(N)
    for x, accuracy, table in zip(pair, found.accuracies, found.confusions, strict=True):
        # With one neighbor there are no ties, which scikit-learn breaks in another way.
        nearest = KNeighborsClassifier(1)
        voted = [nearest.fit(x[rows != i], classes[rows != i]).predict(x[i : i + 1])[0] for i in rows]
        single = compare_stores(embeddings(x), embeddings(x), k=1, metric="euclidean")
        assert_allclose(single.accuracies[0], np.mean(voted == classes))
        assert_allclose(accuracy, table.trace() / N)
    change = found.confusion_changes[0]
    place = found.classes.index(change.true), found.classes.index(change.voted)
    assert [table[place] for table in found.confusions] == [change.n_a, change.n_b]


@pytest.mark.parametrize("n", [4, 60])  # fewer images than dimensions, and more
def test_cka_is_what_products_of_all_pairs_give(pair: tuple[np.ndarray, np.ndarray], n: int) -> None:
    x, y = (each[:n].astype(float) for each in pair)
    center = np.eye(n) - 1 / n
    k, m = (center @ each @ each.T @ center for each in (x, y))
    plain = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))

    def unbiased(k: np.ndarray, m: np.ndarray) -> float:  # Song et al. 2012, equation 5
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        one = np.ones(n)
        inner = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return float(inner - 2 / (n - 2) * one @ k @ m @ one)

    k, m = x @ x.T, y @ y.T
    expected = unbiased(k, m) / np.sqrt(unbiased(k, k) * unbiased(m, m))
    assert_allclose(linear_cka(x, y), (plain, expected), rtol=1e-9)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    assert_allclose(linear_cka(x, 3 * x @ turn + 1), (1, 1), rtol=1e-9)
    assert np.isnan(linear_cka(x, np.ones((n, 2)))).all()


def test_maps_are_turned_as_scipy_does(pair: tuple[np.ndarray, np.ndarray], found: StoreComparison) -> None:
    first, second, disparity = procrustes(*(project(x).coordinates.astype(float) for x in pair))
    assert_allclose(found.disparity, disparity, rtol=1e-5)
    assert_allclose(found.coordinates[0], first, atol=1e-5)
    assert_allclose(found.coordinates[1] * np.sqrt(1 - disparity), second, atol=1e-5)


def test_lists_that_differ_first_agree_less() -> None:
    one = np.array([[1, 2, 3, 4], [1, 2, 3, 4]])
    shared, agreement = overlaps(one, np.array([[1, 2, 8, 9], [8, 9, 1, 2]]))
    assert_allclose(shared, [0.5, 0.5])
    assert_allclose(agreement, [(1 + 1 + 2 / 3 + 2 / 4) / 4, (0 + 0 + 1 / 3 + 2 / 4) / 4])


def test_images_are_matched_by_content_else_by_name(pair: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    order = np.random.default_rng(2).permutation(N)
    names = [f"i{n}" for n in range(N)]
    a = EmbeddingStore.of_vectors(tmp_path / "a", pair[0], names=names, labels=LABELS)
    b = EmbeddingStore.of_vectors(tmp_path / "b", pair[1][order[:50]], names=[names[i] for i in order[:50]])
    by_name = compare_stores(a, b, k=3)
    assert by_name.names == tuple(n for n in a.names if n in b.names)
    assert by_name.provenance.notes[:2] == (
        "10 images of the first, 0 of the second are not in both.",
        "Images were matched by name, as no content is known to be in both.",
    )
    # The same vectors under other names, where the name of one belongs to another content.
    c = EmbeddingStore.of_vectors(tmp_path / "c", pair[0][order], names=names)
    by_content = compare_stores(a, c, k=3)
    assert (len(by_content.names), by_content.shared.min()) == (N, 1)
    assert by_content.disparity == pytest.approx(0, abs=1e-6)
    part = compare_stores(a.where("label = 'c1'"), c, k=3)
    assert set(part.labels) == {"c1"}
    with pytest.raises(ParameterError, match="no image is in both"):
        compare_stores(a.where("path = 'i1'"), embeddings(pair[1], [f"x{n}" for n in range(N)]))
    with pytest.raises(ParameterError, match="20 images are in both: expected more than k=20"):
        compare_stores(a.where("label = 'c1'"), c, k=20)
