"""A single pass with folded norms: the plain gradient, whatever path the network takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from convscope import ModelError, integrated_gradients, saliency
from convscope.execution.gradients import differentiable
from convscope.execution.one_pass import remember_chains

from .test_folding import random_norms


class Branching(nn.Module):
    """A convolution whose output goes the way that ``path`` says; `normed` is the one that is watched."""

    def __init__(self, path: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3)
        self.path = [path]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.path[-1](self.conv(x), self.norm)).mean((2, 3))


def normed(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    return functional.relu(norm(h))


def halved(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    return h * 0.5


def normed_and_read(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    return functional.relu(norm(h)) + h


def read_and_normed(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    return torch.cat([h, h]).sum() * functional.relu(norm(h))


def changed_and_normed(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    h.mul_(2)
    return functional.relu(norm(h))


def normed_twice(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    return functional.relu_(norm(h)) + norm(h)


def activated_in_place(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    z = norm(h)
    functional.relu(z, inplace=True)
    return z


def another_activation(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    return functional.hardtanh(norm(h))


def normed_and_read_before_activation(h: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    z = norm(h)
    return functional.relu(z) + z.sigmoid()


PATHS = [
    normed,
    halved,
    normed_and_read,
    read_and_normed,
    changed_and_normed,
    normed_twice,
    activated_in_place,
    another_activation,
    normed_and_read_before_activation,
]


def network(path: Callable[..., torch.Tensor]) -> Branching:
    torch.manual_seed(0)
    return random_norms(Branching(path)).double().eval()


def gradient(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(module(leaf)[:, 1].sum(), leaf)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", PATHS)
def test_a_network_that_takes_another_path_has_its_own_gradient(
    path: Callable[..., torch.Tensor], dtype: torch.dtype
) -> None:
    module = network(normed).to(dtype)
    x = torch.randn(2, 3, 8, 8, dtype=dtype)
    remember_chains(module, lambda: module(x))
    module.path.append(path)
    expected = gradient(module, x)
    with differentiable(module):
        found = gradient(module, x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_norm_with_other_numbers_than_were_seen_is_run_as_it_is() -> None:
    module, x = network(normed), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    remember_chains(module, lambda: module(x))
    module.norm.weight = nn.Parameter(module.norm.weight.detach() * 3)
    module.norm.running_mean = module.norm.running_mean + 1
    expected = gradient(module, x)
    with differentiable(module):
        torch.testing.assert_close(gradient(module, x), expected)


def test_a_hook_of_the_owner_sees_what_it_would_see() -> None:
    module, x = network(normed).float(), torch.randn(1, 3, 8, 8)
    saliency(module, x, target=1)
    seen: list[torch.Tensor] = []
    with module.conv.register_forward_hook(lambda *args: seen.append(args[2])):
        saliency(module, x, target=1)
    torch.testing.assert_close(seen[-1], module.conv(x))


class Unseen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 0.5

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] * 0.5


def test_what_reads_a_stand_in_unseen_is_no_map_but_an_error() -> None:
    module, x = network(normed).float(), torch.randn(1, 3, 8, 8)
    saliency(module, x, target=1)
    module.path.append(lambda h, norm: Unseen.apply(h))
    with pytest.raises(ModelError):
        saliency(module, x, target=1)


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_variants_of_an_image_may_take_another_path_than_the_image(strength: float) -> None:
    """Fused operations, too, are those of the path that each run takes."""

    class OnValues(Branching):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.path[-1] = normed if x.std() > 1 else halved
            return super().forward(x)

    torch.manual_seed(0)
    module = random_norms(OnValues(normed)).eval()
    x = torch.randn(1, 3, 8, 8)
    x = x / x.std() * strength
    fractions = (torch.arange(16) + 0.5) / 16
    expected = x[0] * torch.stack([gradient(module, x * f)[0] for f in fractions]).mean(dim=0)
    found = integrated_gradients(module, x, target=1, n_steps=16, baseline=0.0).values
    torch.testing.assert_close(torch.from_numpy(found[0]), expected.sum(dim=0), rtol=1e-3, atol=1e-5)
