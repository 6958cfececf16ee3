"""An image as superpixels, each shown or replaced by the baseline: what LIME and Kernel SHAP have in common."""

from __future__ import annotations

import torch

from ..checks import Pair, as_pair
from ..errors import ParameterError
from ..perturbation import check_windows, finite, superpixels
from ..results import Array
from .explained import Explained


def check_superpixel(superpixel: int | Pair | None, size: Pair) -> Pair:
    """About how large a superpixel is, (height, width): by default as large as a window of `occlusion`."""
    if superpixel is None:
        return check_windows(size, None, None)[0]
    pair = as_pair(superpixel, "superpixel")
    if pair[0] > size[0] or pair[1] > size[1]:
        raise ParameterError(f"superpixel={superpixel}: larger than the image the network sees, {size}")
    return pair


def numbered_superpixels(pixels: Array, superpixel: Pair) -> torch.Tensor:
    """The number of each pixel's superpixel, (H, W), for a picture (H, W, 3); from 0, none left out."""
    numbered = torch.zeros(pixels.shape[:2], dtype=torch.long, device="cpu")
    for numbers, masks in superpixels(pixels, superpixel):
        for number, mask in zip(numbers.tolist(), masks, strict=True):
            numbered[mask] = number
    return numbered


def score_coalitions(
    images: Explained, i: int, numbered: torch.Tensor, behind: torch.Tensor, coalitions: torch.Tensor
) -> torch.Tensor:
    """The scores of image i with some of its superpixels shown, and the baseline in place of the others.

    Args:
        images: the images of a batch.
        i: which of them.
        numbered: (H, W), the number of each pixel's superpixel.
        behind: (C, H, W), the baseline.
        coalitions: (M, D) of booleans, True where a superpixel is shown.

    Returns:
        (M, T) float64 on the CPU, for the T targets of the image.
    """
    x = images.x[i]
    coalitions, numbered = coalitions.to(x.device), numbered.to(x.device)

    def variants(first: int, end: int) -> torch.Tensor:
        shown = coalitions[first:end, numbered]  # (m, H, W)
        return torch.where(shown[:, None], x, behind)

    scores = images.score_variants(len(coalitions), variants, i)
    finite(scores.flatten(), [images.batch.names[i]] * scores.numel())
    return scores
