"""An image as superpixels, each shown or hidden behind a baseline: the frame of LIME and Kernel SHAP."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..checks import Pair, as_pair
from ..errors import ParameterError
from ..perturbation import Baseline, check_windows, finite, hiding, superpixels
from ..results import Array, Attribution
from .method_run import Run
from .scored import ScoredImage


def superpixel_maps(
    run: Run,
    superpixel: int | Pair | None,
    baseline: Baseline,
    seed: int,
    coalitions_of: Callable[[int], torch.Tensor],
    values_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Attribution:
    """The maps of a method that gives superpixels values, by the scores of the image with some of them hidden.

    Args:
        run: the run of the method.
        superpixel: about how large one is, see `check_superpixel`.
        baseline: what hides a superpixel.
        seed: of the noise baseline.
        coalitions_of: from the number D of superpixels to which are shown, (M, D) of booleans.
        values_of: from these, and the scores (M, T) of the image with no others shown, to values (T, D).
    """
    run.inputs.need_pictures(run.method)
    _, height, width = run.inputs.shape
    about_px = check_superpixel(superpixel, (height, width))
    run.describe(superpixel=about_px)
    hide = hiding(run.model, baseline, preprocessed=run.inputs.preprocessed, seed=seed, notes=run.notes)

    def maps_of(image: ScoredImage) -> torch.Tensor:
        numbered = numbered_superpixels(image.pixels, about_px)
        coalitions = coalitions_of(int(numbered.max()) + 1)
        run.steps.each = len(coalitions)
        values = values_of(coalitions, score_coalitions(image, numbered, hide(image.x), coalitions))
        run.note_on_rounding(image.scores, values.T)
        return values[:, numbered]

    return run.by_image(maps_of)


def check_superpixel(superpixel: int | Pair | None, size: Pair) -> Pair:
    """About how large a superpixel is, (height, width): by default as large as a window of `occlusion`."""
    if superpixel is None:
        height, width = check_windows(size, None, None)[0]
        return height, width
    pair = as_pair(superpixel, "superpixel")
    if pair[0] > size[0] or pair[1] > size[1]:
        raise ParameterError(f"superpixel={superpixel}: larger than the image the network sees, {size}")
    return pair


def numbered_superpixels(pixels: Array, superpixel: Pair) -> torch.Tensor:
    """The number of each pixel's superpixel, (H, W), for a picture (H, W, 3); from 0, without gaps."""
    numbered = torch.zeros(pixels.shape[:2], dtype=torch.long, device="cpu")
    for numbers, masks in superpixels(pixels, superpixel):
        for number, mask in zip(numbers.tolist(), masks, strict=True):
            numbered[mask] = number
    return numbered


def score_coalitions(
    image: ScoredImage, numbered: torch.Tensor, behind: torch.Tensor, coalitions: torch.Tensor
) -> torch.Tensor:
    """The scores of an image with some superpixels shown, and the baseline in place of the others.

    Args:
        image: the image.
        numbered: (H, W), the number of each pixel's superpixel.
        behind: (C, H, W), the baseline.
        coalitions: (M, D) of booleans, True where a superpixel is shown.

    Returns:
        (M, T) float64 on the CPU, for the T targets of the image.
    """
    coalitions, numbered = coalitions.to(image.x.device), numbered.to(image.x.device)

    def variants(first: int, end: int) -> torch.Tensor:
        shown = coalitions[first:end, numbered]  # (m, H, W)
        return torch.where(shown[:, None], image.x, behind)

    scores = image.score_variants(len(coalitions), variants)
    finite(scores.flatten(), [image.name] * scores.numel())
    return scores
