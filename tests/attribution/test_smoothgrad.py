"""SmoothGrad: the mean over the same noisy copies by hand, and Captum's for as many samples as agree."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from tests.conftest import tiny_network
from torch import nn

from convscope import ParameterError, Several, saliency, smoothgrad
from convscope.attribution.noisy_gradients import noisy_copies


@pytest.mark.parametrize("kind", ["absolute", "signed", "input_x_gradient"])
def test_it_is_the_mean_over_noisy_copies(kind: str) -> None:
    net, x = tiny_network().eval(), torch.randn(2, 3, 16, 16)
    found = smoothgrad(net, x, target=1, n_samples=9, noise=0.2, kind=kind, seed=3).values  # type: ignore[arg-type]
    for n in range(2):
        total = torch.zeros(3, 16, 16)
        for copy in noisy_copies(x[n], 0.2, 3)(0, 9):
            copy = copy.clone().requires_grad_()
            net(copy[None])[0, 1].backward()
            total += copy.grad / 9
        values = {
            "absolute": total.abs().amax(0),
            "signed": total.sum(0),
            "input_x_gradient": (total * x[n]).sum(0),
        }
        np.testing.assert_allclose(found[n], values[kind].numpy(), rtol=0, atol=1e-6)


def test_the_noise_is_normal_and_as_wide_as_was_asked_for() -> None:
    x = torch.tensor([-1.0, 3.0]).expand(1, 64, 2)
    drawn = noisy_copies(x, 0.25, 0)(0, 100) - x
    assert float(drawn.mean()) == pytest.approx(0, abs=0.05)
    assert float(drawn.std()) == pytest.approx(0.25 * 4, rel=0.02)
    assert float((drawn.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.02)
    assert not torch.equal(drawn[0], drawn[1])


def test_a_copy_is_the_same_however_many_are_made_at_once() -> None:
    copies = noisy_copies(torch.randn(3, 4, 4), 0.1, 7)
    assert torch.equal(copies(0, 5)[3:], copies(3, 5))


def test_with_many_samples_it_is_that_of_captum() -> None:
    """Both are means over random copies: they agree as far as the standard error of the mean."""
    net, x = tiny_network().eval(), torch.randn(1, 3, 16, 16)
    found = smoothgrad(net, x, target=1, n_samples=1500, noise=0.15, kind="signed").values[0]
    deviation = 0.15 * float(x.max() - x.min())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net[1].inplace = net[4].inplace = False
        peer = NoiseTunnel(Saliency(net)).attribute(
            x,
            nt_type="smoothgrad",
            nt_samples=1500,
            stdevs=deviation,
            target=1,
            abs=False,
            nt_samples_batch_size=100,
        )
    expected = peer.sum(1)[0].detach().numpy()
    copies = noisy_copies(x[0], 0.15, 0)(0, 1500).clone().requires_grad_()
    (gradients,) = torch.autograd.grad(net(copies)[:, 1].sum(), copies)
    error = gradients.sum(dim=1).std(dim=0).numpy() * math.sqrt(2 / 1500)  # of the difference of two such means
    assert (np.abs(found - expected) < 5 * error + 1e-6 * np.abs(expected).max()).all()
    one = saliency(net, x, target=1, kind="signed").values[0]
    assert np.abs(one - expected).max() > 0.3 * np.abs(expected).max()  # so the agreement says something


def test_of_a_linear_network_it_is_the_gradient() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    x = torch.randn(1, 3, 4, 4)
    mine, plain = (m(net, x, target=1, kind="signed").values for m in (smoothgrad, saliency))
    np.testing.assert_allclose(mine, plain, rtol=0, atol=1e-6)


def test_several_targets_are_those_one_by_one() -> None:
    net, x = tiny_network(), torch.randn(2, 3, 16, 16)
    together = smoothgrad(net, x, target=Several(0, 2), n_samples=5).values
    alone = [smoothgrad(net, x, target=t, n_samples=5).values for t in (0, 2)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1).reshape(4, 16, 16), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples=0"),
        ({"noise": -1}, "noise=-1"),
        ({"kind": "x"}, "kind='x'"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        smoothgrad(tiny_network(), torch.randn(1, 3, 16, 16), **options)  # type: ignore[arg-type]
