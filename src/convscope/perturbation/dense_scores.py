"""Dense scores: run the whole network on every variant of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch

from ..checks import Precision
from ..execution import convolutions_of, fused, in_batches
from ..models import Model
from .variants import Outputs, Variants, widened


@contextmanager
def dense_outputs(model: Model, variants: Variants, precision: Precision) -> Iterator[Outputs]:
    """Run the whole network on every variant, with batch norm and activations fused into the convolutions."""
    prepare = model.preparation(variants.shape)
    image = variants.image[None]

    def run(x: torch.Tensor) -> Any:
        return widened(model.module(prepare(x)), precision)

    half = torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    # Copies of the image, because the network's first operation may be in place.
    with half, fused(convolutions_of(model.module, lambda: run(image.clone()))):
        size = model.fitting_batch(variants.shape, fused=True)
        yield Outputs(
            run(image.clone()), lambda numbers: run(variants(numbers)), np.arange(len(variants.masks)), size
        )


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
    """The scores of n variants of any kind; each batch is made just before it runs.

    Args:
        model: in evaluation mode, without gradients.
        shape: (C, H, W) of a variant.
        n: the number of variants.
        variants: a function from (first, end) to these variants, (m, C, H, W).
        score_of: a function from the network's output for m variants, and m, to their scores (m, T).
        fusing: the network's `fused` context, if the caller already has it.
        progress: called with the number of variants done since the last call.

    Returns:
        (n, T) float64 on the CPU.

    Cost: n forward passes with batch norm and activations fused into the convolutions, plus one without
    ``fusing``; memory for one batch.
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
