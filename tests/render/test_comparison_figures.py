"""Comparisons name what was compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from convscope.render.comparison_figures import draw_comparison
from tests.render.results import comparison


@pytest.mark.parametrize(("sides", "one"), [((12, 12), "image"), ((12,), "signal"), ((3, 4, 4), "volume")])
def test_seconds_are_those_of_an_image_a_signal_or_a_volume(sides: tuple[int, ...], one: str) -> None:
    ax = Figure().subplots()
    draw_comparison(ax, replace(comparison(), maps=np.zeros((2, 2, *sides))))
    assert any(text.get_text().endswith(f"; seconds for each {one}") for text in ax.texts)
