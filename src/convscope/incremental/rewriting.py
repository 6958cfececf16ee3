"""Rewrite an exported graph to make it simpler and faster, without changing what it computes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx

from ..execution import scale_and_shift

aten = torch.ops.aten

_DROPOUTS = {aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default}
_NOTHING = {aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default, aten.contiguous.default}
# Replaced by `reshape`, which works for tensors of any layout.
_RESHAPES = {aten.view.default, aten._unsafe_view.default}

_LAST = 2**63 - 1  # the end of a slice without an end
_CHECKS = {aten._assert_tensor_metadata.default}


def _in_place(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _is_view(node: fx.Node) -> bool:
    """Whether its result may share memory with its input."""
    if isinstance(node.target, torch._ops.OpOverload):
        named = any(returned.alias_info is not None for returned in node.target._schema.returns)
        return node.target in _DROPOUTS or (named and not _in_place(node))
    return node.target is operator.getitem


def mutates_a_view(graph: fx.Graph) -> bool:
    """Whether `without_mutation` cannot replace some in-place operation, for example on a tensor with views."""
    for node in graph.nodes:
        if _in_place(node):
            changed = node.args[0]
            if not isinstance(changed, fx.Node):  # it changes several tensors
                return True
            family = [changed, *changed.users]
            if any(_is_view(other) for other in family):
                return True
            if not hasattr(aten, node.target._schema.name.removeprefix("aten::")[:-1]):
                return True
    return False


def without_mutation(graph: fx.Graph) -> None:
    """Replace relu_ by relu and the like; later users of the changed tensor get the result."""
    for node in graph.nodes:
        if _in_place(node):
            packet = getattr(aten, node.target._schema.name.removeprefix("aten::")[:-1])
            node.target = getattr(packet, node.target._overloadname)
            after = set(_following(node))
            node.args[0].replace_all_uses_with(node, delete_user_cb=lambda user, after=after: user in after)


def _following(node: fx.Node) -> Iterable[fx.Node]:
    node = node.next
    while node.op != "root":
        yield node
        node = node.next


def simplify(graph: fx.Graph, given: fx.Node) -> None:
    """Remove dropout and other operations that do nothing in evaluation mode."""
    for node in list(graph.nodes):
        if node.target in _CHECKS:
            graph.erase_node(node)
            continue
        off = (node.target in _DROPOUTS and not node.args[2]) or _takes_all(node)
        if off or (node.target in _NOTHING and len(node.args) == 1 and not node.kwargs):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)  # random operations are never removed as dead code
            continue
        if node.target is aten.sym_size.int and node.args[1] == 0 and batch_of(node.args[0]) == batch_of(given):
            node.args = (given, 0)
        if node.target in _RESHAPES:
            node.target = aten.reshape.default


def _takes_all(node: fx.Node) -> bool:
    """Whether this is a slice of everything, like the first one in x[:, 0]."""
    if node.target is not aten.slice.Tensor:
        return False
    defaults: list[Any] = [None, 0, None, None, 1]
    start, end, step = [*node.args, *defaults[len(node.args) :]][2:5]
    return start in (None, 0) and (end is None or (isinstance(end, int) and end >= _LAST)) and step == 1


def batch_of(node: Any) -> str:
    """The size of a node's first dimension, as torch.export writes it: a number, or an expression."""
    value = node.meta["val"]
    first = value[0] if isinstance(value, tuple | list) else value
    return str(first.shape[0]) if first.ndim else ""


def compute_constants(graph: fx.Graph, given: fx.Node, constants: dict[fx.Node, Any]) -> None:
    """Compute now what depends only on parameters, such as standardized weights."""
    for node in graph.nodes:
        if node.op != "call_function" or any(other not in constants for other in node.all_input_nodes):
            continue
        constants[node] = evaluate(node, constants.__getitem__)


def evaluate(node: fx.Node, value_of: Callable[[fx.Node], Any]) -> Any:
    """The result of an operation for these values of its arguments."""
    args = fx.map_arg(node.args, value_of)
    return node.target(*args, **fx.map_arg(node.kwargs, value_of))  # type: ignore[operator]


def fold_batch_norm(graph: fx.Graph, constants: dict[fx.Node, Any]) -> None:
    """Fold a batch norm into the weights of the convolution before it, if nothing else uses that convolution."""
    for node in list(graph.nodes):
        norm = batch_norm_arguments(node)
        if norm is None:
            continue
        convolution, fixed = norm[0], norm[1:]
        if convolution.target not in CONVOLUTIONS or len(convolution.users) != 1:
            continue
        x, weight, bias, *rest = (*convolution.args, None)[: max(3, len(convolution.args))]
        if weight not in constants or any(isinstance(f, fx.Node) and f not in constants for f in fixed):
            continue
        exact = [constants[f].double() if isinstance(f, fx.Node) else f for f in fixed]
        scale, shift = scale_and_shift(*exact)
        folded = constants[weight].double() * scale.reshape(-1, *[1] * (constants[weight].ndim - 1))
        shifted = shift if bias is None else shift + constants[bias].double() * scale
        with graph.inserting_before(convolution):
            new_weight, new_bias = (graph.placeholder(f"{node.name}_{what}") for what in ("weight", "bias"))
        constants[new_weight] = folded.to(constants[weight])
        constants[new_bias] = shifted.to(constants[weight])
        convolution.args = (x, new_weight, new_bias, *rest)
        # The native operation returns a tuple, so its map is a user of the node.
        for result in list(node.users) if node.target is _NATIVE_BATCH_NORM else [node]:
            result.replace_all_uses_with(convolution)
            graph.erase_node(result)
        if node.target is _NATIVE_BATCH_NORM:
            graph.erase_node(node)


