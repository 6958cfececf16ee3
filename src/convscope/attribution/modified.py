"""Networks whose functions are run, or differentiated, by other rules for the time being."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..errors import ModelError
from ..execution import check_differentiable
from .explained import Explained, gradients_of

# In place of func(*args, **kwargs); func itself comes first.
Replacement: TypeAlias = Callable[..., Any]

RELUS: tuple[Any, ...] = (functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_)
_IN_PLACE = (torch.relu_, torch.Tensor.relu_)


class Replaced(TorchFunctionMode):
    """Inside, calls of some functions are replaced, wherever in the network they are made.

    The functions are watched, not the modules: an activation module that is used twice, one that works in place
    and a plain ``F.relu`` are all the same here. ``calls`` counts those on the way from the
    image to the score.
    """

    def __init__(self, table: Mapping[Any, Replacement]) -> None:
        super().__init__()
        self._table = table
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        replacement = self._table.get(func)
        if replacement is None:
            return func(*args, **(kwargs or {}))
        self.calls += any(isinstance(value, torch.Tensor) and value.requires_grad for value in args)
        return replacement(func, *args, **(kwargs or {}))


def relu_gradients(rule: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> dict[Any, Replacement]:
    """Every ReLU and ReLU6, with another backward pass.

    Args:
        rule: from the gradient above and where the ReLU lets through, a mask, to the gradient below.
    """

    class Ruled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, high: float) -> torch.Tensor:
            ctx.save_for_backward((x > 0) & (x < high))
            return x.clamp(0, high)

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
            (open_,) = ctx.saved_tensors
            return rule(gradients[0], open_), None

    def relu(func: Any, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        return _written(Ruled.apply, x, float("inf"), inplace=inplace or func in _IN_PLACE)

    def relu6(func: Any, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        return _written(Ruled.apply, x, 6.0, inplace=inplace)

    def hardtanh(
        func: Any, x: torch.Tensor, min_val: float = -1, max_val: float = 1, inplace: bool = False
    ) -> Any:
        if min_val != 0:  # no ReLU
            return func(x, min_val, max_val, inplace)
        return _written(Ruled.apply, x, float(max_val), inplace=inplace)

    return dict.fromkeys(RELUS, relu) | {functional.relu6: relu6, functional.hardtanh: hardtanh}


def _written(function: Callable[..., Any], x: torch.Tensor, *options: float, inplace: bool) -> torch.Tensor:
    """function(x, ...), into x itself where others may look for it there."""
    out: torch.Tensor = function(x.clone() if inplace else x, *options)
    return x.copy_(out) if inplace else out


def check_visible(images: Explained, replaced: Replaced) -> None:
    """After a run under rules: a note where they did not reach, `ModelError` where they reached nothing at all."""
    method, hidden = images.call.method, images.call.hidden
    if not hidden:
        return
    functions = f"{', '.join(hidden[:4])}{', ...' if len(hidden) > 4 else ''}"
    if not replaced.calls:
        raise ModelError(
            f"{method} has rules for the functions of a network, and none of them can be seen in "
            f"{images.model.name} (TorchScript? {functions}): give the nn.Module that it was made of, or use "
            "saliency, integrated_gradients or occlusion"
        )
    images.call.note(
        f"{functions}: run in TorchScript or with a backward pass of their own, so the rules of {method} do not "
        "apply there; the plain gradient was used"
    )


def ruled_gradients(images: Explained, rules: Mapping[Any, Replacement]) -> torch.Tensor:
    """The gradients (T, n, C, H, W) of a batch's scores under other rules; a note says where none applied."""
    with Replaced(rules) as replaced:
        x = images.x.clone().requires_grad_()
        scores = images.whole(x)
        check_differentiable(scores, images.model.name)
        gradients = gradients_of(scores, x)
    check_visible(images, replaced)
    if not replaced.calls:
        images.call.note("the network has no ReLU, so that this is its plain gradient")
    return gradients
