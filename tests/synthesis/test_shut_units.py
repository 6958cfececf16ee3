"""A unit that is shut everywhere is opened; a run that fails is started again with smaller steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from convscope import Model, visualize
from convscope.synthesis.shut_units import Opened


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


def test_only_the_last_relu_is_opened() -> None:
    """relu(|x| - 0.5), where |x| is the sum of two ReLUs: opened as well, they would pass on 1 - 1 = 0."""
    sides, unit = nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 1, 1)
    sides.weight.data = torch.tensor([1 / 3, -1 / 3])[:, None, None, None].expand(2, 3, 1, 1).clone()
    unit.weight.data.fill_(1.0)
    unit.bias.data.fill_(-0.5)
    net = nn.Sequential(sides, nn.ReLU(), unit, nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = Model(net, (8, 8), [0.5] * 3, [0.25] * 3)
    found = visualize(model, 0, layer="3", n_steps=20, preset="plain", start="noise")
    assert found.scores[0] == 0
    assert found.scores[-1] > 0.5


@pytest.mark.parametrize(("gradient", "expected"), [(1.0, [1, 1, 1, 0, 0]), (-1.0, [0, 0, -1, -1, -1])])
def test_what_is_shut_opens_only_toward_its_slope(gradient: float, expected: list[float]) -> None:
    x = torch.tensor([-2.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    with Opened(last=2):
        out = functional.relu6(functional.relu6(100 * x).detach() * 0 + x)
    assert out.tolist() == [0, 0, 3, 6, 6]
    out.backward(torch.full((5,), gradient))
    assert x.grad is not None
    assert x.grad.tolist() == expected


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
