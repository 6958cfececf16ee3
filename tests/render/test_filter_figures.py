"""Filters on one scale or on their own; those of nearly no weights stay gray."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.render import figure, filter_tiles

from .results import filters


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
