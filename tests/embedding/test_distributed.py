"""Ray: the same rows as on one machine, also where a worker dies."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convscope import ImageError, Model, ParameterError, embed
from convscope.embedding import project, ray_filling, ray_moments
from convscope.store import EmbeddingStore

HAS_RAY = all(importlib.util.find_spec(name) for name in ("ray", "lance_ray"))
with_ray = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_RAY, reason="convscope[ray] is not installed"),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
    pytest.mark.usefixtures("cluster"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    for i in range(150):
        Image.fromarray(rng.integers(0, 255, (40, 30, 3), np.uint8)).save(
            tmp_path / "photos" / "cats" / f"{i}.png"
        )
    (tmp_path / "photos" / "bad.png").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3))
    return Model(module, input_size=(16, 16), mean=[0.5] * 3, std=[0.2] * 3)


def rows(store: Any) -> list[dict[str, Any]]:
    return sorted(store.to_arrow().to_pylist(), key=lambda row: row["path"])


def assert_same_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for key in ("vector", "probability"):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a.pop(key) or 0, b.pop(key) or 0, atol=1e-5)
    assert found == expected


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray, started once for all tests: that a call starts and stops its own is tested with `attribute_dataset`."""
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in the tests
        ray.init(num_cpus=2, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


def in_ray(test: Any) -> Any:
    for mark in with_ray:
        test = mark(test)
    return test


@in_ray
def test_rows_are_those_of_one_machine_and_only_new_files_are_embedded(
    folder: Path, tmp_path: Path, model: Model
) -> None:
    local = embed(model, folder, store=tmp_path / "local.lance")
    store = embed(model, folder, store=tmp_path / "ray.lance", runner="ray")
    assert_same_rows(rows(store), rows(local))
    Image.new("RGB", (9, 9), "red").save(folder / "cats" / "3.png")
    Image.new("RGB", (9, 9), "red").save(folder / "cats" / "new.png")
    assert len(embed(model, folder, store=tmp_path / "ray.lance", runner="ray")) == 152
    assert_same_rows(rows(store), rows(embed(model, folder, store=tmp_path / "local.lance")))


@in_ray
def test_a_worker_that_is_killed_costs_no_rows(
    folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    def cmdline(process: psutil.Process) -> list[str]:
        with contextlib.suppress(psutil.Error):
            return process.cmdline()
        return []

    monkeypatch.setattr(ray_filling, "_BLOCK", 5)
    killed: list[int] = []

    def kill_one() -> None:
        while not killed:
            for process in psutil.Process().children(recursive=True):  # not those of other tests
                if "MapWorker" in " ".join(cmdline(process)):
                    time.sleep(1)
                    process.kill()
                    killed.append(process.pid)
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=kill_one, daemon=True)
    thread.start()
    store = embed(model, folder, store=tmp_path / "ray.lance", runner="ray")
    assert killed
    assert_same_rows(rows(store), rows(embed(model, folder, store=tmp_path / "local.lance")))


@in_ray
def test_principal_components_are_those_of_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(500, 7)) * np.arange(1, 8)
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)
    monkeypatch.setattr(ray_moments, "_PART", 60)
    found = project(store, n_components=3, runner="ray")
    expected = project(points, n_components=3)
    np.testing.assert_allclose(found.explained_variance_ratio, expected.explained_variance_ratio, rtol=1e-6)
    order = [int(name.split()[1]) for name in found.names]
    np.testing.assert_allclose(found.coordinates, expected.coordinates[order], atol=1e-4)


def test_moments_of_the_parts_of_a_store_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    store = EmbeddingStore.of_vectors(tmp_path / "s.lance", points)

    def here(work: Any, items: list[Any], n_at_once: int, address: str | None) -> Any:
        return ((1, work([item])) for item in reversed(items))  # workers are done in any order

    monkeypatch.setattr(ray_moments, "on_ray", here)
    found = ray_moments.moments_by_ray(store)
    assert found.n == 50
    np.testing.assert_allclose(found.mean, points.mean(axis=0), atol=1e-6)
    centered = points.astype(float) - points.mean(axis=0)
    np.testing.assert_allclose(np.tril(found.scatter), np.tril(centered.T @ centered), atol=1e-4)


def test_what_ray_does_not_do(folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError, match="fills a store"):
        embed(model, folder, runner="ray")  # type: ignore[call-overload]
    with pytest.raises(ParameterError, match="expected 'local' or 'ray'"):
        embed(model, folder, store=tmp_path / "s.lance", runner="spark")  # type: ignore[call-overload]
    with pytest.raises(ImageError, match="Ray embeds files"):
        embed(model, np.zeros((2, 8, 8, 3), np.uint8), store=tmp_path / "s.lance", runner="ray")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"pip install 'convscope\[ray\]'"):
        embed(model, folder, store=tmp_path / "s.lance", runner="ray")
