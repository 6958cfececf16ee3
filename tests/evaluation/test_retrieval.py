"""Retrieval scores, against scikit-learn and simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from convscope.embedding import Embeddings, neighbors
from convscope.errors import ParameterError
from convscope.evaluation import evaluate_retrieval, ranking, retrieval
from convscope.render import figure
from convscope.results import Provenance, Retrieval
from convscope.store import EmbeddingStore
from convscope.store.schema import Origin, vector_column
from convscope.store.thumbnails import encode

N, D = 60, 5
ORIGIN = Provenance("embed", {}, {"name": "net"}, "cpu", {}, 0.0)


def embeddings_of(vectors: np.ndarray, labels: list[str | None]) -> Embeddings:
    n = len(vectors)
    rng = np.random.default_rng(1)
    thumbnails = rng.integers(0, 255, (n, 64, 64, 3), dtype=np.uint8)
    thumbnails[:, :32] += np.arange(n, dtype=np.uint8)[:, None, None, None]
    return Embeddings(
        vectors=vectors.astype(np.float32),
        names=tuple(f"image {i}" for i in range(n)),
        labels=tuple(labels),
        thumbnails=thumbnails,
        layer="fc",
        provenance=ORIGIN,
    )


@pytest.fixture(scope="module")
def labeled() -> Embeddings:
    """Three clouds that overlap, of 30, 20 and 10 images."""
    rng = np.random.default_rng(0)
    labels = ["cat"] * 30 + ["dog"] * 20 + ["owl"] * 10
    centers = {"cat": 0.0, "dog": 1.0, "owl": 2.0}
    vectors = rng.normal(size=(N, D)) + np.array([centers[label] for label in labels])[:, None]
    return embeddings_of(vectors, list(labels))


def points_of(made: Embeddings, space: str) -> np.ndarray:
    return made.vectors.astype(float) if space == "feature" else made.thumbnails.reshape(len(made), -1) / 255


@pytest.mark.parametrize("space", ["feature", "pixel"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
def test_measures(labeled: Embeddings, metric: str, space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_QUERIES", 7)
    monkeypatch.setattr(ranking, "_ROWS", 13)
    found = evaluate_retrieval(labeled, k=5, metric=metric)
    points, labels = points_of(labeled, space), np.array(labeled.labels)
    if metric == "cosine":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    near = points @ points.T if metric != "euclidean" else -np.linalg.norm(points[:, None] - points, axis=2)
    precision, averages = np.zeros(N), np.zeros(N)
    for i in range(N):
        others = np.flatnonzero(np.arange(N) != i)
        order = others[np.argsort(-near[i, others])]
        precision[i] = (labels[order[:5]] == labels[i]).mean()
        averages[i] = average_precision_score(labels[others] == labels[i], near[i, others])
    assert found.classes == ("cat", "dog", "owl")
    s = found.spaces.index(space)
    for c, name in enumerate(found.classes):
        assert found.precision[s, c] == pytest.approx(precision[labels == name].mean(), abs=1e-6)
        assert found.average_precision[s, c] == pytest.approx(averages[labels == name].mean(), abs=1e-6)
    assert found.macro[space]["precision"] == pytest.approx(np.mean(found.precision[s]))


@pytest.mark.parametrize("k", [1, 3])
def test_the_vote_is_that_of_scikit_learn(labeled: Embeddings, k: int) -> None:
    chosen = np.flatnonzero(np.array(labeled.labels) != "owl")  # two classes and an odd k: no ties
    labels = [labeled.labels[i] for i in chosen]
    made = embeddings_of(labeled.vectors[chosen], labels)
    found = evaluate_retrieval(made, k=k, metric="euclidean")
    voted = cross_val_predict(KNeighborsClassifier(k), made.vectors, labels, cv=LeaveOneOut())
    expected = [[np.sum((np.array(labels) == a) & (voted == b)) for b in found.classes] for a in found.classes]
    np.testing.assert_array_equal(found.confusion, expected)
    np.testing.assert_allclose(found.accuracy[0], np.diag(expected) / found.counts, rtol=1e-6)


def test_a_tied_vote_goes_to_the_nearest() -> None:
    vectors = np.array([[0.0], [1.0], [-2.0], [3.0], [-4.0]])
    found = evaluate_retrieval(embeddings_of(vectors, ["a", "b", "a", "b", "a"]), k=2, metric="euclidean")
    # 0: 1 b, -2 a -> b;  1: 0 a, 3 b -> a;  -2: 0 a, -4 a -> a;  3: 1 b, 0 a -> b;  -4: -2 a, 0 a -> a
    np.testing.assert_array_equal(found.confusion, [[2, 1], [1, 1]])


@pytest.mark.parametrize("k", [1, 4])
def test_chance_is_what_random_rankings_give(labeled: Embeddings, k: int) -> None:
    found = evaluate_retrieval(labeled, k=k)
    s = found.spaces.index("chance")
    codes = np.unique(np.array(labeled.labels), return_inverse=True)[1]
    rng = np.random.default_rng(7)
    for c in range(3):
        others = np.delete(codes, np.flatnonzero(codes == c)[0])
        votes, shares, averages = [], [], []
        for _ in range(4000):
            order = rng.permutation(others)
            counts = np.bincount(order[:k], minlength=3)
            votes.append(next(o for o in order if counts[o] == counts.max()) == c)
            hits = np.flatnonzero(order == c)
            shares.append((order[:k] == c).mean())
            averages.append(np.mean(np.arange(1, len(hits) + 1) / (hits + 1)))
        assert found.accuracy[s, c] == pytest.approx(np.mean(votes), abs=0.03)
        assert found.precision[s, c] == pytest.approx(np.mean(shares), abs=0.025)
        assert found.average_precision[s, c] == pytest.approx(np.mean(averages), abs=0.01)


def test_a_class_with_one_image_has_nothing_to_be_found(labeled: Embeddings) -> None:
    labels = [*labeled.labels[:-1], "yak"]
    found = evaluate_retrieval(embeddings_of(labeled.vectors, labels), k=3)
    yak = found.classes.index("yak")
    assert found.counts[yak] == 1
    for table in (found.accuracy, found.precision, found.average_precision):
        assert np.isnan(table[:, yak]).all()
        assert np.isfinite(np.delete(table, yak, axis=1)).all()
    assert found.confusion[yak].sum() == 1
    assert "yak" in found.provenance.notes[0]
    assert np.isfinite(list(found.macro["feature"].values())).all()


def test_no_class_with_two_images_is_said(labeled: Embeddings) -> None:
    made = embeddings_of(labeled.vectors[:4], ["a", "b", "c", "d"])
    with pytest.raises(ParameterError, match="two images"):
        evaluate_retrieval(made, k=2)


def test_the_worst_are_those_whose_neighbors_agree_least(labeled: Embeddings) -> None:
    found = evaluate_retrieval(labeled, k=5)
    shares = []
    for i, row in zip(found.worst, found.worst_neighbors, strict=True):
        labels = [found.labels[j] for j in row]
        shares.append(np.mean([label == found.labels[i] for label in labels]))
        near = neighbors(labeled, found.names[i], k=5)
        assert [found.names[j] for j in row] == [near.names[j] for j in near.indices[0]]
    np.testing.assert_allclose(found.worst_shares, shares, rtol=1e-6)
    assert shares == sorted(shares)


def test_as_many_of_the_worst_are_kept_as_are_asked_for(labeled: Embeddings) -> None:
    every = evaluate_retrieval(labeled, k=5, worst=1000)
    assert sorted(every.names[i] for i in every.worst) == sorted(labeled.names)
    few = evaluate_retrieval(labeled, k=5, worst=3)
    assert [few.names[i] for i in few.worst] == [every.names[i] for i in every.worst[:3]]
    with pytest.raises(ParameterError, match="worst=0"):
        evaluate_retrieval(labeled, k=5, worst=0)


def test_the_order_of_the_rows_helps_no_class() -> None:
    labels = ["a"] * 150 + ["b"] * 150
    for order in (labels, labels[::-1]):
        found = evaluate_retrieval(embeddings_of(np.ones((300, D)), list(order)), k=5)  # all are equally near
        for table in (found.accuracy, found.precision, found.average_precision):
            np.testing.assert_allclose(table[0], 0.5, atol=0.15)
        assert "300 of 300 images have an equal vector among the others" in found.provenance.notes[0]


def test_many_images_are_sampled(labeled: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_MANY", 50)
    monkeypatch.setattr(retrieval, "_SAMPLE", 40)
    found = evaluate_retrieval(labeled, k=3, seed=1)
    assert found.counts.sum() == found.confusion.sum() == 40
    assert "40 drawn" in found.provenance.notes[0]
    again = evaluate_retrieval(labeled, k=3, seed=1)
    np.testing.assert_array_equal(found.confusion, again.confusion)
    np.testing.assert_array_equal(found.accuracy, again.accuracy)


@pytest.mark.parametrize("with_thumbnails", [True, False])
def test_a_store_counts_its_labeled_rows(tmp_path: Path, labeled: Embeddings, with_thumbnails: bool) -> None:
    store = EmbeddingStore.create(tmp_path / "s.lance", Origin({"name": "net"}, "fc"), D)
    vectors = np.concatenate([labeled.vectors, np.ones((3, D), np.float32)])
    n = len(vectors)
    pictures = [encode(t) for t in labeled.thumbnails] + [None] * 3
    rows = {
        "path": pa.array([f"image {i}" for i in range(n)]),
        "label": pa.array([*labeled.labels, None, None, None]),
        "vector": vector_column(vectors, store.schema),
        "thumbnail": pa.array(pictures if with_thumbnails else [None] * n, pa.binary()),
    }
    empty = {f.name: pa.nulls(n, f.type) for f in store.schema if f.name not in rows}
    schema = pa.schema(list(store.schema))
    store.write(pa.Table.from_arrays([(rows | empty)[f.name] for f in schema], schema=schema))
    found, expected = evaluate_retrieval(store, k=4), evaluate_retrieval(labeled, k=4)
    assert found.spaces == (("feature", "pixel", "chance") if with_thumbnails else ("feature", "chance"))
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    np.testing.assert_allclose(found.average_precision[0], expected.average_precision[0], rtol=1e-5)


def test_it_is_saved_with_its_picture_and_shows_its_numbers(tmp_path: Path, labeled: Embeddings) -> None:
    found = evaluate_retrieval(labeled, k=3)
    found.save(tmp_path / "out")
    loaded = Retrieval.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded.confusion, found.confusion)
    assert loaded.macro == found.macro
    assert (tmp_path / "out" / "picture.png").stat().st_size > 10_000
    assert f"feature: accuracy {found.macro['feature']['accuracy']:.3f}" in repr(loaded)


def test_many_classes_are_cut_in_the_picture() -> None:
    rng = np.random.default_rng(0)
    made = embeddings_of(rng.normal(size=(75, D)), [f"class {i % 25}" for i in range(75)])
    drawn = figure(evaluate_retrieval(made, k=2))
    table = next(ax for ax in drawn.axes if ax.get_ylabel() == "true")
    assert len(table.get_yticks()) == 20


def test_what_cannot_be_asked(labeled: Embeddings) -> None:
    with pytest.raises(ParameterError, match="no image has a label"):
        evaluate_retrieval(embeddings_of(labeled.vectors, [None] * N))
    with pytest.raises(ParameterError, match="at most 59"):
        evaluate_retrieval(labeled, k=N)
    with pytest.raises(ParameterError, match="k=0"):
        evaluate_retrieval(labeled, k=0)
    with pytest.raises(ParameterError, match="metric"):
        evaluate_retrieval(labeled, metric="angle")  # type: ignore[arg-type]
