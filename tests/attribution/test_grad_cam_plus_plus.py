"""Grad-CAM++: by the paper's loop, and against pytorch-grad-cam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.oracles.cams import from_0_to_1, peer_cam, sharp_network

from convscope import ParameterError, Several, grad_cam_plus_plus


def test_it_is_the_papers_loop() -> None:
    net, x = sharp_network(), torch.randn(1, 3, 16, 16)
    maps = net[:4](x).detach().requires_grad_()
    net[4:](maps)[0, 1].backward()
    a, g = maps.detach()[0].double(), maps.grad[0].double()
    expected = torch.zeros(16, 16, dtype=torch.float64)
    for k in range(6):
        weight, total = 0.0, a[k].sum()
        for y in range(16):
            for z in range(16):
                below = 2 * g[k, y, z] ** 2 + total * g[k, y, z] ** 3
                share = g[k, y, z] ** 2 / below if below != 0 else 0.0
                weight += share * max(0.0, g[k, y, z])
        expected += weight * a[k]
    found = grad_cam_plus_plus(net, x, target=1, layer="3", kind="signed").values[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_it_is_that_of_pytorch_grad_cam() -> None:
    net, x = sharp_network(), torch.randn(3, 3, 16, 16)
    found = grad_cam_plus_plus(net, x, target=[0, 1, 2], layer="3").values
    expected = peer_cam("GradCAMPlusPlus", net, net[3], x, [0, 1, 2])
    np.testing.assert_allclose(from_0_to_1(found), expected, rtol=0, atol=1e-3)  # theirs adds 1e-6 below the line


def test_several_targets_are_those_one_by_one() -> None:
    net, x = sharp_network(), torch.randn(2, 3, 16, 16)
    together = grad_cam_plus_plus(net, x, target=Several(0, 2)).values
    alone = [grad_cam_plus_plus(net, x, target=t).values for t in (0, 2)]
    expected = np.stack(alone, axis=1).reshape(4, 16, 16)
    np.testing.assert_allclose(together, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_another_kind_is_refused() -> None:
    with pytest.raises(ParameterError, match="kind='absolute'"):
        grad_cam_plus_plus(sharp_network(), torch.randn(1, 3, 16, 16), kind="absolute")  # type: ignore[arg-type]
