"""Along one axis: which part of a map a change reaches, and which part of the input is needed to recompute it.

All numbers are integers: the rows and columns of a map are numbered from 0, and an interval of them has a start
and an end (not included). Starts and ends are arrays with one entry per variant of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Border: TypeAlias = float | Literal["reflect", "replicate", "circular"]

OUTSIDE = -1  # the source of a position in a border of constant value


class Axis(Protocol):
    """How positions in an operation's output depend on positions in its input."""

    @property
    def n_in(self) -> int: ...

    @property
    def n_out(self) -> int: ...

    @property
    def step(self) -> int:
        """Intervals of the output start and end at multiples of this."""

    def changed(self, start: IntArray, end: IntArray) -> tuple[IntArray, IntArray]:
        """The interval of the output that a change in this input interval can reach; start >= end if empty."""

    def needed(self, start: IntArray, size: int) -> tuple[IntArray, int]:
        """The first of the input positions, borders included, that ``size`` outputs need, and their number."""

    def source(self, places: IntArray) -> IntArray:
        """The input positions with the values of these, also in the border; `OUTSIDE` for a constant border."""


@dataclass(frozen=True)
class Sliding:
    """A sliding kernel: convolution or pooling; with a kernel of 1 and a border, padding alone.

    Output o depends on the inputs o * stride - before + j * dilation, j = 0 ... kernel - 1.
    """

    n_in: int
    n_out: int
    kernel: int = 1
    stride: int = 1
    before: int = 0
    dilation: int = 1
    border: Border = 0.0

    step = 1

    @property
    def is_trivial(self) -> bool:
        """Whether every output depends only on the input at the same position."""
        return (self.kernel, self.stride, self.before, self.n_in) == (1, 1, 0, self.n_out)

    @property
    def _reach(self) -> int:
        return (self.kernel - 1) * self.dilation

    def changed(self, start: IntArray, end: IntArray) -> tuple[IntArray, IntArray]:
        if isinstance(self.border, str):
            return self._mirrored(start, end)
        first = -((self._reach - self.before - start) // self.stride)  # rounded up
        last = (end - 1 + self.before) // self.stride
        return np.clip(first, 0, self.n_out), np.where(end > start, np.clip(last + 1, 0, self.n_out), 0)

    def _mirrored(self, start: IntArray, end: IntArray) -> tuple[IntArray, IntArray]:
        """Check every output position, because the border repeats positions of the input."""
        reached = np.zeros((len(start), self.n_out), bool)
        for j in range(self.kernel):
            places = self.source(np.arange(self.n_out) * self.stride - self.before + j * self.dilation)
            reached |= (places >= start[:, None]) & (places < end[:, None])
        first = np.where(reached.any(axis=1), reached.argmax(axis=1), self.n_out)
        last = np.where(reached.any(axis=1), self.n_out - reached[:, ::-1].argmax(axis=1), 0)
        return first, last

    def needed(self, start: IntArray, size: int) -> tuple[IntArray, int]:
        return start * self.stride - self.before, (size - 1) * self.stride + self._reach + 1

    def source(self, places: IntArray) -> IntArray:
        if self.border == "replicate":
            return np.clip(places, 0, self.n_in - 1)
        if self.border == "circular":
            return places % self.n_in
        if self.border == "reflect":
            folded = np.abs(places)
            return np.where(folded < self.n_in, folded, 2 * (self.n_in - 1) - folded)
        return np.where((places >= 0) & (places < self.n_in), places, OUTSIDE)


@dataclass(frozen=True)
class Repeating:
    """Every input value is repeated ``factor`` times in the output: nearest-neighbor upsampling."""

    n_in: int
    factor: int

    @property
    def n_out(self) -> int:
        return self.n_in * self.factor

    @property
    def step(self) -> int:
        return self.factor

    def changed(self, start: IntArray, end: IntArray) -> tuple[IntArray, IntArray]:
        return start * self.factor, end * self.factor

    def needed(self, start: IntArray, size: int) -> tuple[IntArray, int]:
        return start // self.factor, size // self.factor

    def source(self, places: IntArray) -> IntArray:
        return places


def fit(start: IntArray, end: IntArray, n: int, step: int = 1) -> tuple[IntArray, int]:
    """Intervals of one size, inside 0 ... n and at least ``step`` long, that cover the given ones."""
    size = max(step, int((end - start).max(initial=0)))
    return np.clip(np.minimum(start, n - size), 0, None), size
