"""Convolutions and linear layers with fixed weights: packed once for oneDNN, with the activation fused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import fx
from torch.nn import functional

from ..checks import Pair

# An activation: its function, its positional arguments after the input, and its keyword arguments.
Then: TypeAlias = tuple[Any, tuple[Any, ...], dict[str, Any]] | None

aten = torch.ops.aten
# oneDNN's names for the activations that it can fuse.
_FUSED = {
    aten.relu.default: "relu",
    aten.hardtanh.default: "hardtanh",
    aten.hardswish.default: "hardswish",
    aten.silu.default: "swish",
    aten.sigmoid.default: "sigmoid",
    aten.tanh.default: "tanh",
}


def _one_pass_types() -> tuple[torch.dtype, ...]:
    """The dtypes that oneDNN supports on this processor."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):  # type: ignore[no-untyped-call]
        return ()
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if has_bfloat16 else (torch.float32,)


_ONE_PASS_TYPES = _one_pass_types()
_MANY_ROWS = 1000  # weights are packed in the same way for any number of rows above a few
_BLOCK = 1 << 22  # weights packed at once, 16 MB in float32


class Linear:
    """A linear layer with fixed weights on the last dimension, optionally with an activation.

    It uses oneDNN, which on some processors is twice as fast as the MKL behind `functional.linear`. oneDNN needs
    packed weights; packed for one number of rows, they are as fast for any other.

    Args:
        keep: keep only the packed weights. Otherwise they are packed at every call, a block at a time, which is
            slower but takes no memory for a second copy of weights that the network holds anyway.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, then: Then = None, *, keep: bool = False
    ) -> None:
        self.macs_each = weight.shape[1]  # multiplications per output value
        self._weight, self._bias, self._then = weight, bias, then
        self._attribute = onednn_name(then)
        self._is_kept = keep and is_one_pass(weight)
        if self._is_kept:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _MANY_ROWS)

    @classmethod
    def of(cls, node: fx.Node, constants: Mapping[fx.Node, Any]) -> Linear:
        """The linear layer of a node, whose weights must be constants."""
        _, weight, bias = (*node.args, None)[:3]
        return cls(constants[weight], None if bias is None else constants[bias])  # type: ignore[index]

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """The output (..., N) for an input (..., K)."""
        if not is_one_pass(x):
            return _activated(functional.linear(x, self._weight, self._bias), self._then)
        name, numbers = self._attribute or ("none", [])

        def run(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, numbers, None)
            return out

        n_rows = max(1, _BLOCK // self.macs_each)
        if self._is_kept or len(self._weight) <= n_rows:
            out = run(self._weight, self._bias)
        else:
            blocks = [slice(first, first + n_rows) for first in range(0, len(self._weight), n_rows)]
            bias = self._bias
            out = torch.cat([run(self._weight[b], None if bias is None else bias[b]) for b in blocks], dim=-1)
        return out if self._attribute else _activated(out, self._then)

    part = whole


class Convolution:
    """A convolution with fixed weights, optionally with an activation."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: Pair,
        before: Pair,
        after: Pair,
        dilation: Pair,
        groups: int,
        then: Then,
    ) -> None:
        self.kernel = (weight.shape[2], weight.shape[3])
        self.macs_each = weight[0].numel()  # multiplications per output value
        self.stride, self.before, self.dilation = stride, before, dilation
        self._bias, self.after, self.groups, self.then = bias, after, groups, then
        self._packed: Any = None
        self._attribute = onednn_name(then)
        # oneDNN packs a convolution's weights for one size of maps, but a linear layer's for any number of rows.
        is_linear = self.kernel == (1, 1) and groups == 1 and before == after == (0, 0)
        self._linear = Linear(weight.flatten(1), bias, then, keep=True) if is_linear else None
        self._weight = None if is_linear else weight

    @classmethod
    def of(cls, node: fx.Node, constants: Mapping[fx.Node, Any]) -> Convolution:
        """The convolution of a node, whose weights must be constants."""
        given: dict[str, Any] = dict(
            zip(("x", "weight", "bias", "stride", "padding", "dilation", "groups"), node.args, strict=False)
        )
        weight = constants[given["weight"]]
        bias = given.get("bias")
        stride, dilation = (pair(given.get(name, 1)) for name in ("stride", "dilation"))
        padding = given.get("padding", 0)
        if isinstance(padding, str):
            total = [
                (size - 1) * d if padding == "same" else 0
                for size, d in zip(weight.shape[2:], dilation, strict=True)
            ]
            before, after = (total[0] // 2, total[1] // 2), (total[0] - total[0] // 2, total[1] - total[1] // 2)
        else:
            before = after = pair(padding)
        return cls(
            weight,
            None if bias is None else constants[bias],
            stride,
            before,
            after,
            dilation,
            int(given.get("groups", 1)),
            node.meta.get("then"),
        )

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """The output for maps (B, C, H, W)."""
        if self.before == self.after:
            return self._run(x, self.before)
        # Pad both sides equally and cut off the surplus rows and columns: a padded copy of the input costs more.
        padding, (top, left) = evened(self.before, self.after, self.stride)
        height, width = self.sizes((x.shape[2], x.shape[3]), self.before, self.after)
        out = self._run(x, padding)[:, :, top : top + height, left : left + width]
        return out.contiguous(memory_format=torch.channels_last)

    def sizes(self, size: Pair, before: Pair, after: Pair) -> Pair:
        """Rows and columns of the output for an input of this size, with these numbers of zeros around it."""
        rows, columns = (
            (n + b + a - d * (k - 1) - 1) // s + 1
            for n, b, a, d, k, s in zip(size, before, after, self.dilation, self.kernel, self.stride, strict=True)
        )
        return rows, columns

    def part(self, x: torch.Tensor) -> torch.Tensor:
        """The output for parts of maps that already include their borders."""
        return self._run(x, (0, 0))

    def _run(self, x: torch.Tensor, padding: Pair) -> torch.Tensor:
        if self._linear is not None:
            if self.stride != (1, 1):
                x = x[:, :, :: self.stride[0], :: self.stride[1]]
            return self._linear.whole(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if is_one_pass(x):
            return self._one_pass(x, padding)
        assert self._weight is not None
        out = functional.conv2d(x, self._weight, self._bias, self.stride, padding, self.dilation, self.groups)
        return _activated(out, self.then)

    def _one_pass(self, x: torch.Tensor, padding: Pair) -> torch.Tensor:
        """Run oneDNN's own operation, as torch.compile does: `conv2d` would pack the weights at every call."""
        if self._weight is not None:
            reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self._packed = reorder(
                self._weight.to_mkldnn(), [*padding], [*self.stride], [*self.dilation], self.groups, [*x.shape]
            )
            self._weight = None  # not needed again, because a kernel runs on one device and in one dtype
        name, numbers = self._attribute or ("none", [])
        out: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self._bias, padding, self.stride, self.dilation, self.groups, name, numbers, None
        )
        return out if self._attribute else _activated(out, self.then)


def is_one_pass(x: torch.Tensor) -> bool:
    """Whether oneDNN's own operations accept this tensor."""
    return x.device.type == "cpu" and x.dtype in _ONE_PASS_TYPES


def _activated(out: torch.Tensor, then: Then) -> torch.Tensor:
    if then is None:
        return out
    target, args, kwargs = then
    return target(out, *args, **kwargs)  # type: ignore[no-any-return]


def onednn_name(then: Then) -> tuple[str, list[float]] | None:
    """oneDNN's name of the activation, and its numbers; None if oneDNN cannot fuse it."""
    if then is None:
        return "none", []
    target, args, kwargs = then
    if target not in _FUSED or kwargs:
        return None
    if target is aten.hardtanh.default:
        return "hardtanh", [float(value) for value in (*args, *(-1.0, 1.0)[len(args) :])]
    return _FUSED[target], []


def evened(before: Pair, after: Pair, stride: Pair) -> tuple[Pair, Pair]:
    """Equal padding for both sides, no less than given, and the index of the first output; (rows, columns)."""
    extra = [max(0, -((b - a) // s)) for b, a, s in zip(before, after, stride, strict=True)]
    padding = [b + e * s for b, e, s in zip(before, extra, stride, strict=True)]
    return (padding[0], padding[1]), (extra[0], extra[1])


def pair(value: Any) -> Pair:
    """(rows, columns) from one number for both, or a list."""
    values = tuple(value) if isinstance(value, list | tuple) else (value, value)
    return (int(values[0]), int(values[-1]))
