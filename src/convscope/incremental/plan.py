"""What has to be computed again for changes in given rectangles of an image, and how much that saves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import fx, nn

from .geometry import Whole, fit
from .graph import CONVOLUTIONS, Graph, aten, graph_of
from .kernels import Convolution
from .rules import Known, Rects, Rule, Unknown, is_number, maps_of, rule_of, shape_of

# From this share of a map on it is computed whole: gathering a part costs more than it saves.
WHOLE = 0.75


@dataclass(frozen=True)
class Layout:
    """A batch of variants: ``rows`` are their numbers; ``parts`` what is computed again of each map, None for all."""

    rows: Whole
    parts: dict[fx.Node, Rects | None]


class Plan:
    """How a network is run on what a rectangle changes, for images of one size.

    Args:
        module: in evaluation mode.
        image: an image (C, H, W) of that size, of the type and on the device that it is run with.

    Raises:
        NoGraph: torch.export cannot take the network apart.
    """

    def __init__(self, module: nn.Module, image: torch.Tensor) -> None:
        self.graph: Graph = graph_of(module, image)
        constants = self.graph.constants
        self.convolutions = {
            node: Convolution.of(node, constants)
            for node in self.graph.nodes
            if node.target in CONVOLUTIONS and node.args[1] in constants
        }
        self.rules: dict[fx.Node, Rule] = {}
        self.reasons: dict[fx.Node, str] = {}  # why a node is run on whole maps
        spatial = {self.graph.input: (2, 3)}
        self.known = Known(spatial, constants, self.convolutions)
        for node in (n for n in self.graph.nodes[1:-1] if not is_number(n)):
            try:
                self.rules[node] = rule_of(node, self.known)
                spatial[node] = self.rules[node].spatial
            except Unknown as reason:
                self.reasons[node] = str(reason)
        self.last_uses = _last_uses(self.graph)

    def layouts(self, rectangles: Whole, size: int) -> Iterator[Layout]:
        """Batches of at most ``size`` variants, those together that change alike.

        Args:
            rectangles: (M, 4) top, left, bottom, right (not included) of what each variant changes.
        """
        down, across = _Reach(self, rectangles[:, 0], rectangles[:, 2], 0), _Reach(self, rectangles[:, 1], rectangles[:, 3], 1)
        order = np.lexsort((across.kind, down.kind))
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            yield Layout(rows, self._parts(down, across, rows))

    def _parts(self, down: _Reach, across: _Reach, rows: Whole) -> dict[fx.Node, Rects | None]:
        parts: dict[fx.Node, Rects | None] = {}
        for node in (self.graph.input, *self.graph.nodes[1:-1]):
            rule = self.rules.get(node)
            is_whole = is_number(node) or node in self.reasons or any(parts[s] is None for s in self.sources(node))
            parts[node] = None if is_whole else self._rects(node, rule, down, across, rows)
        return parts

    def _rects(self, node: fx.Node, rule: Rule | None, down: _Reach, across: _Reach, rows: Whole) -> Rects | None:
        height, width = self.size(node)
        steps = (1, 1) if rule is None or rule.axes is None else (rule.axes[0].step, rule.axes[1].step)
        top, n_rows = fit(*down.of(node, rows), height, steps[0])
        left, n_columns = fit(*across.of(node, rows), width, steps[1])
        is_input = node is self.graph.input
        if not is_input and n_rows * n_columns >= WHOLE * height * width:
            return None
        return Rects(top, left, n_rows, n_columns)

    def sources(self, node: fx.Node) -> list[fx.Node]:
        return maps_of(node, self.known)

    def size(self, node: fx.Node) -> tuple[int, int]:
        """Rows and columns of a node's map."""
        shape, (y, x) = shape_of(node), self.known.spatial[node]
        return shape[y], shape[x]

    def macs(self, layout: Layout | None = None) -> float:
        """Multiply-accumulate operations of convolutions and linear layers, for one image or for one variant."""
        total = 0.0
        for node in self.graph.nodes:
            part = layout.parts.get(node) if layout else None
            share = 1.0
            if part is not None:
                height, width = self.size(node)
                share = part.height * part.width / (height * width)
            total += share * _macs(node, self)
        return total

    def ratio(self, layouts: Sequence[Layout]) -> float:
        """How many times fewer multiplications this takes than whole networks."""
        n = sum(len(layout.rows) for layout in layouts)
        return n * self.macs() / sum(len(layout.rows) * self.macs(layout) for layout in layouts)

    def explain(self) -> str:
        """Where and why whole maps are computed whatever the rectangle, and the multiplications from there on."""
        blamed = [
            f"{node.name} ({node.target}): {reason}"
            for node, reason in self.reasons.items()
            if all(source in self.known.spatial for source in self.sources(node))
        ]
        if not blamed:
            return "every operation is run on parts"
        dense = sum(_macs(node, self) for node in self.reasons) / max(self.macs(), 1)
        return f"{dense:.0%} of the multiplications on whole maps, from here on:\n" + "\n".join(blamed)


def _last_uses(graph: Graph) -> dict[fx.Node, list[fx.Node]]:
    """After which node others are needed no more."""
    last = {source: node for node in graph.nodes for source in node.all_input_nodes if source not in graph.constants}
    found: dict[fx.Node, list[fx.Node]] = {}
    for source, node in last.items():
        found.setdefault(node, []).append(source)
    return found


def _macs(node: fx.Node, plan: Plan) -> float:
    if node in plan.convolutions:
        return float(prod(shape_of(node)) * prod(plan.convolutions[node].weight.shape[1:]))
    if node.target is aten.linear.default:
        return float(prod(shape_of(node)) * shape_of(node.args[0])[-1])  # type: ignore[arg-type]
    return 0.0


class _Reach:
    """The stretch of rows (or columns) of every map that each rectangle can change."""

    def __init__(self, plan: Plan, start: Whole, end: Whole, axis: int) -> None:
        stretches, self._which = np.unique(np.stack([start, end], axis=1), axis=0, return_inverse=True)
        self._of: dict[fx.Node, tuple[Whole, Whole]] = {plan.graph.input: (stretches[:, 0], stretches[:, 1])}
        for node, rule in plan.rules.items():
            reached = [self._of[source] for source in plan.sources(node)]
            if rule.axes is not None:
                self._of[node] = rule.axes[axis].changed(*reached[0])
            else:
                self._of[node] = _hull(reached)
        sizes = np.stack([end - start for start, end in self._of.values()], axis=1)
        kinds = np.unique(sizes, axis=0, return_inverse=True)[1]
        self.kind = kinds.reshape(-1)[self._which.reshape(-1)]

    def of(self, node: fx.Node, rows: Whole) -> tuple[Whole, Whole]:
        start, end = self._of[node]
        chosen = self._which.reshape(-1)[rows]
        return start[chosen], end[chosen]


def _hull(stretches: list[tuple[Whole, Whole]]) -> tuple[Whole, Whole]:
    """The smallest stretch around several, of which some may be empty."""
    first, last = stretches[0]
    for start, end in stretches[1:]:
        both = (end > start) & (last > first)
        first = np.where(both, np.minimum(first, start), np.where(end > start, start, first))
        last = np.where(both, np.maximum(last, end), np.where(end > start, end, last))
    return first, last
