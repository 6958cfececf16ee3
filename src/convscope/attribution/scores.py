"""Scores of variants of an image: the one place where hidden pixels become numbers.

`score_drops` is all that occlusion knows about running a network, so that a faster way of computing
the same scores can take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..errors import ModelError
from ..models import Model, folded_batch_norm, in_batches
from .masks import Masks


def score_drops(
    model: Model,
    image: torch.Tensor,
    baseline: torch.Tensor,
    masks: Masks,
    score: Callable[[Any, int], torch.Tensor],
    *,
    progress: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """S(image) - S(variant) for every variant of an image in which one mask is hidden.

    Args:
        model: the network, in evaluation mode.
        image: (C, H, W), preprocessed, on the model's device.
        baseline: (C, H, W), what shows where a mask hides the image.
        masks: M masks, made a batch at a time.
        score: from the network's output for m variants, and m, to scores (m,).
        progress: called with the number of variants done.

    Returns:
        (M,) float64 on the CPU.

    Cost: M + 2 forward passes, in batches that fit in memory, batch norm folded into the convolutions; the
    whole image goes the same way, so that rounding is the same on both sides of the difference.
    """
    scores = torch.empty(len(masks), dtype=torch.float64)
    shape = (image.shape[0], image.shape[1], image.shape[2])
    prepare = model.preparation(shape)
    # Put together as (m, H, W, C), which is channels-last already: no copy on the way into the network.
    shown, behind = (t.permute(1, 2, 0).contiguous() for t in (image, baseline))

    def run(first: int, end: int) -> None:
        hidden = masks.batch(first, end).to(image.device)
        variants = torch.where(hidden[..., None], behind, shown).permute(0, 3, 1, 2)
        scores[first:end] = score(model.module(prepare(variants)), end - first).double().cpu()

    with folded_batch_norm(lambda: model.module(prepare(image[None].clone()))):
        whole = score(model.module(prepare(image[None].clone())), 1).double().cpu()
        for done in in_batches(len(masks), model.fitting_batch(shape), run):
            if progress:
                progress(done)
    return whole - scores


def finite(scores: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """The scores themselves, or `ModelError` naming the first image whose score is NaN or infinite."""
    bad = (~torch.isfinite(scores)).nonzero()
    if len(bad):
        i = int(bad[0, 0])
        raise ModelError(
            f"{names[i]}: the network's score is {float(scores[i].detach())}; there is nothing to explain"
        )
    return scores
