"""Every kind of result has a picture, in pyplot, as a figure, as a PNG, with names that try to break it."""

from __future__ import annotations

import base64
import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

from convscope.errors import OutputError, ParameterError
from convscope.render import data_uri, figure, plot, save_png
from convscope.render.pictures import PICTURES
from convscope.results import Result

from .results import attribution, every_kind, feature_maps, filters

KINDS = every_kind()
IDS = [f"{type(result).__name__} {i}" for i, result in enumerate(KINDS)]


@pytest.mark.parametrize("result", KINDS, ids=IDS)
def test_every_kind_has_a_picture(result: Result, tmp_path: Path) -> None:
    path = save_png(result, tmp_path / "picture.png")
    image = np.asarray(Image.open(path).convert("RGB"))
    assert (image[0] == 255).all(), "the background is not white"
    assert image.std() > 5, "the picture is empty"
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("result", KINDS, ids=IDS)
def test_plot_draws_into_given_axes_and_leaves_the_rest_alone(result: Result) -> None:
    ax = Figure().subplots()
    assert plot(result, ax) is ax
    assert ax.has_data()
    assert pyplot.get_fignums() == []


def test_every_kind_that_has_a_picture_is_here() -> None:
    assert {type(result) for result in KINDS} == set(PICTURES)


@pytest.mark.parametrize("result", KINDS, ids=IDS)
def test_every_kind_is_the_same_after_a_trip_to_the_disk(result: Result, tmp_path: Path) -> None:
    check_same(type(result).load(result.save(tmp_path / "saved")), result)


def check_same(again: Result, result: Result) -> None:
    assert repr(again) == repr(result)
    for field in dataclasses.fields(result):
        before, after = getattr(result, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(after, before)
        elif isinstance(before, dict) and field.name != "values":
            assert before.keys() == after.keys()
            for key, array in before.items():
                np.testing.assert_array_equal(after[key], array)
        elif isinstance(before, Result):
            check_same(after, before)
        elif field.name not in ("provenance", "values", "layers"):
            assert after == before or before != before, field.name


def test_plot_without_axes_makes_a_pyplot_figure() -> None:
    ax = plot(KINDS[0])
    try:
        assert pyplot.get_fignums() == [ax.figure.number]
    finally:
        pyplot.close("all")


def test_data_uri_is_a_png() -> None:
    head, _, body = data_uri(KINDS[0]).partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).format == "PNG"


def test_figure_says_what_it_is_and_where_it_comes_from() -> None:
    drawn = figure(attribution(np.ones((2, 8, 8)), score="logit"))
    assert "Occlusion" in drawn.get_suptitle()
    assert "occlusion(score=logit) on tiny, 0.50 s" in drawn.get_supxlabel()
    assert "a remark" in drawn.get_supxlabel()
    assert "own color scale" in drawn.get_supxlabel()


def test_unknown_images_channels_layers_and_scales_are_refused() -> None:
    with pytest.raises(ParameterError, match="holds 2 images"):
        figure(attribution(np.ones((2, 8, 8))), n=2)
    with pytest.raises(ParameterError, match="5 channels"):
        figure(feature_maps(), layer="conv", channel=5)
    with pytest.raises(ParameterError, match="conv, fc"):
        figure(feature_maps(), layer="none")
    with pytest.raises(ParameterError, match="'common' or 'each'"):
        figure(filters(), scale="own")
    with pytest.raises(ParameterError, match="kind: no option of this picture; that of a FeatureMaps takes n, "):
        plot(feature_maps(), Figure().subplots(), kind="own")
    with pytest.raises(ParameterError, match="expected plain axes, not those of a '3d' projection"):
        plot(filters(), Figure().add_subplot(projection="3d"))


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is a file"):
        save_png(KINDS[0], tmp_path / "file" / "picture.png")


def test_only_pictures_of_our_own_are_replaced(tmp_path: Path) -> None:
    picture, photo = tmp_path / "new" / "picture.png", tmp_path / "photo.png"
    save_png(KINDS[0], picture)
    first = picture.read_bytes()
    save_png(KINDS[0], picture)
    assert picture.read_bytes() == first
    photo.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"photo.png: exists, and convscope did not write it"):
        save_png(KINDS[0], photo)
    assert photo.read_bytes() == b"mine"
    save_png(KINDS[0], photo, overwrite=True)
    assert photo.read_bytes() == first


def test_importing_render_does_not_import_torch() -> None:
    code = "import sys, convscope.render; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
