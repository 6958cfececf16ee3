"""Targets of networks that return a value: up, down, towards a value; by hand, on a linear network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import convscope as cs
from convscope import Model, Towards
from convscope.targets import describe, directed, resolve

VALUES = torch.tensor([[1.0, 5.0], [4.0, -2.0]])


class Linear(nn.Module):
    """y = w * x + 1, as (N, 1), as (N,), or in a dict."""

    def __init__(self, wrap: Any = lambda y: y) -> None:
        super().__init__()
        self.fc, self.wrap = nn.Linear(16, 1), wrap
        nn.init.ones_(self.fc.bias)

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.fc(x.flatten(1)))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Towards(3.2), [-2.2, -0.8]),
        (Towards(-1, column=1), [-6.0, -1.0]),
        (Towards(4), [-3.0, 0.0]),
    ],
)
def test_towards_is_minus_the_distance(target: Towards, expected: list[float]) -> None:
    assert_close(resolve(target, VALUES, None).of(VALUES)[:, 0], torch.tensor(expected))


def test_up_and_down_are_the_value_and_its_opposite() -> None:
    for output in (VALUES[:, :1], VALUES[:, 0], {"y": VALUES[:, :1]}):
        assert resolve("up", output, None, n_batch=2).of(output, 2)[:, 0].tolist() == [1, 4]
        assert resolve("down", output, None, n_batch=2).of(output, 2)[:, 0].tolist() == [-1, -4]


def test_a_label_goes_before_a_direction() -> None:
    assert resolve("up", VALUES, ("down", "up")).indices.tolist() == [1, 1]
    assert directed("up", ("down", "up")) == "up"
    assert describe(directed("up", None)) == "up"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("up", "for networks with one value, and this one returns 2"),
        ("down", r"lambda y: -y\[:, 0\]"),
        (Towards(1, 2), "returns 2 values, counted from 0"),
    ],
)
def test_a_value_that_is_not_there_is_an_error(target: Any, says: str) -> None:
    with pytest.raises(cs.TargetError, match=says):
        resolve(target, VALUES, None)


@pytest.mark.parametrize("odd", [float("nan"), "3", None])
def test_a_value_is_a_number(odd: Any) -> None:
    with pytest.raises(cs.ParameterError, match="value"):
        Towards(odd)


@pytest.mark.parametrize("wrap", [lambda y: y, lambda y: y[:, 0], lambda y: {"y": y}])
@pytest.mark.parametrize(("target", "sign"), [("up", 1), ("down", -1), (Towards(100.0), 1), (Towards(-100.0), -1)])
def test_methods_explain_a_value(wrap: Any, target: Any, sign: int) -> None:
    torch.manual_seed(0)
    net, x = Linear(wrap), torch.randn(2, 1, 4, 4)
    weights = sign * net.fc.weight.reshape(4, 4)
    found = cs.saliency(net, x, target=target, kind="signed")
    assert_close(torch.from_numpy(found.values), weights.detach().expand(2, -1, -1))
    assert found.unit == "change in score per unit of input (unit of the output)"
    hidden = cs.occlusion(net, x, target=target, window=1, stride=1)
    assert_close(torch.from_numpy(hidden.values), (weights * x[:, 0]).detach(), rtol=1e-3, atol=1e-4)
    path = cs.integrated_gradients(net, x, target=target, n_steps=3)
    assert_close(torch.from_numpy(path.values), (weights * x[:, 0]).detach(), rtol=1e-4, atol=1e-5)
    assert hidden.targets == (target if isinstance(target, str) else f"towards {100 * sign}",) * 2


def test_evidence_is_measured_in_the_unit_of_the_output() -> None:
    torch.manual_seed(0)
    net, x = Linear(), torch.randn(1, 1, 4, 4)
    values = (net.fc.weight.reshape(4, 4) * x[0, 0]).detach()
    found = cs.evaluate(
        net,
        x,
        {"mine": values[None].numpy()},
        target="up",
        n_steps=16,
        measures=["deletion_mean", "insertion_mean"],
    )
    ordered = values.flatten().sort(descending=True).values
    inserted = 1 + torch.cat([torch.zeros(1), ordered.cumsum(0)])
    deleted = 1 + ordered.sum() - torch.cat([torch.zeros(1), ordered.cumsum(0)])
    areas = [float(torch.trapezoid(curve, dx=1 / 16)) for curve in (deleted, inserted)]
    assert_close(found.values[0, :, 0], np.array(areas, np.float32), rtol=1e-4, atol=1e-4)
    assert found.provenance.parameters["score"] == "logit"


def test_a_picture_of_more_and_several_targets_at_once() -> None:
    net = Linear()
    shown = cs.visualize(net, target="up", n_steps=5, start=torch.zeros(1, 1, 4, 4))
    assert shown.scores[-1] > shown.scores[0]
    found = cs.saliency(net, torch.zeros(1, 1, 4, 4), target=cs.Several(Towards(5), Towards(-5)), kind="signed")
    assert found.values.any()
    assert_close(found.values[0], -found.values[1])


def test_values_are_predicted_as_they_are() -> None:
    net, x = Linear(lambda y: y[:, 0]), torch.randn(2, 1, 4, 4)
    assert_close(torch.from_numpy(Model(net).predict(x).scores[:, 0]), net(x).detach())
