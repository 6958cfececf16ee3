"""What shows where an image is hidden."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch

from ..errors import ParameterError
from ..models import Model, check_tensor, gaussian_blur

Baseline: TypeAlias = float | Literal["mean", "blur", "noise"] | Any

# A blur that leaves no object recognizable but keeps the colors: a twentieth of the image's shorter side.
BLUR_SHARE = 1 / 20


def fill(model: Model, baseline: Baseline, image: torch.Tensor, *, preprocessed: bool, seed: int) -> torch.Tensor:
    """The filler (C, H, W) for one preprocessed image (C, H, W).

    Args:
        model: whose preprocessing says what a number means.
        baseline: "mean" (0 after normalization); "blur" (the image itself under a Gaussian of a 20th of its
            shorter side); "noise" (uniform between the least and the greatest value of each channel); a
            number in the image's own units: [0, 1] for pictures, normalized units for a preprocessed tensor;
            or an image.
        image: what is to be hidden.
        preprocessed: whether the image was given as a tensor.
        seed: of the noise; the same for every image, so that a batch gives what its images give one by one.
    """
    if isinstance(baseline, str) and baseline in ("mean", "blur", "noise"):
        return _named(baseline, image, seed)
    if isinstance(baseline, bool):
        raise ParameterError(f"baseline={baseline}: expected a number, 'mean', 'blur', 'noise' or an image")
    if isinstance(baseline, int | float):
        return _number(model, float(baseline), image, preprocessed)
    if isinstance(baseline, torch.Tensor):
        given = check_tensor(baseline if baseline.ndim == 4 else baseline[None], image.shape[0])[0]
    else:
        given = next(model.inputs(baseline).batches(1)).x[0]
    if given.shape != image.shape:
        raise ParameterError(f"a baseline of shape {tuple(given.shape)} for an image of {tuple(image.shape)}")
    return given.to(image)


def _named(name: str, image: torch.Tensor, seed: int) -> torch.Tensor:
    if name == "mean":
        return torch.zeros_like(image)
    if name == "blur":
        sigma = max(0.5, BLUR_SHARE * min(image.shape[-2:]))
        return gaussian_blur(image, sigma)
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same noise on every device
    noise = torch.rand(image.shape, generator=generator).to(image)
    low, high = image.amin(dim=(1, 2), keepdim=True), image.amax(dim=(1, 2), keepdim=True)
    return low + noise * (high - low)


def _number(model: Model, value: float, image: torch.Tensor, preprocessed: bool) -> torch.Tensor:
    if not math.isfinite(value):
        raise ParameterError(f"baseline={value}: expected a finite number")
    filler = torch.full_like(image, value)
    if preprocessed or model.preprocessing is None:
        return filler
    if not 0 <= value <= 1:
        raise ParameterError(f"baseline={value}: for pictures, expected 0 (black) to 1 (white)")
    return model.preprocessing.from_unit(filler)
