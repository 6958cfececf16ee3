"""Dense scores: run the whole network on every variant of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from ..checks import InputShape, Precision
from ..execution import convolutions_of, fused, in_batches
from ..execution.capture import tensors_of
from ..models import Model
from .variants import Outputs, Variants, widened

EXACT = 1e-4  # of the range of the output: how far float32 rounding may move it when sums run in another order
ROUGH = 0.05  # the same for types with fewer digits


def tolerance(model: Model, precision: Precision) -> float:
    """The largest deviation that rounding explains."""
    is_exact = precision == "float32" and model.dtype in (torch.float32, torch.float64)
    return EXACT if is_exact else ROUGH


@contextmanager
def dense_outputs(model: Model, variants: Variants, precision: Precision) -> Iterator[Outputs]:
    """Run the whole network on every variant, with batch norm and activations fused into the convolutions."""
    prepare = model.preparation(variants.shape)
    image = variants.image[None]

    def run(x: torch.Tensor) -> Any:
        return widened(model.module(prepare(x)), precision)

    half = torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    plain: list[Any] = []
    with half:
        # Copies of the image, because the network's first operation may be in place.
        fusing: AbstractContextManager[Any] = fused(
            convolutions_of(model.module, lambda: plain.append(run(image.clone())))
        )
        with fusing:
            clean = run(image.clone())
        # Where part of the network was not watched, as in TorchScript, run it unfused.
        if not _is_same(plain[0], clean, tolerance(model, precision)):
            fusing, clean = nullcontext(), plain[0]
        with fusing:
            size = model.fitting_batch(variants.shape, fused=True)
            yield Outputs(clean, lambda numbers: run(variants(numbers)), np.arange(len(variants.masks)), size)


def _is_same(expected: Any, found: Any, share: float) -> bool:
    """Whether outputs agree up to a share of the largest finite value; infinite ones must be equal."""
    pairs = list(zip_longest(tensors_of(expected), tensors_of(found)))
    if any(a is None or b is None or a.shape != b.shape for a, b in pairs):
        return False
    return all(
        torch.allclose(b, a, rtol=0, atol=share * float(a[torch.isfinite(a)].abs().max()), equal_nan=True)
        for a, b in pairs
        if torch.isfinite(a).any()
    )


def score_variants(
    model: Model,
    shape: InputShape,
    n: int,
    variants: Callable[[int, int], torch.Tensor],
    score_of: Callable[[Any, int], torch.Tensor],
    *,
    fusing: AbstractContextManager[Any],
    progress: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """The scores of n variants of any kind; each batch is made just before it runs.

    Args:
        model: in evaluation mode, without gradients.
        shape: (C, H, W) of a variant.
        n: the number of variants.
        variants: a function from (first, end) to these variants, (m, C, H, W).
        score_of: a function from the network's output for m variants, and m, to their scores (m, T).
        fusing: the network's `fused` context, or `nullcontext` to run it as it is.
        progress: called with the number of variants done since the last call.

    Returns:
        (n, T) float64 on the CPU.

    Cost: n forward passes; memory for one batch.
    """
    prepare = model.preparation(shape)
    found: list[torch.Tensor] = []

    def run(first: int, end: int) -> None:
        x = prepare(variants(first, end)).clone()  # the network's first operation may be in place
        found.append(score_of(model.module(x), end - first).cpu().double())

    done = 0
    with fusing:
        for end in in_batches(n, model.fitting_batch(shape, fused=True), run):
            if progress:
                progress(end - done)
            done = end
    return torch.cat(found)
