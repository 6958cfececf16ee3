"""From values to colors: zero is neutral, signs mirror, stronger is stronger, clipping is told."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.render.colors import ACTIVATION, IMPORTANCE, fit_scale, zero_centered
from convscope.render.overlays import enlarge, overlay


def test_signed_scale_is_symmetric_and_zero_is_its_neutral_middle() -> None:
    scale = fit_scale(np.array([-1.0, 0.0, 4.0]), IMPORTANCE)
    assert (scale.low, scale.high) == (-4, 4)
    middle = scale.colors(np.array([0.0]))[0].astype(int)
    assert np.ptp(middle) <= 2, "zero has a hue"
    assert middle.min() > 235
    assert (scale.colors(np.array([1e-4, -1e-4])) == middle).all(), "zero is not in the middle of a color"
    red, blue = scale.colors(np.array([4.0, -4.0])).astype(int)
    assert red[0] > red[2] and blue[2] > blue[0]  # noqa: PT018


def test_unsigned_scale_starts_at_zero_and_gets_brighter_with_the_value() -> None:
    for name in (IMPORTANCE, ACTIVATION):
        scale = fit_scale(np.linspace(0, 2, 50), name)
        assert scale.low == 0
        light = scale.colors(np.linspace(0, 2, 50)) @ np.array([0.299, 0.587, 0.114])
        assert (np.diff(light) > 0).all()


def test_peaks_are_clipped_at_the_percentile_and_the_scale_says_so() -> None:
    values = np.ones(1000)
    values[0] = 100.0
    scale = fit_scale(values, IMPORTANCE)
    assert scale.high == pytest.approx(1.0)
    assert scale.extend == "max"
    assert fit_scale(-values, IMPORTANCE).extend == "min"
    assert fit_scale(np.linspace(0, 1, 1000), IMPORTANCE).extend == "neither"


def test_a_single_spike_in_zeros_is_still_shown() -> None:
    values = np.zeros(1000)
    values[3] = 5.0
    assert fit_scale(values, IMPORTANCE).high == 5


@pytest.mark.parametrize("values", [np.zeros((3, 3)), np.zeros((0, 3)), np.full((3, 3), np.nan)])
@pytest.mark.parametrize("signed", [True, False])
def test_maps_without_anything_to_show_have_a_scale(values: np.ndarray, signed: bool) -> None:
    scale = fit_scale(values, IMPORTANCE, signed=signed)
    assert scale.high == 1
    neutral = scale.colors(np.zeros(1))[0]
    assert (scale.colors(values) == neutral).all()


def test_filters_have_middle_gray_for_zero() -> None:
    assert zero_centered(np.array([-2.0, 0.0, 2.0]), 2.0).tolist() == [1, 128, 255]
    assert (zero_centered(np.zeros((2, 2)), 0.0) == 128).all()


@pytest.mark.parametrize(("sign", "signed"), [(1, True), (-1, True), (1, False)])
@pytest.mark.parametrize("gray", [30, 128, 230])
def test_overlay_leaves_the_photo_bare_at_zero_and_departs_further_with_strength(
    sign: int, signed: bool, gray: int
) -> None:
    photo = np.full((1, 21, 3), gray, np.uint8)
    values = sign * np.linspace(0, 1, 21)[None]
    scale = fit_scale(values, IMPORTANCE, signed=signed)
    laid = overlay(photo, values, scale).astype(float)
    bare = overlay(photo, np.zeros((1, 21)), scale).astype(float)
    assert np.ptp(laid[0, 0]) == 0, "the photo under no relevance is gray"
    assert (laid[0, 0] == bare[0, 0]).all()
    # A signed map tints the photo: away in color. A sequential one sheds light on it: up in brightness.
    change = np.linalg.norm(laid - bare, axis=2)[0] if signed else (laid - bare)[0] @ [0.299, 0.587, 0.114]
    assert change[-1] > 40
    assert (np.diff(change) > 0).all()


def test_the_photo_stays_visible_under_weak_values() -> None:
    photo = np.zeros((2, 1, 3), np.uint8)
    photo[1] = 255
    scale = fit_scale(np.array([1.0]), IMPORTANCE)
    dark, bright = overlay(photo, np.full((2, 1), 0.2), scale).astype(float).mean(axis=2)[:, 0]
    assert bright - dark > 80


def test_enlarging_keeps_constants_and_is_linear_between_centers() -> None:
    assert (enlarge(np.full((2, 3), 7.0), (8, 9)) == 7).all()
    assert enlarge(np.array([[0.0, 1.0]]), (1, 4))[0].tolist() == [0, 0.25, 0.75, 1]
