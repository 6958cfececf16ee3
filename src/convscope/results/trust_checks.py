"""Checks of one method's maps: do they depend on the network, and on the choice of the mask?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arguments import checks_arguments
from ..checks import Sides
from ..errors import ParameterError
from ..texts import counted, printable
from .base import Array, Result
from .text_tables import aligned, seconds_cell

# Limits on |rank correlation|: up to CHANGED a map counts as changed, from SAME on as much the same, and between
# them it is doubtful. The mean over five unrelated maps of 7 x 7 cells stays below CHANGED 19 times out of 20.
CHANGED, SAME = 0.4, 0.6
_UNITS = {1: "samples", 2: "px", 3: "voxels"}  # by the number of sides


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SanityCheck(Result):
    """How the map of one image changes when weights of the network become random, or the target another class.

    ``stages`` (S,) are groups of layers, from the output to the input. ``cascading`` (S, 2): rank correlation and
    SSIM with the original map after this stage and all stages before it became random; ``independent`` (S, 2):
    after this stage alone did. ``labels`` (L, 2): the same for the maps of the classes ``label_names``.
    Correlations keep their sign, but their size decides: a map with bright and dark exchanged still is that map.
    ``maps`` (S + 1, H, W), as an `Attribution` has them: the original, then the cascade. ``passes_weights`` and
    ``passes_labels`` are None where doubtful.
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
        """A table of text: a heading, then a row per stage."""
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


def in_units(window: int | Sides, n_sides: int) -> str:
    """A window in words: "24 px" of pictures, "24 samples" of signals, "4 × 8 × 8 voxels" of volumes."""
    sides = (window,) if isinstance(window, int) else window
    return f"{' × '.join(map(str, sides))} {_UNITS[n_sides]}"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MaskStudy(Result):
    """Occlusion with S settings of window, shape and baseline, on N images.

    ``windows`` (px, one number or one for each side), ``shapes`` and ``baselines`` (S,) define the settings;
    ``maps`` (S, N, H, W) are theirs, (S, N, L) of signals and (S, N, D, H, W) of volumes.
    ``deletion`` and ``insertion`` (S, N): areas under the curves, the mean over the baselines "mean" and "blur".
    ``alike`` (S, S): rank correlations between the maps of two settings; ``agreement`` (S,): their mean over the
    other settings. ``resolution_px`` (S,): the side of what is hidden at once, of several the geometric mean.
    ``n_masks`` and ``seconds`` (S,): the cost. ``recommended`` is the number of the best setting, ``reason`` says
    why. ``sign_varies`` (N, H, W) marks pixels that are for the target over one baseline and against it over
    another, at the recommended window and shape.
    """

    windows: tuple[int | Sides, ...]
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
        """Insertion minus deletion of each setting, (S,): the mean over the images."""
        return np.asarray((self.insertion - self.deletion).mean(axis=1))

    @checks_arguments
    def setting(self, s: int) -> str:
        """One setting in words."""
        if s >= len(self.windows):
            raise ParameterError(f"s={s}: there are {len(self.windows)} settings, counted from 0")
        return f"{in_units(self.windows[s], self.maps.ndim - 2)} {self.shapes[s]} over {self.baselines[s]}"

    def rows(self) -> list[tuple[str, ...]]:
        """A table of text: a heading, then a row per setting, best first."""
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
                    seconds_cell(self.seconds[s]),
                )
                for s in np.argsort(-self.advantage, kind="stable")
            ),
        ]

    def __repr__(self) -> str:
        n_settings, n_images = counted(len(self.windows), "setting"), counted(len(self.names), "image")
        about = f"MaskStudy({n_settings}, {n_images})\n  {printable(self.reason)}"
        return "\n".join([about, *aligned(self.rows()), f"  {self.provenance.caption}"])
