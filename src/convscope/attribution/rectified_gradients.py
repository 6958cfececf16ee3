"""Gradients with another backward pass at every ReLU: the frame of guided backprop and deconvnet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from ..results import Attribution
from .gradient_kinds import Kind, per_pixel
from .method_run import Run
from .replaced_functions import Replacement, replaced
from .scored import ScoredBatch

# From the gradient at the output of a ReLU, and a mask of where its input lies on the linear part, to the
# gradient at its input.
Rectifier: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_RELUS: tuple[Any, ...] = (functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_)
_IN_PLACE = (torch.relu_, torch.Tensor.relu_)


def rectified_maps(run: Run, rectifier: Rectifier, kind: Kind) -> Attribution:
    """The maps of a method that is the gradient with another rectifier."""

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        return per_pixel(batch.gradients(), batch.x, kind)

    return run.by_batch(maps_of, keeping=lambda _: rectified(run, rectifier))


@contextmanager
def rectified(run: Run, rectifier: Rectifier) -> Iterator[None]:
    """For one pass of the network: every ReLU has the rectifier as backward pass; a note where there is none."""
    with replaced(run, relu_gradients(rectifier)) as replacing:
        yield
    if not replacing.calls:
        run.note("the network has no ReLU, so this is its plain gradient")


def relu_gradients(rectifier: Rectifier) -> dict[Any, Replacement]:
    """Replacements of every ReLU and ReLU6 that have another backward pass, by the rectifier."""

    class Ruled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, high: float, inplace: bool) -> torch.Tensor:
            ctx.save_for_backward((x > 0) & (x < high) if math.isfinite(high) else x > 0)
            if not inplace:
                return x.clamp(0, high)
            ctx.mark_dirty(x)
            return x.clamp_(0, high)

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            (is_linear,) = ctx.saved_tensors
            return rectifier(gradients[0], is_linear), None, None

    def relu(func: Any, x: torch.Tensor, inplace: bool = False) -> Any:
        return Ruled.apply(x, math.inf, inplace or func in _IN_PLACE)

    def relu6(func: Any, x: torch.Tensor, inplace: bool = False) -> Any:
        return Ruled.apply(x, 6.0, inplace)

    def hardtanh(
        func: Any, x: torch.Tensor, min_val: float = -1, max_val: float = 1, inplace: bool = False
    ) -> Any:
        if min_val != 0:  # no ReLU
            return func(x, min_val, max_val, inplace)
        return Ruled.apply(x, float(max_val), inplace)

    return dict.fromkeys(_RELUS, relu) | {functional.relu6: relu6, functional.hardtanh: hardtanh}
