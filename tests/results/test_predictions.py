"""Scores become probabilities, and the highest come first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.render.results import provenance

from convscope import ParameterError, Prediction


def prediction(scores: object) -> Prediction:
    scores = np.array(scores, np.float32)
    labels = tuple("abcdefgh"[: scores.shape[1]])
    return Prediction(scores=scores, labels=labels, names=("x",) * len(scores), provenance=provenance("predict"))


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


def test_values_are_drawn_as_numbers_without_bars() -> None:
    found = replace(prediction([[12.5, 5e6]]), normalization="values")
    ax = found.plot(Figure().subplots())  # of which pyplot does not know, so that it needs no closing
    assert {"12.5", "5e+06"} <= {text.get_text() for text in ax.texts}
    assert not any("%" in text.get_text() or "score" in text.get_text() for text in ax.texts)
    assert {bar.get_width() for bar in ax.patches} == {1}  # the lines under them
