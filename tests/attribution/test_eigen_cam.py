"""Eigen-CAM: by NumPy's decomposition, and against pytorch-grad-cam where both center the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.oracles.cams import sharp_network
from torch import nn

from convscope import ParameterError, Several, eigen_cam


def test_it_is_the_projection_on_the_first_singular_vector() -> None:
    net, x = sharp_network(), torch.randn(3, 3, 16, 16)
    found = eigen_cam(net, x, target=0, layer="3", kind="signed").values
    for n, maps in enumerate(net[:4](x).detach().numpy()):
        matrix = maps.reshape(6, -1).T.astype(np.float64)
        u, s, _ = np.linalg.svd(matrix)
        expected = (u[:, 0] * s[0]).reshape(16, 16)
        expected *= np.sign(expected.sum())
        np.testing.assert_allclose(found[n], expected, rtol=0, atol=1e-4)


def test_where_the_channels_are_centered_it_is_that_of_pytorch_grad_cam() -> None:
    """Theirs subtracts each channel's mean first, and leaves the sign to chance."""
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    class Centered(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - x.mean(dim=(2, 3), keepdim=True)

    net = sharp_network()
    net.insert(4, Centered())
    x = torch.randn(2, 3, 16, 16)
    found = eigen_cam(net, x, target=0, layer="4", kind="signed").values
    for mine, theirs in zip(found, get_2d_projection(net[:4](x).detach().numpy()), strict=True):
        np.testing.assert_allclose(mine, theirs * np.sign((mine * theirs).sum()), rtol=0, atol=1e-4)


def test_every_target_has_the_same_map() -> None:
    net, x = sharp_network(), torch.randn(2, 3, 16, 16)
    found = eigen_cam(net, x, target=Several(0, 1)).values
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    assert not np.allclose(found[0], found[2])


def test_another_kind_is_refused() -> None:
    with pytest.raises(ParameterError, match="kind='absolute'"):
        eigen_cam(sharp_network(), torch.randn(1, 3, 16, 16), kind="absolute")  # type: ignore[arg-type]
