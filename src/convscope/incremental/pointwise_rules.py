"""Rules of operations that treat every position separately: activations, sums, dense layers, reshaping."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from .part_rules import (
    Known,
    Rule,
    RuleOf,
    UnknownOperationError,
    arguments,
    common_dims,
    entered_in,
    maps_of,
    shape_of,
)
from .rewriting import aten, evaluate, scaled, scaled_

RULES: dict[Any, RuleOf] = {}


@entered_in(
    RULES,
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
    spatial = common_dims(node, known)
    if any(len(shape_of(source)) != len(shape_of(node)) for source in maps_of(node, known)):
        raise UnknownOperationError("it adds dimensions")
    if node.target is aten.prelu.default:
        if 1 in spatial:
            raise UnknownOperationError("its weights vary along rows or columns")
        return Rule(spatial, None, lambda value_of: evaluate(node, value_of))
    for constant in (n for n in node.all_input_nodes if n in known.constants):
        value = known.constants[constant]
        if isinstance(value, torch.Tensor) and any(_size_at(value, d, node) > 1 for d in spatial):
            raise UnknownOperationError(f"its constant {constant.name} varies along rows or columns")
    return Rule(spatial, None, lambda value_of: evaluate(node, value_of))


def _size_at(constant: torch.Tensor, dim: int, node: fx.Node) -> int:
    """The size of a constant along a dimension of the output to which it is broadcast."""
    place = dim - len(shape_of(node)) + constant.ndim
    return constant.shape[place] if place >= 0 else 1


@entered_in(
    RULES,
    aten.cat.default, aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default, aten.softmax.int,
    aten.glu.default, aten.slice.Tensor,
)  # fmt: skip
def _along_channels(node: fx.Node, known: Known) -> Rule:
    spatial = common_dims(node, known)
    dim = arguments(node)["dim"]
    if dim % len(shape_of(node)) in (0, *spatial):
        raise UnknownOperationError("it acts along the batch, the rows or the columns")
    if len(maps_of(node, known)) != len(node.all_input_nodes):
        raise UnknownOperationError("it concatenates a map and a constant")
    return Rule(spatial, None, lambda value_of: evaluate(node, value_of))


@entered_in(RULES, operator.getitem)
def _item(node: fx.Node, known: Known) -> Rule:
    return Rule(common_dims(node, known), None, lambda value_of: evaluate(node, value_of))


@entered_in(RULES, aten.linear.default, aten.layer_norm.default)
def _last_dimensions(node: fx.Node, known: Known) -> Rule:
    spatial = common_dims(node, known)
    n_last = len(node.args[1]) if node.target is aten.layer_norm.default else 1  # type: ignore[arg-type]
    if max(spatial) >= len(shape_of(node)) - n_last:
        raise UnknownOperationError("it acts along the rows or the columns")
    kernel = known.kernels.get(node)
    if kernel is not None:
        return Rule(spatial, None, lambda value_of: kernel.part(value_of(node.args[0])))
    return Rule(spatial, None, lambda value_of: evaluate(node, value_of))


@entered_in(RULES, aten.select.int, aten.squeeze.dim, aten.unsqueeze.default)
def _other_dimensions(node: fx.Node, known: Known) -> Rule:
    """Add or remove a dimension other than rows and columns."""
    (source,) = maps_of(node, known)
    spatial, step = known.spatial[source], len(shape_of(node)) - len(shape_of(source))
    dim = arguments(node)["dim"] % max(len(shape_of(node)), len(shape_of(source)))
    if step == 0 or dim == 0 or (step < 0 and dim in spatial):
        raise UnknownOperationError("it acts along the batch, the rows or the columns")
    first_moved = dim if step > 0 else dim + 1
    moved = tuple(d + step if d >= first_moved else d for d in spatial)
    return Rule((moved[0], moved[1]), None, lambda value_of: evaluate(node, value_of))


@entered_in(RULES, aten.permute.default, aten.transpose.int)
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
        raise UnknownOperationError("it moves the batch dimension")
    moved = (order.index(spatial[0]), order.index(spatial[1]))
    return Rule(moved, None, lambda value_of: evaluate(node, value_of))


@entered_in(RULES, aten.reshape.default)
def _reshaped(node: fx.Node, known: Known) -> Rule:
    """Split or join dimensions other than rows and columns, as a channel shuffle does."""
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
    raise UnknownOperationError("it merges rows or columns with other dimensions")


def _to(x: torch.Tensor, sizes: Callable[[torch.Tensor], tuple[int, ...]]) -> torch.Tensor:
    return x.reshape(sizes(x))
