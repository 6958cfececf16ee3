"""VarGrad: the variance over the same noisy copies by hand; no noise, no variance; Captum's by many samples."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from tests.conftest import tiny_network

from convscope import ParameterError, Several, vargrad
from convscope.attribution.noisy_gradients import noisy_copies


def test_it_is_the_variance_over_noisy_copies() -> None:
    net, x = tiny_network().eval(), torch.randn(2, 3, 16, 16)
    net[-1].weight.data *= 100
    found = vargrad(net, x, target=1, n_samples=9, noise=0.3, seed=3).values
    for n in range(2):
        copies = noisy_copies(x[n], 0.3, 3)(0, 9).requires_grad_()
        net(copies)[:, 1].sum().backward()
        expected = copies.grad.double().var(dim=0, unbiased=False).amax(dim=0)
        assert expected.max() > 1e-3
        np.testing.assert_allclose(found[n], expected.numpy(), rtol=0, atol=1e-5 * float(expected.max()))


def test_with_many_samples_it_is_that_of_captum() -> None:
    net, x = tiny_network().eval(), torch.randn(1, 3, 16, 16)
    found = vargrad(net, x, target=1, n_samples=1500).values[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net[1].inplace = net[4].inplace = False
        peer = NoiseTunnel(Saliency(net)).attribute(
            x,
            nt_type="vargrad",
            nt_samples=1500,
            stdevs=0.15 * float(x.max() - x.min()),
            target=1,
            abs=False,
            nt_samples_batch_size=100,
        )
    expected = peer.amax(1)[0].detach().numpy()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98
    assert found.sum() == pytest.approx(expected.sum(), rel=0.05)


def test_several_targets_are_those_one_by_one() -> None:
    net, x = tiny_network(), torch.randn(2, 3, 16, 16)
    together = vargrad(net, x, target=Several(0, 2), n_samples=5).values
    alone = [vargrad(net, x, target=t, n_samples=5).values for t in (0, 2)]
    expected = np.stack(alone, axis=1).reshape(4, 16, 16)
    np.testing.assert_allclose(together, expected, rtol=0, atol=1e-5 * expected.max())


def test_one_sample_has_no_variance() -> None:
    with pytest.raises(ParameterError, match="n_samples=1"):
        vargrad(tiny_network(), torch.randn(1, 3, 16, 16), n_samples=1)
