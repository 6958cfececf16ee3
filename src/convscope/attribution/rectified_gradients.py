"""Gradients with another backward pass at every ReLU: the frame of guided backprop and deconvnet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from ..results import Attribution
from .gradient_kinds import GradientKind, per_pixel
from .method_run import Run
from .replaced_functions import Replacement, replaced
from .scored import ScoredBatch

# From the gradient at a ReLU's output y, y itself, and its upper bound (6, infinity) to the gradient at its input.
Rectifier: TypeAlias = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]

_RELUS: tuple[Any, ...] = (functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_)
_IN_PLACE = (torch.relu_, torch.Tensor.relu_)


def guided(gradient: torch.Tensor, y: torch.Tensor, high: float) -> torch.Tensor:
    """The rectifier of guided backprop: the positive part of the gradient, where the ReLU lets it through."""
    positive = gradient.clamp_min(0)
    return torch.ops.aten.hardtanh_backward(positive, y, 0.0, high)  # type: ignore[no-any-return]


def rectified_maps(run: Run, rectifier: Rectifier, kind: GradientKind) -> Attribution:
    """The maps of a method that is the gradient with another rectifier."""

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        return per_pixel(batch.gradients(), batch.x, kind, len(batch.size))

    return run.by_batch(maps_of, keeping=lambda _: rectified(run, rectifier), folds=False)


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
            y = functional.hardtanh(x, 0, high, inplace)
            if inplace:
                ctx.mark_dirty(x)
            ctx.save_for_backward(y)
            ctx.high = high
            return y

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            (y,) = ctx.saved_tensors
            return rectifier(gradients[0], y, ctx.high), None, None

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
