"""Batch norm folded into the convolution before it, during a run and without touching the module.

With fixed statistics, norm(conv(x)) = conv(x) * scale + shift is a convolution with weights * scale and
bias * scale + shift: one pass over the maps less, the same numbers up to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .conv_chains import CONV2D, ConvChain, convolutions_of

WEIGHT, _BIAS = CONV2D.index("weight"), CONV2D.index("bias")


def scale_and_shift(
    mean: torch.Tensor, var: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch norm as x * scale + shift, rounded as PyTorch's own batch norm rounds."""
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    shift = torch.addcmul(torch.zeros_like(mean) if bias is None else bias, mean, scale, value=-1)
    return scale, shift


@contextmanager
def folded_batch_norm(module: nn.Module, run: Callable[[], object]) -> Iterator[int]:
    """Inside, a network runs with its batch norms folded where that is exact; yields how many are.

    One call of ``run``, which runs the network, finds them: convolutions whose output goes into one batch norm and
    nowhere else, both called once.
    """
    folding = Folding(convolutions_of(module, run))
    with folding:
        yield len(folding.convolutions)


class Folding(TorchFunctionMode):
    """Runs convolutions with their folded weights, and skips the batch norms."""

    def __init__(self, found: list[ConvChain]) -> None:
        super().__init__()
        # By the id of the weight, which `_found` keeps alive: weight and bias to run with, and the id of the norm.
        self.convolutions: dict[int, tuple[torch.Tensor, torch.Tensor, int]] = {}
        self._found = {id(chain.weight): chain for chain in found}
        self._made: dict[int, torch.Tensor] = {}  # by the norm: the output of its folded convolution
        for chain in found:
            norm, weight = chain.norm, chain.weight
            if norm is None:
                continue
            bias = chain.bias
            # In float64, so that only the result is rounded; on the CPU, as not every device has float64.
            exact: list[Any] = [v.cpu().double() if isinstance(v, torch.Tensor) else v for v in norm]
            scale, shift = scale_and_shift(*exact)
            folded_weight = weight.cpu().double() * scale[:, None, None, None]
            folded_bias = shift if bias is None else shift + bias.cpu().double() * scale
            self.convolutions[id(weight)] = (folded_weight.to(weight), folded_bias.to(weight), id(norm[0]))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.conv2d and len(args) > WEIGHT:
            folded = self.convolutions.get(id(args[WEIGHT]))
            if folded is not None and self.is_known(args, kwargs):
                weight, bias, norm = folded
                options = {k: v for k, v in (kwargs or {}).items() if k != "bias"}
                self._made[norm] = func(args[0], weight, bias, *args[_BIAS + 1 :], **options)
                return self._made[norm]
        elif func is functional.batch_norm and self._is_folded(*args, **(kwargs or {})):
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs) if kwargs else func(*args)

    def is_known(self, args: Any, kwargs: Any) -> bool:
        """Whether a convolution with a known weight is called with its known bias, not one computed just now."""
        bias = args[_BIAS] if len(args) > _BIAS else (kwargs or {}).get("bias")
        return bias is self._found[id(args[WEIGHT])].bias

    def _is_folded(self, input: torch.Tensor, running_mean: torch.Tensor | None, *_: Any, **__: Any) -> bool:
        """Whether this call of `functional.batch_norm` is folded into the convolution that made its input.

        A convolution whose weight is computed in each run, as by weight norm, was not folded in this one.
        """
        made = self._made.pop(id(running_mean), None)
        return made is not None and made is input
