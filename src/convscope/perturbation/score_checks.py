"""Check scores: that they are finite, and that an engine agrees with whole runs in float32."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..checks import Precision
from ..errors import ModelError
from ..models import Model
from .dense_scores import dense_outputs
from .variants import Outputs, Scores, Variants

VISIBLE = 0.1  # of the largest drop: a note reports errors above it
_CHECKED = 4  # variants of the first image that run both ways


class SpotCheck:
    """A few variants, run whole in float32, to compare an engine with.

    Make it before a plan takes memory. ``drops`` (m, T) are the drops of the variants with these ``numbers``;
    ``seconds`` is the time per variant.
    """

    def __init__(self, model: Model, variants: Variants, scores: Scores) -> None:
        self._scores = scores
        self.numbers = np.unique(np.linspace(0, len(variants.masks) - 1, _CHECKED).astype(np.int64))
        with dense_outputs(model, variants, "float32") as outputs:
            halves = np.array_split(self.numbers, min(2, len(self.numbers)))
            values, after, started = [], [], 0.0
            for half in halves:  # the first batch of a size is slow, so time only the last one
                started = time.perf_counter()
                output = outputs.of(half)
                values.append(self._values(output, len(half)).cpu())  # waits for a GPU
                after.append(scores(output, len(half)))
            self.seconds = (time.perf_counter() - started) / len(halves[-1])
            clean = self._values(outputs.clean, 1)
            self.drops = (scores(outputs.clean, 1) - torch.cat(after)).cpu().double()
        self._expected = torch.cat(values)
        clean = clean[torch.isfinite(clean)]
        self._span = float(clean.max() - clean.min()) or float(clean.abs().max()) or 1.0

    def deviation(self, outputs: Outputs) -> float:
        """The largest difference from the whole runs, as a share of the output's range."""
        found = self._values(outputs.of(self.numbers), len(self.numbers)).cpu()
        real = torch.isfinite(self._expected)  # a class may be masked by minus infinity
        if not torch.equal(torch.isfinite(found), real) or not real.any():
            return float("inf")
        return float(f"{float((found - self._expected)[real].abs().max()) / self._span:.1e}")

    def note_on(self, drops: torch.Tensor, precision: Precision) -> str | None:
        """A note if one of the checked drops among all ``drops`` (M, T) is visibly off."""
        off, largest = float((drops[self.numbers] - self.drops).abs().max()), float(drops.abs().max())
        if not off > VISIBLE * largest:  # also where a score is NaN
            return None
        return (
            f"{precision}: {len(self.numbers)} windows were checked against whole runs in float32, and one is off "
            f"by {off:.2g}, while the largest value of all windows is {largest:.2g}"
        )

    def _values(self, output: Any, n: int) -> torch.Tensor:
        """The output, or the scores if it is not a tensor."""
        return (output if isinstance(output, torch.Tensor) else self._scores(output, n)).float()


def finite(scores: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """The scores unchanged, or `ModelError` naming the first image whose score is NaN or infinite."""
    bad = (~torch.isfinite(scores)).nonzero()
    if len(bad):
        i = int(bad[0, 0])
        raise ModelError(
            f"{names[i]}: the network's score is {float(scores[i].detach())}; there is nothing to explain"
        )
    return scores
