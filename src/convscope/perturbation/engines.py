"""Two ways to run variants of an image, which put out the same.

"dense" runs the whole network on every variant, "incremental" only what the hidden part changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from ..execution import convolutions_of, fused
from ..incremental import AT_ONCE, Changes, Ints, Plan, Run
from ..models import Model
from .masks import Masks

Engine: TypeAlias = Literal["auto", "incremental", "dense"]
Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Variants:
    """An image and the ways to hide a part of it: shown and behind are (H, W, C)."""

    shown: torch.Tensor
    behind: torch.Tensor
    masks: Masks

    @classmethod
    def of(cls, image: torch.Tensor, baseline: torch.Tensor, masks: Masks) -> Variants:
        # As (H, W, C) a batch of them is channels-last already: no copy on the way into the network.
        return cls(image.permute(1, 2, 0).contiguous(), baseline.permute(1, 2, 0).contiguous(), masks)

    def __call__(self, numbers: Ints) -> torch.Tensor:
        """Ints variants (m, C, H, W)."""
        hidden = self.masks.some(numbers).to(self.shown.device)
        return torch.where(hidden[..., None], self.behind, self.shown).permute(0, 3, 1, 2)

    def parts(self, numbers: Ints, top: Ints, left: Ints, height: int, width: int) -> torch.Tensor:
        """Of each variant a rectangle, (m, C, height, width)."""
        y = torch.from_numpy(top[:, None] + np.arange(height)).to(self.shown.device)[:, :, None]
        x = torch.from_numpy(left[:, None] + np.arange(width)).to(self.shown.device)[:, None, :]
        rows = torch.arange(len(numbers), device=self.shown.device)[:, None, None]
        hidden = self.masks.some(numbers).to(self.shown.device)[rows, y, x]
        parts: torch.Tensor = torch.where(hidden[..., None], self.behind[y, x], self.shown[y, x])
        return parts.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Way:
    """One way to run variants: ``clean`` is the output for the image itself, computed as the variants' are."""

    clean: Any
    outputs: Callable[[Ints], Any]  # of the variants with these numbers
    order: Ints
    size: int  # variants at once


@contextmanager
def dense(model: Model, variants: Variants, precision: Precision) -> Iterator[Way]:
    """The whole network on every variant, batch norm and activations fused into the convolutions."""
    height, width, channels = variants.shown.shape
    shape = (channels, height, width)
    prepare = model.preparation(shape)
    image = variants.shown.permute(2, 0, 1)[None]

    def run(x: torch.Tensor) -> Any:
        return _float32(model.module(prepare(x)), precision)

    half = torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    # Copies of the image, as the network's first operation may be in place.
    with half, fused(convolutions_of(model.module, lambda: run(image.clone()))):
        size = model.fitting_batch(shape, fused=True)
        yield Way(run(image.clone()), lambda numbers: run(variants(numbers)), np.arange(len(variants.masks)), size)


def incremental(model: Model, variants: Variants, plan: Plan, changes: Changes, precision: Precision) -> Way:
    """Only what each variant changed; the rest comes from one run on the image."""
    height, width, channels = variants.shown.shape
    run = Run(plan, variants.shown.permute(2, 0, 1))

    def outputs(numbers: Ints) -> Any:
        layout = changes.layout(numbers)
        part = layout.parts[plan.graph.input]
        assert part is not None
        given = variants.parts(numbers, part.top, part.left, part.height, part.width)
        return _float32(run.outputs(layout, given.to(plan.dtype)), precision)

    size = model.fitting_batch((channels, height, width), at_most=AT_ONCE)
    return Way(_float32(run.output, precision), outputs, changes.order, size)


def _float32(output: Any, precision: Precision) -> Any:
    """What comes out in bfloat16, with the digits that softmax and differences need."""
    if precision == "bfloat16" and isinstance(output, torch.Tensor):
        return output.float()
    return output
