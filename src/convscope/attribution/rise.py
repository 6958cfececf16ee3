"""RISE: the mean score of the image under the random masks that show a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..checks import Sides
from ..errors import ParameterError
from ..models import Model
from ..perturbation import Baseline, describe_baseline, finite, hiding
from ..progress import Progress
from ..registry import register, tried_by
from ..results import Attribution
from ..targets import Score, Target
from .method_run import Run
from .scored import ScoredImage

_AT_ONCE = 32  # masks added up at once: they fit into the caches of a processor


@register
@tried_by(None)
def rise(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    n_masks: int = 1000,
    cells: int = 7,
    keep: float = 0.5,
    baseline: Baseline = "mean",
    score: Score = "logit",
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """How much higher the score is when a pixel shows through random masks than it is on average.

    Each mask is a coarse random grid, smoothed and shifted at random. There is no window to choose, and several
    parts are hidden at once; in return every value is a mean over random masks, and as noisy as that.

        value(p) = sum over m of (S_m - mean S) * mask_m(p) / (n_masks * keep)
        S_m = S(mask_m * x + (1 - mask_m) * b)

    Positive: the pixel supports the target. The paper does not subtract mean S, which adds mean S to every pixel,
    but not quite evenly: what is uneven is noise, and for scores far from zero, as logits often are, can hide the
    map. Mean S is measured, so the paper's map can be recovered.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        n_masks: the number of masks; the noise falls with its square root.
        cells: of a mask's grid along each side, or as many as the side has pixels where these are fewer, as in a
            clip of few frames. Fewer cells show larger parts.
        keep: the probability that a cell is shown, between 0 and 1.
        baseline: what replaces hidden pixels: "mean" (0 after normalization), "blur", "noise", "black", "white",
            an image, or a number: 0 (black) to 1 (white) for pictures, in normalized units for a preprocessed
            tensor. A note says where the image's border is of one color and the baseline of another.
        score: "logit" (before softmax) or "probability", which is the paper's.
        seed: of the masks, the same for every image, and of the noise baseline.
        progress: called with (masks done, masks in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, signed. ``provenance.measured["mean_score"]`` has for
        each map mean S.

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: fewer than 2 masks or cells, more cells than the longest side has pixels,
            keep not between 0 and 1.

    Cost: ``n_masks`` + 1 forward passes an image, in batches that fit in memory; masks are made twice, and never
    all at once.

    Example:
        >>> center = nn.Sequential(nn.Flatten(), nn.Linear(81, 1, bias=False))
        >>> _ = center[1].weight.data.zero_()[0, 40] = 1.0
        >>> found = rise(center, torch.ones(1, 1, 9, 9), cells=3, n_masks=500)
        >>> divmod(int(found.values[0].argmax()), 9)
        (4, 4)

    References:
        Petsiuk, Das, Saenko: RISE: randomized input sampling for explanation of black-box models, 2018,
        arXiv 1806.07421.
    """
    run = Run(
        "rise",
        model,
        images,
        target=target,
        score=score,
        parameters={
            "n_masks": n_masks,
            "cells": cells,
            "keep": keep,
            "baseline": describe_baseline(baseline),
            "seed": seed,
        },
        unit=f"score above its mean when shown ({score})",
        gradients="none",
        n_steps=n_masks,
        progress=progress,
    )
    size = run.inputs.shape[1:]
    if cells > max(size):
        raise ParameterError(f"cells={cells}: more than the pixels of the image the network sees, {size}")
    hide = hiding(run.model, baseline, preprocessed=run.inputs.preprocessed, seed=seed, notes=run.notes)
    mean_scores = run.measured["mean_score"] = []

    def maps_of(image: ScoredImage) -> torch.Tensor:
        behind = hide(image.x)
        masks = random_masks(n_masks, cells, keep, size, seed, like=image.x)

        def variants(first: int, end: int) -> torch.Tensor:
            return behind + masks(first, end)[:, None] * (image.x - behind)

        scores = image.score_variants(n_masks, variants)
        finite(scores.flatten(), [image.name] * scores.numel())
        rises = scores - scores[0]  # so that those of a constant score are exactly zero
        run.note_on_rounding(scores, rises)
        mean_scores.extend(scores.mean(dim=0).tolist())
        return _weighted_sum(rises - rises.mean(dim=0), masks) / (n_masks * keep)

    return run.by_image(maps_of)


def random_masks(
    n: int, cells: int, keep: float, size: Sides, seed: int, like: torch.Tensor
) -> Callable[[int, int], torch.Tensor]:
    """n masks, 1 where the image is shown and 0 where it is hidden; the function returns some of them, (m, H, W).

    A grid (cells, cells) of zeros and ones is upsampled linearly to one cell more than the image each way, and
    cut at a random offset; that of a signal is (cells,), of a volume (cells, cells, cells). Along a side of fewer
    pixels there is a cell for each. Mask m depends only on the seed and on m. The masks have the type and device
    of ``like``.
    """
    grid = [min(cells, length) for length in size]
    generator = torch.Generator().manual_seed(seed)
    n_sides = len(size)
    shape = (n, math.prod(grid) + n_sides)  # one row a mask
    drawn = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
    grids = (drawn[:, :-n_sides] < keep).reshape(n, *grid).to(like)
    sides = [math.ceil(length / along) for length, along in zip(size, grid, strict=True)]  # of a cell, in pixels
    weights = [_upsampling(along, side).to(like) for along, side in zip(grid, sides, strict=True)]
    offsets = (drawn[:, -n_sides:] * torch.tensor(sides, device="cpu")).long().to(like.device)
    steps = [torch.arange(length, device=like.device) for length in size]

    def some(first: int, end: int) -> torch.Tensor:
        # Bilinear is linear down times linear across: (m, H, cells) @ (m, cells, cells) @ (m, cells, W).
        starts = offsets[first:end].T[..., None]
        *before, last = (weight[start + step] for weight, start, step in zip(weights, starts, steps, strict=True))
        masks = grids[first:end]
        for n_done, weight in enumerate(before):
            done = masks.shape[: 1 + n_done]
            each = weight.view(len(weight), *(1,) * n_done, *weight.shape[1:])
            masks = (each @ masks.reshape(*done, grid[n_done], -1)).reshape(*done, -1, *grid[n_done + 1 :])
        return (masks.reshape(len(masks), -1, grid[-1]) @ last.mT).reshape(len(masks), *size)

    return some


def _upsampling(cells: int, side: int) -> torch.Tensor:
    """The weight of each cell at each pixel of the upsampled grid, ((cells + 1) * side, cells)."""
    each = functional.interpolate(
        torch.eye(cells, dtype=torch.float32, device="cpu")[None], size=(cells + 1) * side, mode="linear"
    )
    return each[0].T


def _weighted_sum(weights: torch.Tensor, masks: Callable[[int, int], torch.Tensor]) -> torch.Tensor:
    """The sum (T, H, W) of masks, weighted by (M, T)."""
    parts = []
    for first in range(0, len(weights), _AT_ONCE):
        some = masks(first, min(first + _AT_ONCE, len(weights)))
        parts.append(torch.tensordot(weights[first : first + _AT_ONCE].T.to(some), some, dims=1).cpu())
    return torch.stack(parts).double().sum(dim=0)
