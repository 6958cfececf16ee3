"""Scores of variants of an image: the one place where hidden pixels become numbers.

`scores_of_variants` is all that occlusion knows about running a network, so that a faster way of computing
the same scores can take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..errors import ModelError
from ..models import Model, in_batches
from .masks import Masks


def scores_of_variants(
    model: Model,
    image: torch.Tensor,
    filler: torch.Tensor,
    masks: Masks,
    score: Callable[[torch.Tensor], torch.Tensor],
    *,
    progress: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """The score of every variant of an image in which one mask is filled.

    Args:
        model: the network, in evaluation mode.
        image: (C, H, W), preprocessed, on the model's device.
        filler: (C, H, W), what shows where a mask hides the image.
        masks: M masks, made a batch at a time.
        score: from outputs (m, ...) to scores (m,).
        progress: called with the number of variants done.

    Returns:
        (M,) float64 on the CPU.

    Cost: M forward passes, in batches that fit in memory.
    """
    scores = torch.empty(len(masks), dtype=torch.float64)
    height, width = image.shape[-2:]

    def run(first: int, end: int) -> None:
        hidden = masks.batch(first, end).to(image.device)[:, None]
        variants = model.prepare(torch.where(hidden, filler, image))
        scores[first:end] = score(model.module(variants)).double().cpu()

    size = model.fitting_batch((image.shape[0], height, width))
    for done in in_batches(len(masks), size, run):
        if progress:
            progress(done)
    return scores


def finite(scores: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """The scores themselves, or `ModelError` naming the first image whose score is NaN or infinite."""
    bad = (~torch.isfinite(scores)).nonzero()
    if len(bad):
        i = int(bad[0, 0])
        raise ModelError(
            f"{names[i]}: the network's score is {float(scores[i].detach())}; there is nothing to explain"
        )
    return scores
