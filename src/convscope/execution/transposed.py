"""Transposed convolutions: from the gradient at a convolution's output to the gradient at its input."""

from __future__ import annotations

import torch
from torch.nn import functional

from ..checks import Pair
from .kernels import Convolution, Then, aten, evened

FEW_CHANNELS, LARGE_KERNEL = 4, 4  # measured with 3 channels on one core: 7 x 7 with stride 2, 4 x 4 with 4


def before_activation(gradient: torch.Tensor, out: torch.Tensor, then: Then) -> torch.Tensor:
    """The gradient at the input of a ReLU or a hardtanh, from the gradient at its output ``out``."""
    if then is None:
        return gradient
    low, high = then[1] or (0.0, float("inf"))
    return aten.hardtanh_backward(gradient, out, low, high)  # type: ignore[no-any-return]


class Transposed:
    """Computes the gradient at a convolution's input from that at its output, or at its activation's output.

    oneDNN does it with weights that are packed once; autograd packs them at every call, which takes longer than
    the arithmetic where maps are small and weights are many.

    Where the input has few channels and the kernel is large, as in first layers, there is a way that takes less
    than half of oneDNN's time: with a stride s, pixels whose places are alike modulo s see the same part of the
    kernel, so this is a convolution to s * s times as many channels, whose output is shuffled.

    Args:
        forward: the convolution; its activation, if any, is a ReLU or a hardtanh.
        weight: its weights (C_out, C_in / groups, h, w).
    """

    def __init__(self, forward: Convolution, weight: torch.Tensor) -> None:
        self._forward = forward
        self._weight, self._is_packed = weight, False
        stride = forward.stride[0]
        self._shuffled: Convolution | None = None
        if (
            forward.stride == (stride, stride)
            and stride > 1
            and (forward.groups, forward.dilation) == (1, (1, 1))
            and weight.shape[1] <= FEW_CHANNELS
            and min(forward.kernel) >= LARGE_KERNEL
        ):
            each, steps = _by_phase(weight, stride)
            border = (steps[0] - 1, steps[1] - 1)
            self._shuffled = Convolution(each, None, (1, 1), border, border, (1, 1), 1, None)

    def __call__(self, gradient: torch.Tensor, out: torch.Tensor | None, size: torch.Size) -> torch.Tensor:
        """The gradient (N, C_in, H, W) of this ``size``, from the gradient at ``out`` (N, C_out, h, w)."""
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        forward = self._forward
        if out is not None:
            gradient = before_activation(gradient, out, forward.then)
        if self._shuffled is not None:
            found = functional.pixel_shuffle(self._shuffled.whole(gradient), forward.stride[0])
            (top, left), (height, width) = forward.before, size[2:]
            beyond = [max(0, top + height - found.shape[2]), max(0, left + width - found.shape[3])]
            if any(beyond):  # which no output has seen
                found = functional.pad(found, (0, beyond[1], 0, beyond[0]))
            return found[:, :, top : top + height, left : left + width]
        padding, (top, left) = evened(forward.before, forward.after, forward.stride)
        height, width = forward.sizes((size[2], size[3]), padding, padding)
        bottom, right = height - top - gradient.shape[2], width - left - gradient.shape[3]
        if any((top, bottom, left, right)):  # rows and columns that were cut off have zero gradient
            gradient = functional.pad(gradient, (left, right, top, bottom))
        return self._one_pass(gradient, padding, (size[2], size[3]))

    def _one_pass(self, gradient: torch.Tensor, padding: Pair, size: Pair) -> torch.Tensor:
        """oneDNN's transposed convolution, which gives maps of this size."""
        forward = self._forward
        seen = (
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                gradient.shape[2:], forward.stride, padding, forward.dilation, forward.kernel, strict=True
            )
        )
        beyond = [n - m for n, m in zip(size, seen, strict=True)]  # which no output has seen
        around = (padding, beyond, forward.stride, forward.dilation, forward.groups)
        onednn = torch.ops.mkldnn
        if not self._is_packed:
            self._weight = onednn._reorder_convolution_transpose_weight(self._weight, *around, [*gradient.shape])
            self._is_packed = True
        found: torch.Tensor = onednn._convolution_transpose_pointwise(
            gradient, self._weight, None, *around, "none", [], None
        )
        return found


def _by_phase(weight: torch.Tensor, stride: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """The weights (C_in * s * s, C_out, h, w) of a gradient's convolution, for `pixel_shuffle`, and (h, w)."""
    n_out, n_in, height, width = weight.shape
    down, across = -(-height // stride), -(-width // stride)
    weight = functional.pad(weight, (0, stride * across - width, 0, stride * down - height))
    parts = weight.reshape(n_out, n_in, down, stride, across, stride).permute(1, 3, 5, 0, 2, 4)
    return parts.flip(4, 5).reshape(-1, n_out, down, across).contiguous(), (down, across)
