"""Saliency: a linear network's gradient is its weights; real networks agree with Captum."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from convscope import ModelError, ParameterError, saliency
from convscope.models import Model


def linear(n_pixels: int, n_classes: int = 2) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(n_pixels, n_classes))


def test_gradient_of_a_linear_network_is_its_weights() -> None:
    net = linear(3 * 4 * 5)
    x = torch.randn(2, 3, 4, 5)
    w = net[1].weight.detach().reshape(2, 3, 4, 5)
    values = {kind: saliency(net, x, target=[1, 0], kind=kind).values for kind in KINDS}
    expected = w[[1, 0]]
    torch.testing.assert_close(torch.tensor(values["absolute"]), expected.abs().amax(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.tensor(values["signed"]), expected.sum(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.tensor(values["input_x_gradient"]), (expected * x).sum(1), rtol=0, atol=1e-5)


KINDS = ("absolute", "signed", "input_x_gradient")


@pytest.mark.slow
def test_equals_captum_on_a_real_network(exact_lite0: Model, cat: np.ndarray, coffee: np.ndarray) -> None:
    lite0 = exact_lite0
    x = torch.cat([b.x for b in lite0.batches(lite0.inputs([cat, coffee]))])
    target = torch.tensor([282, 967])
    gradient = captum.attr.Saliency(lite0.module).attribute(x.clone().requires_grad_(), target=target, abs=False)
    ours = saliency(lite0, [cat, coffee], target=[282, 967]).values
    near = {"rtol": 0, "atol": 1e-6 * float(gradient.abs().max())}
    torch.testing.assert_close(torch.tensor(ours).double(), gradient.abs().amax(1), **near)
    signed = saliency(lite0, x, target=[282, 967], kind="signed").values
    torch.testing.assert_close(torch.tensor(signed).double(), gradient.sum(1), **near)


def test_probability_has_the_gradient_of_softmax() -> None:
    net = linear(4, 3)
    x = torch.randn(1, 1, 2, 2)
    w, p = net[1].weight.detach(), net(x).softmax(1).detach()[0]
    expected = p[2] * (w[2] - p @ w)
    found = saliency(net, x, target=2, kind="signed", score="probability").values
    torch.testing.assert_close(torch.tensor(found).reshape(-1), expected, rtol=0, atol=1e-6)


def test_no_parameter_gets_a_gradient(tiny: Model) -> None:
    saliency(tiny, torch.randn(2, 3, 16, 16))
    assert all(p.grad is None and p.requires_grad for p in tiny.module.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_works_for_callers_in_inference_mode_and_frozen_networks(tiny: Model, frozen: bool) -> None:
    x = torch.randn(1, 3, 16, 16)
    expected = saliency(tiny, x).values
    tiny.module.requires_grad_(not frozen)
    with torch.inference_mode():
        found = saliency(tiny, x.clone()).values
    assert np.array_equal(found, expected)
    assert all(p.requires_grad is not frozen for p in tiny.module.parameters())


def test_errors_say_what_is_wrong(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    with pytest.raises(ParameterError, match="kind='x'"):
        saliency(tiny, x, kind="x")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="score='x'"):
        saliency(tiny, x, score="x")  # type: ignore[arg-type]
    with torch.no_grad():
        tiny.module[-1].bias[:] = float("nan")
    with pytest.raises(ModelError, match="image 0: the network's score is nan"):
        saliency(tiny, x, target=0)


def test_a_score_without_a_gradient_is_an_error() -> None:
    class Detached(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().flatten(1)

    with pytest.raises(ModelError, match="no gradient with respect to its input"):
        saliency(Detached(), torch.ones(1, 1, 2, 2), target=0)
