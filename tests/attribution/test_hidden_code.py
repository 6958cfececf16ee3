"""Where rules cannot reach, as in TorchScript and quantized layers, maps say so or are refused."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import convscope as cs
from convscope import LayerError, ModelError

RULED = ("lrp", "deep_lift", "guided_backprop", "deconvnet", "guided_grad_cam")
GRADIENTS = (*RULED, "saliency", "integrated_gradients", "smoothgrad", "vargrad", "grad_cam", "layer_cam")


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()  # fmt: skip


def quietly(make: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()  # type: ignore[operator]


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(1, 3, 24, 24)


@pytest.mark.parametrize("kind", ["trace", "script"])
@pytest.mark.parametrize("method", RULED)
def test_a_network_of_torchscript_is_refused_by_rules(method: str, kind: str, x: torch.Tensor) -> None:
    net = quietly(lambda: torch.jit.trace(plain(), x) if kind == "trace" else torch.jit.script(plain()))
    with pytest.raises((ModelError, LayerError), match=r"none of (them can be seen|its layers is visible)"):
        getattr(cs, method)(net, x, target=1)


def test_what_needs_no_rules_works_on_torchscript(x: torch.Tensor) -> None:
    net = plain()
    traced = quietly(lambda: torch.jit.trace(net, x))
    for method, options in (
        ("saliency", {}),
        ("integrated_gradients", {"n_steps": 4}),
        ("occlusion", {"window": 8}),
    ):
        found, expected = (getattr(cs, method)(one, x, target=1, **options) for one in (traced, net))
        assert_close(found.values, expected.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["lrp", "deep_lift", "guided_backprop", "deconvnet"])
def test_a_part_of_torchscript_is_noted(method: str, x: torch.Tensor) -> None:
    net = plain()
    net[3] = quietly(lambda: torch.jit.script(nn.ReLU()))
    notes = getattr(cs, method)(net, x, target=1).provenance.notes
    assert any("relu: run in TorchScript" in note and method in note for note in notes)
    assert not getattr(cs, method)(plain(), x, target=1).provenance.notes


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * (x.sigmoid() * (1 + x * (1 - x.sigmoid())))


class MemoryEfficientSwish(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Swish.apply(x)


@pytest.mark.parametrize("method", ["lrp", "deep_lift", "guided_backprop", "deconvnet"])
def test_a_backward_pass_of_ones_own_is_noted(method: str, x: torch.Tensor) -> None:
    net = plain()
    net[3] = MemoryEfficientSwish()
    notes = getattr(cs, method)(net, x, target=1).provenance.notes
    assert any("Swish" in note and method in note for note in notes)
    assert not cs.saliency(net, x, target=1).provenance.notes  # its gradient is what was asked for


@pytest.mark.parametrize("method", GRADIENTS)
def test_gradients_of_a_quantized_network_are_refused(method: str, x: torch.Tensor) -> None:
    net = quietly(lambda: torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear}))
    with pytest.raises(ModelError, match=r"functions without a gradient \(linear_dynamic\).*Use occlusion"):
        getattr(cs, method)(net, x, target=1)


def test_gradients_are_refused_also_where_only_a_branch_is_quantized(x: torch.Tensor) -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.a, self.b = plain()[:6], nn.Linear(8, 4), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.trunk(x)
            return self.a(features) + self.b(features)

    net = Branches().eval()
    net.b = quietly(lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(net.b), {nn.Linear}))
    with pytest.raises(ModelError, match="functions without a gradient"):
        cs.saliency(net, x, target=1)
    with pytest.raises(ModelError, match="functions without a gradient"):
        cs.visualize(net, target=1, size_px=24, n_steps=2)


def test_what_needs_no_gradient_works_on_a_quantized_network(x: torch.Tensor) -> None:
    net = plain()
    quantized = quietly(lambda: torch.ao.quantization.quantize_dynamic(net, {nn.Linear}))
    for method, options in (
        ("occlusion", {"window": 8}),
        ("rise", {"n_masks": 8}),
        ("score_cam", {"kind": "signed"}),
    ):
        found = getattr(cs, method)(quantized, x, target=1, **options)
        assert found.values.any()
    hidden = x.clone()
    hidden[..., :8, :8] = 0
    fall = float((quantized(x) - quantized(hidden)).detach()[0, 1])
    found = cs.occlusion(quantized, x, target=1, window=8, stride=8)
    # An int8 layer takes its step from all images of a batch: 1 of 255 steps of the scores either way.
    assert found.values[0, 0, 0] == pytest.approx(fall, abs=float(quantized(x).detach().abs().max()) / 255)


def test_a_compiled_network_is_taken_for_the_one_inside(x: torch.Tensor) -> None:
    net = plain()
    compiled = torch.compile(net)
    for method in ("lrp", "guided_backprop", "grad_cam"):
        assert_close(
            getattr(cs, method)(compiled, x, target=1).values, getattr(cs, method)(net, x, target=1).values
        )
