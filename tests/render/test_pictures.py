"""Every kind of result has a picture, in pyplot, as a figure, as a PNG, with names that try to break it."""

from __future__ import annotations

import base64
import dataclasses
import io
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

from convscope.checks import HIGHER_IS_NEARER, Metric
from convscope.embedding.nearest import nearest
from convscope.errors import OutputError, ParameterError
from convscope.render import attribution_scale, data_uri, figure, filter_tiles, neighbor_rows, plot, save_png
from convscope.render.attributions import is_grainy
from convscope.render.pictures import PICTURES
from convscope.render.projections import PALETTE, label_styles, place_beside, round_robin
from convscope.render.style import decimal, printable, short_label, short_name
from convscope.results import Result, Retrieval
from convscope.store import Block

from .results import attribution, every_kind, feature_maps, filters, neighbors, projection

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
    assert {type(result) for result in KINDS} | {Retrieval} == set(PICTURES)


@pytest.mark.parametrize("result", KINDS, ids=IDS)
def test_every_kind_is_the_same_after_a_trip_to_the_disk(result: Result, tmp_path: Path) -> None:
    again = type(result).load(result.save(tmp_path / "saved"))
    assert repr(again) == repr(result)
    for field in dataclasses.fields(result):
        before, after = getattr(result, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(after, before)
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


def test_one_channel_over_the_photo() -> None:
    assert "channel 2" in figure(feature_maps(), layer="conv", channel=2).axes[1].get_title(loc="left")


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


def test_a_signed_method_stays_signed_where_its_values_happen_to_be_positive() -> None:
    positive = np.ones((1, 4, 4))
    assert attribution_scale(attribution(positive), 0).low == -1
    assert attribution_scale(attribution(positive, signed=False), 0).low == 0
    assert attribution_scale(attribution(-positive, signed=False), 0).low == -1, "a negative value is never hidden"


def test_the_color_bar_has_the_unit_that_the_method_gives() -> None:
    ax = plot(attribution(np.ones((1, 4, 4)), unit="apples"), Figure().subplots())
    assert "apples" in [child.get_ylabel() for child in ax.child_axes]


def test_a_score_that_rounds_to_zero_has_no_sign() -> None:
    assert [decimal(v) for v in (-0.001, 0.001, -0.006, np.float32(1.5), float("nan"), float("inf"))] == [
        "0.00", "0.00", "-0.01", "1.50", "nan", "inf",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 24, 8, 8), (1, 3, 4, 16), (1, 24, 16, 4)])
def test_rows_are_as_high_as_what_is_in_them(shape: tuple[int, ...]) -> None:
    """Between the lowest panel and the caption there is no blank band."""
    result = dataclasses.replace(feature_maps(1), values={"conv": np.random.default_rng(0).normal(size=shape)})
    drawn = figure(result)
    drawn.canvas.draw()
    lowest = min(ax.get_position(original=False).y0 for ax in drawn.axes) * drawn.get_figheight()
    assert lowest < 1.5, f"{lowest} inches"


def test_noise_is_grainy_and_windows_are_not() -> None:
    rng = np.random.default_rng(0)
    assert is_grainy(rng.normal(size=(32, 32)))
    assert not is_grainy(rng.normal(size=(4, 4)).repeat(16, axis=0).repeat(16, axis=1))
    assert not is_grainy(np.zeros((4, 4)))


def test_filters_share_a_scale_or_have_their_own() -> None:
    result = filters()
    result.values[0] *= 0.01
    _, each = filter_tiles(result)
    _, common = filter_tiles(result, scale="common")
    assert np.ptp(each[0].astype(int)) > 100
    assert np.ptp(common[0].astype(int)) < 10
    assert len(filter_tiles(filters(count=200))[1]) == 64
    assert filter_tiles(filters(20, 40))[0][17] == "1←1"


@pytest.mark.parametrize("planes", [1, 3, 20])
def test_filters_of_nearly_no_weights_stay_gray_and_that_is_said(planes: int) -> None:
    result = filters(planes, faint=2)
    names, tiles = filter_tiles(result)
    for name, picture in zip(names, tiles, strict=True):
        assert (np.ptp(picture) == 0) == (name.split("←")[0] in ("0", "1"))
        assert picture.mean() == 128 or np.ptp(picture) > 50
    assert "Gray throughout: 2 with" in figure(result).get_supxlabel()
    assert "Gray throughout" not in figure(filters(planes)).get_supxlabel()


