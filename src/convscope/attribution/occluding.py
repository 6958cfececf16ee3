"""How far scores fall where parts of an image are hidden: the frame of occlusion by one window and by several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, get_args

import numpy as np
import torch

from ..checks import Pair, Precision, Sides, as_choice, unfit
from ..errors import ParameterError
from ..perturbation import (
    Baseline,
    Engine,
    Masks,
    Scorer,
    Shape,
    SignNote,
    Variants,
    baseline_of,
    check_windows,
    describe_baseline,
    finite,
    given,
    hiding,
    other_baseline,
    strongest,
    superpixels,
    windows,
)
from ..results import Array
from .method_run import Run
from .scored import ScoredImage

MasksOf: TypeAlias = Callable[[Array], Masks]  # from the pixels (H, W, 3) of an image


class Occluder:
    """Hides parts of the images of a run.

    Args:
        run: of the method; its provenance will tell the options here, and how the network was run.
        baseline: what is put in place of hidden pixels.
        engine, precision: of `Scorer`.
        seed: of the noise baseline.
    """

    def __init__(self, run: Run, *, baseline: Baseline, engine: Engine, precision: Precision, seed: int) -> None:
        self._run = run
        self._scorer = Scorer(run.model, engine, precision)
        run.measured, self._scorer.notes = self._scorer.measured, run.notes
        # From an image to what hides it, to be called once for each; it notes where their borders are unlike.
        self.hide = hiding(run.model, baseline, preprocessed=run.inputs.preprocessed, seed=seed, notes=run.notes)
        self._check_signs = _sign_check(run, baseline, seed)
        run.describe(
            baseline=describe_baseline(baseline),
            engine=engine,
            precision=precision,
            seed=seed if isinstance(baseline, str) and baseline == "noise" else None,
        )

    def drops(self, image: ScoredImage, behind: torch.Tensor, masks: Masks) -> torch.Tensor:
        """How far each score of an image falls where a mask hides it, (M, T); ``behind`` (C, H, W) shows there."""
        found = self._scorer.drops(image.x, behind, masks, image.targets.of, progress=image.advance)
        finite(found.flatten(), [image.name] * found.numel())
        return found

    def remark(self, image: ScoredImage, masks: Masks, drops: torch.Tensor) -> None:
        """Note where drops (M, T) are rounding, or where their sign depends on the baseline."""
        self._check_signs(image, masks, drops)
        self._run.note_on_rounding(image.scores, drops)


def _sign_check(run: Run, baseline: Baseline, seed: int) -> Callable[[ScoredImage, Masks, torch.Tensor], None]:
    """A function that hides an image's strongest masks once more, over another baseline, and notes changed signs.

    It is given the image, its masks and their drops (M, T).
    """
    other = other_baseline(baseline)
    if other is None:
        return lambda *_: None
    hide = baseline_of(run.model, other, preprocessed=run.inputs.preprocessed, seed=seed)
    note = SignNote(run.notes, other)

    def check(image: ScoredImage, masks: Masks, drops: torch.Tensor) -> None:
        variants = Variants.of(image.x, hide(image.x), masks)
        numbers = strongest(drops.abs().mean(dim=1))  # for all targets the same, in one run
        with image.fusing:
            others = (image.scores - image.scores_of(variants(numbers))).cpu().double()
        for of_one, other in zip(drops[numbers].T, others.T, strict=True):
            note.add(of_one, other)

    return check


def masks_for(
    shape: Shape | Array,
    size: Sides,
    window: int | Sides | None,
    stride: int | Sides | None,
    patch: Pair = (1, 1),
) -> tuple[MasksOf, dict[str, Any]]:
    """How to make the masks of an image of this size (H, W), and what to say of them in the provenance."""
    if isinstance(shape, np.ndarray | torch.Tensor):
        fixed = given(shape.detach().cpu().numpy() if isinstance(shape, torch.Tensor) else shape, size)
        return lambda pixels: fixed, {"shape": f"{len(fixed)} masks"}
    window, stride = check_windows(size, window, stride, patch)
    if shape == "superpixel":
        if len(window) != 2:
            raise ParameterError(
                f"shape='superpixel' needs pictures (N, C, H, W), and these have the size {size}: take "
                "'rectangle', 'ellipse' or an array of masks"
            )
        height, width = window
        return lambda pixels: superpixels(pixels, (height, width)), {"shape": shape, "window": window}
    if shape in ("rectangle", "ellipse"):
        grid = windows(size, window, stride, shape=shape)
        return lambda pixels: grid, {"shape": shape, "window": window, "stride": stride}
    if isinstance(shape, str):
        as_choice(shape, "shape", get_args(Shape))
    raise unfit(shape, "shape", "'rectangle', 'ellipse', 'superpixel' or an array of masks")


def averaged(drops: torch.Tensor, masks: Masks, size: Sides) -> torch.Tensor:
    """The mean drop (T, H, W) of the masks that cover each pixel; 0 where none does.

    Args:
        drops: (M, T), S(x) - S(x with mask m hidden).
        masks: the M masks.
        size: (H, W).
    """
    total = torch.zeros((drops.shape[1], *size), dtype=torch.float64, device="cpu")
    cover = torch.zeros(size, dtype=torch.float64, device="cpu")
    each = (-1, *(1 for _ in size))
    for numbers, hidden in masks:
        for number, mask in zip(numbers, hidden, strict=True):
            first, last = np.split(masks.rectangles[number], 2)
            here = tuple(map(slice, first, last))
            total[:, *here] += drops[number].view(each) * mask[here]
            cover[here] += mask[here]
    return torch.where(cover > 0, total / cover, 0.0)
