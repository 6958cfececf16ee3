"""A single pass with gradients at the input: batch norms folded, or at least without gradients of their own.

Fused kernels pay when a network runs many times; they take longer to build than a pass. Folding a norm takes one
product with the weights and saves two passes over the maps, forward and backward.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from .conv_chains import ConvChain, batch_norm_of, convolutions_of, has_hooks
from .folding import Folding, normalized, scale_and_shift
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

    Where a map has fewer places than a channel has weights, the norm scales the map and not the weights.
    """

    def __init__(self, module: nn.Module) -> None:
        chains = known_chains(module)
        super().__init__(chains, {})
        self._norms = dict(zip(self._chains, _norms_of(chains), strict=True))

    def convolved(self, chain: ConvChain, args: Any, kwargs: Any) -> torch.Tensor:
        norm = self._norms[id(chain.weight)]
        if self.folds(chain, args[0]):
            bias = norm.shift if chain.bias is None else torch.addcmul(norm.shift, chain.bias, norm.scale)
            out = self.with_weights(chain.weight * norm.scale_of_weights, bias, args, kwargs)
            return self.awaiting(chain, out, partial(self.plainly, functional.conv2d, args, kwargs))
        unscaled = self.plainly(functional.conv2d, args, kwargs)
        out = torch.addcmul(norm.shift_of_maps, unscaled, norm.scale_of_maps)
        return self.awaiting(chain, out, lambda: unscaled)

    def folds(self, chain: ConvChain, x: torch.Tensor) -> bool:
        """Whether to scale the weights of a convolution, not its output."""
        return _n_places(x) * len(chain.weight) > chain.weight.numel()

    def plainly(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func is functional.batch_norm and (norm := batch_norm_of(func, args, kwargs)):
            x = norm[0]
            if torch.is_grad_enabled() and x.requires_grad and _n_places(x) >= _MANY_PLACES:
                return _Normalized.apply(*norm)
        return func(*args, **kwargs)


def _n_places(x: torch.Tensor) -> int:
    return x.numel() // x.shape[1]


class _Norm(NamedTuple):
    """Scale and shift of C channels: (C,), and as they are multiplied with weights (C, I, kH, kW) and maps."""

    scale: torch.Tensor
    shift: torch.Tensor
    scale_of_weights: torch.Tensor
    scale_of_maps: torch.Tensor
    shift_of_maps: torch.Tensor


def _norms_of(chains: list[ConvChain]) -> list[_Norm]:
    """The norms of chains; those of one kind in a few operations, as there may be a hundred."""
    alike: dict[Any, list[tuple[int, tuple[Any, ...]]]] = {}
    for i, chain in enumerate(chains):
        assert chain.norm is not None
        mean, _, weight, bias, eps = chain.norm
        kind = (mean.dtype, mean.device, weight is None, bias is None, eps)
        alike.setdefault(kind, []).append((i, chain.norm))
    found: dict[int, _Norm] = {}
    for (*_, eps), members in alike.items():
        columns = zip(*(norm[:4] for _, norm in members), strict=True)
        joined: list[Any] = [None if column[0] is None else torch.cat(column) for column in columns]
        scale, shift = scale_and_shift(joined[0], joined[1], joined[2], joined[3], eps)
        of_weights, of_maps = (-1, 1, 1, 1), (-1, 1, 1)
        every = scale, shift, scale.view(of_weights), scale.view(of_maps), shift.view(of_maps)
        sizes = [len(norm[0]) for _, norm in members]
        parts = zip(*(values.split_with_sizes(sizes) for values in every), strict=True)
        found.update((i, _Norm(*part)) for (i, _), part in zip(members, parts, strict=True))
    return [found[i] for i in range(len(chains))]


class _Normalized(torch.autograd.Function):
    """PyTorch's batch norm, and gradients times its scale, where PyTorch sums over maps for parameters, too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *norm: Any) -> torch.Tensor:
        ctx.scale, _ = scale_and_shift(*norm)
        return normalized(x, norm)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        scale = ctx.scale.reshape(-1, *(1 for _ in gradient.shape[2:]))
        return gradient * scale, None, None, None, None, None
