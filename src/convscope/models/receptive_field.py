"""Receptive fields of every tensor in one forward pass, computed operation by operation.

A `GeometryMode` watches a run at the level of ATen operations, so it sees functional code (residual additions,
``F.relu``, concatenations) as well as modules. Each tensor gets a `Geometry`: the largest extent of input pixels
that one of its values can depend on, the distance in pixels between two neighboring values, and where the pixels
of the first value lie, which may begin in the padding.

    convolution, pooling:  extent += (kernel - 1) * dilation * step,   first -= padding * step,   step *= stride
    resizing:              step *= size before / size after; see `Geometry.resize`
    several inputs:        the largest of each
    global operations:     the whole image

(Araujo, Norris, Sim: Computing receptive fields of convolutional neural networks, Distill 2019.) Exact without
resizing, an upper bound with it. Branches are assumed to have a common center, as they have with padding by half a
kernel. An image has one, two or three sides; pixels are samples of a signal, and voxels of a volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from ..checks import Sides

Reals = tuple[float, ...]


@dataclass(frozen=True)
class Geometry:
    """``extent`` and ``step`` in input pixels, along each side; ``whole``: may depend on the whole image.

    ``slack``: how many more pixels neighboring values may cover because positions were rounded; see `resize`.
    The value at place i depends on the pixels from ``first`` + i * ``step`` up to, but without, ``last`` + i *
    ``step``. These are exact also where branches have no common center, and bounds after resizing.
    """

    extent: Reals = (1.0, 1.0)
    step: Reals = (1.0, 1.0)
    slack: Reals = (0.0, 0.0)
    whole: bool = False
    channels_last: bool = False
    first: Reals = (0.0, 0.0)
    last: Reals = (1.0, 1.0)

    @classmethod
    def of_pixels(cls, n_sides: int) -> Geometry:
        """That of the image itself."""
        one, zero = (1.0,) * n_sides, (0.0,) * n_sides
        return cls(one, one, zero, first=zero, last=one)

    @property
    def n_sides(self) -> int:
        return len(self.extent)

    @property
    def size(self) -> Sides:
        """The extent in whole pixels, rounded down: the exact extent is a whole number and not above the bound."""
        return tuple(math.floor(extent + 1e-6) for extent in self.extent)

    def slide(
        self, kernel: Sides, stride: Sides, dilation: Sides | None = None, padding: Sides | None = None
    ) -> Geometry:
        extent, slack, last = list(self.extent), list(self.slack), list(self.last)
        for axis, gap in enumerate(dilation or (1,) * self.n_sides):
            if kernel[axis] > 1:
                extent[axis] += (kernel[axis] - 1) * gap * self.step[axis] + slack[axis]
                slack[axis] = 0.0
            last[axis] += (kernel[axis] - 1) * gap * self.step[axis]
        step = tuple(step * by for step, by in zip(self.step, stride, strict=True))
        slid = replace(self, extent=tuple(extent), slack=tuple(slack), last=tuple(last))
        return replace(slid.shift(tuple(-by for by in padding or (0,) * self.n_sides)), step=step)

    def shift(self, by: tuple[int, ...]) -> Geometry:
        """After so many values in front were cut off; less than 0 where values were added."""
        moves = [n * step for n, step in zip(by, self.step, strict=True)]
        first, last = (tuple(map(sum, zip(at, moves, strict=True))) for at in (self.first, self.last))
        return replace(self, first=first, last=last)

    def widen(self, in_front: Reals, behind: Reals) -> Geometry:
        """With so many more values on both sides that each value may depend on."""
        first = tuple(at - n * step for at, n, step in zip(self.first, in_front, self.step, strict=True))
        last = tuple(at + n * step for at, n, step in zip(self.last, behind, self.step, strict=True))
        return replace(self, first=first, last=last)

    def spread(self, factor: Sides) -> Geometry:
        """After zeros have been inserted between the values, as by a transposed convolution."""
        return replace(self, step=tuple(step / by for step, by in zip(self.step, factor, strict=True)))

    def resize(self, before: Sides, after: Sides) -> Geometry:
        """After nearest-neighbor resizing from ``before`` values along each side to ``after``.

        Two values m positions apart are copies of values up to m * before / after apart, rounded up, which adds at
        most (q - 1) / q steps, q = after / gcd(before, after). A single value depends on no more pixels than
        before, so this is slack, which counts once several values are combined.
        """
        step, slack, first = list(self.step), list(self.slack), list(self.first)
        for axis in range(self.n_sides):
            q = after[axis] // math.gcd(before[axis], after[axis])
            slack[axis] += self.step[axis] * (q - 1) / q
            first[axis] -= self.step[axis] * (q - 1) / q
            step[axis] *= before[axis] / after[axis]
        return replace(self, step=tuple(step), slack=tuple(slack), first=tuple(first))

    def settled(self) -> Geometry:
        """With the slack in the extent: relative to a value's own position, not to where it was copied from."""
        extent = tuple(extent + slack for extent, slack in zip(self.extent, self.slack, strict=True))
        return replace(self, extent=extent, slack=(0.0,) * self.n_sides)

    def globally(self) -> Geometry:
        return replace(self, whole=True)


