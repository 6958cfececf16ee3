"""What becomes of what is typed: targets, and inputs that are no pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from convscope import Contrast, Detection, ImageError, Region
from convscope.cli.app import app
from convscope.cli.options import chosen_target, preprocessed

CODE = """
import torch
from torch import nn

class OneBox(nn.Module):  # the box is fixed, the score that of the red square in it
    def forward(self, x):
        score = x[:, :1, 4:12, 4:12].mean((2, 3))
        box = torch.tensor([8.0, 8, 8, 8]).repeat(len(x), 1)
        return torch.cat([box, 0 * score, score], dim=1)[..., None]

def signal():
    net = nn.Sequential(nn.Conv1d(1, 2, 1, bias=False), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    net[0].weight.data = torch.tensor([[[1.0]], [[-1.0]]])
    return net
"""
OPTIONS = "--input-size 16 --mean 0,0,0 --std 1,1,1 --labels labels.txt --device cpu"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a detector, a network of signals, a picture and two signals."""
    (tmp_path / "odd_kinds.py").write_text(CODE)
    (tmp_path / "labels.txt").write_text("disk\nred square\n")
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[4:12, 4:12, 0] = 204
    Image.fromarray(pixels).save(tmp_path / "a square.png")
    np.save(tmp_path / "two.npy", np.array([[[1.0, 2, 3, 6]], [[-1, -1, -1, -5]]]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return tmp_path


def typed(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (None, None),
        ("3", 3),
        ("3,4,5", (3, 4, 5)),
        ("cat at night", "cat at night"),
        ("cat at 1,2,3", "cat at 1,2,3"),
        ("red square at 4,5.5,12,13", Detection((4, 5.5, 12, 13), "red square")),
        ("17 AT (-4, 5, 12, 13)", Detection((-4, 5, 12, 13), 17)),
        ("man at sea at 1,2,3,4", Detection((1, 2, 3, 4), "man at sea")),
        ("cat rather than 2", Contrast("cat", 2)),
    ],
)
def test_targets(text: str | None, target: object) -> None:
    assert chosen_target(text) == target


def test_two_numbers_are_a_pixel_of_a_segmentation() -> None:
    region = chosen_target("red square at 4,12")
    assert isinstance(region, Region)
    assert (region.target, region.point) == ("red square", (4, 12))
    assert chosen_target("red square at -4,12") == "red square at -4,12"


def test_a_detection_is_listed_and_explained(folder: Path) -> None:
    done = typed("detections", "a square.png", "-m", "odd_kinds.py:OneBox", *OPTIONS.split())
    assert done.exit_code == 0, done.output
    assert "80.0%        red square  4,4,12,12" in done.stdout
    assert "convscope rise 'a square.png' --target 'red square at 4,4,12,12'" in done.stdout
    done = typed("detections", "a square.png", "--json", "-m", "odd_kinds.py:OneBox", *OPTIONS.split())
    (found,) = json.loads(done.stdout)
    assert (found["class"], found["box"]) == ("red square", [4, 4, 12, 12])
    target = ("--target", "red square at 4,4,12,12")
    done = typed("saliency", "a square.png", *target, "-m", "odd_kinds.py:OneBox", *OPTIONS.split())
    assert done.exit_code == 0, done.output
    values = np.load(folder / "out" / "saliency" / "arrays.npz")["values"]
    expected = np.zeros((1, 16, 16))
    expected[:, 4:12, 4:12] = 1 / 64
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-9)


def test_who_asks_a_detector_for_a_class_is_told_what_to_ask_for(folder: Path) -> None:
    done = typed("predict", "a square.png", "-m", "odd_kinds.py:OneBox", *OPTIONS.split())
    assert done.exit_code == 1
    assert '--target "CLASS at LEFT,TOP,RIGHT,BOTTOM" (`convscope detections` lists' in done.stderr


def test_an_array_is_what_the_network_takes(folder: Path) -> None:
    done = typed("predict", "two.npy", "-m", "odd_kinds.py:signal", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [told[f"signal {i}"][0]["score"] for i in (0, 1)] == [3, 2]
    assert [told[f"signal {i}"][0]["index"] for i in (0, 1)] == [0, 1]
    done = typed("inspect", "odd_kinds.py:signal", "--device", "cpu", "--input-size", "48")
    assert done.exit_code == 0, done.output
    assert "tensors (N, 1, 48) are taken" in " ".join(done.stdout.split())
    done = typed("predict", "a square.png", "-m", "odd_kinds.py:signal", "--device", "cpu")
    assert "takes signals (N, C, L), and was given what is read as pictures: give a .npy file with" in done.stderr


def test_an_array_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "pixels.npy", np.zeros((1, 3, 8, 8), np.uint8))
    for name, message in {
        "text": "cannot be read",
        "objects": "cannot be read",
        "pixels": "array of uint8",
    }.items():
        with pytest.raises(ImageError, match=f"{name}.npy: .*{message}"):
            preprocessed(tmp_path / f"{name}.npy")
    np.save(tmp_path / "double.npy", np.full((1, 1, 8), 0.1))
    assert preprocessed(tmp_path / "double.npy").dtype == torch.float32
