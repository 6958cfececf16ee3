"""A picture that missed its aim says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope import Contrast, visualize
from convscope.models import Model

PLAIN = {"blur": 0.0, "clear": 0.0, "jitter_px": 0}


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


def test_a_picture_whose_score_fell_says_so_with_numbers_and_what_to_try() -> None:
    """A blur takes all of a chessboard, and with steps of nothing nobody brings it back."""
    best = (chessboard() + 1).div(2).permute(1, 2, 0).numpy()
    found = visualize(
        linear(chessboard(), 0 * chessboard()), target=0, start=best, n_steps=4, step_size=0.0, blur=3.0
    )
    (note,) = found.provenance.notes
    assert note.startswith(f"the score fell from 192 at the start to {found.scores[-1]:.4g}, ")
    assert found.scores[-1] < 192
    assert "try a smaller jitter_px (it was 1) or blur (it was 3)" in note


def test_the_start_is_the_picture_as_it_was_given_not_as_it_was_shifted() -> None:
    """Shifted by one the chessboard scores -192, so that the last of the scores is above the first."""
    best = (chessboard() + 1).div(2).permute(1, 2, 0).numpy()
    for seed in range(20):
        found = visualize(
            linear(chessboard(), 0 * chessboard()), target=0, start=best, n_steps=4, step_size=0.0, blur=3.0,
            jitter_px=1, seed=seed,
        )  # fmt: skip
        if found.scores[0] < 0:
            break
    assert found.scores[0] == -192
    assert found.scores[-1] > found.scores[0]
    assert "the score fell from 192" in found.provenance.notes[0]


def test_the_fall_of_a_channel_is_said_as_well() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3, bias=False), nn.Flatten(), nn.Linear(72, 2))
    net[0].weight.data = chessboard()[:, :3, :3].repeat(2, 1, 1, 1)
    model = Model(net, input_size=(8, 8), mean=[0.5] * 3, std=[0.5] * 3)
    best = (chessboard() + 1).div(2).permute(1, 2, 0).numpy()
    found = visualize(model, target=(0, 2, 2), layer="0", start=best, n_steps=4, step_size=0.0, blur=3.0)
    (note,) = found.provenance.notes
    assert note.startswith("the score fell from 27 ")


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


def test_both_are_said_where_both_are_so() -> None:
    """Gray and white fields: the blur makes them one pale gray, which the second class likes."""
    model = linear(chessboard(), torch.ones(3, 8, 8))
    fields = (chessboard() + 3).div(4).permute(1, 2, 0).numpy()
    found = visualize(model, target=0, start=fields, n_steps=4, step_size=0.0, blur=3.0, jitter_px=0)
    fell, other = found.provenance.notes
    assert fell.startswith("the score fell from 96 ")
    assert other.startswith("the network takes the finished picture for 'class 1'")
