"""Incremental scores: run the network once on the image, then only on what each mask changes."""

from __future__ import annotations

from typing import Any

import torch

from ..checks import Precision
from ..incremental import AT_ONCE, Changes, IncrementalRun, IntArray, Plan, forget_plan, plan_of
from ..models import Model
from .masks import Masks
from .variants import Outputs, Variants, widened


class IncrementalEngine:
    """Runs a network by its plan, for images of one size.

    Args:
        model: in evaluation mode.
        image: (C, H, W), an image of that size.
        precision: the precision of the runs.

    Raises:
        GraphError: the network cannot be split into operations.
    """

    def __init__(self, model: Model, image: torch.Tensor, precision: Precision) -> None:
        self._model, self._precision = model, precision
        self._plan: Plan = plan_of(model.module, image, torch.bfloat16 if precision == "bfloat16" else None)
        self._changes: tuple[Masks, Changes] | None = None

    def predicted_ratio(self, masks: Masks) -> float:
        """How many times fewer multiplications this takes than whole runs."""
        return self._changes_of(masks).ratio(AT_ONCE)

    def explain(self) -> str:
        """Where and why whole maps are computed, whatever part of the image changes."""
        return self._plan.explain()

    def outputs(self, variants: Variants) -> Outputs:
        """Run the image once, and prepare to run only what each variant changes."""
        changes = self._changes_of(variants.masks)
        run = IncrementalRun(self._plan, variants.image)

        def of(numbers: IntArray) -> Any:
            layout = changes.layout(numbers)
            part = layout.parts[self._plan.graph.input]
            assert part is not None
            given = variants.parts(numbers, part.top, part.left, part.height, part.width)
            return widened(run.outputs(layout, given.to(self._plan.dtype)), self._precision)

        size = self._model.fitting_batch(variants.shape, at_most=AT_ONCE)
        return Outputs(widened(run.output, self._precision), of, changes.order, size)

    def forget(self) -> None:
        """Drop the plan, so that the next call makes a new one."""
        forget_plan(self._model.module)

    def _changes_of(self, masks: Masks) -> Changes:
        """What each mask changes, cached: a grid of windows is the same for all images."""
        if self._changes is None or self._changes[0] is not masks:
            self._changes = masks, self._plan.changes(masks.rectangles)
        return self._changes[1]
