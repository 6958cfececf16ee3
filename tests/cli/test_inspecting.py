"""A user's own network on the command line, described by convscope.toml: every command takes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from convscope.cli.app import app

CODE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x):
        return {"logits": self.fc(self.conv(x).relu().mean((2, 3))), "x": x}

def build():
    return Net()
"""
SETTINGS = """
[model]
source = "own_shape_net:build"
weights = "best.pt"
input_size = [8, 10]
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
labels = ["dark", "bright"]
output = "logits"
device = "cpu"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a network that tells bright images from dark ones, its settings, and two images."""
    (tmp_path / "own_shape_net.py").write_text(CODE)
    (tmp_path / "convscope.toml").write_text(SETTINGS)
    weight = torch.zeros(4, 3, 3, 3)
    weight[:, :, 1, 1] = 1 / 3
    head = torch.tensor([[-1.0], [1.0]]).repeat(1, 4)
    state = {
        "conv.weight": weight,
        "conv.bias": torch.ones(4),
        "fc.weight": head,
        "fc.bias": torch.tensor([4.0, -4]),
    }
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "best.pt")
    for name, value in {"dark": 40, "bright": 220}.items():
        Image.fromarray(np.full((16, 20, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])  # the command line extends it
    yield tmp_path
    sys.modules.pop("own_shape_net", None)


def typed(line: str) -> Result:
    done = CliRunner().invoke(app, line.split(), env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done


def test_methods_run_on_it_from_anywhere_in_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = typed("predict dark.png bright.png --top 1 --json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [told[f"{name}.png"][0]["label"] for name in ("dark", "bright")] == ["dark", "bright"]
    assert "network: own_shape_net:build, code of your own, as convscope.toml describes it" in done.stderr
    monkeypatch.setattr(Path, "home", lambda: folder)
    (folder / "deep").mkdir()
    monkeypatch.chdir(folder / "deep")
    done = typed("saliency ../bright.png --output map --json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["values"]["shape"] == [1, 8, 10]
    assert told["provenance"]["model"]["name"] == "own_shape_net:build (best.pt)"


def test_inspect_says_where_each_value_is_from_and_what_fits(folder: Path) -> None:
    done = typed("inspect --labels labels.txt")
    assert (done.exit_code, done.stdout) == (1, "")
    (folder / "labels.txt").write_text("night\nday\n")
    done = typed("inspect --labels labels.txt")
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.split("\n")]
    assert "source own_shape_net:build (convscope.toml)" in lines
    assert "labels night, day (--labels)" in lines
    assert "input_size 8 x 10 (convscope.toml)" in lines
    assert f"conv Conv2d 4x8x10 112 {4 * 80 * 27 / 1000:.3g}k 3x3" in lines
    assert "output scores of 2 classes" in lines
    assert "labels 2: night, day" in lines
    assert "methods that do not fit" in lines
    assert max(map(len, done.stdout.split("\n"))) <= 80


def test_inspect_in_json(folder: Path) -> None:
    told = json.loads(typed("inspect --json").stdout)
    assert told["settings"]["mean"] == {"value": [0.5, 0.5, 0.5], "from": "convscope.toml"}
    assert [layer["name"] for layer in told["layers"]] == ["conv", "fc"]
    assert told["macs"] == 4 * 80 * 27 + 8
    assert set(told["does_not_fit"]) == {"attention_gradient", "attention_rollout"}
    assert "saliency" in told["fits"]


def test_inspect_takes_a_size_alone(folder: Path) -> None:
    (folder / "convscope.toml").unlink()
    done = typed("inspect own_shape_net.py:build --input-size 12x8 --device cpu")
    assert done.exit_code == 0, done.output
    assert "tensors (N, 3, 12, 8) are taken" in " ".join(done.stdout.split())
    assert "the predicted class, unless another is given" in " ".join(done.stdout.split())
    done = typed("inspect own_shape_net:build")
    assert "error: the input size of this network is not known: give --input-size, (height, width)" in done.stderr
    done = typed("predict dark.png --model own_shape_net:build --mean 0.5,0.5,0.5")
    assert "does not state all of its preprocessing: give --input-size and --std too" in " ".join(
        done.stderr.split()
    )


@pytest.mark.parametrize(
    ("conv", "told"),
    [
        ("Conv1d", "signal of 3 channels, 12 steps"),
        ("Conv3d", "volume or clip of 3 channels, 12 x 12 x 12 voxels"),
    ],
)
def test_one_number_is_the_size_of_all_sides_of_a_signal_or_a_volume(folder: Path, conv: str, told: str) -> None:
    code = CODE.replace("Conv2d", conv).replace("mean((2, 3))", "flatten(2).mean(2)")
    (folder / f"own_{conv}_net.py").write_text(code)
    done = typed(f"inspect own_{conv}_net:build --input-size 12 --device cpu")
    assert done.exit_code == 0, done.output
    assert told in done.stdout
    assert "lime, lrp: needs pictures (N, C, H, W)" in " ".join(done.stdout.split())


def test_values_are_shown_as_values(folder: Path) -> None:
    (folder / "own_shape_net.py").write_text(CODE.replace("nn.Linear(4, 2)", "nn.Linear(4, 1)"))
    state = torch.load(folder / "best.pt")["state_dict"]
    state["fc.weight"], state["fc.bias"] = torch.full((1, 4), 10.0), torch.tensor([2.5])
    torch.save(state, folder / "best.pt")
    described = SETTINGS.replace('["dark", "bright"]', '["age"]')
    (folder / "convscope.toml").write_text(described)
    assert "say regression=True" in typed("predict bright.png").stderr
    (folder / "convscope.toml").write_text(described + "regression = true\n")
    # By hand: in each of 4 channels, the ReLU of the gray of the pixel (the middle of the kernel) plus 1.
    value = 4 * 10 * ((220 / 255 - 0.5) / 0.25 + 1) + 2.5
    told = json.loads(typed("predict bright.png --json").stdout)["bright.png"]
    assert told == [{"label": "age", "index": 0, "probability": None, "score": pytest.approx(value, rel=1e-5)}]
    done = typed("predict bright.png")
    assert f"{value:.4g}" in done.stdout
    assert "age (0)" in done.stdout
    assert "%" not in done.stdout
    assert "probability" not in done.stdout
    lines = [" ".join(line.split()) for line in typed("inspect").stdout.split("\n")]
    assert any(line.startswith("output 1 value") for line in lines)
    assert "regression True (convscope.toml)" in lines
    done = typed("report bright.png --method occlusion --output page.html")
    assert done.exit_code == 0, done.output
    assert f"bright.png: age {value:.4g}" in done.stdout
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert f"<td>{value:.4g}" in page
    assert "raises the explained value" in page
    assert " %</td>" not in page
