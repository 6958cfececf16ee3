"""A single pass with gradients at the input: batch norms folded, or at least without gradients of their own.

Fused kernels pay when a network runs many times; they take longer to build than a pass. Folding a norm takes one
product with the weights and saves two passes over the maps, forward and backward.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .conv_chains import ConvChain, batch_norm_of, convolutions_of, has_hooks
from .folding import Folding, normalized
from .running import running_members

# What a network showed when it was watched. It holds as long as the network makes the same calls with the same
# tensors, and `Folding` looks at each call.
_CHAINS: weakref.WeakKeyDictionary[nn.Module, list[ConvChain]] = weakref.WeakKeyDictionary()
_MANY_PLACES = 28 * 28  # with fewer, PyTorch's own backward pass is as fast
_TYPES = (torch.float32, torch.float64)  # in coarser ones the rounding of folded weights shows


def remember_chains(module: nn.Module, run: Callable[[], object]) -> None:
    """Find out, in one run of a network, which batch norms its passes can fold from now on."""
    chains = convolutions_of(module, run)
    _CHAINS[module] = [chain for chain in chains if chain.norm is not None and chain.weight.dtype in _TYPES]


def forget_chains(module: nn.Module) -> None:
    """Fold no batch norm of this network any more."""
    _CHAINS.pop(module, None)


def known_chains(module: nn.Module) -> list[ConvChain]:
    """The convolutions whose norms can be folded; none in a network with hooks of its owner."""
    return [] if has_hooks(running_members(module).modules) else _CHAINS.get(module, [])


class OnePass(Folding):
    """Inside, a network folds what it is known for; its other batch norms have a gradient at their input alone.

    Where a map has fewer places than a channel has weights, folding takes longer than the norm.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(known_chains(module))

    def convolved(self, chain: ConvChain, args: Any, kwargs: Any) -> torch.Tensor:
        if _n_places(args[0]) <= chain.weight[0].numel():
            return functional.conv2d(*args, **kwargs)
        return super().convolved(chain, args, kwargs)

    def plainly(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func is functional.batch_norm and (norm := batch_norm_of(func, args, kwargs)):
            x = norm[0]
            if torch.is_grad_enabled() and x.requires_grad and _n_places(x) >= _MANY_PLACES:
                return _Normalized.apply(*norm)
        return func(*args, **kwargs)


def _n_places(x: torch.Tensor) -> int:
    return x.numel() // x.shape[1]


class _Normalized(torch.autograd.Function):
    """PyTorch's batch norm, and gradients times its scale, where PyTorch sums over maps for parameters, too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *norm: Any) -> torch.Tensor:
        _, var, weight, _, eps = norm
        ctx.scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
        return normalized(x, norm)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        scale = ctx.scale.reshape(-1, *(1 for _ in gradient.shape[2:]))
        return gradient * scale, None, None, None, None, None
