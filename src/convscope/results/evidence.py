"""What is known of how far maps can be trusted: measures of methods, and checks of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..arguments import checks_arguments
from ..checks import as_choice
from ..errors import ParameterError
from ..texts import printable
from .base import Array, Result

CONTROLS = ("random", "center")
# Sizes of rank correlations of |values|: up to the first a map has changed, from the second on it is much the
# same; doubtful between. In the mean of five, unrelated maps of 7 x 7 cells stay below the first 19 times of 20.
CHANGED, SAME = 0.4, 0.6


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Evaluation(Result):
    """M methods, the last two of them controls, by K measures on N images.

    ``values`` (M, K, N), NaN where a measure does not apply; ``higher_is_better`` and ``units`` (K,).
    ``means`` and ``margins`` (M, K): the mean over the images, and half its 95 % interval, NaN for one image.
    ``gains`` and ``gain_margins`` (M, K): by how much the method is better than the random map on the same images,
    positive is better.
    ``curves`` (M, C, N, S) the scores along deletion and insertion, ``curve_names`` (C,) which.
    ``seconds`` (M,) that the maps of all images took, NaN where that is not known.
    """

    methods: tuple[str, ...]
    measures: tuple[str, ...]
    higher_is_better: tuple[bool, ...]
    units: tuple[str, ...]
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
        """ "deletion" or "insertion" of each method and image, (M, N), the mean over the baselines."""
        chosen = [k for k, name in enumerate(self.measures) if name.startswith(f"{kind}_")]
        return np.asarray(self.values[:, chosen].mean(axis=1))

    def rows(self) -> list[tuple[str, ...]]:
        """A table of text: a heading, then a row a method, mean ± half the 95 % interval; a dash for none."""
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
                    *(_number(self.means[m, k], self.margins[m, k]) for k in range(len(self.measures))),
                    _seconds(s),
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
    """An `Evaluation` that ranks methods: ``ranking`` best first by ``advantage`` (M,), insertion minus deletion.

    ``advantage_margins`` (M,) is half its 95 % interval over the images. ``tied`` are the methods that are not
    worse than the best by more than the noise; ``verdict`` says so in words. ``maps`` (M, P, H, W) and ``images``
    (P, H, W, 3) of the first P images, for the picture; ``left_out`` methods that did not finish or do not fit.
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
        """As of an `Evaluation`, the best first, with the advantage beside the name."""
        heading, *rows = super().rows()
        by_name = {row[0]: row for row in rows}
        numbers = {
            name: _number(self.advantage[m], self.advantage_margins[m]) for m, name in enumerate(self.methods)
        }
        order = [*self.ranking, *(name for name in self.methods if name not in self.ranking)]
        return [
            (heading[0], "insertion − deletion ↑", *heading[1:]),
            *((name, numbers[name], *by_name[name][1:]) for name in order),
        ]

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n  {printable(self.verdict)}"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SanityCheck(Result):
    """How a map of one image changes when the network's weights, or the label, are replaced by chance.

    ``stages`` (S,) groups of layers from the output to the input. ``cascading`` (S, 2): rank correlation and SSIM
    of the map with the original one when this stage and all above are random; ``independent`` (S, 2): when it
    alone is. ``labels`` (L, 2): with the maps of other classes, ``label_names``. Correlations have their sign; it
    is their size that decides, as a map with bright and dark exchanged is still that map. ``maps`` (S + 1, H, W):
    the original, and those of the cascade. ``passes_weights`` and ``passes_labels``: None where it is doubtful.
    """

    checked: str
    stages: tuple[str, ...]
    cascading: Array
    independent: Array
    labels: Array
    label_names: tuple[str, ...]
    maps: Array
    image: Array
    name: str
    target: str
    signed: bool
    passes_weights: bool | None
    passes_labels: bool | None
    verdict: str

    def rows(self) -> list[tuple[str, ...]]:
        """A table of text."""
        heading = ("random from the output to", "rank correlation", "SSIM", "alone: rank correlation", "SSIM")
        return [
            heading,
            *(
                (stage, *("–" if np.isnan(value) else f"{value:.2f}" for value in (*down, *alone)))
                for stage, down, alone in zip(self.stages, self.cascading, self.independent, strict=True)
            ),
        ]

    def __repr__(self) -> str:
        about = f"SanityCheck({self.checked} of {self.name}, {self.target})"
        verdict = printable(f"  {self.verdict}")
        return "\n".join([printable(about), *aligned(self.rows()), verdict, f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MaskStudy(Result):
    """Occlusion by S settings of window, shape and baseline on N images.

    ``windows``, ``shapes``, ``baselines`` (S,) of each setting; ``maps`` (S, N, H, W). ``deletion`` and
    ``insertion`` (S, N) areas, the mean over the mean image and the blurred one; ``agreement`` (S,) the mean rank
    correlation with the maps of the other settings; ``alike`` (S, S) all of them; ``resolution_px`` (S,) side of
    what is hidden at once; ``n_masks`` (S,) and ``seconds`` (S,) what a setting cost. ``recommended`` its number,
    and why in words, ``reason``. ``sign_varies`` (N, H, W): pixels that speak for the target over one baseline and
    against it over another, at the recommended window and shape.
    """

    windows: tuple[int, ...]
    shapes: tuple[str, ...]
    baselines: tuple[str, ...]
    maps: Array
    deletion: Array
    insertion: Array
    agreement: Array
    alike: Array
    resolution_px: Array
    n_masks: Array
    seconds: Array
    recommended: int
    reason: str
    sign_varies: Array
    images: Array
    names: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def advantage(self) -> Array:
        """Insertion minus deletion, the mean over the images, (S,)."""
        return np.asarray((self.insertion - self.deletion).mean(axis=1))

    @checks_arguments
    def setting(self, s: int) -> str:
        """One setting in words."""
        if s >= len(self.windows):
            raise ParameterError(f"s={s}: there are {len(self.windows)} settings, counted from 0")
        return f"{self.windows[s]} px {self.shapes[s]} over {self.baselines[s]}"

    def rows(self) -> list[tuple[str, ...]]:
        """A table of text, the best setting first."""
        heading = ("setting", "insertion ↑", "deletion ↓", "agreement", "resolution px", "masks", "seconds")
        return [
            heading,
            *(
                (
                    self.setting(s),
                    f"{self.insertion[s].mean():.3f}",
                    f"{self.deletion[s].mean():.3f}",
                    f"{self.agreement[s]:.2f}",
                    f"{self.resolution_px[s]:.0f}",
                    f"{self.n_masks[s]:.0f}",
                    _seconds(self.seconds[s]),
                )
                for s in np.argsort(-self.advantage, kind="stable")
            ),
        ]

    def __repr__(self) -> str:
        n_settings, n_images = counted(len(self.windows), "setting"), counted(len(self.names), "image")
        about = f"MaskStudy({n_settings}, {n_images})\n  {printable(self.reason)}"
        return "\n".join([about, *aligned(self.rows()), f"  {self.provenance.caption}"])


def counted(n: int, what: str) -> str:
    """ "1 image", "2 images"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """A table as lines: the first column to the left, the others to the right."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    return [
        "  "
        + "  ".join([row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _number(mean: float, margin: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" if np.isnan(margin) else f"{mean:.3f} ± {margin:.3f}"


def _seconds(seconds: float) -> str:
    return "–" if np.isnan(seconds) else f"{seconds:.2f}"
