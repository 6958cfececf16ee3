"""Convolution as it is fastest on small parts: weights put in order once, the activation in the same pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.nn import functional

aten = torch.ops.aten
# Names that oneDNN has for activations that it can run in the pass of the convolution.
_FUSED = {
    aten.relu.default: "relu",
    aten.hardtanh.default: "hardtanh",
    aten.hardswish.default: "hardswish",
    aten.silu.default: "swish",
    aten.sigmoid.default: "sigmoid",
    aten.tanh.default: "tanh",
}


def _one_pass_types() -> tuple[torch.dtype, ...]:
    """The types that oneDNN computes with on this processor."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):  # type: ignore[no-untyped-call]
        return ()
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if has_bfloat16 else (torch.float32,)


_ONE_PASS_TYPES = _one_pass_types()


class Convolution:
    """A convolution with fixed weights, and perhaps an activation after it."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: tuple[int, int],
        before: tuple[int, int],
        after: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        then: tuple[Any, tuple[Any, ...], dict[str, Any]] | None,
    ) -> None:
        self.kernel = (weight.shape[2], weight.shape[3])
        self.macs_each = weight[0].numel()  # multiplications for one number of the output
        self.stride, self.before, self.dilation = stride, before, dilation
        self._weight: torch.Tensor | None = weight
        self._bias, self._after, self._groups, self._then = bias, after, groups, then
        self._packed: Any = None
        self._attribute = _fused(then)

    @classmethod
    def of(cls, node: fx.Node, constants: Mapping[fx.Node, Any]) -> Convolution:
        """The convolution of a node; its weights have to be constants."""
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

    def __call__(self, x: torch.Tensor, *, inside: bool) -> torch.Tensor:
        """Of maps (B, C, H, W); ``inside``: their border is in them already."""
        padding = (0, 0) if inside else self.before
        if not inside and self.before != self._after:
            (top, left), (bottom, right) = self.before, self._after
            x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
        if x.device.type == "cpu" and x.dtype in _ONE_PASS_TYPES:
            return self._one_pass(x, padding)
        assert self._weight is not None
        out = functional.conv2d(x, self._weight, self._bias, self.stride, padding, self.dilation, self._groups)
        return self._activated(out)

    def _activated(self, out: torch.Tensor) -> torch.Tensor:
        if self._then is None:
            return out
        target, args, kwargs = self._then
        return target(out, *args, **kwargs)  # type: ignore[no-any-return]

    def _one_pass(self, x: torch.Tensor, padding: tuple[int, int]) -> torch.Tensor:
        """By oneDNN's own operation, as torch.compile does: `conv2d` puts the weights in order at every call."""
        if self._weight is not None:
            reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self._packed = reorder(
                self._weight.to_mkldnn(), [*padding], [*self.stride], [*self.dilation], self._groups, [*x.shape]
            )
            self._weight = None  # a device and a type are a plan's own, so it is not needed again
        name, scalars = self._attribute or ("none", [])
        out: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self._bias, padding, self.stride, self.dilation, self._groups, name, scalars, None
        )
        return out if self._attribute else self._activated(out)


def _fused(then: tuple[Any, tuple[Any, ...], dict[str, Any]] | None) -> tuple[str, list[float]] | None:
    """The activation and its numbers as oneDNN has them; None where it cannot run it in the same pass."""
    if then is None:
        return "none", []
    target, args, kwargs = then
    if target not in _FUSED or kwargs:
        return None
    if target is aten.hardtanh.default:
        return "hardtanh", [float(value) for value in (*args, *(-1.0, 1.0)[len(args) :])]
    return _FUSED[target], []


def pair(value: Any) -> tuple[int, int]:
    """(rows, columns) from one number for both, or a list."""
    values = tuple(value) if isinstance(value, list | tuple) else (value, value)
    return (int(values[0]), int(values[-1]))
