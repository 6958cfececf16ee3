"""A single pass with gradients at the input: batch norms folded, or at least without gradients of their own.

Fused kernels pay when a network runs many times; they take longer to build than a pass. Folding a norm takes one
product with the weights, and saves two passes over the maps, forward and backward.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .conv_chains import ConvChain, batch_norm_of, convolutions_of, has_hooks
from .folding import Folding, normalized

# What a network showed when it was watched. It holds as long as the network makes the same calls with the same
# tensors, and `Folding` looks at each call.
_CHAINS: weakref.WeakKeyDictionary[nn.Module, list[ConvChain]] = weakref.WeakKeyDictionary()
_TYPES = (torch.float32, torch.float64)  # in coarser ones the rounding of folded weights shows


def remember_chains(module: nn.Module, run: Callable[[], object]) -> None:
    """Find out, in one run of a network, which batch norms its passes can fold from now on."""
    chains = convolutions_of(module, run)
    _CHAINS[module] = [chain for chain in chains if chain.norm is not None and chain.weight.dtype in _TYPES]


def forget_chains(module: nn.Module) -> None:
    """Fold no batch norm of this network any more."""
    _CHAINS.pop(module, None)


class OnePass(Folding):
    """Inside, a network folds what it is known for; its other batch norms have a gradient at their input alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__([] if has_hooks(module) else _CHAINS.get(module, []))

    def plainly(self, func: Any, args: Any, kwargs: Any) -> Any:
        norm = batch_norm_of(func, args, kwargs)
        if norm is None or not (torch.is_grad_enabled() and norm[0].requires_grad):
            return func(*args, **kwargs)
        return _Normalized.apply(*norm)


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
