"""DeepLIFT: equal to Captum where that works; the rules by hand; complete where Captum is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import DeepLift
from torch import nn
from torch.nn import functional as F

from convscope import ParameterError, Several, deep_lift, integrated_gradients
from convscope.models import Model


def network(activation: type[nn.Module], pool: nn.Module) -> nn.Module:
    """Captum's hooks do not see each other where a pooling follows an activation directly, so there is none."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), activation(), nn.Conv2d(6, 6, 1), pool, nn.Conv2d(6, 8, 3), activation()),
        *(nn.Flatten(), nn.Linear(8 * 36, 10), activation(), nn.Linear(10, 4)),
    ).eval()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Softplus])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2)])
def test_it_is_that_of_captum(activation: type[nn.Module], pool: nn.Module) -> None:
    """In float64: where image and baseline come close to each other, both divide by what is hardly there."""
    net, x, b = network(activation, pool), 2 * torch.randn(3, 3, 16, 16), torch.randn(1, 3, 16, 16)
    net, x, b = net.double(), x.double(), b.double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = DeepLift(net, eps=1e-6).attribute(x, b.expand_as(x), target=torch.tensor([3, 0, 1]))
    found, expected = deep_lift(net, x, target=[3, 0, 1], baseline=b), peer.sum(1).detach().numpy()
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    with torch.no_grad():
        change = (net(x) - net(b))[range(3), [3, 0, 1]]
    # Not in proportion to the change, of which large parts of both signs may leave little.
    size = np.abs(found.values).sum(axis=(1, 2)).max()
    np.testing.assert_allclose(found.values.sum(axis=(1, 2)), change, rtol=0, atol=1e-5 * size)


def test_of_a_linear_score_it_is_weight_times_difference() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    x, b = torch.randn(1, 2, 2, 2), torch.randn(1, 2, 2, 2)
    weights = net[1].weight[1].detach().reshape(2, 2, 2)
    found = deep_lift(net, x, target=1, baseline=b)
    np.testing.assert_allclose(found.values[0], (weights * (x - b)[0]).sum(0), rtol=0, atol=1e-6)


