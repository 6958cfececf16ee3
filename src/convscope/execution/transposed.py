"""Transposed convolutions: from the gradient at a convolution's output to the gradient at its input."""

from __future__ import annotations

import torch
from torch.nn import functional

from .kernels import Convolution, Then, aten, evened


def before_activation(gradient: torch.Tensor, out: torch.Tensor, then: Then) -> torch.Tensor:
    """The gradient at the input of a ReLU or a hardtanh, from the gradient at its output ``out``."""
    if then is None:
        return gradient
    low, high = then[1] or (0.0, float("inf"))
    return aten.hardtanh_backward(gradient, out, low, high)  # type: ignore[no-any-return]


class Transposed:
    """Computes the gradient at a convolution's input from that at its output, or at its activation's output.

    With a stride of 1 this is itself a convolution: in each group, input and output channels are swapped, and the
    kernel is flipped.

    Args:
        forward: the convolution; its activation, if any, is a ReLU or a hardtanh.
        weight: its weights (C_out, C_in / groups, h, w).
    """

    def __init__(self, forward: Convolution, weight: torch.Tensor) -> None:
        self._forward, self._weight = forward, weight
        reach = [d * (k - 1) for d, k in zip(forward.dilation, forward.kernel, strict=True)]
        before, after = (
            (reach[0] - border[0], reach[1] - border[1]) for border in (forward.before, forward.after)
        )
        self._transposed: Convolution | None = None
        if forward.stride == (1, 1) and min(*before, *after) >= 0:
            each = (
                weight.reshape(forward.groups, -1, *weight.shape[1:])
                .transpose(1, 2)
                .flatten(0, 1)
                .flip(2, 3)
                .contiguous()
            )
            self._transposed = Convolution(
                each, None, (1, 1), before, after, forward.dilation, forward.groups, None
            )

    def __call__(self, gradient: torch.Tensor, out: torch.Tensor | None, size: torch.Size) -> torch.Tensor:
        """The gradient (N, C_in, H, W) of this ``size``, from the gradient at ``out`` (N, C_out, h, w)."""
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        forward = self._forward
        if out is not None:
            gradient = before_activation(gradient, out, forward.then)
        if self._transposed is not None:
            return self._transposed.whole(gradient)
        padding, (top, left) = evened(forward.before, forward.after, forward.stride)
        height, width = forward.sizes((size[2], size[3]), padding, padding)
        bottom, right = height - top - gradient.shape[2], width - left - gradient.shape[3]
        if any((top, bottom, left, right)):  # rows and columns that were cut off have zero gradient
            gradient = functional.pad(gradient, (left, right, top, bottom))
        layout = torch.channels_last
        given = torch.empty(size, dtype=gradient.dtype, device=gradient.device, memory_format=layout)  # never read
        found: tuple[torch.Tensor, ...] = aten.convolution_backward(
            gradient,
            given,
            self._weight,
            None,
            forward.stride,
            padding,
            forward.dilation,
            False,
            (0, 0),
            forward.groups,
            (True, False, False),
        )
        return found[0]
