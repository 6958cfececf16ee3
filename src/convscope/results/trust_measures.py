"""Methods measured side by side: how good their maps are, and which method comes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..arguments import checks_arguments
from ..checks import as_choice
from ..texts import counted, printable
from .base import Array, Result
from .text_tables import aligned, margin_cell, seconds_cell

CONTROLS = ("random", "center")  # maps that know nothing of the network; the last rows of every evaluation


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Evaluation(Result):
    """M methods by K measures on N images; the last two methods are the controls "random" and "center".

    ``values`` (M, K, N): NaN where a measure does not apply. ``higher_is_better`` and ``units`` (K,); no units
    are known of results saved without them. ``means`` and ``margins`` (M, K): the mean over the images and
    half its 95 % interval, NaN for a single image. ``gains`` and ``gain_margins`` (M, K): how much better the
    method is than the random map on the same images; positive is better, whichever way the measure goes.
    ``curves`` (M, C, N, S): the scores along the curves ``curve_names`` (C,) of deletion and insertion.
    ``seconds`` (M,): the time for the maps of all images, NaN where unknown.
    """

    methods: tuple[str, ...]
    measures: tuple[str, ...]
    higher_is_better: tuple[bool, ...]
    units: tuple[str, ...] = ()
    values: Array
    means: Array
    margins: Array
    gains: Array
    gain_margins: Array
    curves: Array
    curve_names: tuple[str, ...]
    seconds: Array
    names: tuple[str, ...]
    targets: tuple[str, ...]

    @checks_arguments
    def mean(self, method: str, measure: str) -> float:
        """The mean over the images of one measure of one method."""
        as_choice(method, "method", self.methods)
        as_choice(measure, "measure", self.measures)
        return float(self.means[self.methods.index(method), self.measures.index(measure)])

    @checks_arguments
    def areas(self, kind: Literal["deletion", "insertion"]) -> Array:
        """The "deletion" or "insertion" area of each method and image, (M, N): the mean over the baselines."""
        chosen = [k for k, name in enumerate(self.measures) if name.startswith(f"{kind}_")]
        return np.asarray(self.values[:, chosen].mean(axis=1))

    def rows(self) -> list[tuple[str, ...]]:
        """A table of text: a heading, then a row per method with mean ± half the 95 % interval, or a dash."""
        arrows = ["↑" if higher else "↓" for higher in self.higher_is_better]
        heading = (
            "method",
            *(f"{m.replace('_', ' ')} {a}" for m, a in zip(self.measures, arrows, strict=True)),
            "seconds",
        )
        return [
            heading,
            *(
                (
                    name,
                    *(margin_cell(self.means[m, k], self.margins[m, k]) for k in range(len(self.measures))),
                    seconds_cell(s),
                )
                for m, (name, s) in enumerate(zip(self.methods, self.seconds, strict=True))
            ),
        ]

    def __repr__(self) -> str:
        n_methods = len(self.methods) - len(CONTROLS)
        about = f"{type(self).__name__}({counted(n_methods, 'method')}, {counted(len(self.names), 'image')})"
        return "\n".join([about, *aligned(self.rows()), f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Comparison(Evaluation):
    """An `Evaluation` that ranks methods: ``ranking``, best first, by ``advantage`` (M,): insertion − deletion.

    ``advantage_margins`` (M,) is half the 95 % interval over the images. ``tied`` are the best method and those
    that are worse by no more than the noise; ``verdict`` puts it in words. ``maps`` (M, P, H, W) and ``images``
    (P, H, W, 3) show the first P images; ``left_out`` names the methods that did not finish or do not fit, and
    why.
    """

    ranking: tuple[str, ...]
    advantage: Array
    advantage_margins: Array
    tied: tuple[str, ...]
    verdict: str
    maps: Array
    images: Array
    signed: tuple[bool, ...]
    left_out: tuple[str, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """The table of an `Evaluation`, best method first, with a column for the advantage."""
        heading, *rows = super().rows()
        by_name = {row[0]: row for row in rows}
        numbers = {
            name: margin_cell(self.advantage[m], self.advantage_margins[m]) for m, name in enumerate(self.methods)
        }
        order = [*self.ranking, *(name for name in self.methods if name not in self.ranking)]
        return [
            (heading[0], "insertion − deletion ↑", *heading[1:]),
            *((name, numbers[name], *by_name[name][1:]) for name in order),
        ]

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n  {printable(self.verdict)}"
