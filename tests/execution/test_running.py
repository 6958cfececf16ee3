"""Running a network: no further than asked for, and everything is afterwards as it was."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from convscope import LayerError, Model, ModelError, feature_maps, saliency
from convscope.execution import differentiable, evaluating, run_to


class Counting(nn.Module):
    """Counts its calls, and fails where it is told to."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.calls = 0
        self.fails = fails

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.fails:
            raise RuntimeError("on purpose")
        return x + 1


def counters(n: int = 4, fails_at: int | None = None) -> nn.Sequential:
    return nn.Sequential(*(Counting(i == fails_at) for i in range(n)))


def mixed() -> nn.Module:
    """In training, but for its batch norm; one parameter frozen, one with a gradient."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 36, 2),
    )
    net.train()
    net[1].eval()
    net[0].bias.requires_grad_(False)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    return net


@contextmanager
def untouched(net: nn.Module) -> Iterator[None]:
    """Everything that a call could leave changed is compared before and after."""

    def state() -> dict[str, object]:
        return {
            "training": [m.training for m in net.modules()],
            "requires_grad": [p.requires_grad for p in net.parameters()],
            "grad": [None if p.grad is None else (id(p.grad), p.grad.sum().item()) for p in net.parameters()],
            "values": [t.double().sum().item() for t in (*net.parameters(), *net.buffers())],
            "hooks": [list(m._forward_hooks) + list(m._forward_pre_hooks) for m in net.modules()],
            "torch": torch.get_rng_state().sum().item(),
            "numpy": np.random.get_state()[1].sum(),  # noqa: NPY002 -- it is what must not change
            "python": hash(random.getstate()),
            "dtype": torch.get_default_dtype(),
            "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        }

    before = state()
    try:
        yield
    finally:
        assert state() == before


# --- run_to ------------------------------------------------------------------------------------------------


def test_it_stops_at_the_deepest_layer() -> None:
    net = counters()
    found = run_to(net, torch.zeros(1, 3, 2, 2), ["2", "0"])
    assert [m.calls for m in net] == [1, 1, 1, 0]
    assert found["0"].unique().tolist() == [1]
    assert found["2"].unique().tolist() == [3]


def test_it_stops_before_a_module_whose_input_is_wanted() -> None:
    net = counters()
    found = run_to(net, torch.zeros(1, 3, 2, 2), ["2:input"])
    assert [m.calls for m in net] == [1, 1, 0, 0]
    assert found["2:input"].unique().tolist() == [2]


def test_hooks_are_removed_also_after_an_error_and_the_users_own_stay() -> None:
    net = counters(fails_at=1)
    seen: list[object] = []
    net[0].register_forward_hook(lambda *a: seen.append(a))
    with untouched(net), pytest.raises(RuntimeError, match="on purpose"):
        run_to(net, torch.zeros(1, 3, 2, 2), ["0", "3"])
    assert len(seen) == 1, "the user's hook ran"


def test_a_layer_that_does_not_run_is_an_error() -> None:
    with pytest.raises(LayerError, match="'1:5'"):
        run_to(counters(), torch.zeros(1, 3, 2, 2), ["1", "1:5"])


def test_gradients_flow_through_what_was_captured() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1))
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    with differentiable(net):
        found = run_to(net, x, ["0", "1"])
        (gradient,) = torch.autograd.grad(found["0"].sum() + found["1"].sum(), x)
    with torch.enable_grad():
        y = torch.nn.functional.conv2d(x, net[0].weight, net[0].bias)
        (expected,) = torch.autograd.grad(y.sum() + y.relu().sum(), x)
    assert_close(gradient, expected, atol=1e-6, rtol=1e-6)


def test_a_backward_hook_beside_an_in_place_operation_is_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(32, 2))
    net[0].register_full_backward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="inplace=False"):
        saliency(net, torch.randn(1, 3, 4, 4))
    net[1].inplace = False
    assert saliency(net, torch.randn(1, 3, 4, 4)).values.any()


# --- leaving things alone ----------------------------------------------------------------------------------

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CALLS: dict[str, Callable[[nn.Module], object]] = {
    "layers": lambda net: Model(net).layers((8, 8)),
    "predict": lambda net: Model(net).predict(X),
    "feature maps": lambda net: feature_maps(net, X, layer=["0", "2"]),
    "run_to": lambda net: run_to(net, X, ["0"]) if not net.training else None,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_call_leaves_everything_as_it_was(call: str, mode: Callable[[], object]) -> None:
    net, before = mixed(), X.clone()
    with mode(), untouched(net):
        CALLS[call](net)
    assert_close(X, before, atol=0, rtol=0)


@pytest.mark.parametrize("call", ["layers", "predict", "feature maps"])
def test_so_does_a_call_that_fails(call: str) -> None:
    net = nn.Sequential(*mixed(), Counting(fails=True))
    with untouched(net), pytest.raises(Exception, match="on purpose"):
        CALLS[call](net)


def test_a_network_that_begins_in_place_leaves_the_callers_tensor_alone() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    # Channels last already, so that no conversion copies it.
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    maps = feature_maps(net, x, layer="1")
    Model(net).predict(x)
    assert_close(x, before, atol=0, rtol=0)
    np.testing.assert_array_equal(maps.images, Model(net).to_pixels(before))


def test_every_submodule_gets_its_own_mode_back() -> None:
    net = mixed()
    with untouched(net):
        with evaluating(net):
            assert not any(m.training for m in net.modules())
        with pytest.raises(ValueError, match="x"), evaluating(net):
            raise ValueError("x")


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_differentiable_freezes_parameters_for_the_time_being(mode: Callable[[], object]) -> None:
    net = mixed()
    with mode(), untouched(net), differentiable(net):
        assert not any(p.requires_grad for p in net.parameters())
        x = X.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(net(x).sum(), x)
        assert gradient.abs().sum() > 0
    with untouched(net), pytest.raises(ValueError, match="x"), differentiable(net):
        raise ValueError("x")


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_gives_the_same_bits_while_gradients_are_taken(
    memory_format: torch.memory_format, affine: bool
) -> None:
    norm = nn.BatchNorm2d(8, eps=1e-3, affine=affine).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.01, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(3, 8, 9, 9).to(memory_format=memory_format)
    with torch.no_grad():
        expected = norm(x)
    with differentiable(norm):
        assert torch.equal(norm(x), expected)
