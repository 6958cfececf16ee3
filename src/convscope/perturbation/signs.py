"""Whether a score falls or rises where a part of an image is hidden may depend on what it is hidden by."""

from __future__ import annotations

from numbers import Real

import numpy as np
import torch

from ..incremental import Ints
from ..results import Remark
from .baselines import NAMED, Baseline

SIGNS = "the sign depends on the baseline"  # how the note begins
SLIGHT = 0.1  # of the largest value: a sign below it is no sign
STRONGEST = 8  # masks that are hidden once more
_MANY = 0.25  # of them: from this share on a note says so


def other_baseline(baseline: Baseline) -> str | None:
    """What to hide the same masks by once more: the blurred image, or the mean one; None for an image."""
    if isinstance(baseline, Real) or (isinstance(baseline, str) and baseline in NAMED):
        return "mean" if baseline == "blur" else "blur"
    return None


def strongest(drops: torch.Tensor) -> Ints:
    """The numbers of the masks whose drops (M,) are largest in size, at most `STRONGEST`."""
    order = torch.argsort(drops.abs(), descending=True, stable=True)
    return np.asarray(order[:STRONGEST].numpy())


def n_turned(drops: torch.Tensor, others: torch.Tensor) -> int:
    """How many drops (m,) have another sign over another baseline, neither of them slight."""
    slight = SLIGHT * float(drops.abs().max())
    is_sign = (drops.abs() > slight) & (others.abs() > slight)
    return int((is_sign & (drops.sign() != others.sign())).sum())


class SignNote:
    """Says in how many maps the sign depends on the baseline."""

    def __init__(self, notes: list[str], other: str) -> None:
        self._remark, self._other = Remark(notes), other
        self._n_maps = 0
        self._found: list[tuple[int, int]] = []

    def add(self, drops: torch.Tensor, others: torch.Tensor) -> None:
        """One map more: the drops (m,) of its strongest masks, and those over the other baseline."""
        self._n_maps += 1
        turned = n_turned(drops, others)
        if turned >= _MANY * len(drops):
            self._found.append((turned, len(drops)))
        if self._found:
            (n, of), *_ = self._found
            where = "" if self._n_maps == 1 else f"in {len(self._found)} of {self._n_maps} maps "
            many = f"{n} of the {of}" if self._n_maps == 1 else f"a quarter or more of the {STRONGEST}"
            self._remark.say(
                f"{SIGNS}: {where}{many} masks that change the score most have another sign over {self._other!r}"
            )
