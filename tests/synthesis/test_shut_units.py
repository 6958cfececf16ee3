"""A unit that is shut everywhere is opened; a run that fails is started again with smaller steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from convscope import Model, visualize


def shut(inplace: bool) -> nn.Module:
    """A channel whose ReLU no pixel opens at first: the mean of the picture would have to be above 0.5."""
    conv = nn.Conv2d(3, 1, 1)
    conv.weight.data.fill_(1 / 3)
    conv.bias.data.fill_(-0.5)
    return nn.Sequential(conv, nn.ReLU(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("inplace", [False, True])
def test_a_shut_relu_is_opened(inplace: bool) -> None:
    model = Model(shut(inplace), (8, 8), [0.5] * 3, [0.25] * 3)
    found = visualize(model, 0, layer="1", n_steps=20, preset="plain")
    assert found.scores[0] == 0
    assert found.scores[-1] > 0.5
    assert found.provenance.notes == ()


class Cliff(nn.Module):
    """The score is the mean of the picture, and NaN beyond 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = self.weight * x.mean(dim=(1, 2, 3))[:, None]
        return torch.where(score > 1, math.nan, score)


def test_a_run_that_ends_in_nan_is_started_again_with_smaller_steps_and_says_so() -> None:
    found = visualize(Cliff(), 0, size_px=4, n_steps=10, preset="plain")
    (note,) = found.provenance.notes
    assert note.startswith("the score became nan after 6 steps: started again with a step_size of 0.05")
    assert 0.4 < found.scores[-1] <= 1
