"""A picture that missed its aim says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from convscope import Contrast, accentuate, visualize
from convscope.models import Model
from convscope.synthesis import PRESETS

PLAIN = {"preset": "plain"}
BLURRED = {"preset": replace(PRESETS["plain"], step_size=0.0, blur=3.0)}


def linear(*rows: torch.Tensor, labels: list[str] | None = None) -> Model:
    """A class for each row of weights (3, 8, 8)."""
    layer = nn.Linear(192, len(rows), bias=False)
    layer.weight.data = torch.stack([row.flatten() for row in rows])
    return Model(
        nn.Sequential(nn.Flatten(), layer), input_size=(8, 8), mean=[0.5] * 3, std=[0.5] * 3, labels=labels
    )


def chessboard() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    return (1.0 - 2.0 * ((rows + columns) % 2)).expand(3, 8, 8)


def test_where_no_step_helps_the_picture_is_that_of_the_start_and_says_so() -> None:
    """A blur takes all of a chessboard, and with steps of nothing nobody brings it back."""
    best = (chessboard() + 1).div(2).permute(1, 2, 0).numpy()
    found = visualize(linear(chessboard(), 0 * chessboard()), target=0, start=best, n_steps=6, **BLURRED)
    again, note = found.provenance.notes
    assert again.startswith("the score fell after 6 steps: started again")
    assert note.startswith("no step raised the score above 192, ")
    assert "a smaller blur (it was 3)" in note
    assert found.scores[-1] == 192
    assert found.scores[5] < 192


@pytest.mark.parametrize(("labels", "other"), [(None, "class 1"), (["cup", "mug, beaker"], "mug, beaker")])
def test_another_class_on_top_is_said_with_its_score(labels: list[str] | None, other: str) -> None:
    """Whatever the first class likes, the second likes twice as much."""
    weights = torch.randn(3, 8, 8)
    model = linear(weights, 2 * weights, labels=labels)
    found = visualize(model, target=0, n_steps=3, **PLAIN)
    (note,) = found.provenance.notes
    final = float(found.scores[-1])
    assert final > found.scores[0]
    assert note.startswith(
        f"the network takes the finished picture for {other!r} (score {2 * final:.4g}), "
        f"not for the target ({final:.4g})"
    )
    assert note.endswith("target=lambda output: output.log_softmax(1)[:, 0]")
    assert visualize(model, target=1, n_steps=3, **PLAIN).provenance.notes == ()


def test_the_log_probability_that_a_remark_proposes_finds_a_picture_of_the_target() -> None:
    """What the first class likes, the second likes twice as much; what neither likes is of the first."""
    weights = torch.randn(3, 8, 8)
    model = linear(weights, 2 * weights)
    found = visualize(model, target=lambda output: output.log_softmax(1)[:, 0], n_steps=8, **PLAIN)
    with torch.no_grad():
        assert int(model.module(torch.tensor(found.input)[None]).argmax()) == 0


def test_near_to_a_photo_the_advice_is_to_go_farther() -> None:
    weights = torch.randn(3, 8, 8)
    model = linear(weights, 3 * weights)
    notes = accentuate(model, weights[None], 0, distance=0.1, near_layer="0", n_steps=2).provenance.notes
    assert any("try a larger distance (it was 0.1)" in note for note in notes)


@pytest.mark.parametrize("target", [lambda output: output[:, 0], Contrast(0, 1)])
def test_what_is_no_class_has_no_class_above_it(target: object) -> None:
    weights = torch.randn(3, 8, 8)
    model = linear(weights, 0 * weights, 2 * weights)
    assert visualize(model, target=target, n_steps=3, **PLAIN).provenance.notes == ()  # type: ignore[arg-type]


def test_one_score_alone_has_nothing_above_it() -> None:
    assert visualize(linear(torch.randn(3, 8, 8)), target=0, n_steps=3, **PLAIN).provenance.notes == ()


def test_classes_with_the_same_score_are_not_above_each_other() -> None:
    """argmax gives the first of them, of which the second is as good."""
    weights = torch.ones(3, 8, 8)
    model = linear(weights, weights)
    for target in (0, 1):
        assert visualize(model, target=target, n_steps=3, **PLAIN).provenance.notes == ()
