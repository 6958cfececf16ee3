"""The rules of LRP: the functions of a network, replaced by ones that hand relevance on."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch.nn import functional

from .attentions import written_out
from .backward_rules import (
    ACTIVATIONS,
    ELEMENTWISE,
    MATRIX_PRODUCTS,
    PRODUCTS,
    QUOTIENTS,
    SIGMOIDS,
    WITHOUT_RULE,
    activation,
    followed,
    instead,
    plain,
    product,
)
from .replaced_functions import Replacement

Rule: TypeAlias = Literal["composite", "epsilon", "gamma", "z_plus"]

EPSILON, GAMMA = 1e-6, 0.25

_CONVOLUTIONS = (
    *(functional.conv1d, functional.conv2d, functional.conv3d),
    *(functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
)


def replacements_for(rule: Rule, x: torch.Tensor, even: torch.Tensor, notes: list[str]) -> dict[Any, Replacement]:
    """Replacements of the functions of a network by ones that hand relevance on.

    Relevance is input times gradient: R = x * g and R_k = z_k * g_k. Where the ``parts`` of a layer add up to z',
    the gradient of z' * (z / z') with the second factor fixed is R_k / z' for each of them.

    Softmax keeps its gradient, as that is its rule: expanded at the image, y = softmax(x) hands on
    R_i = x_i * (R(y_i) - y_i * sum of R(y)), which is x_i times the gradient.
    """
    first = rule == "composite"
    gates: list[Any] = []  # nodes of the autograd graph

    def layer(func: Any, input: Any, weight: Any, bias: Any = None, *args: Any, **options: Any) -> Any:
        nonlocal first
        if not followed(input):
            return func(input, weight, bias, *args, **options)

        def linear(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None) -> torch.Tensor:
            out: torch.Tensor = func(x, w, b, *args, **options)
            return out

        convolution, is_first, first = func in _CONVOLUTIONS, first, False
        w = weight.detach()
        if is_first and convolution:
            z, parts = linear(input, w, bias), linear(_even_in(input, x, even), torch.ones_like(w), None)
        else:
            composite: Rule = "z_plus" if convolution else "epsilon"
            z, parts = _parts(composite if rule == "composite" else rule, linear, input, w, bias)
        return instead(z, _shared(parts, z))

    def gate(func: Any, *args: Any, **options: Any) -> Any:
        out = activation(_handed_on)(func, *args, **options)
        if followed(out):
            gates.append(out.grad_fn)
        return out

    def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if _comes_from(b, gates):
            return a * b.detach()
        if _comes_from(a, gates):
            return a.detach() * b
        return (a * b.detach() + a.detach() * b) / 2

    return (
        dict.fromkeys((*WITHOUT_RULE, *ELEMENTWISE), plain(notes))
        | dict.fromkeys(QUOTIENTS, plain(notes, 2))
        | dict.fromkeys(MATRIX_PRODUCTS, partial(_matrix_product, notes))
        | dict.fromkeys((*_CONVOLUTIONS, functional.linear), layer)
        | dict.fromkeys(ACTIVATIONS, activation(_handed_on))
        | dict.fromkeys(SIGMOIDS, gate)
        | dict.fromkeys(PRODUCTS, product(multiply))
        | {functional.scaled_dot_product_attention: partial(_attention, notes)}
        | {functional.layer_norm: _layer_norm, functional.rms_norm: _rms_norm}
    )


def _shared(parts: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """``parts``, with a gradient that turns the relevance of z into theirs."""
    fixed = parts.detach()
    return parts * (z.detach() / (fixed + torch.where(fixed < 0, -EPSILON, EPSILON)))


def _handed_on(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """x, with the gradient y / x, which turns the relevance of y = f(x) into the same relevance of x."""
    fixed = x.detach()
    return x * (y.detach() / torch.where(fixed.abs() < EPSILON, EPSILON, fixed))


def _parts(
    rule: Rule, linear: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output z of a layer, and the sum of the parts that the rule counts."""
    z = linear(x, w, b)
    if rule == "epsilon":
        return z, z
    positive = linear(x.clamp_min(0), w.clamp_min(0), None if b is None else b.clamp_min(0))
    positive = positive + linear(x.clamp_max(0), w.clamp_max(0), None)
    if rule == "z_plus":
        return z, positive
    return z, z + GAMMA * torch.where(z > 0, positive, z - positive)


def _even_in(a: torch.Tensor, x: torch.Tensor, even: torch.Tensor) -> torch.Tensor:
    """An image of ones as it arrives at ``a``: still 1, and 0 in the padding.

    The way from x to ``a`` may pad, normalize or resize. With its Jacobian J this is J even / (J even), the
    divisor held fixed. A backward pass gives J' v; its own gradient with respect to v is J.
    """
    v = torch.zeros_like(a, requires_grad=True)
    (back,) = torch.autograd.grad(a, x, v, create_graph=True)
    (image,) = torch.autograd.grad(back, v, even, create_graph=True)
    return image / torch.where(image == 0, 1, image).detach()


def _comes_from(tensor: torch.Tensor, nodes: list[Any]) -> bool:
    """Whether a tensor is the output of one of these nodes, reshaped, repeated, or changed by constants only."""
    node: Any = tensor.grad_fn
    while node is not None and node not in nodes and node.name() != "_InsteadBackward":
        before = [n for n, _ in node.next_functions if n is not None]
        node = before[0] if len(before) == 1 else None
    return node in nodes


def _layer_norm(func: Any, input: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Layer norm with its scale held fixed: a difference times constants."""
    y = func(input, shape, weight, bias, eps)
    if not followed(input):
        return y
    dims = tuple(range(-len(shape), 0))
    var, mean = torch.var_mean(input, dims, correction=0, keepdim=True)
    way = (input - mean) * (var.detach() + eps).rsqrt()
    return instead(y, way if weight is None else way * weight)


def _rms_norm(func: Any, input: Any, shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """RMS norm with its scale held fixed: a product with constants."""
    y = func(input, shape, weight, eps)
    if not followed(input):
        return y
    square = input.detach().square().mean(tuple(range(-len(shape), 0)), keepdim=True)
    way = input * (square + (torch.finfo(input.dtype).eps if eps is None else eps)).rsqrt()
    return instead(y, way if weight is None else way * weight)


def _matrix_product(notes: list[str], func: Any, *args: Any, **options: Any) -> Any:
    """A product of two matrices that both depend on the image: half of the relevance for each of them.

    What is added to it, as in `torch.baddbmm`, gets its own part.
    """
    if len(args) == 2 and isinstance(args[1], list | tuple):  # of torch.einsum
        args = (args[0], *args[1])
    every = [*args, *options.values()]
    factors = [place for place, value in enumerate(every) if followed(value)]
    if len(factors) > 2 and func is torch.einsum:
        return plain(notes)(func, *args, **options)
    z = func(*args, **options)
    if len(factors) < 2:
        return z

    def holding(fixed: int) -> torch.Tensor:
        values = [value.detach() if place == fixed else value for place, value in enumerate(every)]
        named = dict(zip(options, values[len(args) :], strict=True))
        out: torch.Tensor = func(*values[: len(args)], **named)
        return out

    return instead(z, _shared((holding(factors[-1]) + holding(factors[-2])) / 2, z))


def _attention(notes: list[str], func: Any, *args: Any, **options: Any) -> Any:
    """Attention as what it is made of: two products of matrices, and a softmax between them."""
    if not any(map(followed, (*args, *options.values()))):
        return func(*args, **options)
    return written_out(*args, **options, multiply=partial(_matrix_product, notes, torch.matmul))[0]
