"""An atlas: a picture of each channel, the same however many runs it took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope import Atlas, Interrupted, Model, OutputError, ParameterError, atlas, visualize_each
from convscope.progress import Progress

FEW = {"size_px": 16, "n_steps": 3, "n_batch": 2}


def network() -> Model:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 256, 2))
    return Model(net, (16, 16), [0.5] * 3, [0.5] * 3)


def stop_after(n: int) -> Progress:
    def progress(done: int, total: int) -> None:
        if done >= n:
            raise KeyboardInterrupt

    return progress


def test_the_pictures_are_those_of_visualize_each() -> None:
    found = atlas(network(), "1", channels=[5, 0, 3], **FEW)
    batches = [visualize_each(network(), batch, layer="1", size_px=16, n_steps=3) for batch in ([5, 0], [3])]
    each = [one for batch in batches for one in batch]
    np.testing.assert_array_equal(found.images, np.stack([one.image for one in each]))
    np.testing.assert_allclose(found.scores, [one.scores[-1] for one in each], rtol=1e-6)
    assert found.channels.tolist() == [5, 0, 3]
    assert found.n_channels == 6


def test_an_atlas_in_two_runs_is_the_same_as_in_one(tmp_path: Path) -> None:
    whole = atlas(network(), "1", **FEW)
    with pytest.raises(KeyboardInterrupt):
        atlas(network(), "1", output=tmp_path / "a", progress=stop_after(4), **FEW)
    tiles = sorted((tmp_path / "a" / "parts").glob("channel-*.png"))
    assert len(tiles) == 4
    tiles[1].unlink()  # as if the run had been killed between two tiles of a batch
    times = {tile: tile.stat().st_mtime_ns for tile in tiles[2:]}
    found = atlas(network(), "1", output=tmp_path / "a", **FEW)
    assert {tile: tile.stat().st_mtime_ns for tile in tiles[2:]} == times, "what was there was made again"
    for one in (found, Atlas.load(tmp_path / "a")):
        np.testing.assert_array_equal(one.images, whole.images)
        np.testing.assert_array_equal(one.scores, whole.scores)


@pytest.mark.parametrize("other", [{"n_steps": 4}, {"seed": 1}, {"channels": [0, 1]}, {"n_batch": 3}])
def test_other_options_are_refused(other: dict[str, object], tmp_path: Path) -> None:
    atlas(network(), "1", output=tmp_path / "a", **FEW)
    with pytest.raises(OutputError, match=f"holds an atlas that differs in {next(iter(other))}; choose another"):
        atlas(network(), "1", output=tmp_path / "a", **{**FEW, **other})


def test_a_damaged_tile_is_told(tmp_path: Path) -> None:
    atlas(network(), "1", output=tmp_path / "a", **FEW)
    (tmp_path / "a" / "parts" / "channel-00002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(OutputError, match=r"channel-00002.png: cannot be read .* remove it"):
        atlas(network(), "1", output=tmp_path / "a", **FEW)


def test_ctrl_c_without_an_output_gives_the_channels_done() -> None:
    with pytest.raises(Interrupted) as caught:
        atlas(network(), "1", progress=stop_after(2), **FEW)
    assert caught.value.result.channels.tolist() == [0, 1]
    assert "interrupted after 2 of 6 channels" in caught.value.result.provenance.notes


@pytest.mark.parametrize("channels", [[6], [1, 1], []])
def test_channels_that_are_not_there(channels: list[int]) -> None:
    with pytest.raises(ParameterError, match="expected different ones from 0 to 5"):
        atlas(network(), "1", channels=channels, **FEW)


KILLED = """
import sys
from tests.units.test_atlas import FEW, network
from convscope import atlas

print("ready", flush=True)
atlas(network(), "1", output=sys.argv[1], **{**FEW, "n_batch": 1, "n_steps": 40})
"""


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "a"
    run = subprocess.Popen([sys.executable, "-c", KILLED, str(output)], stdout=subprocess.PIPE)
    until = time.monotonic() + 120
    while not list(output.glob("parts/channel-*.png")) and time.monotonic() < until and run.poll() is None:
        time.sleep(0.005)
    if run.poll() is None:
        os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    found = atlas(network(), "1", output=output, **{**FEW, "n_batch": 1, "n_steps": 40})
    whole = atlas(network(), "1", **{**FEW, "n_batch": 1, "n_steps": 40})
    np.testing.assert_array_equal(found.images, whole.images)
    assert not list(output.rglob("*.partial"))