def union(parts: list[Geometry]) -> Geometry:
    """The geometry of a value that depends on several tensors: it covers all of theirs."""
    if any(p.slack != parts[0].slack for p in parts):
        parts = [p.settled() for p in parts]
    return Geometry(
        tuple(max(extents) for extents in zip(*(p.extent for p in parts), strict=True)),
        tuple(max(steps) for steps in zip(*(p.step for p in parts), strict=True)),
        parts[0].slack,
        any(p.whole for p in parts),
        parts[0].channels_last,
        tuple(min(places) for places in zip(*(p.first for p in parts), strict=True)),
        tuple(max(places) for places in zip(*(p.last for p in parts), strict=True)),
    )


class GeometryMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks the geometry of every tensor that is computed from ``image`` (1, C, *sides)."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._known[image] = Geometry.of_pixels(image.ndim - 2)

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


# Operations that mix all positions whatever their arguments, by prefixes of their names.
_MIXING = (
    "bmm", "baddbmm", "_scaled_dot_product", "native_group_norm", "grid_sampler", "col2im", "unfold", "index",
    "_fft",
)  # fmt: skip

# Operations that mix along some dimensions, and the index of the argument that names these; by default all.
_ALONG = {
    "mean": 1, "sum": 1, "nansum": 1, "prod": 1, "amax": 1, "amin": 1, "max": 1, "min": 1, "median": 1,
    "argmax": 1, "argmin": 1, "any": 1, "all": 1, "logsumexp": 1, "var": 1, "std": 1, "var_mean": 1, "std_mean": 1,
    "norm": 2, "linalg_vector_norm": 2, "_softmax": 1, "_safe_softmax": 1, "_log_softmax": 1, "cumsum": 1,
    "cumprod": 1, "sort": 1, "topk": 2, "flip": 1, "roll": 2, "index_select": 1, "gather": 1,
}  # fmt: skip


def _after(func: Any, args: Any, source: torch.Tensor, out: torch.Tensor, before: Geometry) -> Geometry:
    """The geometry after one operation; operations that are not named here work element by element."""
    name, n = func._schema.name.removeprefix("aten::"), before.n_sides
    one = (1,) * n
    is_map = source.ndim == n + 2
    if name in ("convolution", "_convolution"):
        given = (args[1].shape[2:], args[3], args[5], args[4])
        kernel, stride, dilation, padding = (_sides(value, n) for value in given)
        if args[6]:  # transposed
            inner = tuple((k - 1) * d - p for k, d, p in zip(kernel, dilation, padding, strict=True))
            return before.spread(stride).slide(kernel, one, dilation, inner)
        return before.slide(kernel, stride, dilation, padding)
    if name.startswith(("max_pool", "avg_pool")):
        kernel = _sides(args[1], n)
        stride = _sides(args[2], n) if len(args) > 2 and args[2] else kernel
        dilation = _sides(args[4], n) if name.startswith("max") and len(args) > 4 else one
        return before.slide(kernel, stride, dilation, _sides(args[3], n) if len(args) > 3 else None)
    if name == "im2col":
        return before.slide(_sides(args[1], n), _sides(args[4], n), _sides(args[2], n), _sides(args[3], n))
    if name.endswith(("_pad_nd", "_pad1d", "_pad2d", "_pad3d")) and is_map and not before.channels_last:
        in_front = [*args[1][::2], *[0] * n][:n]  # of the last side first
        return before.shift(tuple(-by for by in reversed(in_front)))
    if "upsample" in name and source.ndim == out.ndim == n + 2:
        return _resized(name, args, source, out, before)
    if name == "pixel_shuffle":
        return before.resize(one, _sides(args[1], n))
    if name == "pixel_unshuffle":
        return before.slide(_sides(args[1], n), _sides(args[1], n))
    if name in ("permute", "transpose") and is_map:
        return _rearranged(name, args, before)
    if name == "slice" and is_map and len(args) > 1:
        return _cut(args, source, before)
    return before.globally() if _is_global(name, args, source, out, before) else before


