"""Attributions have a scale of their own, in their own unit; grainy maps are known."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from convscope.render import attribution_scale, plot
from convscope.render.attribution_panels import is_grainy

from .results import attribution


def test_a_signed_method_stays_signed_where_its_values_happen_to_be_positive() -> None:
    positive = np.ones((1, 4, 4))
    assert attribution_scale(attribution(positive), 0).low == -1
    assert attribution_scale(attribution(positive, signed=False), 0).low == 0
    assert attribution_scale(attribution(-positive, signed=False), 0).low == -1, "a negative value is never hidden"


def test_the_color_bar_has_the_unit_that_the_method_gives() -> None:
    ax = plot(attribution(np.ones((1, 4, 4)), unit="apples"), Figure().subplots())
    assert "apples" in [child.get_ylabel() for child in ax.child_axes]


def test_noise_is_grainy_and_windows_are_not() -> None:
    rng = np.random.default_rng(0)
    assert is_grainy(rng.normal(size=(32, 32)))
    assert not is_grainy(rng.normal(size=(4, 4)).repeat(16, axis=0).repeat(16, axis=1))
    assert not is_grainy(np.zeros((4, 4)))
