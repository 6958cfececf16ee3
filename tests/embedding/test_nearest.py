"""Neighbors in a store, against a plain NumPy search."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from convscope import (
    EmbeddingStore,
    Model,
    ParameterError,
    StoreError,
    duplicates,
    embed,
    index,
    load_images,
    neighbors,
)
from convscope.embedding import nearest
from convscope.store import Block, blocks, conditions
from convscope.store.schema import Origin, vector_column

N, D = 1200, 24


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> EmbeddingStore:
    store = EmbeddingStore.create(tmp_path_factory.mktemp("ask") / "s.lance", Origin({"name": "net"}, "fc"), D)
    rows = {
        "path": pa.array([f"image {i}" for i in range(N)]),
        "id": pa.array([f"{i:032x}" for i in range(N)]),
        "label": pa.array([["cat", "dog"][i % 2] for i in range(N)]),
        "predicted": pa.array([["cat", "dog"][i % 3 == 0] for i in range(N)]),
        "vector": vector_column(vectors, store.schema),
    }
    empty = {f.name: pa.nulls(N, f.type) for f in store.schema if f.name not in rows}
    schema = pa.schema(list(store.schema))
    store.write(pa.Table.from_arrays([(rows | empty)[f.name] for f in schema], schema=schema))
    return store


def expected(vectors: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    v, q = vectors.astype(float), queries.astype(float)
    if metric == "dot":
        return q @ v.T
    if metric == "cosine":
        lengths = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(v, axis=1)
        return (q @ v.T) / np.where(lengths > 0, lengths, 1)
    return np.linalg.norm(q[:, None] - v, axis=2)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("n_queries", [1, 300])
@pytest.mark.parametrize("in_memory", [True, False])
def test_exact_neighbors(
    store: EmbeddingStore,
    vectors: np.ndarray,
    metric: str,
    n_queries: int,
    in_memory: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not in_memory:
        monkeypatch.setattr(blocks, "_SHARE", 0)
        monkeypatch.setattr(blocks.Blocks, "_has_kept", lambda _: False)
        monkeypatch.setattr("convscope.store.lance_table._BATCH_ROWS", 100)
    queries = np.random.default_rng(1).normal(size=(n_queries, D)).astype(np.float32)
    found = neighbors(store, queries, k=7, metric=metric)
    truth = expected(vectors, queries, metric)
    order = np.argsort(truth if metric == "euclidean" else -truth, axis=1)[:, :7]
    names = [[found.names[i] for i in row] for row in found.indices]
    assert names == [[f"image {i}" for i in row] for row in order]
    np.testing.assert_allclose(found.scores, np.take_along_axis(truth, order, 1), rtol=1e-5)


def test_a_row_is_left_out_of_its_own_neighbors(store: EmbeddingStore, vectors: np.ndarray) -> None:
    found = neighbors(store, ["image 3", f"{5:032x}"], k=3)
    assert found.query_names == ("image 3", "image 5")
    truth = expected(vectors, vectors[[3, 5]], "cosine")
    truth[[0, 1], [3, 5]] = -2
    names = [[found.names[i] for i in row] for row in found.indices]
    assert names == [[f"image {i}" for i in np.argsort(-row)[:3]] for row in truth]


@pytest.mark.parametrize("in_memory", [True, False])
def test_conditions(
    store: EmbeddingStore, vectors: np.ndarray, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(blocks, "_SHARE", 0)
        monkeypatch.setattr(blocks.Blocks, "_has_kept", lambda _: False)
    where = "label = 'cat' AND predicted != label"
    found = neighbors(store, vectors[0], k=5, where=where)
    allowed = [i for i in range(N) if i % 2 == 0 and i % 3 == 0]
    truth = expected(vectors[allowed], vectors[:1], "cosine")[0]
    assert [found.names[i] for i in found.indices[0]] == [f"image {allowed[i]}" for i in np.argsort(-truth)[:5]]
    with pytest.raises(ParameterError, match="no row is left"):
        neighbors(store, vectors[0], where="label = 'bird'")
    with pytest.raises(ParameterError, match="where="):
        neighbors(store, vectors[0], where="lable = 'bird'")


def test_what_cannot_be_asked(store: EmbeddingStore, vectors: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="expected 24"):
        neighbors(store, np.zeros(3, np.float32))
    with pytest.raises(ParameterError, match="finite"):
        neighbors(store, np.full(D, np.nan, np.float32))
    with pytest.raises(ParameterError, match="metric"):
        neighbors(store, vectors[0], metric="angle")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="no pixels"):
        neighbors(store, vectors[0], space="pixel")
    with pytest.raises(ParameterError, match="no model is at hand"):
        neighbors(store, "nowhere.png")
    with pytest.raises(StoreError, match="has no index"):
        neighbors(store, vectors[0], exact=False)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_an_index_finds_nearly_the_same(store: EmbeddingStore, vectors: np.ndarray, metric: str) -> None:
    about = index(store, metric=metric, recall=0.9, k=5)
    assert about["recall"] >= 0.9
    names = [f"image {i}" for i in range(3, 63)]
    found = neighbors(store, names, k=5, metric=metric, exact=False)
    exact = neighbors(store, names, k=5, metric=metric)
    same = [
        len({found.names[i] for i in a} & {exact.names[i] for i in b})
        for a, b in zip(found.indices, exact.indices, strict=True)
    ]
    assert np.mean(same) > 0.75 * 5
    assert "image 3" not in [found.names[i] for i in found.indices[0]]
    first = [
        found.names[a] == exact.names[b] for a, b in zip(found.indices[:, 0], exact.indices[:, 0], strict=True)
    ]
    np.testing.assert_allclose(found.scores[first, 0], exact.scores[first, 0], rtol=1e-4, atol=1e-5)


def test_ties_go_by_the_order_of_the_rows(tmp_path: Path) -> None:
    equal = EmbeddingStore.of_vectors(tmp_path / "s.lance", np.ones((200, 4)))
    for metric in ("cosine", "euclidean", "dot"):
        found = neighbors(equal, np.ones(4, np.float32), k=5, metric=metric)
        assert [found.names[i] for i in found.indices[0]] == [f"vector {i}" for i in range(5)]


def test_blocks_that_do_not_fit_in_memory_are_let_go(vectors: np.ndarray) -> None:
    alive: list[weakref.ref[Block]] = []
    most = 0

    def counted() -> Iterator[Block]:
        nonlocal most
        for first in range(0, 40, 4):
            block = Block(np.arange(first, first + 4), vectors[first : first + 4])
            alive.append(weakref.ref(block))
            yield block
            del block
            most = max(most, sum(one() is not None for one in alive))

    rows, _ = nearest.nearest(counted(), np.tile(vectors[:100], (3, 1)), 3, "cosine")  # more than asked at once
    assert rows.shape == (300, 3)
    assert most <= 1


def test_the_index_is_helped_out_where_it_finds_too_few(store: EmbeddingStore, vectors: np.ndarray) -> None:
    index(store, recall=0.5, k=5)
    where = "path IN ('image 3', 'image 77', 'image 140')"
    found = neighbors(store, vectors[:2], k=3, where=where, exact=False)
    assert {found.names[i] for i in found.indices[0]} == {"image 3", "image 77", "image 140"}
    found = neighbors(store, ["image 77", "image 5"], k=3, where=where, exact=False)
    assert {found.names[i] for i in found.indices[0]} == {"image 3", "image 140"}  # without itself
    assert found.indices.shape == (2, 2)


def test_an_index_answers_each_query_as_if_it_were_alone(store: EmbeddingStore) -> None:
    index(store, recall=0.5, k=5)
    names = ["image 3", "image 77", "image 140"]
    together = neighbors(store, names, k=5, exact=False)
    for query, indices, scores in zip(names, together.indices, together.scores, strict=True):
        alone = neighbors(store, query, k=5, exact=False)
        assert [together.names[i] for i in indices] == [alone.names[i] for i in alone.indices[0]]
        np.testing.assert_array_equal(scores, alone.scores[0])


def test_an_index_is_not_measured_with_more_neighbors_than_memory_holds(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "MOST", 100)
    with pytest.raises(ParameterError, match="1,000 scores; expected at most 100"):
        index(store, k=5)


def test_thumbnails_are_taken_of_the_first_rows_only(tiny: Model, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    for source in (embed(tiny, pictures), embed(tiny, pictures, store=tmp_path / "s.lance")):
        rows = source.rows[[4, 1, 3]]
        whole, part = source.take(rows), source.take(rows, n_thumbnails=2)
        assert (part.names, part.labels, part.ids) == (whole.names, whole.labels, whole.ids)
        assert len(whole.thumbnails) == len(whole.has_thumbnail) == 3
        assert len(part.has_thumbnail) == 2
        np.testing.assert_array_equal(part.thumbnails, whole.thumbnails[:2])
        assert source.take(rows, n_thumbnails=0).thumbnails.shape == (0, 64, 64, 3)


def odd_vectors(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(400, 16))
    copies = np.repeat(rng.normal(size=(8, 16)), 50, axis=0) + 1e-5 * normal
    made = {
        "far off": normal + 1e4,
        "nearly one direction": 0.01 * normal + 30,
        "near copies": copies,
        "huge": 1e30 * normal,
        "tiny": 1e-23 * normal,
        "one long": normal * np.where(np.arange(400) == 7, 1e25, 1)[:, None],
        "zeros": normal * (np.arange(400) % 2)[:, None],
    }
    return made[kind].astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["far off", "nearly one direction", "near copies", "huge", "tiny", "one long", "zeros"]
)
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_exact_is_exact_for_vectors_that_float32_cannot_tell_apart(kind: str, metric: str, tmp_path: Path) -> None:
    points = odd_vectors(kind)
    found = neighbors(EmbeddingStore.of_vectors(tmp_path / "s.lance", points), points[:20], k=5, metric=metric)
    with np.errstate(over="ignore"):
        truth = expected(points.astype(float), points[:20].astype(float), metric).astype(np.float32)
    best = np.sort(truth if metric == "euclidean" else -truth, axis=1)[:, :5]
    np.testing.assert_allclose(found.scores, best if metric == "euclidean" else -best, rtol=2e-6, atol=1e-44)
    if metric == "dot":  # some are beyond the largest float32
        return
    points = np.unique(points, axis=0)  # equal ones are compared once
    store = EmbeddingStore.of_vectors(tmp_path / "different.lance", points)
    pairs = duplicates(store, threshold=float(np.median(truth)), metric=metric)
    with np.errstate(over="ignore"):
        every = expected(points.astype(float), points.astype(float), metric).astype(np.float32)
    every = every[np.triu_indices(len(points), 1)]
    within = every <= np.median(truth) if metric == "euclidean" else every >= np.median(truth)
    assert pairs.n_pairs == pytest.approx(within.sum(), abs=3)  # the reference rounds, too


@pytest.mark.parametrize("threshold", [1e20, 1e200])
def test_all_pairs_are_within_a_threshold_that_is_large_enough(threshold: float, tmp_path: Path) -> None:
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", np.random.default_rng(0).normal(size=(30, 6)))
    found = duplicates(store, threshold=threshold, metric="euclidean")
    assert found.n_pairs == len(found.pairs) == 30 * 29 / 2
    assert (found.pairs[:, 0] != found.pairs[:, 1]).all()


def test_images_that_are_asked_for_may_have_a_broken_one_first(tiny: Model, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0.png").write_bytes(b"no image")
    Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(tmp_path / "photos" / "1.png")
    embed(tiny, np.zeros((4, 20, 20, 3), np.uint8), store=tmp_path / "s")
    found = neighbors(EmbeddingStore.open(tmp_path / "s"), load_images(tmp_path / "photos"), k=2, model=tiny)
    assert found.query_names == (str(tmp_path / "photos" / "1.png"),)
    assert len(found.provenance.skipped) == 1


def test_many_queries_and_neighbors_are_bounded_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("neighbors", "queries"):
        monkeypatch.setattr(import_module(f"convscope.embedding.{room}"), "MOST_THUMBNAILS", 7)
    monkeypatch.setattr(conditions, "_NAMED", 9)
    points = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    names = [f"vector {i}" for i in np.random.default_rng(1).permutation(40)]
    steps: list[tuple[int, int]] = []
    found = neighbors(
        store, names, k=4, metric="euclidean", progress=lambda done, total: steps.append((done, total))
    )
    assert steps[-1] == (40, 40)
    assert found.query_names == tuple(names)
    apart = np.linalg.norm(points[:, None].astype(float) - points, axis=2)
    for name, row in zip(names, found.indices, strict=True):
        near = np.argsort(apart[int(name.split()[1])])[1:5]
        assert [found.names[i] for i in row] == [f"vector {i}" for i in near]
    assert len(found.thumbnails) == len(found.query_thumbnails) == 7
    assert found.names[0] == found.names[found.indices[0, 0]]  # pictures are of the nearest
    assert f"first 7 of {len(found.names)} images that were found" in found.provenance.notes[0]
    assert "first 7 of 40 queries" in found.provenance.notes[1]
    found.save(tmp_path / "saved")
    monkeypatch.setattr(nearest, "MOST", 100)
    for query in (names, points):
        with pytest.raises(ParameterError, match="160 scores; expected at most 100"):
            neighbors(store, query, k=4)
