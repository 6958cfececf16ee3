"""Receptive fields of every tensor of one forward pass, followed through the operations themselves.

A `GeometryMode` watches a run at the level of ATen operations, so that functional code (residual additions,
``F.relu``, concatenations) is seen as well as modules. Each tensor carries a `Geometry`: how many input
pixels one of its values can depend on, and how many pixels apart two neighboring values lie.

    convolution, pooling:  size += (kernel - 1) * dilation * step,   step *= stride
    several inputs:        the largest of each
    global operations:     the whole image

(Araujo, Norris, Sim: Computing receptive fields of convolutional neural networks, Distill 2019.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """``size`` and ``step`` in input pixels (height, width); ``whole``: depends on all of the image."""

    size: Pair = (1, 1)
    step: tuple[float, float] = (1.0, 1.0)
    whole: bool = False
    channels_last: bool = False

    def slide(self, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Geometry:
        size = tuple(
            int(s + (k - 1) * d * j) for s, k, d, j in zip(self.size, kernel, dilation, self.step, strict=True)
        )
        step = tuple(j * s for j, s in zip(self.step, stride, strict=True))
        return Geometry((size[0], size[1]), (step[0], step[1]), self.whole, self.channels_last)

    def scale(self, factor: tuple[float, float]) -> Geometry:
        step = (self.step[0] / factor[0], self.step[1] / factor[1])
        return Geometry(self.size, step, self.whole, self.channels_last)

    def globally(self) -> Geometry:
        return Geometry(self.size, self.step, True, self.channels_last)


def union(parts: list[Geometry]) -> Geometry:
    """What depends on several tensors depends on all that they depend on."""
    return Geometry(
        (max(p.size[0] for p in parts), max(p.size[1] for p in parts)),
        (max(p.step[0] for p in parts), max(p.step[1] for p in parts)),
        any(p.whole for p in parts),
        parts[0].channels_last,
    )


class GeometryMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follow the geometry of ``image`` (1, C, H, W) through everything that is computed from it."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._known[image] = Geometry()

    def of(self, tensor: torch.Tensor) -> Geometry | None:
        found: Geometry | None = self._known.get(tensor)  # type: ignore[no-untyped-call]
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = [t for t in _tensors(args) if t in self._known]
        if inputs:
            before = union([self._known[t] for t in inputs])
            for tensor in _tensors(out if isinstance(out, tuple | list) else (out,)):
                self._known[tensor] = _after(func, args, inputs[0], tensor, before)
        return out


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


# Attention mixes all positions; so does whatever sums over them.
_GLOBAL = ("bmm", "baddbmm", "_softmax", "_scaled_dot_product", "_adaptive_avg_pool2d", "adaptive_max_pool2d")


def _after(func: Any, args: Any, source: torch.Tensor, out: torch.Tensor, before: Geometry) -> Geometry:
    """The geometry behind one operation; whatever is not named here works value by value."""
    name = func._schema.name.removeprefix("aten::")
    if name in ("convolution", "_convolution"):
        stride, dilation, transposed = _pair(args[3]), _pair(args[5]), args[6]
        kernel = _pair(args[1].shape[2:])
        if transposed:
            return before.scale(stride).slide(kernel, (1, 1), dilation)
        return before.slide(kernel, stride, dilation)
    if name in ("max_pool2d_with_indices", "avg_pool2d"):
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        dilation = _pair(args[4]) if name.startswith("max") and len(args) > 4 else (1, 1)
        return before.slide(kernel, stride, dilation)
    if name.startswith("upsample") and out.ndim == 4:
        factor = (out.shape[2] / source.shape[2], out.shape[3] / source.shape[3])
        return before.scale(factor)
    if name in ("permute", "transpose") and source.ndim == 4 and out.ndim == 4:
        order = list(args[1]) if name == "permute" else None
        if order in ([0, 2, 3, 1], [0, 3, 1, 2]):
            return Geometry(before.size, before.step, before.whole, order == [0, 2, 3, 1])
        return before
    if name in ("mean", "sum", "amax") and source.ndim == 4 and not _over_channels(args, before):
        return before.globally()
    if name in ("addmm", "mm"):
        # One row for the image: all positions were flattened into it. More rows: one for each position.
        rows = args[1] if name == "addmm" else args[0]
        return before.globally() if rows.shape[0] == 1 else before
    if name == "slice" and source.ndim == 4 and len(args) > 4:
        axes = (1, 2) if before.channels_last else (2, 3)
        skip = [args[4] if args[1] % 4 == axis else 1 for axis in axes]
        return before.slide((1, 1), (skip[0], skip[1]))
    if name == "_softmax" and source.ndim == 4 and args[1] % 4 == (3 if before.channels_last else 1):
        return before  # over the channels of each position
    if name == "native_group_norm" or (name == "native_layer_norm" and len(args[1]) > 1):
        return before.globally()
    if name == "native_batch_norm" and args[5]:  # by the statistics of this image, as instance norm does
        return before.globally()
    if name.startswith(_GLOBAL) and out.shape != source.shape:
        return before.globally()
    if name.startswith(("bmm", "baddbmm", "_softmax", "_scaled_dot_product")):
        return before.globally()
    return before


def _over_channels(args: Any, before: Geometry) -> bool:
    dims = args[1] if len(args) > 1 else None
    axis = 3 if before.channels_last else 1
    return isinstance(dims, list | tuple) and [d % 4 for d in dims] == [axis]


def _pair(value: Any) -> Pair:
    items = [int(v) for v in value] if isinstance(value, list | tuple | torch.Size) else [int(value)]
    return (items[0], items[-1])
