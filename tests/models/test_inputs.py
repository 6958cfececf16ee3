"""From what a user calls images to batches: in order, named, a few ahead, and bad ones told."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from convscope import ImageError, Model, Preprocessing, load_images
from convscope.models import Inputs
from convscope.models.inputs import _TURN, opened

PREPROCESSING = Preprocessing((4, 4), (0.0,), (1.0,), (4, 4))


def inputs(images: object) -> Inputs:
    return Inputs(images, PREPROCESSING)


@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_images_come_in_order_in_batches_of_at_most_a_size(size: int, in_turns: bool) -> None:
    images = [np.full((4, 4), i / 10, np.float32) for i in range(7)]
    batches = list(inputs(images).batches(size, in_turns=in_turns))
    assert all(len(b.names) == len(b.positions) == len(b.x) <= size for b in batches)
    assert [p for b in batches for p in b.positions] == list(range(7))
    assert_close(torch.cat([b.x for b in batches])[:, 0, 0, 0], torch.arange(7) / 10, atol=1e-6, rtol=0)


def test_after_a_bad_image_the_rest_keep_their_places_and_labels(tmp_path: Path) -> None:
    for name in ("a/0.png", "a/1.png", "b/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), 10 * int(Path(name).stem)).save(tmp_path / name)
    (tmp_path / "a/1.png").write_text("bad")
    found = inputs(tmp_path)
    (batch,) = found.batches(10)
    assert batch.positions == (0, 2, 3)
    assert batch.labels == ("a", "b", "b")
    assert [Path(n).name for n in batch.names] == ["0.png", "2.png", "3.png"]
    assert batch.x[:, 0, 0, 0].mul(255).round().tolist() == [0, 20, 30]
    assert len(found.skipped) == 1
    assert "1.png" in found.skipped[0]


def test_an_image_of_the_wrong_channels_in_a_folder_run_is_skipped_too() -> None:
    images = load_images([np.zeros((4, 4)), np.zeros((4, 4, 2))], on_error="skip")
    found = inputs(images)
    assert [b.positions for b in found.batches(2)] == [(0,)]
    assert "2 channels" in found.skipped[0]


@pytest.mark.parametrize(("in_turns", "at_most"), [(False, 3), (True, _TURN)])
def test_not_all_images_are_opened_at_once(in_turns: bool, at_most: int) -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def run(i: int) -> int:
        with lock:
            begun.append(i)
        return i

    results = opened(run, 100, 1, in_turns=in_turns)
    assert next(results) == (0, 0)
    assert len(begun) <= at_most
    results.close()
    assert len(begun) <= at_most, "what nobody takes is not opened any more"


def test_in_turns_nothing_is_opened_while_the_network_runs() -> None:
    begun: list[int] = []
    results = opened(begun.append, 2 * _TURN, 1, in_turns=True)
    seen = [len(begun) for _ in results]
    assert seen == [_TURN] * _TURN + [2 * _TURN] * _TURN


def test_an_error_of_another_kind_is_not_swallowed(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Preprocessing, "fit", broken)
    with pytest.raises(ZeroDivisionError):
        tiny.predict(np.zeros((4, 4, 3)))


def test_a_tensor_is_taken_as_preprocessed() -> None:
    x = torch.randn(3, 1, 5, 6)
    found = inputs(x)
    assert found.preprocessed
    assert found.shape == (1, 5, 6)
    assert_close(torch.cat([b.x for b in found.batches(2)]), x, atol=0, rtol=0)
    assert not inputs(np.zeros((4, 4))).preprocessed
    with pytest.raises(ImageError, match="floating-point"):
        inputs(torch.zeros(1, 1, 4, 4, dtype=torch.int64))
    with pytest.raises(ImageError, match=r"torch.sparse_coo; .*dense"):
        inputs(x.to_sparse())
    with pytest.raises(ImageError, match="meta device"):
        inputs(x.to("meta"))
