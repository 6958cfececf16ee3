"""Which part of a map a change reaches, and which part is needed to compute it again: along one axis at a time.

Everything here is whole numbers: a row or a column of a map has a number from 0 on, a stretch of them a start and
an end (not included). Starts and ends are arrays, one entry for each variant of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

Ints: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Border: TypeAlias = float | Literal["reflect", "replicate", "circular"]

OUTSIDE = -1  # the source of a place that lies in a border of constant value


class Axis(Protocol):
    """How the places of an operation's output hang together with those of its input."""

    @property
    def n_in(self) -> int: ...

    @property
    def n_out(self) -> int: ...

    @property
    def step(self) -> int:
        """Stretches of the output start and end at multiples of this."""

    def changed(self, start: Ints, end: Ints) -> tuple[Ints, Ints]:
        """The stretch of the output that a change of the input's can reach; start >= end where there is none."""

    def needed(self, start: Ints, size: int) -> tuple[Ints, int]:
        """First place and number of places of the input, borders included, that ``size`` outputs are made of."""

    def source(self, places: Ints) -> Ints:
        """The input's places that these stand for, where they lie in the border; `OUTSIDE` for a constant."""


@dataclass(frozen=True)
class Sliding:
    """A kernel that slides along: convolution, pooling; with a kernel of 1 and a border, padding alone.

    Output o is made of the inputs o * stride - before + j * dilation, j = 0 ... kernel - 1.
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
        """Whether every output is made of the input at its own place and of nothing else."""
        return (self.kernel, self.stride, self.before, self.n_in) == (1, 1, 0, self.n_out)

    @property
    def _reach(self) -> int:
        return (self.kernel - 1) * self.dilation

    def changed(self, start: Ints, end: Ints) -> tuple[Ints, Ints]:
        if isinstance(self.border, str):
            return self._mirrored(start, end)
        first = -((self._reach - self.before - start) // self.stride)  # rounded up
        last = (end - 1 + self.before) // self.stride
        return np.clip(first, 0, self.n_out), np.where(end > start, np.clip(last + 1, 0, self.n_out), 0)

    def _mirrored(self, start: Ints, end: Ints) -> tuple[Ints, Ints]:
        """By looking at every place of the output, as its border repeats places of the input."""
        reached = np.zeros((len(start), self.n_out), bool)
        for j in range(self.kernel):
            places = self.source(np.arange(self.n_out) * self.stride - self.before + j * self.dilation)
            reached |= (places >= start[:, None]) & (places < end[:, None])
        first = np.where(reached.any(axis=1), reached.argmax(axis=1), self.n_out)
        last = np.where(reached.any(axis=1), self.n_out - reached[:, ::-1].argmax(axis=1), 0)
        return first, last

    def needed(self, start: Ints, size: int) -> tuple[Ints, int]:
        return start * self.stride - self.before, (size - 1) * self.stride + self._reach + 1

    def source(self, places: Ints) -> Ints:
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
    """Every place of the input stands ``factor`` times in the output: upsampling to the nearest."""

    n_in: int
    factor: int

    @property
    def n_out(self) -> int:
        return self.n_in * self.factor

    @property
    def step(self) -> int:
        return self.factor

    def changed(self, start: Ints, end: Ints) -> tuple[Ints, Ints]:
        return start * self.factor, end * self.factor

    def needed(self, start: Ints, size: int) -> tuple[Ints, int]:
        return start // self.factor, size // self.factor

    def source(self, places: Ints) -> Ints:
        return places


def fit(start: Ints, end: Ints, n: int, step: int = 1) -> tuple[Ints, int]:
    """Stretches of one size, inside 0 ... n, that cover those given; ``step`` places for those that are empty."""
    size = max(step, int((end - start).max(initial=0)))
    return np.clip(np.minimum(start, n - size), 0, None), size
