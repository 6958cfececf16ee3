"""A way out for a unit that no pixel changes: the gradient of a shut ReLU is that of an open one.

Where a ReLU before the unit is zero everywhere, the gradient is zero as well, and an ascent stays where it is.
Passing the gradient on as if the ReLU were open says in which direction it would open (the library Lucid calls it
redirected ReLU).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..execution.conv_chains import ACTIVATIONS, is_in_place


class Opened(TorchFunctionMode):
    """Inside, activations give what they give, and pass the whole gradient on."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in ACTIVATIONS or not args:
            return func(*args, **kwargs)
        x = args[0]
        with torch.no_grad():
            out = func(x.detach().clone(), *args[1:], **kwargs)
        passing = _Passing.apply(x, out)
        return x.copy_(passing) if is_in_place(func, args, kwargs) and not x.is_leaf else passing


class _Passing(torch.autograd.Function):
    """The value of ``out``, and the gradient at x of x itself."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return out.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None
