"""`Rule`, which says how a node runs on parts of maps, and what rules look up about nodes.

A rule says, for one node of the graph, how positions of its output depend on positions of its inputs, and how to
run it on a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import fx

from ..execution.kernels import Convolution, Linear
from .geometry import Axis, IntArray, Sliding

Dims: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Rects:
    """B rectangles of one size in a map: the part of it that is recomputed."""

    top: IntArray
    left: IntArray
    height: int
    width: int

    def same_as(self, other: Rects) -> bool:
        """Whether the other rectangles are equal to these."""
        return self is other or (
            (self.height, self.width) == (other.height, other.width)
            and np.array_equal(self.top, other.top)
            and np.array_equal(self.left, other.left)
        )


@dataclass(frozen=True)
class Rule:
    """How a node runs on parts of maps.

    ``spatial`` are the dimensions of rows and columns in its output. ``axes`` says which rows and columns of its
    single input an output depends on; None means the same rows and columns, of all its inputs. ``run`` computes
    the part: from the values of the arguments, or, with ``axes``, from the input's part and the rectangles of the
    output.
    """

    spatial: Dims
    axes: tuple[Axis, Axis] | None
    run: Callable[..., Any]


def is_at_its_place(rule: Rule) -> bool:
    """Whether every output depends only on the inputs at the same position."""
    return rule.axes is None or all(isinstance(axis, Sliding) and axis.is_trivial for axis in rule.axes)


class UnknownOperationError(Exception):
    """This operation has to run on whole maps; the message says why."""


@dataclass(frozen=True)
class Known:
    """What a rule can look up: the dimensions of rows and columns in each map so far, constants and kernels."""

    spatial: Mapping[fx.Node, Dims]
    constants: Mapping[fx.Node, Any]
    kernels: Mapping[fx.Node, Convolution | Linear]
    batch: str  # the size of the batch, as the graph writes it


def maps_of(node: fx.Node, known: Known) -> list[fx.Node]:
    """The inputs of a node that are tensors and depend on the image."""
    if is_number(node):
        return []
    return [s for s in node.all_input_nodes if s not in known.constants and not is_number(s)]


def is_number(node: fx.Node) -> bool:
    """Whether a node's output is a number, such as the size of the batch."""
    return not isinstance(node.meta["val"], torch.Tensor | tuple | list)


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's output (the first of several) for one image."""
    return tuple(int(size) if isinstance(size, int) else 1 for size in sizes_of(node))


def sizes_of(node: fx.Node) -> tuple[Any, ...]:
    value = node.meta["val"]
    first = value[0] if isinstance(value, tuple | list) else value
    return tuple(first.shape)


def arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of an operation by name, with their defaults."""
    declared = node.target._schema.arguments  # type: ignore[union-attr]
    defaults = {a.name: a.default_value for a in declared if a.has_default_value()}
    return defaults | dict(zip((a.name for a in declared), node.args, strict=False)) | dict(node.kwargs)


def common_dims(node: fx.Node, known: Known) -> Dims:
    """The dimensions of rows and columns of all inputs of a node, whose sizes must agree."""
    sources = maps_of(node, known)
    spatial = known.spatial[sources[0]]
    shapes = {(known.spatial[s], len(shape_of(s)), *(shape_of(s)[d] for d in known.spatial[s])) for s in sources}
    if len(shapes) != 1:
        raise UnknownOperationError("its inputs are maps of different sizes")
    return spatial


def one_map(node: fx.Node, known: Known) -> fx.Node:
    """The single input (N, C, H, W) of an operation that slides over a map."""
    sources = maps_of(node, known)
    if len(sources) != 1 or known.spatial[sources[0]] != (2, 3) or len(shape_of(sources[0])) != 4:
        raise UnknownOperationError("its input is not one map (N, C, H, W)")
    return sources[0]


RuleOf: TypeAlias = Callable[[fx.Node, Known], Rule]


def entered_in(rules: dict[Any, RuleOf], *targets: Any) -> Callable[[RuleOf], RuleOf]:
    """Enter a function in ``rules`` as the rule of these operations."""

    def enter(rule: RuleOf) -> RuleOf:
        rules.update(dict.fromkeys(targets, rule))
        return rule

    return enter
