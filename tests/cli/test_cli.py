"""The command line as a process: what a stranger types, and what comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope import ATTRIBUTIONS, Attribution
from convscope.cli.methods import argument_help, method_summaries

# A small network, so that a command takes little more than the time to import torch.
SMALL = ["--model", "torchvision:shufflenet_v2_x0_5", "--random-weights", "--device", "cpu"]


def run(*args: object, cwd: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-W", "ignore", "-m", "convscope", *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=environment)


@pytest.fixture
def photos(tmp_path: Path, cat: np.ndarray, coffee: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    for label, pixels in (("cat", cat), ("cup", coffee)):
        (folder / label).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / label / "one.jpg")
        Image.fromarray(pixels[:, ::-1]).save(folder / label / "two.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def test_help_lists_every_method_without_importing_torch() -> None:
    code = (
        "import sys; sys.argv = ['convscope', '--help']\n"
        "from convscope.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('TORCH' if 'torch' in sys.modules else 'LIGHT')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("LIGHT")
    for command in (
        *method_summaries(),
        "report",
        "predict",
        "layers",
        "embed",
        "neighbors",
        "project",
        "samples",
    ):
        assert f" {command} " in done.stdout


def test_every_registered_method_is_a_command() -> None:
    commands = {name.replace("-", "_") for name in method_summaries()}
    assert set(ATTRIBUTIONS) | {"filters", "feature_maps", "visualize"} == commands
    assert all(method_summaries().values())


@pytest.mark.parametrize("name", sorted(ATTRIBUTIONS))
def test_every_option_has_the_help_of_its_docstring(name: str) -> None:
    texts = argument_help(ATTRIBUTIONS[name])
    done = run(name, "--help")
    assert done.returncode == 0
    assert f"Example: convscope {name} photo.jpg" in done.stdout
    shown = " ".join(done.stdout.replace("│", " ").split())
    for option, text in texts.items():
        if option not in ("model", "images", "progress"):
            assert f"--{option.replace('_', '-')}" in done.stdout
            assert text[:24].rsplit(" ", 1)[0] in shown


def test_predict_as_json_skips_and_lists_what_it_cannot_read(photos: Path) -> None:
    done = run("predict", photos, "--top", 2, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [Path(name).parent.name for name in found] == ["cat", "cat", "cup", "cup"]
    assert found[str(photos / "cup" / "one.jpg")][0]["label"] == "espresso"
    assert "skipped 1" in done.stderr
    assert "broken.jpg" in done.stderr


def test_a_method_writes_its_result_and_never_over_another(photos: Path, tmp_path: Path) -> None:
    image = photos / "cat" / "one.jpg"
    done = run(
        "occlusion",
        image,
        "--window",
        "112,56",
        "--baseline",
        "blur",
        "--target",
        "5",
        "-o",
        "map",
        *SMALL,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    saved = Attribution.load(tmp_path / "map")
    assert saved.provenance.parameters["window"] == (112, 56)
    assert saved.provenance.parameters["baseline"] == "blur"
    assert (tmp_path / "map" / "picture.png").stat().st_size > 1000
    again = run("occlusion", image, "-o", "map", *SMALL, cwd=tmp_path)
    assert again.returncode == 1
    assert "map: exists already" in again.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map", "photos"]


def test_without_an_output_the_first_free_folder_under_out_is_taken(tmp_path: Path) -> None:
    for place in ("filters", "filters-2"):
        done = run("filters", "--json", *SMALL, cwd=tmp_path)
        assert json.loads(done.stdout)["output"] == f"out/{place}"
        assert (tmp_path / "out" / place / "manifest.json").is_file()


def test_several_targets_and_layers(photos: Path, tmp_path: Path) -> None:
    images = [photos / "cat" / "one.jpg", photos / "cup" / "one.jpg"]
    options = ["--target", "3", "--target", "4", "-o", "s", "--json"]
    done = run("saliency", *images, *options, *SMALL, cwd=tmp_path)
    assert json.loads(done.stdout)["provenance"]["parameters"]["target"] == [3, 4]
    options = ["--layer", "conv1", "--layer", "conv5.2", "-o", "f", "--json"]
    done = run("feature-maps", images[0], *options, *SMALL, cwd=tmp_path)
    assert set(json.loads(done.stdout)["values"]) == {"conv1", "conv5.2"}


def test_visualize_a_channel(tmp_path: Path) -> None:
    options = ["--layer", "conv1", "--steps", "2", "--size-px", "48", "--json"]
    done = run("visualize", "3", *options, *SMALL, cwd=tmp_path)
    assert json.loads(done.stdout)["target"] == "conv1, channel 3"


def test_embed_then_neighbors_then_project(photos: Path, tmp_path: Path) -> None:
    assert run("embed", photos, "-o", "vectors", cwd=tmp_path).returncode == 0
    found = json.loads(run("neighbors", "vectors", "0", "--k", "1", "-o", "n", "--json", cwd=tmp_path).stdout)
    assert found["indices"] == [[1]]  # the mirrored cat
    assert found["scores"][0][0] > 0.9
    query = photos / "cup" / "one.jpg"
    done = run("neighbors", "vectors", query, "--k", "1", "-o", "m", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["indices"] == [[2]]
    done = run("project", "vectors", "-o", "p", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["coordinates"]["shape"] == [4, 2]


def test_layers_as_json() -> None:
    found = json.loads(run("layers", "--json", *SMALL).stdout)
    assert found[0] == {
        "name": "conv1.0",
        "kind": "Conv2d",
        "shape": [24, 112, 112],
        "receptive_field": [3, 3],
        "channels_last": False,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "no/such.jpg"], 1, "no/such.jpg: no such file or folder"),
        (["layers", "--model", "resnet"], 1, "no network 'resnet'"),
        (["saliency", "{photo}", "--target", "tigr", "-o", "x"], 1, "did you mean"),
        (["saliency", "{photo}", "--kind", "loud"], 2, "loud"),
        (["occlusion", "{photo}", "--window", "a"], 2, "expected pixels"),
        (["filters", "--layer", "nine"], 1, "layer 'nine' does not exist"),
        (["neighbors", "{photo}", "0"], 1, "no neighbor to find"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(
    arguments: list[str], code: int, message: str, photos: Path, tmp_path: Path
) -> None:
    done = run(*[a.format(photo=photos / "cat" / "one.jpg") for a in arguments], cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]
