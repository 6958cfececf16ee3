"""Tiles lie exactly where they should."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.render.grids import columns_for, corner, magnify, tile


def test_every_pixel_of_a_grid() -> None:
    images = np.stack([np.full((2, 3, 3), 10 * (i + 1), np.uint8) for i in range(5)])
    grid = tile(images, 3, gap=1, fill=255)
    assert grid.shape == (5, 11, 3)
    expected = np.full((5, 11), 255)
    for i, (top, left) in enumerate([(0, 0), (0, 4), (0, 8), (3, 0), (3, 4)]):
        expected[top : top + 2, left : left + 3] = 10 * (i + 1)
        assert corner(i, 3, (2, 3), 1) == (top, left)
    assert (grid == expected[..., None]).all()


def test_magnify_repeats_pixels() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1).repeat(3, axis=3)
    big = magnify(image, 5)
    assert big.shape == (1, 6, 6, 3)
    assert (big[0, :3, 3:] == 1).all()


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (24, 6), (32, 8), (64, 8)])
def test_grids_have_full_rows_where_possible(count: int, columns: int) -> None:
    assert columns_for(count) == columns


@pytest.mark.parametrize("count", range(1, 40))
def test_columns_are_within_bounds(count: int) -> None:
    assert 1 <= columns_for(count, 8) <= min(8, count)
