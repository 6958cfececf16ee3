"""`convscope scan`: what it prints, what it leaves, and a run that goes on; here and as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from convscope import Concepts, ConceptVector, ModelError, UnitScan
from convscope.cli.app import app

PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
NETWORK = '''
import torch
from torch import nn

def build():
    """Channel 0 never fires; 1 and 2 are the brightness, the second twice; the last layer is never reached."""
    conv = nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([0.0, 1, 2])[:, None, None, None])
        conv.bias.copy_(torch.tensor([-1.0, 0, 0]))
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(192, 2))
'''
OPTIONS = ["--model", "dim:build", "--input-size", "8", "--mean", "0", "--std", "1", "--device", "cpu"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a network of its own and labeled photos: two dark and two bright ones, and a broken one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dim.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("bright", 160)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(low, low + 90, (8, 8), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG")
    yield tmp_path
    sys.modules.pop("dim", None)


def invoke(*args: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], env=PLAIN, catch_exceptions=False)


def test_a_scan_says_what_it_found_and_keeps_it(place: Path) -> None:
    done = invoke("scan", "photos", "--layer", "1", "--output", "units", "-k", "3", "--json", *OPTIONS)
    assert done.exit_code == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["scan"], shown["images"]) == ("units", 4)
    (layer,) = shown["layers"]
    assert (layer["layer"], layer["channels"], layer["dead"], layer["n_duplicates"]) == ("1", 3, [0], 1)
    assert (layer["duplicates"][0]["a"], layer["duplicates"][0]["b"]) == (1, 2)
    assert {one["label"]: one["auroc"] for one in layer["selective"]}["bright"] == 1
    kept = UnitScan.load("units")
    assert kept.high["1"].shape == (3, 3)
    assert [Path(name).parent.name for name in kept.top("1", 1, 2)] == ["bright", "bright"]
    again = invoke("scan", "photos", "--layer", "1", "--output", "units", *OPTIONS)
    words = " ".join(again.stdout.split())
    assert "4 images: units" in words
    assert "broken.png" in " ".join(again.stderr.split())


def test_concepts_of_a_label_and_the_vector_of_a_concept_have_commands(place: Path) -> None:
    done = invoke("concepts", "photos", "--label", "bright", "--layer", "1", "--target", "1", "--n-concepts", "2",
                  "--crop-px", "4", "--n-designs", "4", "--output", "found", "--json", *OPTIONS)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert {Path(name).parent.name for name in json.loads(done.stdout)["names"]} == {"bright"}
    assert Concepts.load("found").basis.shape == (2, 3)
    done = invoke("concept-vector", "photos/bright", "photos/dark", "--layer", "1", "--n-random", "5",
                  "--images", "photos/bright", "--target", "0", "--output", "vector", *OPTIONS)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    vector = ConceptVector.load("vector")
    assert vector.accuracy == 1
    assert {Path(name).parent.name for name in vector.names} == {"bright"}
    assert "no image has it; there are bright, dark" in invoke(
        "concepts", "photos", "--label", "Bright", "--layer", "1", *OPTIONS
    ).stderr.replace("\n", " ")


def test_units_take_the_network_that_the_scan_names_and_no_code_of_ones_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("scan", "photos", "--layer", "1", "--output", "units", *OPTIONS)
    asked = ("units", "units", "--channel", "1", "--quick")
    failed = invoke(*asked)
    assert failed.exit_code == 1
    assert "this is of the network 'dim:build', which a name alone does not load: give --model" in failed.stderr
    assert invoke(*asked, *OPTIONS).exit_code == 0

    def loaded(source: str, **options: Any) -> None:
        raise ModelError(f"{source}, {options}")

    monkeypatch.setattr("convscope.models.load_model", loaded)
    found = UnitScan.load("units")
    for name, typed, expected in (
        ("timm:resnet18", [], "timm:resnet18, {'pretrained': True}"),
        ("timm:resnet18 (random weights)", [], "timm:resnet18, {'pretrained': False}"),
        ("timm:resnet18 (dim.py)", ["--weights", "dim.py"], "timm:resnet18, {'pretrained': True, 'weights':"),
        ("timm:resnet18 (dim.py)", [], "with weights of its own: give dim.py with --weights"),
        ("timm:resnet18", ["--model", "efficientnet-lite0"], "efficientnet-lite0, {'pretrained': True}"),
    ):
        about = replace(found.provenance, model=found.provenance.model | {"name": name})
        saved = replace(found, provenance=about).save(place / f"{len(list(place.iterdir()))}")
        assert expected in " ".join(invoke("units", saved, *asked[2:], *typed).stderr.split())


def test_mistakes_are_answered_without_a_traceback(place: Path) -> None:
    assert "no layer '9'" in invoke("scan", "photos", "--layer", "9", "--output", "units", *OPTIONS).stderr
    (place / "full").mkdir()
    (place / "full" / "note.txt").write_text("mine")
    refused = invoke("scan", "photos", "--output", "full", *OPTIONS)
    assert refused.exit_code == 1
    assert "full" in refused.stderr
    assert "Traceback" not in refused.stderr
    ignored = invoke("units", "nowhere", "--output", "pages.html")
    assert ignored.exit_code == 2
    assert "give --channel" in " ".join(ignored.stderr.split())


@pytest.mark.slow
def test_as_a_process_a_scan_goes_on_with_further_images(place: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "convscope", "scan", "photos", "--layer", "1", "-o", "units"]
    environment = os.environ | PLAIN | {"PYTHONPATH": os.pathsep.join([str(place), *sys.path])}
    for n in (4, 5):
        done = subprocess.run([*command, *OPTIONS], capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        assert f"{n} images: units" in " ".join(done.stdout.split())
        Image.new("L", (8, 8), 255).save(place / "photos" / "bright" / "new.png")
    assert Path(UnitScan.load("units").top("1", 1, 1)[0]).name == "new.png"
