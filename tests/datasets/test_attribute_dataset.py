"""Attributions for all images of a store."""

from __future__ import annotations

import copy
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convscope import (
    EmbeddingStore,
    Model,
    ParameterError,
    StoreError,
    attribute_dataset,
    embed,
    occlusion,
    saliency,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(70):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "ab"[i % 2] / f"{i:02}.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3))
    return Model(module, input_size=(16, 16), mean=[0.5] * 3, std=[0.2] * 3, labels=["x", "y", "z"])


def test_rows_sum_up_the_maps(folder: Path, tmp_path: Path, model: Model) -> None:
    store = attribute_dataset(model, embed(model, folder, store=tmp_path / "s.lance"))
    rows = {row["path"]: row for row in store.to_arrow(where="error IS NULL").to_pylist()}
    assert len(rows) == 70
    expected = saliency(model, folder)
    for values, name, target, score in zip(
        expected.values, expected.names, expected.targets, expected.scores, strict=True
    ):
        row, sizes = rows[name], np.abs(values).astype(float)
        assert row["saliency_target"] == target
        assert row["saliency_score"] == pytest.approx(float(score), rel=1e-5)
        top = np.sort(sizes.reshape(-1))[-round(0.1 * sizes.size) :]
        assert row["saliency_focus"] == pytest.approx(top.sum() / sizes.sum(), rel=1e-4)
        y, x = (np.indices(sizes.shape) + 0.5) / 16
        assert row["saliency_x"] == pytest.approx((sizes * x).sum() / sizes.sum(), rel=1e-4)
        assert row["saliency_y"] == pytest.approx((sizes * y).sum() / sizes.sum(), rel=1e-4)
        picture = Image.open(io.BytesIO(row["saliency_map"]))
        assert (picture.size, picture.mode) == ((64, 64), "L")
    assert store.to_arrow(["saliency_focus"], "error IS NOT NULL")["saliency_focus"].to_pylist() == [None]


def test_a_run_that_was_stopped_goes_on(folder: Path, tmp_path: Path, model: Model) -> None:
    store = embed(model, folder, store=tmp_path / "s.lance")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attribute_dataset(model, store, progress=stop)
    assert store.count("saliency_focus IS NOT NULL") == 32
    seen: list[tuple[int, int]] = []
    attribute_dataset(model, store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 70), (70, 70)]
    assert len(store) == 71


def test_a_condition_and_options_of_the_method(folder: Path, tmp_path: Path, model: Model) -> None:
    store = embed(model, folder, store=tmp_path / "s.lance")
    (folder / "a" / "00.png").unlink()
    attribute_dataset(model, store, method="occlusion", where="label = 'a'", window=8, target="y")
    rows = store.to_arrow(where="occlusion_focus IS NOT NULL").to_pylist()
    assert len(rows) == 34
    assert {row["occlusion_target"] for row in rows} == {"y"}
    one = occlusion(model, rows[0]["path"], window=8, target="y")
    assert rows[0]["occlusion_score"] == pytest.approx(float(one.scores[0]), rel=1e-5)
    with pytest.raises(ParameterError, match=r"is no method; .*occlusion, .*saliency"):
        attribute_dataset(model, store, method="intuition")


def test_another_network_or_other_options_make_all_rows_again(folder: Path, tmp_path: Path, model: Model) -> None:
    store = attribute_dataset(model, embed(model, folder, store=tmp_path / "s.lance"), target="x")
    attribute_dataset(model, store, target="y", where="label = 'a'")
    found = store.to_arrow(["label", "saliency_target"], "saliency_focus IS NOT NULL").to_pylist()
    assert {tuple(row.values()) for row in found} == {("a", "y")}
    seen: list[tuple[int, int]] = []
    attribute_dataset(model, store, target="y", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(67, 70), (70, 70)]


def test_a_store_of_another_network_is_refused(folder: Path, tmp_path: Path, model: Model) -> None:
    """Its rows hold predictions of the network that made them; maps of another say nothing of those."""
    store = embed(model, folder, store=tmp_path / "s.lance")
    before = store.schema.names
    module = copy.deepcopy(model.module)
    same = {"mean": [0.5] * 3, "std": [0.2] * 3}
    other = Model(module, input_size=(16, 16), labels=["upright piano", "b", "c"], name="other", **same)
    with pytest.raises(
        StoreError, match=r"s\.lance holds vectors of Sequential .* not of other .*: the encoders differ"
    ):
        attribute_dataset(other, store)
    with torch.no_grad():
        module[0].weight += 1
    with pytest.raises(StoreError, match=r"the weights differ.* give the network that made this store"):
        attribute_dataset(Model(module, input_size=(16, 16), **same), store)
    cropped = Model(model.module, input_size=(12, 12), **same)
    with pytest.raises(StoreError, match="the preprocessing differ"):
        attribute_dataset(cropped, store, method="occlusion")
    assert store.schema.names == before
    assert store.fits.recall("attribution saliency") is None
    assert attribute_dataset(model, store).count("saliency_focus IS NOT NULL") == 70


def test_vectors_that_were_brought_along_are_of_no_network(folder: Path, tmp_path: Path, model: Model) -> None:
    names = [str(path) for path in sorted(folder.glob("a/*.png"))]
    store = EmbeddingStore.of_vectors(tmp_path / "own.lance", np.eye(len(names)), names=names)
    assert attribute_dataset(model, store).count("saliency_focus IS NOT NULL") == len(names) == 35


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="convscope[ray] is not installed")
@pytest.mark.filterwarnings("ignore")
def test_ray_finds_the_same(folder: Path, tmp_path: Path, model: Model) -> None:
    local = attribute_dataset(model, embed(model, folder, store=tmp_path / "a.lance"))
    spread = attribute_dataset(model, embed(model, folder, store=tmp_path / "b.lance"), runner="ray")
    columns = ["path", "saliency_target", "saliency_focus", "saliency_x"]
    a, b = (sorted(s.to_arrow(columns).to_pylist(), key=lambda r: r["path"]) for s in (local, spread))
    assert [(r["path"], r["saliency_target"]) for r in a] == [(r["path"], r["saliency_target"]) for r in b]
    np.testing.assert_allclose(
        [r["saliency_focus"] or 0 for r in a], [r["saliency_focus"] or 0 for r in b], rtol=1e-4
    )
