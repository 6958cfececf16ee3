"""Nearest neighbors: the same as scikit-learn's, whatever the query is; and what they are good for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from convscope.checks import Metric
from convscope.embedding import Embeddings, embed, label_precision, nearest, neighbors
from convscope.embedding.nearness import all_costs, as_cost, pair_costs
from convscope.errors import ParameterError
from convscope.models import Model
from convscope.store import EmbeddingStore

from .conftest import make_embeddings, search

METRICS = ["cosine", "euclidean"]


def peer(points: np.ndarray, queries: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    model = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(points.astype(np.float64))
    distances, indices = model.kneighbors(queries.astype(np.float64))
    return indices, 1 - distances if metric == "cosine" else distances


@pytest.mark.parametrize("metric", METRICS)
def test_equal_to_scikit_learn(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_QUERIES", 8)
    rng = np.random.default_rng(0)
    points, queries = rng.normal(size=(200, 20)).astype(np.float32), rng.normal(size=(30, 20)).astype(np.float32)
    for k in (1, 7, 60, 200):
        indices, scores = search(points, queries, k, metric, size=37)  # many blocks, the last of them not full
        expected_indices, expected_scores = peer(points, queries, k, metric)
        np.testing.assert_array_equal(indices, expected_indices)
        np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
        assert scores.dtype == np.float32


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("space", ["feature", "pixel"])
def test_real_embeddings_equal_scikit_learn_and_leave_out_the_query(
    views: Embeddings, metric: str, space: str
) -> None:
    points = views.vectors if space == "feature" else views.thumbnails.reshape(96, -1) / 255.0
    rows = [0, 40, 95]
    found = neighbors(views, rows, k=6, metric=metric, space=space)
    indices, scores = peer(points, points[rows], 7, metric)
    np.testing.assert_array_equal(indices[:, 0], rows)
    np.testing.assert_array_equal(found.indices, indices[:, 1:])
    np.testing.assert_allclose(found.scores, scores[:, 1:], rtol=1e-5)
    assert (found.metric, found.space) == (metric, space)
    assert found.query_names == tuple(views.names[i] for i in rows)
    assert found.query_labels == tuple(views.labels[i] for i in rows)


whole_numbers = arrays(
    np.float32, st.tuples(st.integers(2, 30), st.integers(1, 6)), elements=st.integers(-100, 100).map(float)
)


@given(points=whole_numbers, data=st.data())
def test_the_nearest_to_a_vector_of_the_set_is_itself(points: np.ndarray, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(points) - 1))
    indices, scores = search(points, points[[row]], 1, "euclidean")
    np.testing.assert_array_equal(points[indices[0, 0]], points[row])
    assert scores[0, 0] == 0
    indices, scores = search(points, points[[row]], 1, "cosine")
    if points[row].any():
        assert scores[0, 0] == pytest.approx(1, abs=1e-6)
        lengths = np.linalg.norm(points[[row, indices[0, 0]]], axis=1)
        assert points[row] @ points[indices[0, 0]] == pytest.approx(lengths.prod(), rel=1e-5)
    else:
        assert (indices[0, 0], scores[0, 0]) == (0, 0)


@given(points=whole_numbers, metric=st.sampled_from(METRICS), k=st.integers(1, 40))
def test_scores_are_sorted_and_ties_go_by_row(points: np.ndarray, metric: str, k: int) -> None:
    twice = np.concatenate([points, points])
    indices, scores = search(twice, points, k, metric)
    assert indices.shape == (len(points), min(k, len(twice)))
    order = scores if metric == "euclidean" else -scores
    steps = np.diff(order, axis=1)
    assert (steps >= 0).all()
    assert (np.diff(indices, axis=1)[steps == 0] > 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_the_blocks_change_nothing(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).integers(0, 3, (50, 3)).astype(np.float32)  # many ties
    rows = np.arange(50)[::-1]
    whole = search(points, points[rows], 9, metric, rows)
    monkeypatch.setattr(nearest, "_QUERIES", 4)
    in_blocks = search(points, points[rows], 9, metric, rows, size=7)
    assert not (in_blocks[0] == rows[:, None]).any()
    np.testing.assert_array_equal(in_blocks[0], whole[0])
    np.testing.assert_array_equal(in_blocks[1], whole[1])


def test_a_zero_vector_is_similar_to_none() -> None:
    found = neighbors(make_embeddings(np.array([[0, 0], [1, 0], [-1, 0]])), [0, 1], k=2)
    np.testing.assert_array_equal(found.scores, [[0, 0], [0, -1]])
    np.testing.assert_array_equal(found.indices, [[1, 2], [0, 2]])


def test_a_vector_as_query_has_left_out_no_files() -> None:
    points = make_embeddings(np.eye(3))
    points = dataclasses.replace(points, provenance=dataclasses.replace(points.provenance, skipped=("bad.jpg",)))
    assert neighbors(points, np.ones(3), k=1).provenance.skipped == ()
    assert neighbors(points, points, k=1).provenance.skipped == ("bad.jpg",)


def test_every_kind_of_query(tiny: Model, tmp_path: object) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
    images = embed(tiny, pictures)
    by_row = neighbors(images, 4, k=3)
    for same in ([4], np.array([4]), np.int64(4), "image 4", ["image 4"], range(4, 5)):
        np.testing.assert_array_equal(neighbors(images, same, k=3).indices, by_row.indices)
    new = neighbors(images, pictures[4], k=4)  # a picture is new: what is equal to it is found
    assert new.indices[0].tolist() == [4, *by_row.indices[0]]
    for same in (images.vectors[4], images.vectors[[4]], embed(tiny, pictures[4]), Image.fromarray(pictures[4])):
        np.testing.assert_array_equal(neighbors(images, same, k=4).indices, new.indices)
    x = tiny.inputs(pictures[4])
    tensor = next(iter(x.batches(1))).x
    np.testing.assert_array_equal(neighbors(images, tensor, k=4).indices, new.indices)
    assert neighbors(images, [0, 2, 5], k=3).indices.shape == (3, 3)
    assert neighbors(images, images.vectors[:2]).query_thumbnails.shape == (2, 64, 64, 3)


def test_k_beyond_all_is_cut_to_what_there_is() -> None:
    images = make_embeddings(np.eye(4))
    assert neighbors(images, 0, k=99).indices.shape == (1, 3)
    assert neighbors(images, np.ones(4), k=99).indices.shape == (1, 4)


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        (4, {}, "rows from 0 to 3"),
        (-1, {}, "rows from 0 to 3"),
        (0, {"k": 0}, "k=0"),
        (0, {"metric": "manhattan"}, "'cosine', 'euclidean' or 'dot'"),
        (0, {"space": "color"}, "'feature' or 'pixel'"),
        (np.ones(5), {}, "5 dimensions"),
        (np.ones(4), {"space": "pixel"}, "no pixels"),
        (np.array([np.nan, 0, 0, 0]), {}, "NaN"),
        ("missing.jpg", {}, "missing.jpg"),
    ],
)
def test_what_cannot_be_searched_for(query: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        neighbors(make_embeddings(np.eye(4)), query, **options)


def test_other_networks_and_layers_do_not_compare(tiny: Model) -> None:
    x = torch.randn(3, 3, 16, 16)
    images = embed(tiny, x)
    with pytest.raises(ParameterError, match="cannot be compared"):
        neighbors(images, embed(tiny, x, layer="5"))
    with torch.no_grad():
        tiny.module[0].weight.mul_(2)
    with pytest.raises(ParameterError, match="cannot be compared"):
        neighbors(images, embed(tiny, x))


def test_one_image_alone_has_no_neighbor() -> None:
    with pytest.raises(ParameterError, match="embed more"):
        neighbors(make_embeddings(np.eye(1)), 0)


def test_label_precision_counts_the_same_label() -> None:
    images = make_embeddings(np.array([[0.0], [1], [2], [10], [11]]), labels=("a", "a", "b", "b", None))
    # nearest: 0 -> 1 (a), 1 -> 0 (a), 2 -> 1 (a), 3 -> 4 (none); the unlabeled one is no query
    assert label_precision(images, k=1, metric="euclidean") == pytest.approx(2 / 4)
    with pytest.raises(ParameterError, match="no image has a label"):
        label_precision(make_embeddings(np.eye(3)))


@pytest.mark.parametrize("metric", METRICS)
def test_views_of_a_photo_are_found_far_better_by_features_than_by_pixels(views: Embeddings, metric: str) -> None:
    by_feature = label_precision(views, k=7, metric=metric)  # seven others of eight views
    by_pixel = label_precision(views, k=7, metric=metric, space="pixel")
    print(f"{metric}: {by_feature:.3f} by features, {by_pixel:.3f} by pixels")
    assert by_feature > 0.97
    assert by_pixel < 0.6
    assert by_feature - by_pixel > 0.4


@pytest.mark.parametrize("metric", [*METRICS, "dot"])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_all_costs_of_two_blocks_are_those_of_their_pairs(metric: Metric, offset: float) -> None:
    a, b = (np.random.default_rng(i).normal(size=(20, 7)).astype(np.float32) + np.float32(offset) for i in (0, 1))
    b[:5] = a[:5]  # whose distance is 0, and not the rounding of large numbers
    b[5] = 0
    i, j = np.divmod(np.arange(400), 20)
    np.testing.assert_allclose(
        all_costs(a, b, metric)[i, j],
        pair_costs(a, b, i, j, metric),
        rtol=3e-7,
        atol=1e-7 if metric == "cosine" else 0,
    )


def test_a_threshold_is_a_highest_cost() -> None:
    assert (as_cost(0.9, "cosine"), as_cost(2.0, "euclidean")) == (np.float32(-0.9), 2.0)
    assert np.isfinite(as_cost(1e300, "euclidean"))


def test_a_condition_and_an_index_need_a_store() -> None:
    images = make_embeddings(np.eye(4))
    with pytest.raises(ParameterError, match="a condition needs a store"):
        neighbors(images, 0, where="label = 'cat'")
    with pytest.raises(ParameterError, match="only a store has"):
        neighbors(images, 0, exact=False)
    with pytest.raises(ParameterError, match="expected Embeddings or an EmbeddingStore"):
        neighbors("photos.lance", 0)  # type: ignore[arg-type]


def test_a_store_answers_as_embeddings_do(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(30, 5))
    memory, store = make_embeddings(points), EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    for query in (3, [0, 29], points[:2]):
        one, other = neighbors(memory, query, k=4), neighbors(store, query, k=4)
        np.testing.assert_array_equal(one.scores, other.scores)
        numbers = [[int(other.names[i].split()[1]) for i in row] for row in other.indices]
        np.testing.assert_array_equal(one.indices, numbers)
