"""Read from a run's autograd graph what a network's output depends on and how the network ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch.autograd.function import BackwardCFunction

Node = Any  # of the autograd graph; its identity is valid only while a reference is kept

# Nodes (by prefixes of their names) that only rearrange, select, combine or scale values, or apply a final
# activation.
_TRANSPARENT = (
    "View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Alias", "Clone", "ToCopy", "CopyBackwards",
    "Transpose", "Permute", "TBackward", "Slice", "Select", "Index", "Gather", "Expand", "AsStrided", "Stack",
    "Cat", "Unbind", "Split", "Sum", "Mean", "AdaptiveAvgPool", "AvgPool", "Amax", "MaxBackward", "Upsample",
    "Mul", "Div", "Add", "Sub", "Neg", "Pow", "Exp", "Softmax", "LogSoftmax", "Sigmoid", "Hardsigmoid", "Relu",
)  # fmt: skip
# Nodes with which no classifier ends.
_INNER = (
    "Convolution", "MkldnnConvolution", "NativeBatchNorm", "CudnnBatchNorm", "NativeLayerNorm", "NativeGroupNorm",
    "MaxPool2D", "MaxPool3D", "AdaptiveMaxPool2D", "AdaptiveMaxPool3D", "Gelu", "Silu", "Hardswish", "Hardtanh",
    "Elu", "LeakyRelu", "Mish", "Tanh",
    "Prelu", "LinalgVectorNorm", "Norm", "Clamp", "Bmm", "ScaledDot", "Rsqrt", "Var", "AccumulateGrad",
)  # fmt: skip
_LINEAR = ("Addmm", "MmBackward", "Linear", "Convolution")
_REARRANGED = _TRANSPARENT[: _TRANSPARENT.index("Sum")]

# Nodes that silently cut the graph: a backward pass through them gives zero or None.
_CUT = ("NotImplemented", "WarnNotImplemented")


class Head(NamedTuple):
    """The end of a network: its last ``linear`` nodes, and the nodes ``after`` them up to the output.

    ``inner``: whether some of the output comes from a node inside a network, such as a spatial convolution or a
    norm; ``unknown``: the names of nodes that may be either.
    """

    linear: tuple[Node, ...]
    after: frozenset[Node]
    inner: bool
    unknown: tuple[str, ...]

    @property
    def is_linear(self) -> bool:
        """Whether all of the output comes from linear layers, as in a classifier."""
        return bool(self.linear) and not self.inner and not self.unknown

    @property
    def nodes(self) -> frozenset[Node]:
        return self.after | set(self.linear)


def head_of(output: torch.Tensor) -> Head:
    """The end of a network, found by following the graph back from its output."""
    linear: list[Node] = []
    after: set[Node] = set()
    unknown: set[str] = set()
    inner = False
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in after or node in linear:
            continue
        name = _name(node)
        is_einsum = name.startswith("Bmm") and len(_before(node)) < len(node.next_functions)  # with weights
        if is_einsum or (name.startswith(_LINEAR) and (not name.startswith("Convolution") or _is_dense(node))):
            linear.append(node)
        elif name.startswith(_TRANSPARENT):
            after.add(node)
            waiting.extend(_before(node))
        elif name.startswith(_INNER):
            inner = True
        else:
            unknown.add(name.partition("Backward")[0])
    return Head(tuple(linear), frozenset(after), inner, () if inner else tuple(sorted(unknown)))


def last_function(output: torch.Tensor) -> str:
    """The name of the function that computed an output, such as "Sigmoid"; empty without a graph."""
    node = output.grad_fn
    while node is not None and _name(node).startswith(_REARRANGED):
        before = _before(node)
        node = before[0] if len(before) == 1 else None
    return "" if node is None else _name(node).split("Backward")[0]


def reached(outputs: Iterable[torch.Tensor]) -> frozenset[Node]:
    """All nodes from which the outputs were computed."""
    found: set[Node] = set()
    waiting = [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting.extend(_before(node))
    return frozenset(found)


def cut_off(nodes: Iterable[Node]) -> bool:
    """Whether one of these is a function without a gradient, as in quantized networks."""
    return any(_name(node).startswith(_CUT) for node in nodes)


def own_functions(nodes: Iterable[Node]) -> tuple[str, ...]:
    """The names of functions with a handwritten backward pass among these, except this package's own."""
    package = __name__.partition(".")[0]
    classes = {node._forward_cls for node in nodes if isinstance(node, BackwardCFunction)}  # type: ignore[attr-defined]
    return tuple(sorted(c.__name__ for c in classes if c.__module__.partition(".")[0] != package))


def _is_dense(node: Node) -> bool:
    """Whether a convolution acts as a dense layer, at each position or on the whole map."""
    kernel = node._saved_weight.shape[2:]
    if all(side == 1 for side in kernel):
        return True
    try:
        return bool(node._saved_input.shape[2:] == kernel)
    except RuntimeError:  # changed in place since
        return False


def _before(node: Node) -> list[Node]:
    return [before for before, _ in node.next_functions if before is not None]


def _name(node: Node) -> str:
    name: str = node.name()
    return name.removeprefix("torch::autograd::")
