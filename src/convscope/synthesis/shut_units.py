"""A way out for units that are shut: a gradient that says in which direction they would open.

Where a ReLU is zero, so is its gradient, and an ascent stays where it is. The last activation before the
objective passes on what would open a unit (the library Lucid calls it redirected ReLU). For a sum of squared
differences this is the gradient of the activation's matching loss, which is convex in the values before it (Auer,
Herbster, Warmuth: Exponentially many local minima for single neurons, 1995). Earlier activations keep their own
gradient: if all of them are opened, their errors add up, and the sum points nowhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..execution.conv_chains import ACTIVATIONS, is_in_place


class Opened(TorchFunctionMode):
    """Inside, activations give what they give, and the ``last`` one, counted from 1, opens what is shut.

    ``n_calls``: how many ran since it was entered.
    """

    def __init__(self, last: int = 0) -> None:
        super().__init__()
        self._last, self.n_calls = last, 0

    def __enter__(self) -> Any:
        self.n_calls = 0
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in ACTIVATIONS or not args:
            return func(*args, **kwargs)
        self.n_calls += 1
        if self.n_calls != self._last:
            return func(*args, **kwargs)
        x = args[0]
        with torch.enable_grad():
            given = x.detach().requires_grad_()
            out = func(given.clone(), *args[1:], **kwargs)
            (slope,) = torch.autograd.grad(out.sum(), given)
        opening: torch.Tensor = _Opening.apply(x, out.detach(), slope)
        return x.copy_(opening) if is_in_place(func, args, kwargs) and not x.is_leaf else opening


class _Opening(torch.autograd.Function):
    """The value of ``out``, and the gradient at x; where ``slope`` is 0, the part that moves x toward a slope."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, out: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(slope, x <= 0)
        return out.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        slope, is_low = ctx.saved_tensors
        opens = (slope == 0) & ((gradient > 0) == is_low)  # a ReLU6 is shut on two sides
        return torch.where(opens, gradient, gradient * slope), None, None
