"""Receptive fields of every tensor in one forward pass, computed operation by operation.

A `GeometryMode` watches a run at the level of ATen operations, so it sees functional code (residual additions,
``F.relu``, concatenations) as well as modules. Each tensor gets a `Geometry`: the largest extent of input pixels
that one of its values can depend on, and the distance in pixels between two neighboring values.

    convolution, pooling:  extent += (kernel - 1) * dilation * step,   step *= stride
    resizing:              step *= size before / size after; see `Geometry.resize`
    several inputs:        the largest of each
    global operations:     the whole image

(Araujo, Norris, Sim: Computing receptive fields of convolutional neural networks, Distill 2019.) Exact without
resizing, an upper bound with it. Branches are assumed to have a common center, as they have with padding by half a
kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from ..checks import Pair

Reals = tuple[float, float]


@dataclass(frozen=True)
class Geometry:
    """``extent`` and ``step`` in input pixels (height, width); ``whole``: may depend on the whole image.

    ``slack``: how many more pixels neighboring values may cover because positions were rounded; see `resize`.
    """

    extent: Reals = (1.0, 1.0)
    step: Reals = (1.0, 1.0)
    slack: Reals = (0.0, 0.0)
    whole: bool = False
    channels_last: bool = False

    @property
    def size(self) -> Pair:
        """The extent in whole pixels, rounded down: the exact extent is a whole number and not above the bound."""
        return (math.floor(self.extent[0] + 1e-6), math.floor(self.extent[1] + 1e-6))

    def slide(self, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Geometry:
        extent, slack = list(self.extent), list(self.slack)
        for axis in (0, 1):
            if kernel[axis] > 1:
                extent[axis] += (kernel[axis] - 1) * dilation[axis] * self.step[axis] + slack[axis]
                slack[axis] = 0.0
        step = (self.step[0] * stride[0], self.step[1] * stride[1])
        return replace(self, extent=(extent[0], extent[1]), slack=(slack[0], slack[1]), step=step)

    def spread(self, factor: Pair) -> Geometry:
        """After zeros have been inserted between the values, as by a transposed convolution."""
        return replace(self, step=(self.step[0] / factor[0], self.step[1] / factor[1]))

    def resize(self, before: Pair, after: Pair) -> Geometry:
        """After nearest-neighbor resizing from ``before`` (height, width) values to ``after``.

        Two values m positions apart are copies of values up to m * before / after apart, rounded up, which adds at
        most (q - 1) / q steps, q = after / gcd(before, after). A single value depends on no more pixels than
        before, so this is slack, which counts once several values are combined.
        """
        step, slack = list(self.step), list(self.slack)
        for axis in (0, 1):
            q = after[axis] // math.gcd(before[axis], after[axis])
            slack[axis] += self.step[axis] * (q - 1) / q
            step[axis] *= before[axis] / after[axis]
        return replace(self, step=(step[0], step[1]), slack=(slack[0], slack[1]))

    def settled(self) -> Geometry:
        """With the slack in the extent: relative to a value's own position, not to where it was copied from."""
        extent = (self.extent[0] + self.slack[0], self.extent[1] + self.slack[1])
        return replace(self, extent=extent, slack=(0.0, 0.0))

    def globally(self) -> Geometry:
        return replace(self, whole=True)


def union(parts: list[Geometry]) -> Geometry:
    """The geometry of a value that depends on several tensors: it covers all of theirs."""
    if any(p.slack != parts[0].slack for p in parts):
        parts = [p.settled() for p in parts]
    return Geometry(
        (max(p.extent[0] for p in parts), max(p.extent[1] for p in parts)),
        (max(p.step[0] for p in parts), max(p.step[1] for p in parts)),
        parts[0].slack,
        any(p.whole for p in parts),
        parts[0].channels_last,
    )


class GeometryMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks the geometry of every tensor that is computed from ``image`` (1, C, H, W)."""

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
    name = func._schema.name.removeprefix("aten::")
    if name in ("convolution", "_convolution"):
        kernel, stride, dilation, transposed = _pair(args[1].shape[2:]), _pair(args[3]), _pair(args[5]), args[6]
        if transposed:
            return before.spread(stride).slide(kernel, (1, 1), dilation)
        return before.slide(kernel, stride, dilation)
    if name in ("max_pool2d_with_indices", "avg_pool2d"):
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        dilation = _pair(args[4]) if name.startswith("max") and len(args) > 4 else (1, 1)
        return before.slide(kernel, stride, dilation)
    if name == "im2col":
        return before.slide(_pair(args[1]), _pair(args[4]), _pair(args[2]))
    if "upsample" in name and source.ndim == out.ndim == 4:
        return _resized(name, args, source, out, before)
    if name == "pixel_shuffle":
        return before.resize((1, 1), _pair(args[1]))
    if name == "pixel_unshuffle":
        return before.slide(_pair(args[1]), _pair(args[1]))
    if name == "permute" and source.ndim == 4 and list(args[1]) in ([0, 2, 3, 1], [0, 3, 1, 2]):
        return replace(before, channels_last=list(args[1]) == [0, 2, 3, 1])
    if name == "slice" and source.ndim == 4 and len(args) > 4:
        axes = (1, 2) if before.channels_last else (2, 3)
        skip = [args[4] if args[1] % 4 == axis else 1 for axis in axes]
        return before.slide((1, 1), (skip[0], skip[1]))
    return before.globally() if _is_global(name, args, source, out, before) else before


def _resized(name: str, args: Any, source: torch.Tensor, out: torch.Tensor, before: Geometry) -> Geometry:
    """The geometry after resizing.

    Nearest copies one value, bilinear combines 2 values per axis, bicubic 4, and antialiasing more when shrinking.
    With aligned corners the gaps between values are resized, one fewer than the values.
    """
    have, want = _pair(source.shape[2:]), _pair(out.shape[2:])
    if "nearest" in name:
        return before.resize(have, want)
    if args[2]:
        have, want = (have[0] - 1 or 1, have[1] - 1 or 1), (want[0] - 1 or 1, want[1] - 1 or 1)
    radius = 1 if "bilinear" in name else 2
    kernel = [2 * radius, 2 * radius]
    if name.endswith("_aa"):
        kernel = [2 * math.ceil(radius * max(1.0, h / w)) + 1 for h, w in zip(have, want, strict=True)]
    return before.slide((kernel[0], kernel[1]), (1, 1)).resize(have, want)


def _is_global(name: str, args: Any, source: torch.Tensor, out: torch.Tensor, before: Geometry) -> bool:
    """Whether every output position may depend on all input positions."""
    if name in _ALONG:
        dims = args[_ALONG[name]] if len(args) > _ALONG[name] else None
        return not _spare_positions(dims, source, before)
    if name in ("addmm", "mm"):
        # One row: all positions of the image were flattened into it. More rows: one per position.
        return int(args[1 if name == "addmm" else 0].shape[0]) == 1
    if name == "native_layer_norm":
        return len(args[1]) > 1 or (source.ndim == 4 and not before.channels_last)
    if name == "native_batch_norm":
        return bool(args[5])  # by this image's own statistics, as in instance norm
    if name in ("_adaptive_avg_pool2d", "adaptive_max_pool2d"):
        return out.shape != source.shape
    if name in ("view", "_unsafe_view"):
        places = slice(1, 3) if before.channels_last else slice(-2, None)
        return source.ndim == 4 and out.ndim > 4 and out.shape[places] != source.shape[places]  # cut into blocks
    return name.startswith(_MIXING)


def _spare_positions(dims: Any, source: torch.Tensor, before: Geometry) -> bool:
    """Whether these are dimensions of a map (N, C, H, W) or (N, H, W, C) other than its height and width."""
    chosen = [dims] if isinstance(dims, int) else dims
    if source.ndim != 4 or not isinstance(chosen, list | tuple) or not chosen:
        return False
    return {d % 4 for d in chosen} <= {0, 3 if before.channels_last else 1}


def _pair(value: Any) -> Pair:
    items = [int(v) for v in value] if isinstance(value, list | tuple | torch.Size) else [int(value)]
    return (items[0], items[-1])
