"""Fused convolutions: the network's own scores and gradients, whatever stands around a convolution."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.execution.test_folding import random_norms
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from convscope import load_model
from convscope.execution import convolutions_of, fused
from convscope.execution.kernels import Convolution

CHANNELS_LAST = torch.channels_last


class Net(nn.Module):
    """A convolution with what is around it, and a linear layer, so that every value has another gradient."""

    def __init__(self, forward: Callable[[Net, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.one, self.strided = nn.Conv2d(8, 6, 1), nn.Conv2d(4, 8, 1, stride=2)
        self.depthwise, self.even = nn.Conv2d(8, 8, 3, stride=2, groups=8), nn.Conv2d(4, 8, 2, padding="same")
        self.dilated = nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2)
        self.narrow = nn.Conv2d(4, 8, (1, 5), padding=(0, 4))
        self.body = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(self, x).flatten(1)
        return y @ torch.linspace(-1, 1, y.shape[1])[:, None]


def used_beside(n: Net, x: torch.Tensor) -> torch.Tensor:
    y = n.norm(n.first(x))
    return functional.relu(y) + y


def changed_after(n: Net, x: torch.Tensor) -> torch.Tensor:
    y = functional.hardtanh(n.norm(n.first(x)))
    y += 1
    return y * y


def padded_and_beside(n: Net, x: torch.Tensor) -> torch.Tensor:
    y = functional.pad(x, (1, 1, 1, 1))
    return n.first(y).relu().sum(dim=1) + y.sum(dim=1)[:, 1:-1, 1:-1]


def one_after_another(n: Net, x: torch.Tensor) -> torch.Tensor:
    y = functional.relu6(n.norm(n.first(functional.pad(x, (0, 1, 0, 1)))))
    y = functional.relu(n.depthwise(functional.pad(y, (0, 1, 2, 1))), inplace=True)
    return n.one(y)


def shared_zeros(n: Net, x: torch.Tensor) -> torch.Tensor:
    shared = functional.pad(x, (1, 1, 1, 1))
    return n.first(functional.pad(x, (1, 1, 1, 1))) + n.dilated(shared)[:, :, 1:-1, 1:-1] * n.dilated(x)


def zeros_in_a_list(n: Net, x: torch.Tensor) -> torch.Tensor:
    both = torch.cat([functional.pad(x, (1, 1, 1, 1)), functional.pad(x, (1, 1, 1, 1))])
    return n.first(functional.pad(x, (1, 1, 1, 1))).relu() + both.sum()


def zeros_by_name(n: Net, x: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(functional.pad(input=x, pad=(1, 1, 1, 1)), n.first.weight, bias=None).relu()


def changed_between(n: Net, x: torch.Tensor) -> torch.Tensor:
    x = n.strided(x)[:, :4].clone()
    padded = functional.pad(x, (1, 1, 1, 1))
    other = functional.relu(x, inplace=True)
    return n.first(padded) + n.dilated(other)


def set_in_place(n: Net, x: torch.Tensor) -> torch.Tensor:
    y = n.first(x)
    y[:, 0] = -3.0
    return functional.relu(y)


def changed_through_a_view(n: Net, x: torch.Tensor) -> torch.Tensor:
    y = functional.relu6(n.first(x))
    y[:, :4].mul_(2)
    return y


def computed_bias(n: Net, x: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(x, n.first.weight, x.mean((0, 2, 3)).repeat(2))


BODIES = {
    "shared zeros": (shared_zeros, 1),
    "zeros in a list": (zeros_in_a_list, 1),
    "zeros by name": (zeros_by_name, 1),
    "changed between": (changed_between, 3),
    "set in place": (set_in_place, 1),
    "changed through a view": (changed_through_a_view, 1),
    "computed bias": (computed_bias, 0),
    "relu": (lambda n, x: n.first(x).relu(), 1),
    "relu in place": (lambda n, x: functional.relu(n.norm(n.first(x)), inplace=True), 1),
    "relu6": (lambda n, x: nn.ReLU6(inplace=True)(n.norm(n.first(x))), 1),
    "hardtanh by name": (lambda n, x: functional.hardtanh(n.first(x), -0.5, max_val=0.3), 1),
    "silu": (lambda n, x: functional.silu(n.norm(n.first(x))), 1),
    "hardswish": (lambda n, x: functional.hardswish(n.first(x)), 1),
    "no activation": (lambda n, x: n.norm(n.first(x)), 1),
    "twice": (lambda n, x: functional.relu(functional.hardtanh(n.first(x))), 1),
    "stride of one place": (lambda n, x: n.strided(x).relu_(), 1),
    "dilated groups": (lambda n, x: n.dilated(x).relu(), 1),
    "more zeros than reach": (lambda n, x: n.narrow(functional.pad(x, (1, 0, 0, 0))), 1),
    "even kernel": (lambda n, x: n.even(x).relu(), 0),
    "one after another": (one_after_another, 3),
    "used beside": (used_beside, 1),
    "changed after": (changed_after, 1),
    "padded and beside": (padded_and_beside, 1),
    "called twice": (lambda n, x: n.first(x).relu() + n.first(x.flip(3)), 0),
    "other padding": (lambda n, x: n.first(functional.pad(x, (2, 1, 1, 2), "reflect")), 1),
}


def gradient(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    given = x.clone(memory_format=CHANNELS_LAST).requires_grad_()
    return torch.autograd.grad(net(given).sum(), given)[0]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("body", BODIES)
def test_the_scores_and_the_gradient_are_the_networks_own(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, n_kernels = BODIES[body]
    net = random_norms(Net(forward)).requires_grad_(False)
    x = torch.randn(3, 4, 12, 13).to(memory_format=CHANNELS_LAST)
    calls: list[int] = []
    whole = Convolution.whole
    found = convolutions_of(net, lambda: net(x.clone(memory_format=CHANNELS_LAST).requires_grad_()))
    with torch.no_grad():
        expected = net(x)
        monkeypatch.setattr(Convolution, "whole", lambda self, x: calls.append(1) or whole(self, x))
        with fused(found):
            assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    assert len(calls) == n_kernels
    expected_gradient = gradient(net, x)
    with fused(found, gradients=True):
        assert_close(gradient(net, x), expected_gradient, rtol=1e-4, atol=1e-5)
    assert_close(gradient(net, x), expected_gradient, rtol=0, atol=0)


@pytest.mark.parametrize("hooked", [0, 1, 2])
def test_backward_hooks_are_seen(hooked: int) -> None:
    """They are called with gradients alone, and put other tensors in the place of those that a layer puts out."""
    net = random_norms(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 2, 3)))
    net.requires_grad_(False)[hooked].register_full_backward_hook(lambda *_: None)
    x = torch.randn(2, 3, 9, 9).to(memory_format=CHANNELS_LAST)
    expected = gradient(net, x)
    found = convolutions_of(net, lambda: net(x.clone(memory_format=CHANNELS_LAST).requires_grad_()))
    with fused(found, gradients=True):
        assert_close(gradient(net, x), expected, rtol=1e-4, atol=1e-5)


def test_a_run_that_breaks_off_leaves_the_next_one_right() -> None:
    class Breaks(nn.Module):
        breaks = False

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = functional.pad(self.first(x), (1, 0, 1, 0))
            if self.breaks:
                raise RuntimeError("not enough memory")
            return functional.relu(self.second(x))

    net, x = Breaks().eval(), torch.randn(2, 4, 9, 9).to(memory_format=CHANNELS_LAST)
    with torch.no_grad():
        expected = net(x)
        with fused(convolutions_of(net, lambda: net(x))):
            net.breaks = True
            with pytest.raises(RuntimeError):
                net(x)
            net.breaks = False
            assert_close(net(x), expected, rtol=1e-5, atol=1e-5)


def test_zeros_that_go_another_way_than_before_are_there() -> None:
    class Turns(nn.Module):
        straight = True

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            padded = functional.pad(x, (1, 1, 1, 1))
            return self.conv(padded if self.straight else padded.mul(2))

    net, x = Turns().eval(), torch.randn(2, 4, 8, 9).to(memory_format=CHANNELS_LAST)
    with torch.no_grad(), fused(convolutions_of(net, lambda: net(x))):
        net.straight = False
        found = net(x)
    with torch.no_grad():
        assert_close(found, net(x), rtol=1e-5, atol=1e-5)


def test_a_network_in_the_usual_order_stays_in_it() -> None:
    """What comes after a convolution may need it: ``view`` does."""
    net = nn.Sequential(nn.Conv2d(1, 3, 2, bias=False), nn.ReLU(inplace=True))
    x = torch.randn(2, 1, 4, 4)
    with torch.no_grad(), fused(convolutions_of(net, lambda: net(x))):
        assert net(x).is_contiguous()


@pytest.mark.parametrize(
    "name",
    ["torchvision:resnet18", "torchvision:mobilenet_v2", "timm:tf_efficientnet_lite0", "torchvision:squeezenet1_0",
     "torchvision:densenet121", "torchvision:shufflenet_v2_x0_5", "timm:mobilenetv3_small_050",
     pytest.param("timm:vgg11", marks=pytest.mark.slow)],
)  # fmt: skip
def test_real_networks(name: str) -> None:
    """Gradients but for those few units that rounding puts on the other side of their kink."""
    net = random_norms(load_model(name, pretrained=False, device="cpu").module).requires_grad_(False)
    x = torch.randn(2, 3, 96, 96).to(memory_format=CHANNELS_LAST)
    with torch.no_grad():
        expected = net(x.clone(memory_format=CHANNELS_LAST))
        found = convolutions_of(net, lambda: net(x[:1].clone(memory_format=CHANNELS_LAST)))
        with fused(found):
            got = net(x.clone(memory_format=CHANNELS_LAST))
    spread = float(expected.max() - expected.min())
    assert_close(got, expected, rtol=0, atol=1e-5 * max(spread, 1e-3))
    right = gradient(net, x).double()
    with fused(found, gradients=True):
        off = gradient(net, x).double() - right
    assert float(off.norm() / right.norm()) < 1e-2
    with fused(found):  # not what it is for, and right all the same
        off = gradient(net, x).double() - right
    assert float(off.norm() / right.norm()) < 1e-2