def test_only_a_known_other_label_is_wrong() -> None:
    assert [[one.is_wrong for one in row] for row in neighbor_rows(neighbors())] == [[False, True], [False, False]]
    assert not any(one.is_wrong for row in neighbor_rows(neighbors(())) for one in row)


@pytest.mark.parametrize("n", [None, range(30)])
def test_a_picture_of_many_neighbors_is_bounded_and_says_so(n: range | None) -> None:
    rng = np.random.default_rng(0)
    many = dataclasses.replace(
        neighbors(()),
        indices=rng.integers(0, 3, (40, 500)),
        scores=rng.random((40, 500)),
        query_names=tuple(f"q{i}" for i in range(40)),
        thumbnails=neighbors().thumbnails[:1],  # as of those that are kept
    )
    drawn = figure(many, n=n)
    assert max(drawn.get_size_inches()) < 25
    caption = " ".join(drawn.get_supxlabel().split())
    assert "The nearest 12 of 500 neighbors are shown." in caption
    assert ("first 8 of 40 queries" if n is None else "first 12 of 30 queries") in caption
    assert len(drawn.axes[0].texts) == 2 * (8 if n is None else 12) * 13


@pytest.mark.parametrize("metric", get_args(Metric))
def test_the_caption_says_which_scores_are_nearer(metric: Metric) -> None:
    """As the search itself orders them: the nearest comes first."""
    points, query = np.array([[3, 1], [1, 2], [-1, 0.5]], np.float32), np.array([[3, 1.5]], np.float32)
    indices, scores = nearest([Block(np.arange(3), points)], query, 3, metric)
    assert indices[0, 0] == 0
    is_higher = bool(scores[0, 0] > scores[0, 1] > scores[0, 2])
    assert is_higher is HIGHER_IS_NEARER[metric]
    caption = figure(dataclasses.replace(neighbors(), metric=metric)).get_supxlabel()
    assert f"Numbers: {metric}, {'higher' if is_higher else 'lower'} is nearer." in caption
    cosine = 10.5 / (10 * 11.25) ** 0.5
    assert scores[0, 0] == pytest.approx({"cosine": cosine, "euclidean": 0.5, "dot": 10.5}[metric])


def test_labels_are_told_apart_by_color_and_then_by_shape() -> None:
    styles = label_styles([f"label {i:02d}" for i in range(30)] + [None])
    distinct = list(styles.values())[: 4 * len(PALETTE)]
    assert len(set(distinct)) == 4 * len(PALETTE)
    assert styles["label 29"] == styles["label 28"]


def test_thumbnails_cover_neither_points_nor_one_another() -> None:
    points = np.random.default_rng(0).uniform(0, 400, (60, 2))
    bounds = np.array([[0.0, 0.0], [400.0, 400.0]])
    placed = place_beside(points, range(60), 30, bounds)
    centers = np.array([points[i] + shift for i, shift in placed.items()])
    assert len(centers) > 5
    assert (centers >= 15).all()
    assert (centers <= 385).all()
    for i, center in enumerate(centers):
        assert (np.abs(points - center).max(axis=1) >= 15).all()
        assert (np.abs(np.delete(centers, i, axis=0) - center).max(axis=1) >= 30).all()
    assert round_robin(["a", "a", "b", None]) == [0, 2, 3, 1]


def test_names_are_cut_and_made_drawable() -> None:
    assert short_name("folder/cat.png") == "cat.png"
    assert len(short_name("x" * 100)) <= 30
    assert short_label("tabby, tabby cat") == "tabby"
    assert short_label(", odd")
    assert printable("猫\x07a") == "\ufffd\ufffda"


def test_variance_is_on_the_axes() -> None:
    ax = plot(projection(), Figure().subplots())
    assert ax.get_xlabel() == "component 1 (50.0% of the variance)"


def test_importing_render_does_not_import_torch() -> None:
    code = "import sys, convscope.render; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_contrast_keeps_both_of_its_classes() -> None:
    assert short_label("tabby, tabby cat rather than lynx, catamount") == "tabby rather than lynx"