def _cut(args: Any, source: torch.Tensor, before: Geometry) -> Geometry:
    """The geometry after a slice along one dimension: (tensor, dimension, start, end, step)."""
    dim, n = args[1] % source.ndim, before.n_sides
    start = (args[2] if len(args) > 2 else None) or 0
    start = max(0, start + source.shape[dim]) if start < 0 else start
    side = dim - (1 if before.channels_last else 2)
    here = [i == side for i in range(n)]
    every = args[4] if len(args) > 4 else 1
    return before.shift(tuple(start * h for h in here)).slide((1,) * n, tuple(every if h else 1 for h in here))


def _rearranged(name: str, args: Any, before: Geometry) -> Geometry:
    """The geometry after the channels of a map were moved behind its places, or back."""
    n = before.n_sides
    first, last = [0, *range(2, n + 2), 1], [0, n + 1, *range(1, n + 1)]  # to channels-last, and back
    if name == "permute":
        order = [d % (n + 2) for d in args[1]] if n != 2 else list(args[1])
    elif n == 1 and {d % 3 for d in args[1:3]} == {1, 2}:
        return replace(before, channels_last=not before.channels_last)
    else:
        return before
    if order not in (first, last):
        return before
    return replace(before, channels_last=not before.channels_last if n == 1 else order == first)


def _resized(name: str, args: Any, source: torch.Tensor, out: torch.Tensor, before: Geometry) -> Geometry:
    """The geometry after resizing.

    Nearest copies one value, linear combines 2 values per axis, cubic 4, and antialiasing more when shrinking.
    With aligned corners the gaps between values are resized, one fewer than the values.
    """
    have, want, one = tuple(source.shape[2:]), tuple(out.shape[2:]), (1,) * before.n_sides
    # By a factor of 0.4, 16 values become 6, and value i is a copy of i * 2.5, less than 16 / 6 steps before.
    cut = tuple(0.0 if h % w == 0 or w % h == 0 else h / w for h, w in zip(have, want, strict=True))
    before = before.widen(cut, (0.0,) * before.n_sides)
    if "nearest" in name:
        return before.resize(have, want)
    if args[2]:
        have, want = tuple(side - 1 or 1 for side in have), tuple(side - 1 or 1 for side in want)
    radius = 2 if "bicubic" in name else 1
    kernel = tuple(2 * radius for _ in one)
    if name.endswith("_aa"):
        kernel = tuple(2 * math.ceil(radius * max(1.0, h / w)) + 1 for h, w in zip(have, want, strict=True))
    # A value lies at (i + 0.5) * have / want - 0.5, which may be this far behind i * have / want, or half before
    # it.
    behind = tuple(radius + 1 + max(0.0, h / w - 1) / 2 for h, w in zip(have, want, strict=True))
    wide = before.widen(tuple(k / 2 + 1.0 for k in kernel), tuple(map(lambda k, b: k / 2 + b, kernel, behind)))
    resized = before.slide(kernel, one).resize(have, want)
    return replace(resized, first=wide.first, last=wide.last)


def _is_global(name: str, args: Any, source: torch.Tensor, out: torch.Tensor, before: Geometry) -> bool:
    """Whether every output position may depend on all input positions."""
    if name in _ALONG:
        dims = args[_ALONG[name]] if len(args) > _ALONG[name] else None
        return not _spare_positions(dims, source, before)
    if name in ("addmm", "mm"):
        # One row: all positions of the image were flattened into it. More rows: one per position.
        return int(args[1 if name == "addmm" else 0].shape[0]) == 1
    if name == "native_layer_norm":
        return len(args[1]) > 1 or (source.ndim == before.n_sides + 2 and not before.channels_last)
    if name == "native_batch_norm":
        return bool(args[5])  # by this image's own statistics, as in instance norm
    if name.lstrip("_").startswith(("adaptive_avg_pool", "adaptive_max_pool")):
        return out.shape != source.shape
    if name in ("view", "_unsafe_view"):
        n = before.n_sides
        places = slice(1, n + 1) if before.channels_last else slice(-n, None)
        is_cut = out.ndim > n + 2 and out.shape[places] != source.shape[places]  # into blocks
        return source.ndim == n + 2 and is_cut
    return name.startswith(_MIXING)


def _spare_positions(dims: Any, source: torch.Tensor, before: Geometry) -> bool:
    """Whether these are dimensions of a map (N, C, *sides) or (N, *sides, C) other than its sides."""
    chosen, n = [dims] if isinstance(dims, int) else dims, before.n_sides
    if source.ndim != n + 2 or not isinstance(chosen, list | tuple) or not chosen:
        return False
    return {d % (n + 2) for d in chosen} <= {0, n + 1 if before.channels_last else 1}


def _sides(value: Any, n: int) -> Sides:
    """A number for each of n sides; an operation with fewer has one number for all, one with more its last."""
    items = [int(v) for v in value] if isinstance(value, list | tuple | torch.Size) else [int(value)]
    return tuple(items[-n:]) if len(items) >= n else tuple(items[:1]) * n
