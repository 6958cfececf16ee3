"""Run variants of one image by a plan: values that did not change come from the run of the image itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import fx

from .geometry import OUTSIDE, Axis, IntArray, Sliding
from .part_rules import Rects, Rule, is_at_its_place, shape_of
from .plan import Layout, Plan
from .rewriting import evaluate


class IncrementalRun:
    """The activations of one image, from which it computes the outputs for variants of the image.

    Args:
        plan: the network's plan.
        image: (C, H, W), of the plan's size.

    Cost: one forward pass; memory for the activations that variants read.
    """

    def __init__(self, plan: Plan, image: torch.Tensor) -> None:
        self._plan = plan
        self._borders = _borders(plan)
        self._kept: dict[fx.Node, torch.Tensor] = {}  # (H * W, C), and a row for each border value
        read = set(_partly_read(plan))
        values = _Values(plan, image[None].to(plan.dtype, memory_format=torch.channels_last))
        for node in plan.graph.nodes[:-1]:
            if node is not plan.graph.input:
                values.put(node, values.whole(node))
            if node in read:
                self._kept[node] = self._with_borders(node, values[node])
            values.forget_after(node)
        self.output: Any = plan.graph.packed([values.result(one) for one in plan.graph.results])

    def outputs(self, layout: Layout, parts: torch.Tensor) -> Any:
        """The network's output for B variants, (B, K) or whatever it returns.

        Args:
            layout: the parts to recompute.
            parts: (B, C, h, w), the variants' pixels in the input's rectangles of ``layout.parts``.
        """
        plan = self._plan
        values = _Values(plan, parts)
        for node in plan.graph.nodes[1:-1]:
            out = layout.parts[node]
            if out is None:
                for source in plan.sources(node):
                    have = layout.parts[source]
                    if have is not None and source not in values.wholes:
                        values.wholes[source] = self._fill(source, values[source], have)
                values.put(node, values.whole(node))
            else:
                values.put(node, self._part(node, out, values, layout))
            values.forget_after(node)
        results = []
        for one in plan.graph.results:
            have = layout.parts.get(one) if isinstance(one, fx.Node) else None
            result = values.result(one)
            results.append(result if have is None else self._fill(one, result, have))
        return plan.graph.packed(results)

    def _part(self, node: fx.Node, out: Rects, values: _Values, layout: Layout) -> Any:
        """The part of a node's output inside the rectangles ``out``."""
        rule = self._plan.rules[node]
        wanted = _wanted(rule, out)

        def value_of(source: fx.Node) -> Any:
            have = layout.parts.get(source)
            if have is None or have.same_as(wanted):
                return values[source]
            return self._read(source, values[source], have, wanted, rule.axes)

        if rule.axes is None:
            return rule.run(value_of)
        (source,) = self._plan.sources(node)
        return rule.run(value_of(source), out)

    def _fill(self, node: fx.Node, part: torch.Tensor, have: Rects) -> torch.Tensor:
        """The whole maps of the variants: those of the image, with the recomputed part pasted in."""
        height, width = self._plan.size(node)
        start = np.zeros(len(part), np.int64)
        return self._read(node, part, have, Rects(start, start, height, width), None)

    def _read(
        self, node: fx.Node, part: torch.Tensor, have: Rects, wanted: Rects, axes: tuple[Axis, Axis] | None
    ) -> torch.Tensor:
        """The rectangles ``wanted`` of the variants' maps: the image's map, with ``part`` pasted in at ``have``.

        With ``axes`` they may extend beyond the map's edge, into the border.
        """
        down = wanted.top[:, None] + np.arange(wanted.height)
        across = wanted.left[:, None] + np.arange(wanted.width)
        if axes is not None:
            down, across = axes[0].source(down), axes[1].source(across)
        spatial = self._plan.known.spatial[node]
        height, width = self._plan.size(node)
        index = down[:, :, None] * width + across[:, None, :]
        if axes is not None and (down.min() < 0 or across.min() < 0):
            border = height * width + self._borders[node].index(_border(axes))
            index = np.where((down == OUTSIDE)[:, :, None] | (across == OUTSIDE)[:, None, :], border, index)
        kept = self._kept[node]
        rows = kept.index_select(0, torch.from_numpy(index.reshape(-1)).to(kept.device))
        _overlay(rows, _rows(part, spatial), have, down, across)
        return _map(rows, len(part), wanted.height, wanted.width, shape_of(node), spatial)

    def _with_borders(self, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
        rows = _rows(value, self._plan.known.spatial[node])
        borders = [rows.new_full((1, rows.shape[1]), border) for border in self._borders.get(node, [])]
        return torch.cat([rows, *borders])


class _Values:
    """The values computed so far, without those that nothing needs any more."""

    def __init__(self, plan: Plan, given: torch.Tensor) -> None:
        self._plan = plan
        self._values: dict[fx.Node, Any] = {plan.graph.input: given}
        self.wholes: dict[fx.Node, torch.Tensor] = {}  # whole maps of nodes with only a part in ``_values``

    def __getitem__(self, node: fx.Node) -> Any:
        return self._plan.graph.constants[node] if node in self._plan.graph.constants else self._values[node]

    def result(self, one: Any) -> Any:
        """A part of the network's output: a node's value, or what is the same for every input."""
        return self[one] if isinstance(one, fx.Node) else one

    def put(self, node: fx.Node, value: Any) -> None:
        self._values[node] = value

    def whole(self, node: fx.Node) -> Any:
        """A node's output, computed from whole maps."""

        def value_of(source: fx.Node) -> Any:
            return self.wholes[source] if source in self.wholes else self[source]

        kernel = self._plan.kernels.get(node)
        if kernel is not None:
            return kernel.whole(value_of(node.args[0]))  # type: ignore[arg-type]
        return evaluate(node, value_of)

    def forget_after(self, node: fx.Node) -> None:
        for done in self._plan.last_uses.get(node, ()):
            del self._values[done]
            self.wholes.pop(done, None)


def _wanted(rule: Rule, out: Rects) -> Rects:
    """The part of the input, borders included, that a part of the output needs."""
    if rule.axes is None:
        return out
    rows, columns = rule.axes
    (top, height), (left, width) = rows.needed(out.top, out.height), columns.needed(out.left, out.width)
    return Rects(top, left, height, width)


def _partly_read(plan: Plan) -> Iterator[fx.Node]:
    """The maps that may be needed beyond the parts already computed."""
    yield plan.graph.input
    yield from (one for one in plan.graph.results if isinstance(one, fx.Node) and one in plan.known.spatial)
    for node in plan.graph.nodes[1:-1]:
        rule, sources = plan.rules.get(node), plan.sources(node)
        if rule is None or len(sources) > 1 or not is_at_its_place(rule):
            yield from (source for source in sources if source in plan.known.spatial)


def _border(axes: tuple[Axis, Axis]) -> float:
    """The constant value outside a map."""
    borders = {axis.border for axis in axes if isinstance(axis, Sliding) and not isinstance(axis.border, str)}
    return float(borders.pop())


def _borders(plan: Plan) -> dict[fx.Node, list[float]]:
    """The constants read outside each map."""
    found: dict[fx.Node, list[float]] = {}
    for node, rule in plan.rules.items():
        if rule.axes is not None and all(
            isinstance(a, Sliding) and not isinstance(a.border, str) for a in rule.axes
        ):
            known = found.setdefault(plan.sources(node)[0], [])
            if _border(rule.axes) not in known:
                known.append(_border(rule.axes))
    return found


def _rows(maps: torch.Tensor, spatial: tuple[int, int]) -> torch.Tensor:
    """Maps of B images as one row of values per position, (B * H * W, values)."""
    rest = [dim for dim in range(1, maps.ndim) if dim not in spatial]
    n_places = maps.shape[0] * maps.shape[spatial[0]] * maps.shape[spatial[1]]
    return maps.permute(0, *spatial, *rest).reshape(n_places, -1)


def _map(
    rows: torch.Tensor, n: int, height: int, width: int, shape: tuple[int, ...], spatial: tuple[int, int]
) -> torch.Tensor:
    """The inverse of `_rows`: maps with the dimensions of ``shape``, of this height and width."""
    rest = [dim for dim in range(1, len(shape)) if dim not in spatial]
    order = [0, *spatial, *rest]
    maps = rows.view(n, height, width, *(shape[dim] for dim in rest))
    return maps.permute([order.index(dim) for dim in range(len(shape))])


def _overlay(rows: torch.Tensor, part: torch.Tensor, have: Rects, down: IntArray, across: IntArray) -> None:
    """Copy values of the part to all ``rows`` of the same positions in the map.

    Args:
        rows: (B * h * w, C), changed in place; their positions are ``down`` (B, h) and ``across`` (B, w).
        part: (B * height * width, C), the values in the rectangles ``have``.
    """
    down, across = down - have.top[:, None], across - have.left[:, None]  # positions in the part
    ys, xs = _same_for_all(down, have.height), _same_for_all(across, have.width)
    if ys is not None and xs is not None:  # a slice is three times as fast as an index
        target = rows.view(len(down), down.shape[1], across.shape[1], -1)[:, ys, xs]
        target.copy_(part.view(len(down), have.height, have.width, -1))
        return
    inside_y, inside_x = (down >= 0) & (down < have.height), (across >= 0) & (across < have.width)
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    target_rows = torch.from_numpy(np.flatnonzero(inside)).to(rows.device)
    first = np.arange(len(down))[:, None] * have.height
    source = ((first + down)[:, :, None] * have.width + across[:, None, :])[inside]
    rows.index_copy_(0, target_rows, part.index_select(0, torch.from_numpy(source).to(rows.device)))


def _same_for_all(places: IntArray, size: int) -> slice | None:
    """The columns with 0 ... size - 1, if every row has these once, in order and in the same columns."""
    start = int((places[0] >= 0).argmax())
    stretch = places[:, start : start + size]
    if stretch.shape[1] != size or not (stretch == np.arange(size)).all():
        return None
    n_inside = np.count_nonzero((places >= 0) & (places < size))  # more if a mirrored border repeats some
    return slice(start, start + size) if n_inside == stretch.size else None
