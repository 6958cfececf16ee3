"""Layer-CAM: by hand, and against pytorch-grad-cam, also at an early layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.oracles.cams import from_0_to_1, peer_cam, sharp_network

from convscope import ParameterError, Several, layer_cam


def test_it_is_the_formula() -> None:
    net, x = sharp_network(), torch.randn(2, 3, 16, 16)
    maps = net[:4](x).detach().requires_grad_()
    net[4:](maps)[:, 1].sum().backward()
    expected = (maps.grad.clamp_min(0) * maps.detach()).sum(dim=1)
    found = layer_cam(net, x, target=1, layer="3")
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", ["1", "2", "3"])
def test_it_is_that_of_pytorch_grad_cam(layer: str) -> None:
    net, x = sharp_network(), torch.randn(3, 3, 16, 16)
    net[1].inplace = False  # the peer keeps a view of what is overwritten
    found = layer_cam(net, x, target=[0, 1, 2], layer=layer).values
    expected = peer_cam("LayerCAM", net, net[int(layer)], x, [0, 1, 2])
    np.testing.assert_allclose(from_0_to_1(found), expected, rtol=0, atol=1e-5)


def test_several_targets_are_those_one_by_one() -> None:
    net, x = sharp_network(), torch.randn(2, 3, 16, 16)
    together = layer_cam(net, x, target=Several(0, 2)).values
    alone = [layer_cam(net, x, target=t).values for t in (0, 2)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1).reshape(4, 16, 16), rtol=0, atol=1e-6)


def test_another_kind_is_refused() -> None:
    with pytest.raises(ParameterError, match="kind='absolute'"):
        layer_cam(sharp_network(), torch.randn(1, 3, 16, 16), kind="absolute")  # type: ignore[arg-type]
