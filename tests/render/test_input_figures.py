"""Several inputs that were explained together have a panel each: photos, lines, planes, bars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from convscope import ParameterError
from convscope.render import figure, plot
from convscope.render.overlays import map_scale, overlay
from convscope.render.vector_figures import BARS
from convscope.results import Attribution

from .results import provenance

RNG = np.random.default_rng(0)
SHAPES: dict[str, tuple[int, ...]] = {
    "photo": (3, 12, 16), "$ecg_": (2, 30), "meta": (5,), "age": (), "scan": (1, 4, 6, 7), "many": (BARS + 9,)
}  # fmt: skip


def of_inputs(*names: str, n: int = 2, signed: bool = True, measured: dict[str, Any] | None = None) -> Attribution:
    def given(shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) < 3:
            return RNG.normal(size=(n, *shape)).astype(np.float32)
        return RNG.integers(0, 256, (n, *shape[1:], 3), dtype=np.uint8)

    maps = {name: RNG.normal(size=(n, *SHAPES[name])).astype(np.float32) for name in names}
    return Attribution(
        values=RNG.normal(size=(n, 12, 16)).astype(np.float32),
        targets=("$\\cat$",) * n,
        scores=np.ones(n, np.float32),
        images=np.zeros((n, 12, 16, 3), np.uint8),
        names=tuple(f"<b>$x_{i}$" for i in range(n)),
        signed=signed,
        unit="share",
        inputs=maps if signed else {name: np.abs(values) for name, values in maps.items()},
        given={name: given(SHAPES[name]) for name in names},
        provenance=replace(provenance("integrated_gradients"), measured=measured or {}),
    )


def test_the_map_of_one_input_is_a_result_of_its_own() -> None:
    found = of_inputs(*SHAPES)
    photo = found.of_input("photo")
    np.testing.assert_array_equal(photo.values, found.inputs["photo"].sum(axis=1))
    np.testing.assert_array_equal(photo.images, found.given["photo"])
    assert found.of_input("$ecg_").values.shape == (2, 30)
    assert found.of_input("$ecg_").images.shape == (2, 2, 30)
    assert found.of_input("scan").values.shape == (2, 4, 6, 7)
    np.testing.assert_array_equal(found.of_input("meta").values, found.inputs["meta"])
    np.testing.assert_array_equal(found.of_input("age").images[:, 0], found.given["age"])
    without_sign = of_inputs("photo", signed=False)
    np.testing.assert_array_equal(without_sign.of_input("photo").values, without_sign.inputs["photo"].max(axis=1))
    with pytest.raises(ParameterError, match="input 'foto': expected one of photo"):
        without_sign.of_input("foto")


def panels(picture: Figure) -> dict[str, Any]:
    return {ax.get_title(loc="left"): ax for ax in picture.findobj(lambda one: hasattr(one, "get_title"))}


def test_each_input_is_drawn_as_what_it_is() -> None:
    found = of_inputs("photo", "$ecg_", "meta", "many")
    picture = figure(found, n=1)
    axes = panels(picture)
    lead = axes["<b>$x_1$: $\\cat$"]
    np.testing.assert_array_equal(lead.images[0].get_array(), found.given["photo"][1])
    assert len(axes["$ecg_"].lines) == 2
    scale = map_scale(found.inputs["$ecg_"][1].sum(axis=0), signed=True)
    colors = axes["$ecg_"].images[0].get_array()[0]
    np.testing.assert_array_equal(colors, scale.colors(found.inputs["$ecg_"][1].sum(axis=0)))
    bars = axes["meta"].patches
    np.testing.assert_allclose([bar.get_width() for bar in bars], found.inputs["meta"][1], rtol=1e-6)
    red, blue = (np.array([bar.get_facecolor()[place] for bar in bars]) for place in (0, 2))
    np.testing.assert_array_equal(red > blue, found.inputs["meta"][1] > 0)
    values = found.inputs["many"][1]
    kept = np.sort(np.argsort(-np.abs(values))[:BARS])
    labels = [label.get_text() for label in axes["many"].get_yticklabels()]
    assert [int(label.split(":")[0]) for label in labels] == kept.tolist()
    assert f"the {BARS} strongest" in picture.get_supxlabel()


def test_a_map_that_is_not_grainy_lies_over_its_photo() -> None:
    found = of_inputs("photo", "meta", n=1)
    found.inputs["photo"][:] = np.linspace(0, 1, 16)
    shown, values = panels(figure(found))["photo"].images[0].get_array(), found.of_input("photo").values[0]
    np.testing.assert_array_equal(shown, overlay(found.given["photo"][0], values, map_scale(values, signed=True)))


def test_sums_are_told_where_the_method_adds_up() -> None:
    def texts(found: Attribution) -> str:
        return " ".join(text.get_text() for text in figure(found).findobj(lambda one: hasattr(one, "get_text")))

    found = of_inputs("photo", "meta", n=1, measured={"completeness_error": [0.0]})
    assert f"adds up to {found.inputs['meta'][0].sum():+.3g}" in texts(found)
    assert "adds up" not in texts(of_inputs("photo", "meta", n=1))


@pytest.mark.parametrize("names", [("photo", "meta"), ("meta",), ("age", "scan")])
def test_any_inputs_fit_into_given_axes_and_onto_disk(names: tuple[str, ...], tmp_path: Path) -> None:
    found = of_inputs(*names, n=1)
    ax = plot(found, Figure().subplots())
    assert [inside.get_title(loc="left") for inside in ax.child_axes] == list(names)
    ax.figure.draw_without_rendering()
    assert "<img" in found._repr_html_()
    again = Attribution.load(found.save(tmp_path / "found"))
    for name in names:
        np.testing.assert_array_equal(again.given[name], found.given[name])
        np.testing.assert_array_equal(again.of_input(name).values, found.of_input(name).values)
