"""Rules that stand in for gradients, for LRP and DeepLIFT: which functions, and values with another gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional

from .replaced_functions import Replacement

_ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish"),
    *("softplus", "softsign", "tanh", "sigmoid", "hardsigmoid", "hardtanh", "threshold"),
    *("clamp", "clamp_min", "clamp_max"),
)


def _named(names: Iterable[str]) -> tuple[Any, ...]:
    """The functions with these names, as functions and as methods, in place or not."""
    places = (functional, torch, torch.Tensor)
    every = [f"{name}{end}" for name in names for end in ("", "_")]
    return tuple(getattr(place, name) for place in places for name in every if hasattr(place, name))


ACTIVATIONS = _named(_ACTIVATIONS)
SIGMOIDS = frozenset(_named(["sigmoid", "hardsigmoid"]))
PRODUCTS = _named(["mul", "multiply"])
# Neither a sum, nor element by element, nor the choice of one value: no rule is known.
WITHOUT_RULE = (
    *_named(["log_softmax", "softmin", "group_norm", "instance_norm", "local_response_norm"]),
    *_named(["normalize", "var", "std", "prod"]),
)
SOFTMAX = _named(["softmax"])
ATTENTION = _named(["scaled_dot_product_attention", "multi_head_attention_forward"])
ELEMENTWISE = _named(["exp", "log", "pow", "__pow__", "square", "sqrt", "rsqrt", "abs"])  # beside the activations
# Linear in each of two arguments, so they need a rule only where both depend on the image.
MATRIX_PRODUCTS = (
    *_named(["matmul", "__matmul__", "mm", "mv", "bmm", "einsum"]),
    *(torch.addmm, torch.baddbmm, torch.Tensor.addmm, torch.Tensor.baddbmm),  # those in place change an argument
)
QUOTIENTS = _named(["div", "true_divide", "__truediv__"])


class _Instead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, gradients[0]


def instead(value: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
    """The numbers of ``value`` with the gradient of ``way``, of the same shape."""
    out: torch.Tensor = _Instead.apply(value.detach(), way)
    return out


def followed(*tensors: Any) -> bool:
    """Whether all of these are tensors through which gradients will flow."""
    return torch.is_grad_enabled() and all(isinstance(t, torch.Tensor) and t.requires_grad for t in tensors)


def activation(way_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Replacement:
    """y = f(x), element by element, with the gradient of ``way_of(x, y)``; in place where f is."""

    def run(func: Any, input: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        if not followed(input):
            return func(input, *args, **options)  # type: ignore[no-any-return]
        given = input.clone()
        y = func(given, *args, **options)
        out = instead(y, way_of(input, y))
        return input.copy_(out) if y is given else out

    return run


def product(way_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Replacement:
    """a * b, where both depend on the image, with the gradient of ``way_of(a, b)``."""

    def run(func: Any, input: Any, other: Any, *args: Any, **options: Any) -> Any:
        if not followed(input, other):
            return func(input, other, *args, **options)
        given = input.clone()
        y = func(given, other, *args, **options)
        out = instead(y, way_of(input.clone(), other))  # a copy, as the backward pass keeps its values
        return input.copy_(out) if y is given else out

    return run


def plain(notes: list[str], n_followed: int = 1) -> Replacement:
    """A function without a rule, which keeps its gradient; a note says so.

    ``n_followed``: how many of its arguments have to depend on the image for the note.
    """

    def run(func: Any, *args: Any, **options: Any) -> Any:
        note = f"{func.__name__.strip('_')} has no rule of its own: its plain gradient was taken"
        if sum(map(followed, args)) >= n_followed and note not in notes:
            notes.append(note)
        return func(*args, **options)

    return run
