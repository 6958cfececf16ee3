"""Any number of variants of an image through the whole network, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from ..execution import convolutions_of, fused, in_batches
from ..models import Model


def score_variants(
    model: Model,
    shape: tuple[int, int, int],
    n: int,
    variants: Callable[[int, int], torch.Tensor],
    score_of: Callable[[Any, int], torch.Tensor],
    *,
    fusing: AbstractContextManager[Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """The scores of n variants of an image, which are made when it is their turn.

    Args:
        model: in evaluation mode, no gradients wanted.
        shape: (C, H, W) of a variant.
        n: how many there are.
        variants: from (first, end) to those variants (m, C, H, W).
        score_of: from the network's output for m of them, and m, to scores (m, T).
        fusing: its `fused`, where that is there already.
        progress: called with the number of variants done since the last call.

    Returns:
        (n, T) float64 on the CPU.

    Cost: n forward passes, and one where `fusing` is not given, with batch norm and activations fused
    into the convolutions; memory for one batch.
    """
    prepare = model.preparation(shape)
    found: list[torch.Tensor] = []

    def run(first: int, end: int) -> None:
        x = prepare(variants(first, end)).clone()  # the network's first operation may be in place
        found.append(score_of(model.module(x), end - first).cpu().double())

    done = 0
    if fusing is None:
        fusing = fused(convolutions_of(model.module, lambda: model.module(prepare(variants(0, 1)).clone())))
    with fusing:
        for end in in_batches(n, model.fitting_batch(shape, fused=True), run):
            if progress:
                progress(end - done)
            done = end
    return torch.cat(found)
