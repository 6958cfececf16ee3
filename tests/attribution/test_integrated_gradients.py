"""Integrated Gradients: analytic, Captum's midpoint rule on a real network, completeness and baselines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from tests.conftest import tiny_network
from torch import nn

from convscope import Model, ParameterError, Several, integrated_gradients


class Squares(nn.Module):
    """S = sum of w * x^2: along a straight way from 0 its gradient is linear, so that one midpoint is exact."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 2, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.weight * x**2).flatten(1).sum(dim=1, keepdim=True)


def test_it_is_exact_where_it_can_be_worked_out() -> None:
    net, x = Squares(), torch.randn(2, 2, 4, 4)
    found = integrated_gradients(net, x, target=0, n_steps=1)
    expected = (net.weight * x**2).sum(dim=1).detach()
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=0, atol=1e-5)
    assert max(found.provenance.measured["completeness_error"]) < 1e-5


@pytest.mark.parametrize("steps", [2, pytest.param(7, marks=pytest.mark.slow)])
def test_it_is_that_of_captum(exact_lite0: Model, coffee: np.ndarray, steps: int) -> None:
    lite0 = exact_lite0
    x = next(iter(lite0.batches(lite0.inputs(coffee)))).x[:, :, 56:168, 56:168].contiguous()  # float64 takes long
    found = integrated_gradients(lite0, x, target=967, n_steps=steps)
    peer, delta = IntegratedGradients(lite0.module.eval()).attribute(
        x, target=967, n_steps=steps, method="riemann_middle", internal_batch_size=4, return_convergence_delta=True
    )
    expected = peer.sum(1).detach().numpy()
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    (change,) = (found.scores[0] - float(lite0.module(torch.zeros_like(x))[0, 967].detach()),)
    error = found.provenance.measured["completeness_error"][0]
    assert error == pytest.approx(abs(float(delta)) / abs(change), rel=0.05)  # two digits of it are kept


def test_more_steps_come_nearer_to_the_difference_of_the_scores() -> None:
    net, x = tiny_network(), torch.randn(3, 3, 16, 16)
    errors = [
        max(integrated_gradients(net, x, target=1, n_steps=steps).provenance.measured["completeness_error"])
        for steps in (2, 400)
    ]
    assert errors[1] < 0.01 < errors[0]


def test_several_baselines_are_averaged() -> None:
    net, x = tiny_network(), torch.randn(1, 3, 16, 16)
    one, other = (integrated_gradients(net, x, target=1, baseline=b).values for b in ("blur", "noise"))
    both = integrated_gradients(net, x, target=1, baseline=["blur", "noise"])
    np.testing.assert_allclose(both.values, (one + other) / 2, rtol=0, atol=1e-6)
    assert both.provenance.parameters["baseline"] == ["blur", "noise"]
    assert both.provenance.measured["completeness_error"][0] < 0.1


def test_from_itself_to_itself_there_is_nothing() -> None:
    x = torch.randn(1, 3, 16, 16)
    found = integrated_gradients(tiny_network(), x, target=1, baseline=x, n_steps=3)
    assert not found.values.any()
    assert found.provenance.measured["completeness_error"] == [0.0]


def test_several_targets_are_those_one_by_one() -> None:
    net, x = tiny_network(), torch.randn(2, 3, 16, 16)
    together = integrated_gradients(net, x, target=Several(0, 2), n_steps=5)
    alone = [integrated_gradients(net, x, target=t, n_steps=5) for t in (0, 2)]
    expected = np.stack([a.values for a in alone], axis=1).reshape(4, 16, 16)
    np.testing.assert_allclose(together.values, expected, rtol=0, atol=1e-6)
    errors = np.stack([a.provenance.measured["completeness_error"] for a in alone], axis=1).ravel()
    np.testing.assert_allclose(together.provenance.measured["completeness_error"], errors, rtol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 0}, "n_steps=0"),
        ({"baseline": []}, r"baseline=\[\]: expected at least one"),
        ({"baseline": "white"}, "baseline='white'"),
        ({"baseline": torch.zeros(3, 8, 8)}, "baseline of shape"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        integrated_gradients(tiny_network(), torch.randn(1, 3, 16, 16), **options)  # type: ignore[arg-type]