def plain_batch_norm(graph: fx.Graph, constants: dict[fx.Node, Any]) -> None:
    """Replace batch norms that could not be folded by x * scale + shift."""
    for node in list(graph.nodes):
        norm = batch_norm_arguments(node)
        if norm is None or any(isinstance(f, fx.Node) and f not in constants for f in norm[1:]):
            continue
        scale, shift = scale_and_shift(*(constants[f] if isinstance(f, fx.Node) else f for f in norm[1:]))
        results = list(node.users) if node.target is _NATIVE_BATCH_NORM else [node]
        n_dims = results[0].meta["val"].ndim
        with graph.inserting_before(node):
            placeholders = [graph.placeholder(f"{node.name}_{what}") for what in ("scale", "shift")]
            affine = graph.call_function(scaled, (norm[0], *placeholders))
        affine.meta = dict(results[0].meta)
        for placeholder, value in zip(placeholders, (scale, shift), strict=True):
            constants[placeholder] = value.reshape(-1, *[1] * (n_dims - 2))
        for result in results:
            result.replace_all_uses_with(affine)
            graph.erase_node(result)
        if results[0] is not node:
            graph.erase_node(node)


def scaled(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """x * scale + shift."""
    return torch.addcmul(shift, x, scale)


def scaled_(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """x * scale + shift, written into x."""
    return torch.addcmul(shift, x, scale, out=x)


def reuse_memory(graph: fx.Graph) -> None:
    """Work in place if nothing else uses the tensor: allocating memory costs as much as the operation."""
    for node in graph.nodes:
        if node.target not in _IN_PLACE or not isinstance(node.args[0], fx.Node):
            continue
        source = node.args[0]
        before, after = source.meta.get("val"), node.meta["val"]
        if (
            source.target in _FRESH
            and len(source.users) == 1
            and sum(arg is source for arg in node.args) == 1
            and isinstance(before, torch.Tensor)
            and (before.shape, before.dtype) == (after.shape, after.dtype)
        ):
            node.target = _IN_PLACE[node.target]


_IN_PLACE = {
    scaled: scaled_, aten.relu.default: aten.relu_.default, aten.hardtanh.default: aten.hardtanh_.default,
    aten.silu.default: aten.silu_.default, aten.hardswish.default: aten.hardswish_.default,
    aten.gelu.default: aten.gelu_.default, aten.add.Tensor: aten.add_.Tensor, aten.mul.Tensor: aten.mul_.Tensor,
}  # fmt: skip
# Operations that return newly allocated memory, or memory that came from such an operation.
_FRESH = {
    *_IN_PLACE.keys(), *_IN_PLACE.values(), aten.conv2d.default, aten.conv2d.padding, aten.cat.default,
    aten.linear.default, aten.layer_norm.default, aten.max_pool2d.default, aten.avg_pool2d.default,
}  # fmt: skip


def fuse_activations(graph: fx.Graph, constants: dict[fx.Node, Any]) -> None:
    """Fuse an activation with a convolution that nothing else uses; the latter's ``meta["then"]`` names it."""
    for node in list(graph.nodes):
        if node.target not in ACTIVATIONS:
            continue
        convolution = node.args[0]
        fixed = convolution.target in CONVOLUTIONS and convolution.args[1] in constants
        if fixed and len(convolution.users) == 1 and "then" not in convolution.meta:
            convolution.meta["then"] = (node.target, node.args[1:], dict(node.kwargs))
            node.replace_all_uses_with(convolution)
            graph.erase_node(node)


ACTIVATIONS = {
    aten.relu.default, aten.hardtanh.default, aten.hardswish.default, aten.silu.default, aten.gelu.default,
    aten.leaky_relu.default, aten.sigmoid.default, aten.tanh.default, aten.hardsigmoid.default,
    aten.elu.default, aten.mish.default, aten.clamp.default, aten.relu6.default,
}  # fmt: skip
CONVOLUTIONS = {aten.conv2d.default, aten.conv2d.padding}
_NATIVE_BATCH_NORM = aten._native_batch_norm_legit_no_training.default


def batch_norm_arguments(node: fx.Node) -> tuple[Any, ...] | None:
    """(input, mean, var, weight, bias, eps) of a batch norm with fixed statistics, else None."""
    if node.target is _NATIVE_BATCH_NORM:
        x, weight, bias, mean, var, _, eps = node.args
        return x, mean, var, weight, bias, eps
    if node.target is aten.batch_norm.default and not node.args[5]:
        x, weight, bias, mean, var, _, _, eps, _ = node.args
        return x, mean, var, weight, bias, eps
    return None
