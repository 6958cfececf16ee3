"""What each operation does to a part of a map: one table, operation -> rule.

A rule looks at one node of the graph and says how places of its output hang together with places of its inputs,
and how it is run on a part. An operation that is not in the table, or that its rule does not know in this form, is
run on whole maps, and so is everything after it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import fx

from ..execution.kernels import Convolution, Linear, pair
from .geometry import Axis, Ints, Repeating, Sliding
from .rewriting import aten, batch_of, evaluate, scaled, scaled_

Dims: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Rects:
    """B rectangles of one size in a map: the part of it that is computed again."""

    top: Ints
    left: Ints
    height: int
    width: int

    def same_as(self, other: Rects) -> bool:
        """Whether the other rectangles are the same ones."""
        return self is other or (
            (self.height, self.width) == (other.height, other.width)
            and np.array_equal(self.top, other.top)
            and np.array_equal(self.left, other.left)
        )


@dataclass(frozen=True)
class Rule:
    """How a node runs on parts of maps.

    ``spatial`` are the dimensions of rows and columns in its output. ``axes`` says which rows and columns of its
    one input an output is made of; None: the same ones, of all its inputs. ``run`` computes the part: from the
    values of the arguments, or, with ``axes``, from the input's part and the rectangles of the output.
    """

    spatial: Dims
    axes: tuple[Axis, Axis] | None
    run: Callable[..., Any]


def is_at_its_place(rule: Rule) -> bool:
    """Whether every output is made of the input at its own place alone."""
    return rule.axes is None or all(isinstance(axis, Sliding) and axis.is_trivial for axis in rule.axes)


class UnknownOperationError(Exception):
    """This operation has to be run on whole maps; the message says why."""


@dataclass(frozen=True)
class Known:
    """What a rule can look up: the dimensions of rows and columns of each map so far, and the constants."""

    spatial: Mapping[fx.Node, Dims]
    constants: Mapping[fx.Node, Any]
    kernels: Mapping[fx.Node, Convolution | Linear]
    batch: str  # the size of the batch, as the graph writes it


_RULES: dict[Any, Callable[[fx.Node, Known], Rule]] = {}


def rule_of(node: fx.Node, known: Known) -> Rule:
    """The rule for a node, or `UnknownOperationError`."""
    if node.target not in _RULES:
        raise UnknownOperationError("no rule for this operation")
    sources = maps_of(node, known)
    if not sources:
        raise UnknownOperationError("it is made of the size of the batch alone")
    for source in sources:
        if source not in known.spatial:
            raise UnknownOperationError(f"its input {source.name} is no map")
    if batch_of(node) != known.batch or any(not isinstance(size, int) for size in _sizes(node)[1:]):
        raise UnknownOperationError("it mixes the images of a batch with other dimensions")
    return _RULES[node.target](node, known)


def maps_of(node: fx.Node, known: Known) -> list[fx.Node]:
    """The inputs of a node that are tensors and depend on the image."""
    if is_number(node):
        return []
    return [s for s in node.all_input_nodes if s not in known.constants and not is_number(s)]


def is_number(node: fx.Node) -> bool:
    """Whether a node gives a size, as that of the batch."""
    return not isinstance(node.meta["val"], torch.Tensor | tuple | list)


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Sizes of a node's output for one image; of the first of several outputs."""
    return tuple(int(size) if isinstance(size, int) else 1 for size in _sizes(node))


def _sizes(node: fx.Node) -> tuple[Any, ...]:
    value = node.meta["val"]
    first = value[0] if isinstance(value, tuple | list) else value
    return tuple(first.shape)


def arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of an operation by name, with their defaults."""
    declared = node.target._schema.arguments  # type: ignore[union-attr]
    defaults = {a.name: a.default_value for a in declared if a.has_default_value()}
    return defaults | dict(zip((a.name for a in declared), node.args, strict=False)) | dict(node.kwargs)


def _for(*targets: Any) -> Callable[[Any], Any]:
    def enter(rule: Any) -> Any:
        for target in targets:
            _RULES[target] = rule
        return rule

    return enter


# --- every place by itself -------------------------------------------------------------------------------------


@_for(
    aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.hardswish.default, aten.hardsigmoid.default,
    aten.sigmoid.default, aten.silu.default, aten.gelu.default, aten.elu.default, aten.leaky_relu.default,
    aten.prelu.default, aten.mish.default, aten.tanh.default, aten.softplus.default, aten.selu.default,
    aten.clamp.default, aten.clamp_min.default, aten.exp.default, aten.abs.default, aten.neg.default,
    aten.sqrt.default, aten.square.default, aten.pow.Tensor_Scalar, aten.clone.default, aten.to.dtype,
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.add.Scalar, aten.sub.Scalar,
    aten.mul.Scalar, aten.div.Scalar, aten.rsub.Scalar, aten.maximum.default, aten.minimum.default,
    aten.celu.default, aten.threshold.default, aten.log_sigmoid.default, aten.hardshrink.default,
    aten.softshrink.default, aten.log.default, aten.clamp_max.default, aten.channel_shuffle.default,
    aten.relu_.default, aten.hardtanh_.default, aten.silu_.default, aten.hardswish_.default, aten.gelu_.default,
    aten.add_.Tensor, aten.mul_.Tensor, scaled, scaled_,
)  # fmt: skip
def _pointwise(node: fx.Node, known: Known) -> Rule:
    spatial = _common(node, known)
    if any(len(shape_of(source)) != len(shape_of(node)) for source in maps_of(node, known)):
        raise UnknownOperationError("it adds dimensions")
    if node.target is aten.prelu.default:
        if 1 in spatial:
            raise UnknownOperationError("its weights go along the rows or the columns")
        return Rule(spatial, None, lambda value_of: evaluate(node, value_of))
    for constant in (n for n in node.all_input_nodes if n in known.constants):
        value = known.constants[constant]
        if isinstance(value, torch.Tensor) and any(_size_at(value, d, node) > 1 for d in spatial):
            raise UnknownOperationError(f"its constant {constant.name} has rows and columns of its own")
    return Rule(spatial, None, lambda value_of: evaluate(node, value_of))


def _common(node: fx.Node, known: Known) -> Dims:
    """The dimensions of rows and columns that all maps of a node share, of the same sizes."""
    sources = maps_of(node, known)
    spatial = known.spatial[sources[0]]
    shapes = {(known.spatial[s], len(shape_of(s)), *(shape_of(s)[d] for d in known.spatial[s])) for s in sources}
    if len(shapes) != 1:
        raise UnknownOperationError("its inputs are maps of different sizes")
    return spatial


def _size_at(constant: torch.Tensor, dim: int, node: fx.Node) -> int:
    """How large a constant is along a dimension of the output that it is spread over."""
    place = dim - len(shape_of(node)) + constant.ndim
    return constant.shape[place] if place >= 0 else 1


@_for(
    aten.cat.default, aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default, aten.softmax.int,
    aten.glu.default, aten.slice.Tensor,
)  # fmt: skip
def _along_channels(node: fx.Node, known: Known) -> Rule:
    spatial = _common(node, known)
    dim = arguments(node)["dim"]
    if dim % len(shape_of(node)) in (0, *spatial):
        raise UnknownOperationError("it goes along the batch, the rows or the columns")
    if len(maps_of(node, known)) != len(node.all_input_nodes):
        raise UnknownOperationError("it joins a map and a constant")
    return Rule(spatial, None, lambda value_of: evaluate(node, value_of))


@_for(operator.getitem)
def _item(node: fx.Node, known: Known) -> Rule:
    return Rule(_common(node, known), None, lambda value_of: evaluate(node, value_of))


@_for(aten.linear.default, aten.layer_norm.default)
def _last_dimensions(node: fx.Node, known: Known) -> Rule:
    spatial = _common(node, known)
    n_last = len(node.args[1]) if node.target is aten.layer_norm.default else 1  # type: ignore[arg-type]
    if max(spatial) >= len(shape_of(node)) - n_last:
        raise UnknownOperationError("it goes along the rows or the columns")
    kernel = known.kernels.get(node)
    if kernel is not None:
        return Rule(spatial, None, lambda value_of: kernel.part(value_of(node.args[0])))
    return Rule(spatial, None, lambda value_of: evaluate(node, value_of))


@_for(aten.select.int, aten.squeeze.dim, aten.unsqueeze.default)
def _other_dimensions(node: fx.Node, known: Known) -> Rule:
    """One dimension more or less, beside rows and columns."""
    (source,) = maps_of(node, known)
    spatial, step = known.spatial[source], len(shape_of(node)) - len(shape_of(source))
    dim = arguments(node)["dim"] % max(len(shape_of(node)), len(shape_of(source)))
    if step == 0 or dim == 0 or (step < 0 and dim in spatial):
        raise UnknownOperationError("it goes along the batch, the rows or the columns")
    first_moved = dim if step > 0 else dim + 1
    moved = tuple(d + step if d >= first_moved else d for d in spatial)
    return Rule((moved[0], moved[1]), None, lambda value_of: evaluate(node, value_of))


@_for(aten.permute.default, aten.transpose.int)
def _reordered(node: fx.Node, known: Known) -> Rule:
    (spatial,) = {known.spatial[s] for s in maps_of(node, known)}
    n_dims = len(shape_of(node))
    if node.target is aten.permute.default:
        order = [dim % n_dims for dim in arguments(node)["dims"]]
    else:
        order = list(range(n_dims))
        first, second = (int(dim) % n_dims for dim in node.args[1:3])  # type: ignore[arg-type]
        order[first], order[second] = order[second], order[first]
    if order[0] != 0:
        raise UnknownOperationError("it moves the batch")
    moved = (order.index(spatial[0]), order.index(spatial[1]))
    return Rule(moved, None, lambda value_of: evaluate(node, value_of))


@_for(aten.reshape.default)
def _reshaped(node: fx.Node, known: Known) -> Rule:
    """Other dimensions than rows and columns, as a channel shuffle splits and joins them."""
    (source,) = maps_of(node, known)[:1]
    before, after, spatial = shape_of(source), shape_of(node), known.spatial[source]
    n_before, n_after = len(before), len(after)
    if spatial == (n_before - 2, n_before - 1) and n_after > 2 and after[-2:] == before[-2:]:
        return Rule(
            (n_after - 2, n_after - 1),
            None,
            lambda value_of: _to(value_of(source), lambda x: (len(x), *after[1:-2], *x.shape[-2:])),
        )
    if spatial == (1, 2) and after[:3] == before[:3]:
        return Rule(spatial, None, lambda value_of: _to(value_of(source), lambda x: (*x.shape[:3], *after[3:])))
    raise UnknownOperationError("it joins rows and columns with other dimensions")


def _to(x: torch.Tensor, sizes: Callable[[torch.Tensor], tuple[int, ...]]) -> torch.Tensor:
    return x.reshape(sizes(x))


# --- a kernel that slides --------------------------------------------------------------------------------------


@_for(aten.conv2d.default, aten.conv2d.padding)
def _convolution(node: fx.Node, known: Known) -> Rule:
    source = _one_map(node, known)
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


def _one_map(node: fx.Node, known: Known) -> fx.Node:
    """The one input of an operation that slides over (N, C, H, W)."""
    sources = maps_of(node, known)
    if len(sources) != 1 or known.spatial[sources[0]] != (2, 3) or len(shape_of(sources[0])) != 4:
        raise UnknownOperationError("its input is not one map (N, C, H, W)")
    return sources[0]


@_for(aten.max_pool2d.default)
def _max_pool(node: fx.Node, known: Known) -> Rule:
    source, options = _one_map(node, known), arguments(node)
    kernel, dilation, padding = (pair(options[name]) for name in ("kernel_size", "dilation", "padding"))
    stride = pair(options["stride"] or kernel)
    axes = [
        Sliding(
            shape_of(source)[2 + i], shape_of(node)[2 + i], kernel[i], stride[i], padding[i], dilation[i], -np.inf
        )
        for i in (0, 1)
    ]
    return Rule((2, 3), (axes[0], axes[1]), lambda part, _: torch.max_pool2d(part, kernel, stride, 0, dilation))


@_for(aten.avg_pool2d.default)
def _average_pool(node: fx.Node, known: Known) -> Rule:
    source, options = _one_map(node, known), arguments(node)
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
    """Sums over the kernel, divided by how many places count in each row and column."""

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
    """How many places of the input, with so much border, each output averages over."""
    places = np.arange(axis.n_out)[:, None] * axis.stride - axis.before + np.arange(axis.kernel)
    return ((places >= -border) & (places < axis.n_in + border)).sum(axis=1).astype(float)


@_for(aten.adaptive_avg_pool2d.default)
def _adaptive_pool(node: fx.Node, known: Known) -> Rule:
    source = _one_map(node, known)
    sizes, outs = shape_of(source)[2:], shape_of(node)[2:]
    if any(size % out for size, out in zip(sizes, outs, strict=True)):
        raise UnknownOperationError("its regions differ in size")
    kernel = (sizes[0] // outs[0], sizes[1] // outs[1])
    axes = [Sliding(sizes[i], outs[i], kernel[i], kernel[i]) for i in (0, 1)]
    return _averaging(axes, kernel, kernel, [np.full(outs[i], float(kernel[i])) for i in (0, 1)])


# --- other sizes -----------------------------------------------------------------------------------------------


@_for(
    aten.pad.default, aten.constant_pad_nd.default, aten.reflection_pad2d.default, aten.replication_pad2d.default
)
def _padded(node: fx.Node, known: Known) -> Rule:
    source, options = _one_map(node, known), arguments(node)
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


@_for(aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default)
def _upsampled(node: fx.Node, known: Known) -> Rule:
    source = _one_map(node, known)
    sizes, outs = shape_of(source)[2:], shape_of(node)[2:]
    given = arguments(node)
    scales = given.get("scale_factors") or [given.get("scales_h"), given.get("scales_w")]
    factors = [out / size for size, out in zip(sizes, outs, strict=True)]
    if any(factor % 1 or scale not in (None, factor) for factor, scale in zip(factors, scales, strict=True)):
        raise UnknownOperationError("not a whole number of times as large")
    rows, columns = Repeating(sizes[0], outs[0] // sizes[0]), Repeating(sizes[1], outs[1] // sizes[1])

    def run(part: torch.Tensor, _: Rects) -> torch.Tensor:
        return part.repeat_interleave(rows.factor, dim=2).repeat_interleave(columns.factor, dim=3)

    return Rule((2, 3), (rows, columns), run)
