"""Guided Grad-CAM: against Captum, whose bilinear enlargement is the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from captum.attr import GuidedGradCam
from tests.conftest import tiny_network

from convscope import ParameterError, Several, guided_grad_cam


@pytest.mark.parametrize("kind", ["absolute", "signed", "input_x_gradient"])
def test_it_is_that_of_captum(kind: str) -> None:
    net, x = tiny_network().eval(), torch.randn(3, 3, 16, 16)
    net[-1].weight.data *= 1000  # far from 0
    found = guided_grad_cam(net, x, target=[0, 1, 2], kind=kind).values  # type: ignore[arg-type]
    net[1].inplace = net[4].inplace = False  # Captum's hooks cannot
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = GuidedGradCam(net, net[4]).attribute(
            x.clone().requires_grad_(), target=torch.tensor([0, 1, 2]), interpolate_mode="bilinear"
        )
    products = {"absolute": peer.abs().amax(1), "signed": peer.sum(1), "input_x_gradient": (peer * x).sum(1)}
    expected = products[kind].detach().numpy()
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_several_targets_are_those_one_by_one() -> None:
    net, x = tiny_network(), torch.randn(2, 3, 16, 16)
    together = guided_grad_cam(net, x, target=Several(0, 2)).values
    alone = [guided_grad_cam(net, x, target=t).values for t in (0, 2)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1).reshape(4, 16, 16), rtol=0, atol=1e-6)


def test_another_kind_is_refused() -> None:
    with pytest.raises(ParameterError, match="kind='positive'"):
        guided_grad_cam(tiny_network(), torch.randn(1, 3, 16, 16), kind="positive")  # type: ignore[arg-type]
