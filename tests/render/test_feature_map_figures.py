"""One channel over the photo, and rows as high as what is in them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convscope.render import figure

from .results import feature_maps


def test_one_channel_over_the_photo() -> None:
    assert "channel 2" in figure(feature_maps(), layer="conv", channel=2).axes[1].get_title(loc="left")


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 24, 8, 8), (1, 3, 4, 16), (1, 24, 16, 4)])
def test_rows_are_as_high_as_what_is_in_them(shape: tuple[int, ...]) -> None:
    """Between the lowest panel and the caption there is no blank band."""
    result = dataclasses.replace(feature_maps(1), values={"conv": np.random.default_rng(0).normal(size=shape)})
    drawn = figure(result)
    drawn.canvas.draw()
    lowest = min(ax.get_position(original=False).y0 for ax in drawn.axes) * drawn.get_figheight()
    assert lowest < 1.5, f"{lowest} inches"
