"""Near copies, against the whole matrix of all pairs."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from convscope.embedding import Embeddings, EmbeddingStore, duplicates
from convscope.embedding import points as held
from convscope.embedding.table import Origin, vector_column
from convscope.errors import ParameterError
from convscope.results import Provenance, Result

module = importlib.import_module("convscope.embedding.duplicates")
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
    v = vectors.astype(float)
    if metric == "euclidean":
        costs = np.linalg.norm(v[:, None] - v, axis=2)
    else:
        lengths = np.linalg.norm(v, axis=1) if metric == "cosine" else np.ones(len(v))
        costs = -(v @ v.T) / lengths / lengths[:, None]
    limit = threshold if metric == "euclidean" else -threshold
    costs = costs.astype(np.float32)
    found = [(costs[i, j], i, j) for i in range(len(v)) for j in range(i + 1, len(v))]
    return [(i, j) for cost, i, j in sorted(found) if cost <= limit]


THRESHOLDS = {"cosine": 0.98, "euclidean": 0.4, "dot": 6.0}


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize(("rows", "outer"), [(2048, 32), (7, 3), (1, 1)])
def test_pairs_of_embeddings(
    vectors: np.ndarray, metric: str, rows: int, outer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", rows)
    monkeypatch.setattr(module, "_OUTER", outer)
    found = duplicates(embeddings_of(vectors), THRESHOLDS[metric], metric=metric)
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
        monkeypatch.setattr(held, "_SHARE", 0)
        monkeypatch.setattr("convscope.embedding.store._BATCH_ROWS", 11)
    ids = [f"{i:032x}" for i in range(N)]
    ids[70] = ids[3]
    found = store_of(tmp_path / "s.lance", vectors, ids).duplicates(0.98)
    names = [(found.names[a], found.names[b]) for a, b in found.pairs]
    assert names == [(f"image {i}", f"image {j}") for i, j in expected(vectors, 0.98, "cosine")]
    copies = [name for name, is_copy in zip(names, found.is_copy, strict=True) if is_copy]
    assert copies == [("image 3", "image 70")]  # 80 has an equal vector, and another content


@pytest.mark.parametrize("limit", [1, 4, 17])
@pytest.mark.parametrize("rows", [7, 2048])
def test_only_the_nearest_are_kept_and_all_are_counted(
    vectors: np.ndarray, limit: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", rows)
    found = duplicates(embeddings_of(vectors), 0.5, limit=limit)
    truth = expected(vectors, 0.5, "cosine")
    names = [(found.names[a], found.names[b]) for a, b in found.pairs]
    assert names == [(f"image {i}", f"image {j}") for i, j in truth[:limit]]
    assert found.n_pairs == len(truth)
    assert f"{limit} of {len(truth)}" in found.provenance.notes[0]


def test_equal_vectors_reach_a_similarity_of_one(vectors: np.ndarray) -> None:
    found = duplicates(embeddings_of(vectors), 1.0)
    assert [(found.names[a], found.names[b]) for a, b in found.pairs] == [
        ("image 3", "image 70"),
        ("image 3", "image 80"),
        ("image 70", "image 80"),
    ]
    assert not found.is_copy.any()  # their thumbnails differ


def test_none_is_a_result_too_and_is_saved(tmp_path: Path, vectors: np.ndarray) -> None:
    found = duplicates(embeddings_of(vectors[:40]), 0.99999)
    assert len(found) == found.n_pairs == 0
    found.save(tmp_path / "none")
    loaded = Result.load(tmp_path / "none")
    np.testing.assert_array_equal(loaded.pairs, found.pairs)
    assert "0 pairs" in repr(loaded)


def test_what_cannot_be_asked(vectors: np.ndarray) -> None:
    every = embeddings_of(vectors)
    with pytest.raises(ParameterError, match="between -1 and 1"):
        duplicates(every, 1.5)
    with pytest.raises(ParameterError, match="threshold"):
        duplicates(every, -0.1, metric="euclidean")
    with pytest.raises(ParameterError, match="limit"):
        duplicates(every, limit=0)
    with pytest.raises(ParameterError, match="metric"):
        duplicates(every, metric="angle")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="a pair takes two"):
        duplicates(embeddings_of(vectors[:1]))
    with pytest.raises(ParameterError, match="NaN"):
        duplicates(embeddings_of(np.full((3, 2), np.nan, np.float32)))
