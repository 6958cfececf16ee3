"""Batch norm folded into the convolution before it, during a run and without touching the module.

With fixed statistics, norm(conv(x)) = conv(x) * scale + shift is a convolution with weights * scale and
bias * scale + shift: one pass over the maps less, the same numbers up to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .conv_chains import (
    ACTIVATIONS,
    CONV2D,
    ConvChain,
    batch_norm_of,
    call_of,
    convolutions_of,
    is_in_place,
)
from .stand_ins import StandIns

WEIGHT, _BIAS = CONV2D.index("weight"), CONV2D.index("bias")


def scale_and_shift(
    mean: torch.Tensor, var: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch norm as x * scale + shift, rounded as PyTorch's own batch norm rounds."""
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    shift = torch.addcmul(torch.zeros_like(mean) if bias is None else bias, mean, scale, value=-1)
    return scale, shift


def folded(chain: ConvChain) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution that includes the norm of its chain."""
    assert chain.norm is not None
    scale, shift = scale_and_shift(*chain.norm)
    bias = shift if chain.bias is None else torch.addcmul(shift, chain.bias, scale)
    return chain.weight * scale[:, None, None, None], bias


def folded_exactly(chain: ConvChain) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, rounded once: computed in float64, and on the CPU, as not every device has that."""
    assert chain.norm is not None
    norm: list[Any] = [v.cpu().double() if isinstance(v, torch.Tensor) else v for v in chain.norm]
    scale, shift = scale_and_shift(*norm)
    weight = chain.weight.cpu().double() * scale[:, None, None, None]
    bias = shift if chain.bias is None else shift + chain.bias.cpu().double() * scale
    return weight.to(chain.weight), bias.to(chain.weight)


def normalized(x: torch.Tensor, norm: Any) -> torch.Tensor:
    """Batch norm as PyTorch computes it; ``norm`` is (mean, var, weight, bias, eps), as a chain has it."""
    mean, var, weight, bias, eps = norm
    return torch.batch_norm(x, weight, bias, mean, var, False, 0.0, eps, torch.backends.cudnn.enabled)


def is_known(chain: ConvChain, args: Any, kwargs: Any) -> bool:
    """Whether a convolution with the weight of a chain is called with its bias, too, not one computed just now."""
    return chain.bias is (args[_BIAS] if len(args) > _BIAS else kwargs.get("bias"))


@contextmanager
def folded_batch_norm(module: nn.Module, run: Callable[[], object]) -> Iterator[int]:
    """Inside, a network runs with its batch norms folded where that is exact; yields how many are.

    One call of ``run``, which runs the network, finds them: convolutions whose output goes into one batch norm and
    nowhere else, both called once. For many runs: the weights are folded once, in float64.
    """
    chains = [chain for chain in convolutions_of(module, run) if chain.norm is not None]
    with Folding(chains, {id(chain.weight): folded_exactly(chain) for chain in chains}):
        yield len(chains)


class Folding(TorchFunctionMode):
    """Runs convolutions with folded weights, and skips the batch norms.

    Args:
        chains: convolutions with a norm.
        weights: by the id of a convolution's weight: the folded weight and bias. Others are folded at each call,
            which takes about a tenth of a pass with a single image.
    """

    def __init__(
        self, chains: list[ConvChain], weights: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None
    ) -> None:
        super().__init__()
        self._chains = {
            id(chain.weight): chain for chain in chains
        }  # which keep the weights alive, and so the ids
        self._weights = weights or {}
        self.stand_ins = StandIns()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out: torch.Tensor | None = None
        if func is functional.conv2d and len(args) > WEIGHT:
            chain = self._chains.get(id(args[WEIGHT]))
            if chain is not None and is_known(chain, args, kwargs):
                return self.convolved(chain, *self.stand_ins.filled_in(func, args, kwargs))
        elif norm := batch_norm_of(func, args, kwargs):
            out = self.stand_ins.trade(norm[0], (func, *norm[1:]))
        elif func in ACTIVATIONS and args:
            call = call_of(func, args, kwargs)
            out = self.stand_ins.trade(args[0], call, in_place=is_in_place(func, args, kwargs))
        if out is not None:
            return out
        return self.plainly(func, *self.stand_ins.filled_in(func, args, kwargs))

    def plainly(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A call that folding does not concern."""
        return func(*args, **kwargs)

    def convolved(self, chain: ConvChain, args: Any, kwargs: Any) -> torch.Tensor:
        """What the network gets for a convolution with a norm: a stand-in."""
        weight, bias = self._weights.get(id(chain.weight)) or folded(chain)
        options = {name: value for name, value in kwargs.items() if name != "bias"}
        out = functional.conv2d(args[0], weight, bias, *args[_BIAS + 1 :], **options)
        return self.awaiting(chain, out, partial(functional.conv2d, *args, **kwargs))

    def awaiting(
        self, chain: ConvChain, out: torch.Tensor, plain: Callable[[], torch.Tensor], *, activated: bool = False
    ) -> torch.Tensor:
        """What the network gets for a convolution whose norm, and activation if that is in, are yet to be called.

        ``out`` is the end of the chain, ``plain`` computes the convolution alone.
        """
        if activated:
            func, options, by_name = chain.activation
            made = plain if chain.norm is None else lambda: normalized(plain(), chain.norm)
            out = self.stand_ins.put(call_of(func, (None, *options), by_name), out, out.shape, made)
        if chain.norm is not None:
            out = self.stand_ins.put((functional.batch_norm, *chain.norm), out, out.shape, plain)
        return out
