"""A single pass with gradients at the input: batch norms folded, or at least without gradients of their own.

Fused kernels pay when a network runs many times; they take longer to build than a pass. Folding a norm takes one
product with the weights and saves two passes over the maps, forward and backward; an activation in the pass of
its convolution saves one more.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ..checks import Pair
from .conv_chains import ConvChain, batch_norm_of, convolutions_of, has_hooks
from .folding import Folding, folded, normalized
from .fusing import activation_of
from .kernels import Then, aten, is_one_pass, onednn_name, pair
from .transposed import before_activation

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
    """Inside, a network folds what it is known for; its other batch norms have a gradient at their input alone.

    Args:
        module: the network.
        activations: whether a folded convolution includes its activation; not where activations get rules of
            their own.
    """

    def __init__(self, module: nn.Module, *, activations: bool = False) -> None:
        chains = [] if has_hooks(module) else _CHAINS.get(module, [])
        super().__init__(chains)
        self._then = {id(c.weight): activation_of(c, gradients=True) for c in chains if activations}

    def convolved(self, chain: ConvChain, args: Any, kwargs: Any) -> torch.Tensor:
        then, x = self._then.get(id(chain.weight)), args[0]
        padding = chain.options.get("padding", 0)
        if then is None or not is_one_pass(x) or isinstance(padding, str):
            return super().convolved(chain, args, kwargs)
        stride, dilation = (pair(chain.options.get(name, 1)) for name in ("stride", "dilation"))
        options = _Options(stride, pair(padding), dilation, chain.options.get("groups", 1), then)
        out = _Activated.apply(x, *folded(chain), options)
        return self.awaiting(chain, out, partial(functional.conv2d, *args, **kwargs), activated=True)

    def plainly(self, func: Any, args: Any, kwargs: Any) -> Any:
        norm = batch_norm_of(func, args, kwargs)
        if norm is None or not (torch.is_grad_enabled() and norm[0].requires_grad):
            return func(*args, **kwargs)
        return _Normalized.apply(*norm)


class _Options(NamedTuple):
    """Those of a convolution, and its activation."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    then: Then


class _Activated(torch.autograd.Function):
    """A convolution and its activation in one pass of oneDNN, with the gradient at its input alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, options: _Options) -> Any:
        stride, padding, dilation, groups, then = options
        name, numbers = onednn_name(then) or ("none", [])
        out = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, padding, stride, dilation, groups, name, numbers, None
        )
        ctx.save_for_backward(weight, out)
        ctx.options, ctx.size = options, x.shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weight, out = ctx.saved_tensors
        stride, padding, dilation, groups, then = ctx.options
        gradient = before_activation(gradients[0], out, then)
        x = torch.empty(
            ctx.size, dtype=out.dtype, device=out.device, memory_format=torch.channels_last
        )  # only its size counts
        at_input, _, _ = aten.convolution_backward(
            gradient, x, weight, None, stride, padding, dilation, False, [0, 0], groups, [True, False, False]
        )
        return at_input, None, None, None


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
