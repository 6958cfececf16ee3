"""Near copies, against the whole matrix of all pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from convscope.embedding import Embeddings, duplicates, pairs
from convscope.errors import ParameterError
from convscope.results import Provenance, Result
from convscope.store import EmbeddingStore, blocks
from convscope.store.schema import Origin, vector_column

N, D = 90, 6
ORIGIN = Provenance("embed", {}, {"name": "net"}, "cpu", {}, 0.0)


def embeddings_of(vectors: np.ndarray) -> Embeddings:
    n = len(vectors)
    thumbnails = np.random.default_rng(1).integers(0, 255, (n, 64, 64, 3), dtype=np.uint8)
    names = tuple(f"image {i}" for i in range(n))
    return Embeddings(
        vectors=vectors, names=names, labels=(None,) * n, thumbnails=thumbnails, layer="fc", provenance=ORIGIN
    )


def store_of(place: Path, vectors: np.ndarray, ids: list[str]) -> EmbeddingStore:
    n = len(vectors)
    store = EmbeddingStore.create(place, Origin({"name": "net"}, "fc"), vectors.shape[1])
    rows = {
        "path": pa.array([f"image {i}" for i in range(n)]),
        "id": pa.array(ids),
        "vector": vector_column(vectors, store.schema),
    }
    empty = {f.name: pa.nulls(n, f.type) for f in store.schema if f.name not in rows}
    schema = pa.schema(list(store.schema))
    store.write(pa.Table.from_arrays([(rows | empty)[f.name] for f in schema], schema=schema))
    return store


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Some near another, and three rows that are the same."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(N, D)).astype(np.float32)
    made[40:60] = made[:20] + rng.normal(scale=0.05, size=(20, D))
    made[70] = made[80] = made[3]
    return made


def expected(vectors: np.ndarray, threshold: float, metric: str) -> list[tuple[int, int]]:
    """Of the three equal rows each with the next, and the first with the others."""
    v = vectors.astype(float)
    if metric == "euclidean":
        costs = np.linalg.norm(v[:, None] - v, axis=2)
    else:
        lengths = np.linalg.norm(v, axis=1) if metric == "cosine" else np.ones(len(v))
        costs = -(v @ v.T) / lengths / lengths[:, None]
    limit = threshold if metric == "euclidean" else -threshold
    costs = costs.astype(np.float32)
    found = [(costs[i, j], i, j) for i in range(len(v)) for j in range(i + 1, len(v))]
    chained = {(3, 70), (70, 80)}
    return [
        (i, j) for cost, i, j in sorted(found) if cost <= limit and ((i, j) in chained or not {i, j} & {70, 80})
    ]


THRESHOLDS = {"cosine": 0.98, "euclidean": 0.4, "dot": 6.0}


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize(("rows", "outer"), [(2048, 32), (7, 3), (1, 1)])
def test_pairs_of_embeddings(
    vectors: np.ndarray, metric: str, rows: int, outer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_ROWS", rows)
    monkeypatch.setattr(pairs, "_OUTER", outer)
    found = duplicates(embeddings_of(vectors), threshold=THRESHOLDS[metric], metric=metric)
    truth = expected(vectors, THRESHOLDS[metric], metric)
    names = [(found.names[a], found.names[b]) for a, b in found.pairs]
    assert len(truth) > 10
    assert names == [(f"image {i}", f"image {j}") for i, j in truth]
    assert found.n_pairs == len(found) == len(truth)
    assert found.scores[0] >= found.scores[-1] or metric == "euclidean"


@pytest.mark.parametrize("in_memory", [True, False])
def test_pairs_of_a_store(
    tmp_path: Path, vectors: np.ndarray, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(blocks, "_SHARE", 0)
        monkeypatch.setattr("convscope.store.lance_table._BATCH_ROWS", 11)
    ids = [f"{i:032x}" for i in range(N)]
    ids[70] = ids[3]
    found = duplicates(store_of(tmp_path / "s.lance", vectors, ids), threshold=0.98)
    names = [(found.names[a], found.names[b]) for a, b in found.pairs]
    assert names == [(f"image {i}", f"image {j}") for i, j in expected(vectors, 0.98, "cosine")]
    copies = [name for name, is_copy in zip(names, found.is_copy, strict=True) if is_copy]
    assert copies == [("image 3", "image 70")]  # 80 has an equal vector, and another content


@pytest.mark.parametrize("limit", [1, 4, 17])
@pytest.mark.parametrize("rows", [7, 2048])
def test_only_the_nearest_are_kept_and_all_are_counted(
    vectors: np.ndarray, limit: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_ROWS", rows)
    different = np.delete(vectors, [70, 80], axis=0)[:70]
    found = duplicates(embeddings_of(different), threshold=0.5, limit=limit)
    truth = expected(different, 0.5, "cosine")
    names = [(found.names[a], found.names[b]) for a, b in found.pairs]
    assert names == [(f"image {i}", f"image {j}") for i, j in truth[:limit]]
    assert found.n_pairs == len(truth)
    assert f"Of {len(truth)} pairs of others, the nearest {limit} are kept" in found.provenance.notes[0]


def test_equal_vectors_reach_a_similarity_of_one(vectors: np.ndarray) -> None:
    found = duplicates(embeddings_of(vectors), threshold=1.0)
    assert [(found.names[a], found.names[b]) for a, b in found.pairs] == [
        ("image 3", "image 70"),
        ("image 70", "image 80"),
    ]
    assert not found.is_copy.any()  # their thumbnails differ


@pytest.mark.parametrize("limit", [1, 5, 1000])
@pytest.mark.parametrize("of_a_store", [True, False])
def test_copies_do_not_crowd_out_a_near_copy(
    vectors: np.ndarray, limit: int, of_a_store: bool, tmp_path: Path
) -> None:
    different = np.delete(vectors, [70, 80], axis=0)
    points = np.concatenate(
        [different, np.repeat(different[[7]], 50, axis=0), different[[7]] * [1, 1, 1, 1, 1, 1.01]]
    )
    points = points.astype(np.float32)
    n = len(points)
    source = embeddings_of(points)
    if of_a_store:
        ids = [f"{7 if 88 <= i < 138 else i:032x}" for i in range(n)]
        source = store_of(tmp_path / "s.lance", points, ids)
    found = duplicates(source, threshold=0.9999, limit=limit)
    names = [(found.names[a], found.names[b]) for a, b in found.pairs]
    assert ("image 7", f"image {n - 1}") in names
    assert (found.n_pairs, found.n_equal) == (51, 50)
    assert [bool(equal) for equal in found.is_equal] == [f"image {n - 1}" not in pair for pair in names]
    assert len(found) == min(limit, 50) + 1
    assert found.is_copy.sum() == (min(limit, 50) if of_a_store else 0)  # their thumbnails differ
    assert ("Of 50 pairs of equal images" in str(found.provenance.notes)) == (limit < 50)


def test_those_of_the_same_content_follow_each_other_among_equal_vectors(tmp_path: Path) -> None:
    points = np.concatenate([np.repeat([[1.0, 2, 3]], 4, axis=0), [[0, 0, 0], [0, 0, 0], [0, 0, 0]]])
    found = duplicates(store_of(tmp_path / "s.lance", points.astype(np.float32), [*"abac", *"xyx"]), threshold=0.9)
    pairs = {
        (found.names[a], found.names[b]): is_copy
        for (a, b), is_copy in zip(found.pairs, found.is_copy, strict=True)
    }
    assert pairs == {
        ("image 0", "image 2"): True,
        ("image 1", "image 2"): False,
        ("image 1", "image 3"): False,
        ("image 4", "image 6"): True,  # a cosine of 0, and yet the same
    }


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
@pytest.mark.parametrize("n_versions", [1, 3])
def test_the_threshold_is_found_from_how_near_images_usually_are(
    metric: str, scale: float, n_versions: int
) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 30)) + 4
    versions = [points + 0.01 * rng.normal(size=points.shape) for _ in range(n_versions)]
    if n_versions == 1:
        versions[0] = versions[0][:6]
    every = (scale * np.concatenate([points, *versions])).astype(np.float32)
    found = duplicates(embeddings_of(every), metric=metric, limit=5000)
    names = {(found.names[a], found.names[b]) for a, b in found.pairs}
    assert {(f"image {i}", f"image {200 + i}") for i in range(6)} <= names
    assert found.n_pairs == (6 if n_versions == 1 else 200 * 6)  # all of three versions and the original
    v = every.astype(float)
    if metric == "cosine":
        v /= np.linalg.norm(v, axis=1, keepdims=True)
    tenth = np.sort(np.linalg.norm(v[:, None] - v, axis=2), axis=1)[:, 10]
    usual = np.median(tenth) / 5
    expected = usual if metric == "euclidean" else 1 - usual**2 / 2
    assert found.threshold == pytest.approx(expected, rel=1e-4)
    assert "was found: a fifth of the median distance" in found.provenance.notes[0]
    assert found.provenance.parameters["threshold"] is None
    again = duplicates(embeddings_of(every), threshold=found.threshold, metric=metric, limit=5000)
    assert again.n_pairs == found.n_pairs
    assert again.provenance.notes == ()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_few_vectors_have_a_threshold_too(metric: str) -> None:
    same = duplicates(embeddings_of(np.ones((4, 3), np.float32)), metric=metric)
    assert (len(same), same.n_equal) == (3, 3)
    two = duplicates(embeddings_of(np.array([[1, 0], [1, 0.1]], np.float32)), metric=metric)
    assert len(two) == 0  # what is usual between two alone?


def test_none_is_a_result_too_and_is_saved(tmp_path: Path, vectors: np.ndarray) -> None:
    found = duplicates(embeddings_of(vectors[:40]), threshold=0.99999)
    assert len(found) == found.n_pairs == 0
    found.save(tmp_path / "none")
    loaded = Result.load(tmp_path / "none")
    np.testing.assert_array_equal(loaded.pairs, found.pairs)
    assert "0 pairs" in repr(loaded)


def test_what_cannot_be_asked(vectors: np.ndarray) -> None:
    every = embeddings_of(vectors)
    with pytest.raises(ParameterError, match="between -1 and 1"):
        duplicates(every, threshold=1.5)
    with pytest.raises(ParameterError, match="threshold"):
        duplicates(every, threshold=-0.1, metric="euclidean")
    with pytest.raises(ParameterError, match="'dot' has no threshold of its own"):
        duplicates(every, metric="dot")
    with pytest.raises(ParameterError, match="limit"):
        duplicates(every, limit=0)
    with pytest.raises(ParameterError, match="metric"):
        duplicates(every, metric="angle")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="a pair takes two"):
        duplicates(embeddings_of(vectors[:1]))
    with pytest.raises(ParameterError, match="NaN"):
        duplicates(embeddings_of(np.full((3, 2), np.nan, np.float32)))


@pytest.mark.parametrize("n_kept", [1 << 20, 0])
def test_groups_are_connected_by_all_pairs_not_only_the_kept(
    vectors: np.ndarray, n_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.embedding.links._PAIRS", n_kept)
    monkeypatch.setattr(pairs, "_ROWS", 7)
    found = duplicates(embeddings_of(vectors), threshold=0.9, limit=2)
    groups: list[set[int]] = [{i} for i in range(N)]
    for a, b in expected(vectors, 0.9, "cosine"):
        one, other = (next(g for g in groups if x in g) for x in (a, b))
        if one is not other:
            groups.remove(other)
            one |= other
    truth = {frozenset(f"image {i}" for i in group) for group in groups if len(group) > 1}
    assert {frozenset(group) for group in found.groups} == truth
    assert [len(group) for group in found.groups] == sorted(map(len, found.groups), reverse=True)
    assert len(found) <= 4 < found.n_pairs


def test_the_largest_and_then_the_least_compressed_is_kept(tmp_path: Path) -> None:
    points = np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 1, 2, 2]]
    store = store_of(tmp_path / "s.lance", points, [*"abcdeffgh"])
    sides = [10, 20, 20, 20, 5, 5, 5, None, None]
    sizes = [900, 300, 500, 400, 70, 70, 70, None, None]
    store.add_columns(
        pa.table(
            {
                "path": list(store.names),
                "width": pa.array(sides, pa.int32()),
                "height": pa.array(sides, pa.int32()),
                "stamp": [None if n is None else f"file of {n} bytes, changed 1, moved here 1" for n in sizes],
            }
        )
    )
    found = duplicates(store, threshold=0.99)
    assert found.groups == [
        ["image 2", "image 0", "image 1", "image 3"],  # as large as two others, with more bytes
        ["image 4", "image 5", "image 6"],  # by name
        ["image 7", "image 8"],  # nothing is known: the first
    ]
    assert found.copies == [["image 5", "image 6"]]
    assert found.n_pixels[0] == 400


def test_only_pairs_across_two_collections_count(vectors: np.ndarray, tmp_path: Path) -> None:
    train, test = vectors[:50], np.concatenate([vectors[50:], vectors[3:4]])
    first = embeddings_of(train)
    second = embeddings_of(test)
    found = duplicates(first, threshold=0.98, against=second)
    unit = vectors.astype(float) / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = np.argwhere(unit[:50] @ unit[50:].T >= 0.98)
    half = [(int(found.is_other[a]), int(found.is_other[b])) for a, b in found.pairs]
    assert set(half) == {(0, 1)}
    named = [(found.names[a], found.names[b]) for a, b in found.pairs]
    equal = {("image 3", "image 20")}  # 70 of all is 20 of the second, with its copies
    assert {pair for pair, same in zip(named, found.is_equal, strict=True) if same} == equal
    assert set(named) == {(f"image {a}", f"image {b}") for a, b in near if b != 30}  # 30 and 40 equal 20
    at = next(group for group in found.groups if "image 20" in group)
    assert at[0] == "image 3"
    assert {"image 20", "image 30", "image 40"} <= set(at)  # the copies leak as well
    as_stores = duplicates(
        store_of(tmp_path / "a.lance", train, [f"{i:032x}" for i in range(50)]),
        threshold=0.98,
        against=store_of(tmp_path / "b.lance", test, [f"{i:032x}" for i in range(50, 91)]),
    )
    assert [set(group) for group in as_stores.groups] == [set(group) for group in found.groups]
    folders = replace(
        embeddings_of(vectors), names=tuple(str(tmp_path / ("a" if i < 50 else "b") / f"{i}") for i in range(N))
    )
    inside = duplicates(folders, threshold=0.98, against=tmp_path / "b")
    assert inside.n_pairs == found.n_pairs
    part = duplicates(folders, threshold=0.98, against=replace(folders, vectors=folders.vectors + 1))
    assert "90 files of the same path on both sides: each is one file, and no copy." in part.provenance.notes
    with pytest.raises(ParameterError, match=f"vectors of {vectors.shape[1]} and of 3 values cannot be compared"):
        duplicates(first, against=embeddings_of(test[:, :3]))
    with pytest.raises(ParameterError, match="0 of 90 images are in that folder, which does not exist"):
        duplicates(folders, against=tmp_path / "c")


def _pictured() -> tuple[np.ndarray, np.ndarray]:
    """60 vectors and pictures; of 0 to 9 there are copies (60 to 69) that the network finds rather alike."""
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (60, 16, 16, 3)).repeat(4, axis=1).repeat(4, axis=2)
    pictures[40:50] = 200 + rng.integers(-2, 3, (10, 64, 64, 3))  # plain ones
    noise = rng.integers(-9, 10, (10, 64, 64, 3))  # as compression leaves it
    copies = (0.8 * pictures[:10] + 20 + noise).clip(0, 255)
    of = rng.normal(size=(60, 30)) + 1
    vectors = np.concatenate([of, of[:10] + 0.5 * rng.normal(size=(10, 30))])
    vectors[69] = -of[9]  # nothing is less alike to the network
    return vectors.astype(np.float32), np.concatenate([pictures, copies]).astype(np.uint8)


@pytest.mark.parametrize("rows", [2048, 7])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_same_picture_saved_again_is_found_though_its_vector_is_not_that_near(
    rows: int, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_ROWS", rows)
    monkeypatch.setattr("convscope.embedding.small_pictures._ROWS", 13)
    vectors, thumbnails = _pictured()
    every = replace(embeddings_of(vectors), thumbnails=thumbnails)
    small = thumbnails.reshape(70, 16, 4, 16, 4, 3).mean(axis=(2, 4)).reshape(70, -1)
    alike = np.argwhere(np.triu(np.corrcoef(small) >= 0.99, 1))
    assert {tuple(pair) for pair in alike.tolist()} == {(i, 60 + i) for i in range(10)}
    found = duplicates(every, metric=metric)
    assert sorted(found.groups) == sorted([f"image {i}", f"image {60 + i}"] for i in range(9))
    assert (found.n_pairs, found.n_pictures, found.n_near, found.n_equal) == (9, 9, 0, 0)
    assert "9 pairs are beyond it, but show the same picture" in found.provenance.notes[1]
    assert "9 of the same picture" in repr(found)
    of = vectors.astype(float)
    of /= np.linalg.norm(of, axis=1, keepdims=True) if metric == "cosine" else 1
    a, b = (np.array([int(found.names[i].split()[1]) for i in side]) for side in found.pairs.T)
    far = np.linalg.norm(of[a] - of[b], axis=1)
    np.testing.assert_allclose(found.scores, 1 - far**2 / 2 if metric == "cosine" else far, rtol=1e-5)
    assert (np.diff(far) > -1e-6).all()
    assert len(duplicates(every, metric=metric, limit=4)) == 4
    assert not duplicates(every, metric=metric, threshold=found.threshold).groups
    sides = (
        replace(embeddings_of(vectors[part]), thumbnails=thumbnails[part]) for part in (slice(60), slice(60, 70))
    )
    assert len(duplicates(next(sides), metric=metric, against=next(sides))) == 9
