"""Fold batch norm into the convolution before it, during a run and without touching the module.

With fixed statistics, norm(conv(x)) = conv(x) * scale + shift is a convolution with weights * scale and
bias * scale + shift. This saves one pass over the maps; the values are the same up to float32 rounding.
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
    """Scale and shift of batch norm as x * scale + shift, rounded as in PyTorch's own batch norm."""
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    shift = torch.addcmul(torch.zeros_like(mean) if bias is None else bias, mean, scale, value=-1)
    return scale, shift


def folded_exactly(chain: ConvChain) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution that includes the norm of its chain.

    They are rounded once: computed in float64, on the CPU because not every device has float64.
    """
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
    """Whether a convolution with a chain's weight is called with the chain's bias, not with a computed one."""
    return chain.bias is (args[_BIAS] if len(args) > _BIAS else kwargs.get("bias"))


@contextmanager
def folded_batch_norm(module: nn.Module, run: Callable[[], object]) -> Iterator[int]:
    """Inside, a network runs with its batch norms folded where that is exact; yields how many are.

    They are found in one call of ``run``, which runs the network: a convolution and a batch norm are folded if
    each is called once and nothing else uses the convolution's output. For many runs: the weights are folded once,
    in float64.
    """
    chains = [chain for chain in convolutions_of(module, run) if chain.norm is not None]
    with Folding(chains, {id(chain.weight): folded_exactly(chain) for chain in chains}):
        yield len(chains)


class Folding(TorchFunctionMode):
    """Runs convolutions with folded weights, and skips the batch norms.

    Args:
        chains: convolutions with a norm.
        weights: by the id of a convolution's weight: the folded weight and bias.
    """

    def __init__(self, chains: list[ConvChain], weights: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self._chains = {
            id(chain.weight): chain for chain in chains
        }  # which keep the weights alive, and so the ids
        self._weights = weights
        self.stand_ins = StandIns()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.conv2d and len(args) > WEIGHT:
            chain = self._chains.get(id(args[WEIGHT]))
            if chain is not None and is_known(chain, args, kwargs):
                return self.convolved(chain, *self.stand_ins.filled_in(func, args, kwargs))
        elif self.stand_ins and (out := self._traded(func, args, kwargs)) is not None:
            return out
        return self.plainly(func, *self.stand_ins.filled_in(func, args, kwargs))

    def _traded(self, func: Any, args: Any, kwargs: Any) -> torch.Tensor | None:
        """The result of a norm or an activation, if that has been computed with its convolution."""
        if norm := batch_norm_of(func, args, kwargs):
            return self.stand_ins.trade(norm[0], (func, *norm[1:]))
        if func in ACTIVATIONS and args:
            call = call_of(func, args, kwargs)
            return self.stand_ins.trade(args[0], call, in_place=is_in_place(func, args, kwargs))
        return None

    def plainly(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A call that folding does not concern."""
        return func(*args, **kwargs)

    def convolved(self, chain: ConvChain, args: Any, kwargs: Any) -> torch.Tensor:
        """What the network gets for a convolution with a norm: a stand-in."""
        out = self.with_weights(*self._weights[id(chain.weight)], args, kwargs)
        return self.awaiting(chain, out, partial(self.plainly, functional.conv2d, args, kwargs))

    def with_weights(self, weight: torch.Tensor, bias: torch.Tensor, args: Any, kwargs: Any) -> torch.Tensor:
        """A convolution with these in place of its own."""
        options = {name: value for name, value in kwargs.items() if name != "bias"}
        out: torch.Tensor = self.plainly(functional.conv2d, (args[0], weight, bias, *args[_BIAS + 1 :]), options)
        return out

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
