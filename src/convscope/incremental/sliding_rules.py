"""Rules of operations that slide a kernel over rows and columns, or change their number."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from ..execution.kernels import Convolution, pair
from .geometry import Repeating, Sliding
from .part_rules import (
    Dims,
    Known,
    Rects,
    Rule,
    RuleOf,
    UnknownOperationError,
    arguments,
    entered_in,
    one_map,
    shape_of,
)
from .rewriting import aten

RULES: dict[Any, RuleOf] = {}


@entered_in(RULES, aten.conv2d.default, aten.conv2d.padding)
def _convolution(node: fx.Node, known: Known) -> Rule:
    source = one_map(node, known)
    kernel = known.kernels[node]
    assert isinstance(kernel, Convolution)
    (top, left), stride, dilation = kernel.before, kernel.stride, kernel.dilation
    axes = [
        Sliding(
            shape_of(source)[2 + i],
            shape_of(node)[2 + i],
            kernel.kernel[i],
            stride[i],
            (top, left)[i],
            dilation[i],
        )
        for i in (0, 1)
    ]
    return Rule((2, 3), (axes[0], axes[1]), lambda part, _: kernel.part(part))


@entered_in(RULES, aten.max_pool2d.default)
def _max_pool(node: fx.Node, known: Known) -> Rule:
    source, options = one_map(node, known), arguments(node)
    kernel, dilation, padding = (pair(options[name]) for name in ("kernel_size", "dilation", "padding"))
    stride = pair(options["stride"] or kernel)
    axes = [
        Sliding(
            shape_of(source)[2 + i], shape_of(node)[2 + i], kernel[i], stride[i], padding[i], dilation[i], -np.inf
        )
        for i in (0, 1)
    ]
    return Rule((2, 3), (axes[0], axes[1]), lambda part, _: torch.max_pool2d(part, kernel, stride, 0, dilation))


@entered_in(RULES, aten.avg_pool2d.default)
def _average_pool(node: fx.Node, known: Known) -> Rule:
    source, options = one_map(node, known), arguments(node)
    kernel, padding = pair(options["kernel_size"]), pair(options["padding"])
    stride = pair(options["stride"] or kernel)
    axes = [
        Sliding(shape_of(source)[2 + i], shape_of(node)[2 + i], kernel[i], stride[i], padding[i]) for i in (0, 1)
    ]
    if options["divisor_override"]:
        counts = [np.full(axis.n_out, float(options["divisor_override"]) ** 0.5) for axis in axes]
    else:
        counts = [_count(axis, 0 if not options["count_include_pad"] else axis.before) for axis in axes]
    return _averaging(axes, kernel, stride, counts)


def _averaging(axes: list[Sliding], kernel: Dims, stride: Dims, counts: list[Any]) -> Rule:
    """Averages over the kernel: its sums, divided by the number of positions that count."""

    def run(part: torch.Tensor, out: Rects) -> torch.Tensor:
        sums = torch.nn.functional.avg_pool2d(part, kernel, stride, divisor_override=1)
        down = counts[0][out.top[:, None] + np.arange(out.height)]
        across = counts[1][out.left[:, None] + np.arange(out.width)]
        n = torch.from_numpy(down[:, None, :, None] * across[:, None, None, :])
        return sums / n.to(sums)

    def even(part: torch.Tensor, _: Rects) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(part, kernel, stride)

    is_even = all((count == size).all() for count, size in zip(counts, kernel, strict=True))
    return Rule((2, 3), (axes[0], axes[1]), even if is_even else run)


def _count(axis: Sliding, border: int) -> Any:
    """How many positions each output averages over, of the input extended by ``border``."""
    places = np.arange(axis.n_out)[:, None] * axis.stride - axis.before + np.arange(axis.kernel)
    return ((places >= -border) & (places < axis.n_in + border)).sum(axis=1).astype(float)


@entered_in(RULES, aten.adaptive_avg_pool2d.default)
def _adaptive_pool(node: fx.Node, known: Known) -> Rule:
    source = one_map(node, known)
    sizes, outs = shape_of(source)[2:], shape_of(node)[2:]
    if any(size % out for size, out in zip(sizes, outs, strict=True)):
        raise UnknownOperationError("its regions differ in size")
    kernel = (sizes[0] // outs[0], sizes[1] // outs[1])
    axes = [Sliding(sizes[i], outs[i], kernel[i], kernel[i]) for i in (0, 1)]
    return _averaging(axes, kernel, kernel, [np.full(outs[i], float(kernel[i])) for i in (0, 1)])


@entered_in(
    RULES,
    aten.pad.default,
    aten.constant_pad_nd.default,
    aten.reflection_pad2d.default,
    aten.replication_pad2d.default,
)
def _padded(node: fx.Node, known: Known) -> Rule:
    source, options = one_map(node, known), arguments(node)
    given: list[int] = options["pad"] if "pad" in options else options["padding"]
    amounts = [*given, 0, 0][:4]
    if len(given) > 4:
        raise UnknownOperationError("it pads more than rows and columns")
    by_target: dict[Any, str] = {
        aten.reflection_pad2d.default: "reflect",
        aten.replication_pad2d.default: "replicate",
    }
    mode = by_target.get(node.target, options.get("mode", "constant"))
    border = float(options.get("value") or 0.0) if mode == "constant" else mode
    left, _, top, _ = amounts
    axes = [
        Sliding(shape_of(source)[2 + i], shape_of(node)[2 + i], before=(top, left)[i], border=border)
        for i in (0, 1)
    ]
    return Rule((2, 3), (axes[0], axes[1]), lambda part, _: part)


@entered_in(RULES, aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default)
def _upsampled(node: fx.Node, known: Known) -> Rule:
    source = one_map(node, known)
    sizes, outs = shape_of(source)[2:], shape_of(node)[2:]
    given = arguments(node)
    scales = given.get("scale_factors") or [given.get("scales_h"), given.get("scales_w")]
    factors = [out / size for size, out in zip(sizes, outs, strict=True)]
    if any(factor % 1 or scale not in (None, factor) for factor, scale in zip(factors, scales, strict=True)):
        raise UnknownOperationError("its scale is not a whole number")
    rows, columns = Repeating(sizes[0], outs[0] // sizes[0]), Repeating(sizes[1], outs[1] // sizes[1])

    def run(part: torch.Tensor, _: Rects) -> torch.Tensor:
        return part.repeat_interleave(rows.factor, dim=2).repeat_interleave(columns.factor, dim=3)

    return Rule((2, 3), (rows, columns), run)
