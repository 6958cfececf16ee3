"""What changed while a network was trained: its maps, filters and class pictures at several steps."""

from __future__ import annotations

from dataclasses import dataclass

from ..texts import counted
from .base import Array, Result


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TrainingStrip(Result):
    """The same views of a network at M moments of its training, ``steps`` (M,).

    ``maps`` (M, N, H, W) are attributions of N images, raw; ``targets`` and ``scores`` (M, N) say of what, the
    names of the first moment first. ``images`` (N, H, W, 3) uint8 is what the network saw. ``filters`` (M, F, I,
    kH, kW) are the first filters of the ``layer``; F is 0 where the network begins without a convolution.
    ``pictures`` (M, C, H, W, 3) uint8 are the inputs that the ``classes`` like; C is 0 unless asked for.
    """

    steps: Array
    maps: Array
    targets: tuple[str, ...]
    scores: Array
    images: Array
    names: tuple[str, ...]
    unit: str
    signed: bool
    filters: Array
    layer: str
    pictures: Array
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        moments = f"{counted(len(self.steps), 'moment')} from step {self.steps[0]:,} to {self.steps[-1]:,}"
        return f"TrainingStrip({moments}, {counted(len(self.names), 'image')})\n  {self.provenance.caption}"
