"""Notes on maps whose signs depend on the baseline: a part supports the target with one, but not with another."""

from __future__ import annotations

from numbers import Real

import numpy as np
import torch

from ..incremental import IntArray
from ..results import Remark
from .baselines import NAMED, Baseline

SIGNS = "the sign depends on the baseline"  # how the note begins
SLIGHT = 0.1  # of the largest value: the sign of a smaller one does not count
STRONGEST = 8  # masks that are tried with both baselines
_MANY = 0.25  # the share of them from which a note says so


def other_baseline(baseline: Baseline) -> str | None:
    """The baseline to compare with: "blur", or "mean" if the baseline is "blur"; None if it is an image."""
    if isinstance(baseline, Real) or (isinstance(baseline, str) and baseline in NAMED):
        return "mean" if baseline == "blur" else "blur"
    return None


def strongest(drops: torch.Tensor) -> IntArray:
    """The numbers of the masks with the largest |drops| (M,), at most `STRONGEST`."""
    order = torch.argsort(drops.abs(), descending=True, stable=True)
    return np.asarray(order[:STRONGEST].numpy())


def n_turned(drops: torch.Tensor, others: torch.Tensor) -> int:
    """How many drops (m,) change sign with the other baseline, if neither value is slight (see `SLIGHT`)."""
    slight = SLIGHT * float(drops.abs().max())
    is_sign = (drops.abs() > slight) & (others.abs() > slight)
    return int((is_sign & (drops.sign() != others.sign())).sum())


class SignNote:
    """A note on how many maps have signs that depend on the baseline."""

    def __init__(self, notes: list[str], other: str) -> None:
        self._remark, self._other = Remark(notes), other
        self._n_maps = 0
        self._found: list[tuple[int, int]] = []

    def add(self, drops: torch.Tensor, others: torch.Tensor) -> None:
        """Count one more map: the drops (m,) of its strongest masks with the one baseline and the other."""
        self._n_maps += 1
        turned = n_turned(drops, others)
        if turned >= _MANY * len(drops):
            self._found.append((turned, len(drops)))
        if self._found:
            (n, of), *_ = self._found
            where = "" if self._n_maps == 1 else f"in {len(self._found)} of {self._n_maps} maps "
            many = f"{n} of the {of}" if self._n_maps == 1 else f"a quarter or more of the {STRONGEST}"
            self._remark.say(
                f"{SIGNS}: {where}{many} masks that change the score most have the other sign with {self._other!r}"
            )
