"""Networks in half precision: the picture is that of float32, and where numbers end this is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from convscope import ModelError, Visualization, visualize
from convscope.models import Model
from convscope.synthesis import PRESETS

HALVES = [torch.float16, torch.bfloat16]


def linear(weights: torch.Tensor, dtype: torch.dtype) -> nn.Module:
    """Scores weights (K, D) times the pixels, without a bias."""
    layer = nn.Linear(weights.shape[1], len(weights), bias=False)
    layer.weight.data = weights
    return nn.Sequential(nn.Flatten(), layer).to(dtype)


def same_picture(module: nn.Module, **options: object) -> tuple[Visualization, Visualization]:
    """Of a network in float16, and of the same weights in float32; the pictures have to be equal.

    For linear networks they are so bit for bit: the gradient is a row of weights, which float16 holds exactly, and
    so it does 2**k times the weights.
    """
    assert next(module.parameters()).dtype == torch.float16
    options = {"preset": "plain", **options}
    half = visualize(module, target=1, **options)  # type: ignore[arg-type]
    full = visualize(module.float(), target=1, **options)  # type: ignore[arg-type]
    assert half.input.any()
    assert np.array_equal(half.input, full.input)
    return half, full


@pytest.mark.parametrize("dtype", HALVES)
def test_a_linear_network_gives_the_picture_of_float32_and_nearly_its_score(dtype: torch.dtype) -> None:
    weights = torch.randn(2, 12).to(dtype).float()  # numbers that both types hold
    options = {"size_px": 2, "n_steps": 24, "preset": replace(PRESETS["plain"], blur=0.5)}
    half = visualize(linear(weights, dtype), target=1, **options)  # type: ignore[arg-type]
    full = visualize(linear(weights, torch.float32), target=1, **options)  # type: ignore[arg-type]
    assert np.isfinite(half.input).all()
    assert np.array_equal(half.input, full.input)
    # A sum of n products of rounded pixels is off by at most n + 2 roundings of each (Higham, gamma_n).
    k, u = 12 + 2, torch.finfo(dtype).eps / 2
    largest = k * u / (1 - k * u) * float(np.abs(weights[1].numpy() * full.input.ravel()).sum())
    assert abs(half.scores[-1] - full.scores[-1]) <= largest


@pytest.mark.parametrize("dtype", HALVES)
def test_a_convolutional_network_gives_a_finite_picture_that_it_likes_better(dtype: torch.dtype) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    )  # fmt: skip
    model = Model(net.eval().to(dtype), input_size=(24, 24), mean=[0.5] * 3, std=[0.5] * 3)
    found = visualize(model, target=1, n_steps=8)
    assert np.isfinite(found.input).all()
    assert found.input.dtype == np.float32
    assert found.scores[-1] > found.scores[0]
    assert next(net.parameters()).dtype == dtype


def test_gradients_too_small_for_float16_are_not_lost() -> None:
    """The mean of 1024 pixels times 2**-16 has the gradient 2**-26; float16 ends at 2**-24."""
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2, bias=False)).half()
    net[2].weight.data.fill_(2.0**-16)
    half, _ = same_picture(net, size_px=32, n_steps=3, l2=0.0)
    assert (half.input > 0).all()


def test_gradients_of_any_size_that_float16_holds_are_followed() -> None:
    same_picture(linear(torch.tensor([[0.0] * 3, [1000.0, -1000.0, 3000.0]]), torch.float16), size_px=1, n_steps=3)


def test_the_score_of_a_layer_is_summed_in_float32() -> None:
    """300 ** 2 is more than float16 holds."""
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(32, 2)).half()
    net[0].weight.data.zero_()
    net[0].bias.data.fill_(300.0)
    assert visualize(net, target=None, layer="0", size_px=4, n_steps=1, preset="plain").scores.tolist() == [
        90000.0,
        90000.0,
    ]


@pytest.mark.parametrize("weight", [30000.0, 60000.0])
def test_a_score_beyond_float16_is_an_error_that_says_so(weight: float) -> None:
    net = linear(torch.full((2, 12), weight), torch.float16)
    with pytest.raises(ModelError, match=r"the score became inf.*half precision.*float32"):
        visualize(net, target=1, size_px=2, n_steps=3, preset="plain")


class Endless(torch.autograd.Function):
    """Forward nothing, backward infinity."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("inf")


class Steep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Endless.apply(self.weight * x).mean(dim=(1, 2, 3))[:, None].repeat(1, 2)


@pytest.mark.parametrize(
    ("dtype", "advice"), [(torch.float16, "half precision"), (torch.float32, "before any step")]
)
def test_a_gradient_that_is_no_number_is_an_error(dtype: torch.dtype, advice: str) -> None:
    with pytest.raises(ModelError, match=f"the gradient is NaN or infinite.*{advice}"):
        visualize(Steep().to(dtype), target=1, size_px=4, n_steps=1, preset="plain")


def test_a_float64_network_keeps_its_own_precision() -> None:
    weights = torch.randn(2, 12, dtype=torch.float64)
    seen: list[torch.dtype] = []
    net = linear(weights, torch.float64)
    net[0].register_forward_hook(lambda _, given, __: seen.append(given[0].dtype))
    visualize(net, target=1, size_px=2, n_steps=2, preset="plain")
    assert set(seen) == {torch.float64}
