"""Vectors that somebody brings along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from convscope import EmbeddingStore, ParameterError, StoreError, execution, neighbors

VECTORS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def test_arrays_are_kept_and_asked(tmp_path: Path) -> None:
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", VECTORS, labels=list("aabbcc"))
    assert store.to_arrow(["label"])["label"].to_pylist() == list("aabbcc")
    found = neighbors(store, VECTORS[2], k=1)
    assert found.names[found.indices[0, 0]] == "vector 2"
    assert repr(store).endswith("s.lance: 6 images, 4 values of your own vectors)")
    assert len(EmbeddingStore.of_vectors(tmp_path / "s.lance", VECTORS[:2], names=["vector 0", "new"])) == 7


def test_files(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    table = pa.table({"path": list("uvwxyz"), "vector": VECTORS.tolist(), "label": [1, 1, 2, 2, None, 3]})
    parquet.write_table(table, tmp_path / "v.parquet")
    of_array = EmbeddingStore.of_vectors(tmp_path / "a.lance", tmp_path / "v.npy")
    of_table = EmbeddingStore.of_vectors(tmp_path / "b.lance", tmp_path / "v.parquet")
    assert of_array.to_arrow(["vector"]) == of_table.to_arrow(["vector"])
    assert of_table.to_arrow(["path", "label"]).to_pylist()[3:5] == [
        {"path": "x", "label": "2"},
        {"path": "y", "label": None},
    ]


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (VECTORS[0], {}, r"expected vectors \(N, D\)"),
        (VECTORS * np.nan, {}, "6 vectors hold NaN or infinite values"),
        (VECTORS, {"names": ["a"]}, "1 names for 6 vectors"),
        (VECTORS, {"names": ["a"] * 6}, "more than once"),
        (VECTORS, {"names": [None] * 6}, "some names are missing"),
        (VECTORS, {"names": "abcdef"}, "expected a list"),
        (np.full((2, 4), 1e39), {}, "too large for float32"),
        ([[1.0], [1.0, 2.0]], {}, "make no array"),
        ("missing.npy", {}, "missing.npy: cannot be read"),
        ("vectors.txt", {}, "expected vectors in a .npy"),
    ],
)
def test_what_cannot_be_kept(tmp_path: Path, vectors: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        EmbeddingStore.of_vectors(tmp_path / "s.lance", vectors, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "s.lance").exists()


def test_another_encoder_or_length_is_refused(tmp_path: Path) -> None:
    EmbeddingStore.of_vectors(tmp_path / "s.lance", VECTORS, encoder="mine")
    with pytest.raises(StoreError, match="the encoders differ"):
        EmbeddingStore.of_vectors(tmp_path / "s.lance", VECTORS, encoder="yours")
    with pytest.raises(StoreError, match="4 values in float32, not of 3"):
        EmbeddingStore.of_vectors(tmp_path / "s.lance", VECTORS[:, :3], encoder="mine")


@pytest.mark.parametrize("n", [10**12, 2**62])
def test_a_header_that_claims_more_rows_than_the_file_holds(tmp_path: Path, n: int) -> None:
    with (tmp_path / "v.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (n, 4)})
    with pytest.raises(ParameterError, match=r"v\.npy: cannot be read"):
        EmbeddingStore.of_vectors(tmp_path / "s.lance", tmp_path / "v.npy")


def test_a_table_that_unpacks_to_more_than_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "free_memory", lambda _: 4 * 50_000)
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(40_000, np.float32)), 4)})
    parquet.write_table(table, tmp_path / "v.parquet")
    assert (tmp_path / "v.parquet").stat().st_size < 10_000
    with pytest.raises(ParameterError, match="more than fits into the free memory"):
        EmbeddingStore.of_vectors(tmp_path / "s.lance", tmp_path / "v.parquet")


def test_what_says_nothing_is_no_label(tmp_path: Path) -> None:
    given = ["", " ", None, float("nan"), np.float32("nan"), "NaN", 3.0, "=1+1", "🐈", "x" * 500]
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", np.eye(len(given)), labels=given)
    assert store.labels == (*[None] * 5, "NaN", "3.0", "=1+1", "🐈", "x" * 500)
