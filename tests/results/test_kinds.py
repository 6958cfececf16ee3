"""Results say what they are, and cannot be reassigned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from convscope import Attribution, FeatureMaps, Filters, ParameterError, Prediction, Provenance, Visualization


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


def prediction(scores: object) -> Prediction:
    scores = np.array(scores, np.float32)
    labels = tuple("abcdefgh"[: scores.shape[1]])
    return Prediction(scores=scores, labels=labels, names=("x",) * len(scores), provenance=provenance())


def test_the_caption_leaves_out_options_that_were_not_given() -> None:
    assert provenance().caption == "occlusion(window=(8, 8)) on net, 1.23 s"


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
    first, second = prediction([[1, 2]]), prediction([[1, 2]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.scores = second.scores
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.provenance.device = "cuda"
    assert first == first
    assert first != second


def test_probabilities_are_the_softmax_however_large_the_scores() -> None:
    found = prediction([[0, np.log(3)], [1e4, 1e4], [-1e4, 1e4]]).probabilities
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5], [0, 1]], rtol=1e-6)


def test_the_highest_classes_come_first_and_ties_in_their_own_order() -> None:
    first, second = prediction([[0, 5, 5, -1], [9, 0, 0, 0]]).top(3)
    assert [r.label for r in first] == ["b", "c", "a"]
    assert (second[0].label, second[0].index, second[0].score) == ("a", 0, 9)
    assert second[0].probability == pytest.approx(1, abs=1e-3)
    assert len(prediction([[0, 1]]).top(9)[0]) == 2
    with pytest.raises(ParameterError, match="k=0"):
        prediction([[0, 1]]).top(0)


def test_channels_are_ordered_by_a_stated_strength() -> None:
    values = np.array([[[[9, -9]], [[1, 1]], [[0, 0]]]], np.float32)
    maps = FeatureMaps(values={"a": values}, images=np.zeros((1, 1, 1, 3), np.uint8), names=("x",),
                       provenance=provenance())  # fmt: skip
    assert maps.order("a").tolist() == [1, 0, 2]
    assert maps.order("a", by="max").tolist() == [0, 1, 2]
    full = np.array([[[[6, 0]], [[6, 6]], [[6, 3]], [[7, 0]]]], np.float32)
    saturated = dataclasses.replace(maps, values={"a": full})
    assert saturated.order("a", by="max").tolist() == [3, 1, 2, 0], "equal maxima go by the mean"
    with pytest.raises(ParameterError, match="by='median'"):
        maps.order("a", by="median")


def test_the_html_is_a_picture_with_its_numbers_as_text() -> None:
    result = Visualization(
        image=np.zeros((4, 4, 3), np.uint8),
        input=np.zeros((3, 4, 4), np.float32),
        scores=np.arange(3, dtype=np.float32),
        frames=np.zeros((0, 4, 4, 3), np.uint8),
        target='<script>"',
        provenance=provenance(parameters={"target": '<script>"'}),
    )
    html = result._repr_html_()
    assert html.startswith('<figure><img src="data:image/png;base64,')
    assert "<script>" not in html
