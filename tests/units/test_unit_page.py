"""Pages of units that are known: a detector of a planted patch, its copy, and what cannot be made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.units.test_unit_patches import PATCH, SIGNS, SIZE, photos
from torch import nn
from typer.testing import CliRunner

from convscope import (
    Model,
    ParameterError,
    UnitPage,
    UnitScan,
    channel_relevance,
    feature_maps,
    necessity,
    scan,
    unit,
)
from convscope.cli.app import app
from convscope.units import page_parts

DETECTOR, COPY = 0, 2


def detecting() -> Model:
    """Channel 0 fires on the planted patch alone, channel 2 is 3 times that; the class "with" is their sum."""
    torch.manual_seed(1)
    conv = nn.Conv2d(1, 4, 5, 2, 2)
    with torch.no_grad():
        conv.weight[DETECTOR, 0], conv.bias[DETECTOR] = SIGNS, -15
        conv.weight[COPY, 0], conv.bias[COPY] = 3 * SIGNS, -45
    net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[4].weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1, 0, 1, 0]]))
        net[4].bias.copy_(torch.tensor([0.5, 0]))
    return Model(net, input_size=(SIZE, SIZE), mean=[0.5], std=[0.5], labels=["without", "with"])


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return photos(30)[0]


@pytest.fixture(scope="module")
def found(pictures: list[np.ndarray]) -> UnitScan:
    labels = ["with" if i % 3 == 0 else "without" for i in range(30)]
    return scan(detecting(), pictures, layers=["0", "1", "3"], k=10, labels=labels)


@pytest.fixture(scope="module")
def page(found: UnitScan, pictures: list[np.ndarray]) -> UnitPage:
    return unit(detecting(), "1", DETECTOR, scan=found, images=pictures)


def test_the_page_of_a_detector_shows_the_patch_its_label_and_its_copy(page: UnitPage) -> None:
    for pixels in page.top.pixels:
        np.testing.assert_array_equal(pixels[..., 0], PATCH)
    assert page.top.labels == ("with",) * 8
    assert page.low.values.max() == 0
    assert (page.labels, page.areas.tolist()) == (("with", "without"), [1, 0])
    assert page.nearest[0].b == COPY
    assert page.nearest[0].r == pytest.approx(1, abs=1e-4)  # from float32 covariances
    assert page.nearest[0].scale == pytest.approx(3, rel=1e-4)
    assert page.left_out == ()
    assert page.visualization is not None
    assert "channel" in page.visualization.target


def test_it_is_lit_where_its_map_is_above_the_median_of_its_peaks(
    page: UnitPage, found: UnitScan, pictures: list[np.ndarray]
) -> None:
    assert page.threshold == np.median(found.peaks["1"][:, DETECTOR]) == 0
    for name, lit, box in zip(page.top.names, page.firing["top"] > 0, page.top.boxes.tolist(), strict=True):
        maps = feature_maps(detecting(), [pictures[found.names.index(name)]], layer="1")["1"][0, DETECTOR]
        np.testing.assert_array_equal(lit, maps > 0)
        row, column = (np.array(box[:2]) + 2) // 2  # the place at whose center the patch is
        assert np.argwhere(lit).tolist() == [[row, column]]


def test_relevant_images_are_those_of_channel_relevance(
    page: UnitPage, found: UnitScan, pictures: list[np.ndarray]
) -> None:
    relevance = channel_relevance(detecting(), pictures, layer="1")
    assert page.relevant is not None
    assert list(zip(page.relevant.names, page.relevant.values.tolist(), strict=True)) == [
        (name, pytest.approx(value, rel=1e-5)) for name, value in relevance.top(DETECTOR, 8)
    ]
    assert set(page.relevant.labels) == {"with"}
    given = unit(detecting(), "1", COPY, scan=found, images=pictures, relevance=relevance, picture=False)
    assert given.relevant is not None
    assert given.relevant.names == tuple(name for name, _ in relevance.top(COPY, 8))
    np.testing.assert_array_equal(given.relevant.pixels[0][..., 0], PATCH)
    with pytest.raises(ParameterError, match="of layer 1; expected that of 0"):
        unit(detecting(), "0", COPY, scan=found, images=pictures, relevance=relevance)


def test_what_needs_the_channel_and_what_feeds_it_are_of_few_images_of_the_scan(
    page: UnitPage, found: UnitScan, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = necessity(detecting(), pictures, layer="1", channels=[DETECTOR], labels=list(found.image_labels))
    assert page.necessity is not None
    np.testing.assert_array_equal(page.necessity.effects, expected.effects)
    np.testing.assert_array_equal(page.necessity.right_without, expected.right_without)
    assert page.necessity.by == "labels"
    monkeypatch.setattr(page_parts, "TRIED", 4)
    options = {"scan": found, "images": pictures, "relevance": False, "picture": False, "k": 1}
    ended = unit(detecting(), "4", 1, scan=scan(detecting(), pictures, layers=["3", "4"]), images=pictures, k=1,
                 relevance=False, picture=False)  # fmt: skip
    assert ended.feeds is not None
    np.testing.assert_allclose(ended.feeds.means, found.means["3"], rtol=1e-6)
    assert {one.channel for one in ended.feeds.top(1)} == {DETECTOR, COPY}
    assert ended.feeds.provenance.notes == ("means of 30 images, from the scan",)
    some = unit(detecting(), "3", COPY, **options)
    few = [pictures[i] for i in (0, 10, 19, 29)]
    assert some.necessity is not None
    assert some.necessity.names == tuple(found.names[i] for i in (0, 10, 19, 29))
    np.testing.assert_array_equal(
        some.necessity.means, necessity(detecting(), few, layer="3", channels=[COPY]).means
    )
    given = unit(detecting(), "1", COPY, necessity=necessity(detecting(), few, layer="1"), feeds=False, **options)
    assert given.necessity is not None
    assert given.necessity.channels.tolist() == [COPY]
    assert given.left_out == ()


def test_what_reads_the_image_has_its_weights_with_their_norm() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 1))
    net[1].weight.data[:] = torch.tensor([1.0, -3])
    net[1].running_var[:] = torch.tensor([1.0, 4])
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = scan(net.eval(), x, layers=["0", "3", "4"])
    quick = {"scan": found, "images": x, "k": 1, "relevance": False, "necessity": False, "picture": False}
    for layer, factor in (("0", 1), ("3", -1.5)):
        page = unit(net, layer, 1, **quick)
        assert page.filters is not None
        torch.testing.assert_close(
            torch.tensor(page.filters.values), factor * net[0].weight.data[1:], rtol=1e-4, atol=0
        )
        assert page.feeds is None
        assert not page.left_out
    assert unit(net, "4", 1, **quick).filters is None


def test_the_first_convolution_has_its_weights_and_a_vector_layer_no_places(
    found: UnitScan, pictures: list[np.ndarray]
) -> None:
    options = {"scan": found, "images": pictures, "picture": False, "k": 3}
    first = unit(detecting(), "0", DETECTOR, relevance=False, **options)
    assert first.filters is not None
    np.testing.assert_array_equal(first.filters.values[0, 0], SIGNS.numpy())
    vector = unit(detecting(), "3", DETECTOR, **options)
    assert vector.filters is not None
    assert vector.firing["top"].shape == (3, 0, 0)
    assert vector.relevant is not None


def test_what_does_not_fit_is_left_out_with_the_reason() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    net[3].weight.data[:] = -1  # channels only take from the score
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    page = unit(net, "1", 0, scan=scan(net, x, layers="1"), images=x, picture=False)
    assert page.relevant is None
    none = "relevance: channel 0 adds to the score in none of the images"
    assert page.left_out == (none,)
    assert page.necessity is not None
    assert page.necessity.by == "predictions", "a tensor has no labels"


def test_a_page_is_saved_with_all_that_is_in_it(page: UnitPage, tmp_path: Path) -> None:
    saved = UnitPage.load(page.save(tmp_path / "page"))
    assert repr(saved) == repr(page)
    assert saved.nearest == page.nearest
    for kind in ("top", "relevant"):
        assert getattr(saved, kind).images.tobytes() == getattr(page, kind).images.tobytes()
        assert saved.firing[kind].tobytes() == page.firing[kind].tobytes()
    assert saved.visualization.evidence == page.visualization.evidence
    np.testing.assert_array_equal(saved.filters.values, page.filters.values)


@pytest.mark.slow
def test_the_terminal_prints_a_scan_and_writes_pages(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from tests.units.test_unit_page import detecting\n\n\ndef build():\n    return detecting()\n"
    )
    for i, picture in enumerate(photos(9)[0]):
        place = tmp_path / "photos" / ("without" if i % 3 else "with") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-m", "convscope", *arguments], cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "120"},
        )  # fmt: skip

    network = ["--model", "own:build"]
    assert run("scan", "photos", "--layer", "0", "--layer", "1", "-o", "scan", *network).returncode == 0
    said = json.loads(run("units", "scan", "--json").stdout)
    before, layer = said["layers"]
    assert [(pair["a"], pair["b"]) for pair in before["duplicates"]] == [(DETECTOR, COPY)]
    assert {one["label"]: one["auroc"] for one in layer["selective"]}["with"] == 1
    made = run("units", "scan", "--channel", "1:0", "--channel", "1:2", "--quick", *network)
    assert made.returncode == 0, made.stderr
    assert "UnitPage(1, channel 0" in made.stdout
    assert "left out" not in made.stdout
    assert 'href="#unit-1-2"' in (tmp_path / "out" / "units.html").read_text(encoding="utf-8")
    made = run("report", "--units", "scan", "--layer", "1", "--channel", "0", "--method", "saliency", *network)
    assert made.returncode == 0, made.stderr
    assert 'id="unit-1-0"' in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["units", "scan", "--channel", "0"], "--channel is of a --layer"),
        (["units", "scan", "--channel", "1:x"], "expected a channel, 12 or blocks.2:12"),
        (["units", "scan", "--layer", "1", "--channel", "9"], "layer 1 has 4 channels"),
        (["units", "scan", "--layer", "x"], "was not scanned"),
        (["units", "."], "not a saved result"),
        (["report", "--units", "scan"], "go together"),
        (["report"], "name images"),
    ],
)
def test_the_terminal_says_what_is_missing(
    found: UnitScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found.save("scan")
    failed = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
    assert failed.exit_code != 0
    assert expected in failed.output
