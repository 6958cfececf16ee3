"""Signals are lines over the colors of their maps; volumes planes through the peak, or frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from convscope import ParameterError
from convscope.render import Scale, figure, plot, save_png
from convscope.render.overlays import map_scale, overlay
from convscope.render.signal_figures import COLUMNS, LANES, _strongest
from convscope.render.volume_figures import FRAMES, GAP, planes_of, shown_frames
from convscope.results import Attribution

from .results import provenance

RNG = np.random.default_rng(0)


def of_signals(n_channels: int = 1, length: int = 40, *, signed: bool = True) -> Attribution:
    values = RNG.normal(size=(2, length)).astype(np.float32)
    return Attribution(
        values=values if signed else np.abs(values),
        targets=("$\\beat$", "b"),
        scores=np.ones(2, np.float32),
        images=RNG.normal(size=(2, n_channels, length)).astype(np.float32),
        names=("image 0", "<b>$x_1$"),
        signed=signed,
        unit="mV",
        provenance=provenance("saliency"),
    )


def of_volumes(depth: int = 5, height: int = 6, width: int = 9) -> Attribution:
    return Attribution(
        values=RNG.normal(size=(1, depth, height, width)).astype(np.float32),
        targets=("a",),
        scores=np.ones(1, np.float32),
        images=RNG.integers(0, 256, (1, depth, height, width, 3), dtype=np.uint8),
        names=("image 0",),
        unit="share",
        provenance=provenance("grad_cam"),
    )


@pytest.mark.parametrize("n_channels", [1, 3, LANES + 2])
def test_a_signal_is_a_line_for_each_channel_over_its_colors(n_channels: int) -> None:
    found = of_signals(n_channels)
    ax = plot(found, Figure().subplots(), n=1)
    assert len(ax.lines) == min(n_channels, LANES)
    if n_channels == 1:
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.images[1, 0])
    (background,) = ax.images
    scale = map_scale(found.values[1], signed=True)
    assert scale.low == -scale.high
    np.testing.assert_array_equal(background.get_array()[0], scale.colors(found.values[1]))
    assert background.get_extent()[:2] == [-0.5, 39.5]
    assert ax.get_xlabel() == "sample"
    assert "mV" in [child.get_ylabel() for child in ax.child_axes]
    texts = [text.get_text() for text in figure(found).findobj(lambda a: hasattr(a, "get_text"))]
    assert any("channels are shown" in text for text in texts) == (n_channels > LANES)


def test_of_many_samples_the_strongest_is_shown() -> None:
    values = np.zeros(3 * COLUMNS + 1)
    values[100], values[101] = 1.0, -5.0
    shown = _strongest(values)
    assert len(shown) <= COLUMNS
    assert shown.min() == -5.0
    assert np.array_equal(_strongest(values[:COLUMNS]), values[:COLUMNS])


def test_the_planes_of_a_volume_cross_at_its_strongest_value() -> None:
    found = of_volumes()
    found.values[0, 3, 1, 7] = -9.0
    scale = map_scale(found.values[0], signed=True)
    depth, height, width = planes_of(found, 0)
    assert (depth.at, height.at, width.at) == (3, 1, 7)
    np.testing.assert_array_equal(depth.picture, overlay(found.images[0, 3], found.values[0, 3], scale))
    np.testing.assert_array_equal(height.picture, overlay(found.images[0, :, 1], found.values[0, :, 1], scale))
    np.testing.assert_array_equal(
        width.picture, overlay(found.images[0, :, :, 7], found.values[0, :, :, 7], scale)
    )
    assert isinstance(scale, Scale)


def test_slices_of_a_volume_lie_below_its_planes() -> None:
    found = of_volumes(depth=22)
    below = figure(found).axes[3]
    scale = map_scale(found.values[0], signed=True)
    slices = [overlay(found.images[0, at], found.values[0, at], scale) for at in range(0, 22, 3)]
    shown = below.images[0].get_array()
    assert [label.get_text() for label in below.texts] == [f"depth {at}" for at in range(0, 22, 3)]
    for n, picture in enumerate(slices):
        np.testing.assert_array_equal(shown[:, n * (9 + GAP) : n * (9 + GAP) + 9], picture)


@pytest.mark.parametrize("depth", [1, 5, 40])
def test_frames_of_a_video_are_evenly_spread(depth: int) -> None:
    numbers = shown_frames(np.zeros((depth, 2, 2)))
    assert len(numbers) == min(depth, FRAMES)
    assert (numbers[0], numbers[-1]) == (0, depth - 1)
    assert np.ptp(np.diff(numbers)) <= 1 if depth > 1 else True


@pytest.mark.parametrize("as_video", [False, True])
def test_volumes_are_drawn_saved_and_shown_in_notebooks(as_video: bool, tmp_path: Path) -> None:
    found = of_volumes(depth=14)
    assert plot(found, Figure().subplots(), as_video=as_video).images
    assert save_png(found, tmp_path / "picture.png", as_video=as_video).stat().st_size > 1000
    assert "data:image/png" in found._repr_html_()
    again = Attribution.load(found.save(tmp_path / "saved"))
    np.testing.assert_array_equal(again.values, found.values)


def test_signals_are_saved_with_their_own_values(tmp_path: Path) -> None:
    found = of_signals(2, signed=False)
    again = Attribution.load(found.save(tmp_path / "saved"))
    np.testing.assert_array_equal(again.images, found.images)
    assert (tmp_path / "saved" / "picture.png").stat().st_size > 1000


def test_only_volumes_are_videos() -> None:
    with pytest.raises(ParameterError, match=r"as_video=True: these are signals; expected volumes"):
        plot(of_signals(), Figure().subplots(), as_video=True)
