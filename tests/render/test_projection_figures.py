"""Labels are told apart, thumbnails cover nothing, axes say what they keep."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from convscope.render import plot
from convscope.render.colors import CLASS_COLORS, OTHER, class_colors
from convscope.render.projection_figures import label_styles, place_beside, round_robin

from .results import projection


def test_labels_are_told_apart_by_color_and_then_by_shape() -> None:
    names = [f"label {i:02d}" for i in range(43)]
    styles = label_styles([*names, *names[3:], None])
    assert {name for name, style in styles.items() if style == (OTHER, "o")} == set(names[:3]), "the rarest"
    assert len(set(styles.values()) - {(OTHER, "o")}) == len(CLASS_COLORS) == 40
    assert styles["label 03"] == (CLASS_COLORS[0], "o")


def test_a_class_has_one_color_as_a_label_and_as_a_prediction() -> None:
    colors = class_colors(["b", "a", None], ["cow", "a", "ox", "ox"])
    assert colors == dict(zip(["a", "b", "ox", "cow"], CLASS_COLORS, strict=False))


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


def test_variance_is_on_the_axes() -> None:
    ax = plot(projection(), Figure().subplots())
    assert ax.get_xlabel() == "component 1 (50.0% of the variance)"
