"""Results say what they are, and cannot be reassigned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.render.results import prediction

from convscope import Attribution, FeatureMaps, Filters, Provenance, Visualization


def provenance(**options: object) -> Provenance:
    stated = {
        "method": "occlusion",
        "parameters": {"window": (8, 8), "target": None},
        "model": {"name": "net"},
        "device": "cpu",
        "versions": {"torch": "2"},
        "seconds": 1.234,
    }
    return Provenance(**{**stated, **options})


def test_the_caption_leaves_out_options_that_were_not_given() -> None:
    assert provenance().caption == "occlusion(window=(8, 8)) on net, 1.23 s"


def test_the_caption_shortens_a_target_for_each_of_many_images() -> None:
    made = provenance(parameters={"target": tuple(f"class {i}" for i in range(24)), "layer": ["a"] * 4})
    assert made.caption == "occlusion(target=['class 0' and 23 more], layer=['a', 'a', 'a', 'a']) on net, 1.23 s"


def test_a_result_shows_shapes_and_ranges_in_one_line_and_its_caption_in_another() -> None:
    text = repr(Filters(values=np.array([[[[-1.0, 2.5]]]], np.float32), layer="conv1", provenance=provenance()))
    assert (
        text
        == "Filters(values: (1, 1, 1, 2) from -1 to 2.5, layer: conv1)\n  occlusion(window=(8, 8)) on net, 1.23 s"
    )
    maps = FeatureMaps(
        values={"a": np.zeros((1, 2, 3, 4)), "b:input": np.zeros((1, 5))},
        images=np.zeros((1, 6, 6, 3), np.uint8),
        names=tuple("vwxyz"),
        provenance=provenance(),
    )
    for part in ("a (1, 2, 3, 4)", "b:input (1, 5)", "images: (1, 6, 6, 3) uint8", "names: v, w, x, ..."):
        assert part in repr(maps)


@pytest.mark.parametrize("values", [np.full((1, 2, 2), np.nan, np.float32), np.zeros((0, 2, 2), np.float32)])
def test_maps_of_nothing_show_without_a_warning(values: np.ndarray) -> None:
    empty = np.zeros(0, np.float32)
    result = Attribution(values=values, targets=(), scores=empty, images=empty, names=(), provenance=provenance())
    assert f"values: {values.shape} float32" in repr(result)


def test_results_are_frozen_and_equal_only_to_themselves() -> None:
    first, second = prediction(), prediction()
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.scores = second.scores
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.provenance.device = "cuda"
    assert first == first
    assert first != second


def test_the_html_is_a_picture_with_its_numbers_as_text() -> None:
    result = Visualization(
        image=np.zeros((4, 4, 3), np.uint8),
        input=np.zeros((3, 4, 4), np.float32),
        scores=np.arange(3, dtype=np.float32),
        frames=np.zeros((0, 4, 4, 3), np.uint8),
        target='<script>"',
        provenance=provenance(parameters={"target": '<script>"'}),
    )
    assert repr(result).splitlines()[0] == 'Visualization(<script>": 4x4 px, score 0 to 2 in 2 steps)'
    html = result._repr_html_()
    assert html.startswith('<figure><img src="data:image/png;base64,')
    assert "<script>" not in html
