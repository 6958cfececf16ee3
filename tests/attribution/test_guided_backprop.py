"""Guided backprop: equal to Captum; works where Captum's hooks do not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop
from tests.conftest import tiny_network
from torch import nn

from convscope import Model, ParameterError, Several, guided_backprop, saliency


@pytest.mark.parametrize("kind", ["absolute", "signed", "input_x_gradient"])
def test_it_is_that_of_captum(kind: str) -> None:
    net, x = tiny_network().eval(), torch.randn(3, 3, 16, 16)
    found = guided_backprop(net, x, target=[0, 1, 2], kind=kind).values  # type: ignore[arg-type]
    net[1].inplace = net[4].inplace = False
    expected = _captum(net, x, [0, 1, 2], kind)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1.0, np.abs(expected).max()))


def _captum(net: nn.Module, x: torch.Tensor, target: list[int], kind: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = GuidedBackprop(net).attribute(x.clone().requires_grad_(), target=torch.tensor(target)).detach()
    values = {"absolute": peer.abs().amax(1), "signed": peer.sum(1), "input_x_gradient": (peer * x).sum(1)}
    return values[kind].numpy()


def test_every_way_to_write_a_relu_is_the_same() -> None:
    class Ways(nn.Module):
        """One ReLU module used twice, in place, functional, as a method, as ReLU6 and as Hardtanh from 0."""

        def __init__(self, way: str) -> None:
            super().__init__()
            self.way = way
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4 * 144, 2)
            self.shared = nn.ReLU(inplace=True)
            self.relus = nn.ModuleList([nn.ReLU(), nn.ReLU()])

        def relu(self, x: torch.Tensor, i: int) -> torch.Tensor:
            ways = {
                "separate": self.relus[i],
                "shared": self.shared,
                "functional": torch.nn.functional.relu,
                "method": lambda x: x.relu_(),
                "hardtanh": lambda x: torch.nn.functional.hardtanh(x, 0.0, 1e6),
                "relu6": lambda x: torch.nn.functional.relu6(x / 1e3) * 1e3,
            }
            return ways[self.way](x)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.relu(self.second(self.relu(self.first(x), 0)), 1).flatten(1))

    x = torch.randn(2, 3, 16, 16)
    first = Ways("separate").eval()
    expected = _captum(first, x, [1, 1], "signed")
    for way in ("separate", "shared", "functional", "method", "hardtanh", "relu6"):
        net = Ways(way)
        net.load_state_dict(first.state_dict())
        found = guided_backprop(net, x, target=1, kind="signed").values
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_network_without_relu_has_its_plain_gradient_and_a_note() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4 * 196, 2))
    x = torch.randn(3, 3, 16, 16)
    found = guided_backprop(net, x, target=1)
    np.testing.assert_allclose(found.values, saliency(net, x, target=1).values, rtol=0, atol=1e-7)
    assert found.provenance.notes == ("the network has no ReLU, so this is its plain gradient",)


def test_it_says_much_the_same_of_every_class(lite0: Model, coffee: np.ndarray) -> None:
    """Why not to trust it: espresso and a class that is not there have nearly the same map."""
    found = guided_backprop(lite0, coffee, target=Several("espresso", "rapeseed")).values
    assert np.corrcoef(found.reshape(2, -1))[0, 1] > 0.7


def test_another_kind_is_refused() -> None:
    with pytest.raises(ParameterError, match="kind='x'"):
        guided_backprop(tiny_network(), torch.randn(1, 3, 16, 16), kind="x")  # type: ignore[arg-type]