def test_a_saturated_unit_still_counts() -> None:
    """S = 1 - relu(1 - (x1 + x2)) at (1, 1): no gradient, half for each (the example of the paper)."""

    class Saturated(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 1 - F.relu(1 - x.sum((2, 3)))

    x = torch.ones(1, 1, 1, 2)
    np.testing.assert_allclose(deep_lift(Saturated(), x, target=0).values[0], [[0.5, 0.5]], rtol=0, atol=1e-6)


def test_with_one_layer_of_activations_it_is_integrated_gradients() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Softplus(beta=3), nn.Flatten(), nn.Linear(6 * 36, 2))
    x, b = torch.randn(2, 3, 8, 8), torch.randn(1, 3, 8, 8)
    expected = integrated_gradients(net, x, target=1, baseline=b, n_steps=300).values
    np.testing.assert_allclose(deep_lift(net, x, target=1, baseline=b).values, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("function", [torch.tanh, nn.MaxPool2d((1, 2))])
def test_where_nothing_changed_the_slope_is_the_gradient(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Two pixels that make up for each other, before a unit that is then the same for image and baseline."""
    net = Pixels(lambda x: function(F.pad(x[..., :1] - x[..., 1:], (0, 1), value=-9)))
    found = deep_lift(net, torch.ones(1, 1, 1, 2), target=0)
    np.testing.assert_allclose(found.values[0], [[1, -1]], rtol=0, atol=1e-6)


class Pixels(nn.Module):
    """A score made of the pixels by a function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("image", "base", "expected"),
    [
        ([5.0, 1.0], [0.0, 2.0], [3.0, 0.0]),  # from 2 to 5, all by the image's winner
        ([1.0, 0.0], [0.0, 4.0], [0.0, -3.0]),  # from 4 to 1, all by the baseline's winner
        ([3.0, 1.0], [1.0, 1.0], [2.0, 0.0]),  # the same winner in both
        ([2.0, 1.0], [2.0, 1.0], [0.0, 0.0]),
    ],
)
def test_the_maximum_belongs_to_the_winners(image: list[float], base: list[float], expected: list[float]) -> None:
    x, b = torch.tensor(image).reshape(1, 1, 1, 2), torch.tensor(base).reshape(1, 1, 1, 2)
    for pool in (lambda x: F.max_pool2d(x, (1, 2)), nn.AdaptiveMaxPool2d(1)):
        found = deep_lift(Pixels(pool), x, target=0, baseline=b).values[0, 0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_overlapping_windows_add_up() -> None:
    """A pixel that wins two windows gets both; Captum keeps one of them only."""
    pool = nn.MaxPool2d(3, stride=1, padding=1)
    x, b = torch.randn(2, 2, 6, 6), torch.randn(1, 2, 6, 6)
    found = deep_lift(Pixels(pool), x, target=0, baseline=b)
    change = (pool(x) - pool(b)).sum((1, 2, 3))
    np.testing.assert_allclose(found.values.sum((1, 2)), change, rtol=1e-4)


def test_a_product_is_shared_as_the_shapley_value_of_its_factors() -> None:
    x, b = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    (u, v), (p, q) = x[0].numpy(), b[0].numpy()
    expected = (u - p) * (v + q) / 2 + (v - q) * (u + p) / 2
    np.testing.assert_allclose(expected, u * v - p * q, rtol=0, atol=1e-6)
    net = Pixels(lambda x: x[:, :1] * x[:, 1:])
    np.testing.assert_allclose(deep_lift(net, x, target=0, baseline=b).values[0], expected, rtol=0, atol=1e-5)
    one = Pixels(lambda x: x[:, :1].clone().mul_(x[:, 1:].exp()))
    expected = (u - p) * (np.exp(v) + np.exp(q)) / 2 + (np.exp(v) - np.exp(q)) * (u + p) / 2
    np.testing.assert_allclose(deep_lift(one, x, target=0, baseline=b).values[0], expected, rtol=0, atol=1e-5)


class Mixed(nn.Module):
    """What Captum has no rule for: a module used twice, functions, in-place work, gates, a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.gate, self.norm, self.last = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.max_pool2d(self.activation(self.first(x)), 3, 2, 1)
        y = y + self.activation(self.second(y))
        y *= F.hardsigmoid(self.gate(y.mean((2, 3))))[:, :, None, None]
        F.relu_(y.sub_(0.1))
        return self.last(F.gelu(self.norm(y.permute(0, 2, 3, 1))).mean((1, 2)))


@pytest.mark.parametrize("baseline", ["mean", "blur", "noise", 0.3])
def test_it_adds_up_where_captum_has_no_rule(baseline: Any) -> None:
    found = deep_lift(Mixed(), torch.randn(3, 3, 16, 16), target=[0, 1, 2], baseline=baseline, seed=1)
    assert max(found.provenance.measured["completeness_error"]) < 1e-3
    assert found.provenance.notes == ()


@pytest.mark.slow
def test_it_adds_up_on_a_real_network(lite0: Model, cat: np.ndarray) -> None:
    found = deep_lift(lite0, cat, baseline="blur")
    assert max(found.provenance.measured["completeness_error"]) < 1e-4
    batch = next(lite0.batches(lite0.inputs([cat]))).x
    black = deep_lift(lite0, cat, baseline=0.0, target="tiger cat")
    given = (0 - torch.tensor(lite0.preprocessing.mean)) / torch.tensor(lite0.preprocessing.std)
    with torch.no_grad():
        change = lite0.module(batch) - lite0.module(given[None, :, None, None].expand_as(batch))
    assert black.values.sum() == pytest.approx(float(change[0, 282]), rel=1e-4)


@pytest.mark.parametrize(
    "function",
    [lambda x: x**2, lambda x: x.exp(), lambda x: (x.square() + 1).sqrt(), lambda x: (x.abs() + 1).log()],
)
def test_functions_of_one_number_add_up(function: Any) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x).flatten(1) @ torch.linspace(-1, 1, 48)[:, None]

    found = deep_lift(Net(), torch.randn(2, 3, 4, 4), target=0)
    assert max(found.provenance.measured["completeness_error"]) < 1e-4
    assert found.provenance.notes == ()


def test_a_function_without_a_rule_is_noted_and_its_error_measured() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = x.flatten(2).mT
            return F.scaled_dot_product_attention(tokens, tokens, tokens).mean(1)

    found = deep_lift(Attention(), torch.randn(1, 3, 4, 4), target=0)
    notes = ("scaled_dot_product_attention has no rule of its own: its plain gradient was taken",)
    assert found.provenance.notes == notes
    assert found.provenance.measured["completeness_error"][0] > 0.01


@pytest.mark.parametrize("n_pixels", [(3, 3), (4, 4)])
def test_rows_that_are_no_images_keep_their_gradient(n_pixels: tuple[int, int]) -> None:
    """Networks that put positions before images cannot be followed; their results are measured, and finite."""

    def gated(x: torch.Tensor) -> torch.Tensor:
        positions = x.flatten(2).permute(2, 0, 1)
        return (positions * torch.tanh(positions)).permute(1, 0, 2)

    found = deep_lift(Pixels(gated), torch.randn(1, 2, *n_pixels), target=0)
    assert np.isfinite(found.values).all()
    assert found.provenance.measured["completeness_error"][0] > 1e-3  # rounding makes 1e-6


def test_several_targets_at_once_give_what_they_give_alone(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    found = deep_lift(tiny, x, target=Several(0, 2), baseline="noise")
    for place, target in enumerate((0, 2)):
        alone = deep_lift(tiny, x, target=target, baseline="noise")
        np.testing.assert_allclose(found.values[place::2], alone.values, rtol=0, atol=1e-6)


def test_errors_say_what_is_wrong(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    with pytest.raises(ParameterError, match="baseline='grey'"):
        deep_lift(tiny, x, baseline="grey")
    with pytest.raises(ParameterError, match="a baseline of shape"):
        deep_lift(tiny, x, baseline=torch.zeros(3, 8, 8))
    with pytest.raises(ParameterError, match="score='x'"):
        deep_lift(tiny, x, score="x")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="seed"):
        deep_lift(tiny, x, seed=-1)
