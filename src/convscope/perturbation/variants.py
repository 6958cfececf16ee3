"""The variants of an image, each with one mask hidden, and a network's outputs for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch.utils._pytree import tree_map

from ..checks import InputShape, Precision
from ..execution import in_batches
from ..incremental import IntArray
from .masks import Masks

Engine: TypeAlias = Literal["auto", "incremental", "dense"]

# From the network's output for m variants, and m, to the scores (m, T) of T targets.
Scores: TypeAlias = Callable[[Any, int], torch.Tensor]


@dataclass(frozen=True)
class Variants:
    """An image ``shown``, its baseline ``behind``, both (H, W, C), and the masks that hide parts of it.

    Signals are (L, C), volumes (D, H, W, C).
    """

    shown: torch.Tensor
    behind: torch.Tensor
    masks: Masks

    @classmethod
    def of(cls, image: torch.Tensor, baseline: torch.Tensor, masks: Masks) -> Variants:
        # From (H, W, C), a batch is channels-last at once, so nothing is copied on the way into the network.
        return cls(image.movedim(0, -1).contiguous(), baseline.movedim(0, -1).contiguous(), masks)

    @property
    def image(self) -> torch.Tensor:
        """The image itself, (C, H, W)."""
        return self.shown.movedim(-1, 0)

    @property
    def shape(self) -> InputShape:
        """(C, H, W)."""
        *sides, channels = self.shown.shape
        return channels, *sides

    def __call__(self, numbers: IntArray) -> torch.Tensor:
        """The variants with these m numbers, (m, C, H, W)."""
        hidden = self.masks.some(numbers).to(self.shown.device)
        return torch.where(hidden[..., None], self.behind, self.shown).movedim(-1, 1)

    def parts(self, numbers: IntArray, top: IntArray, left: IntArray, height: int, width: int) -> torch.Tensor:
        """A rectangle of each variant of a picture, (m, C, height, width)."""
        y = torch.from_numpy(top[:, None] + np.arange(height)).to(self.shown.device)[:, :, None]
        x = torch.from_numpy(left[:, None] + np.arange(width)).to(self.shown.device)[:, None, :]
        rows = torch.arange(len(numbers), device=self.shown.device)[:, None, None]
        hidden = self.masks.some(numbers).to(self.shown.device)[rows, y, x]
        parts: torch.Tensor = torch.where(hidden[..., None], self.behind[y, x], self.shown[y, x])
        return parts.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Outputs:
    """The network's outputs for an image and, on request, for its variants; both engines return this.

    ``clean`` is the output for the image itself, computed in the same way as those for the variants.
    """

    clean: Any
    of: Callable[[IntArray], Any]  # from numbers to the output for the variants with these numbers
    order: IntArray  # the best order in which to run the variants
    batch_size: int

    def drops(self, scores: Scores, *, progress: Callable[[int], None] | None = None) -> torch.Tensor:
        """S(image) - S(variant) of all variants, (M, T) float64 on the CPU."""
        clean = scores(self.clean, 1).cpu().double()
        found = torch.empty((len(self.order), *clean.shape[1:]), dtype=torch.float64, device="cpu")

        def run(first: int, end: int) -> None:
            numbers = self.order[first:end]
            found[torch.from_numpy(numbers)] = scores(self.of(numbers), end - first).cpu().double()

        before = 0
        for done in in_batches(len(self.order), self.batch_size, run):
            if progress:
                progress(done - before)
            before = done
        return clean - found


def widened(output: Any, precision: Precision) -> Any:
    """A bfloat16 output converted to float32, which softmax and differences of scores need, at any depth."""
    if precision != "bfloat16":
        return output
    return tree_map(lambda one: one.float() if getattr(one, "dtype", None) == torch.bfloat16 else one, output)
