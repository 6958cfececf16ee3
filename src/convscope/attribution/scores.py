"""Scores of variants of an image: the one place where hidden pixels become numbers.

`Scorer.drops` is all that occlusion knows about running a network. Two engines put out the same: "dense" runs the
whole network on every variant, "incremental" only what the hidden part changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from ..errors import ModelError, ParameterError
from ..incremental import Changes, GraphError, Plan, Run, plan_of
from ..models import Model, folded_batch_norm, in_batches
from .masks import Masks, Whole

Engine: TypeAlias = Literal["auto", "incremental", "dense"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
# From the network's output for m variants, and m, to scores (m,), or (m, T) of T targets.
Scores: TypeAlias = Callable[[Any, int], torch.Tensor]

GAIN = 1.1  # below this predicted ratio "auto" runs whole networks
# Numbers that a network puts out for one image, times variants: below that, planning costs more than it saves.
WORK = 3e8
EXACT = 1e-4  # of the range of the output: what float32 rounding may make of another order of the same sums
_CHECKED = 4  # variants of the first image that are run both ways
_AT_ONCE = 32  # variants in a batch of the incremental engine, whose parts are small


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

    def __call__(self, numbers: Whole) -> torch.Tensor:
        """Whole variants (m, C, H, W)."""
        hidden = self.masks.some(numbers).to(self.shown.device)
        return torch.where(hidden[..., None], self.behind, self.shown).permute(0, 3, 1, 2)

    def parts(self, numbers: Whole, top: Whole, left: Whole, height: int, width: int) -> torch.Tensor:
        """Of each variant a rectangle, (m, C, height, width)."""
        y = torch.from_numpy(top[:, None] + np.arange(height)).to(self.shown.device)[:, :, None]
        x = torch.from_numpy(left[:, None] + np.arange(width)).to(self.shown.device)[:, None, :]
        rows = torch.arange(len(numbers), device=self.shown.device)[:, None, None]
        hidden = self.masks.some(numbers).to(self.shown.device)[rows, y, x]
        return torch.where(hidden[..., None], self.behind[y, x], self.shown[y, x]).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Way:
    """One way to run variants: ``whole`` is the output for the image itself, computed as the variants' are."""

    whole: Any
    outputs: Callable[[Whole], Any]  # of the variants with these numbers
    order: Whole
    size: int  # variants at once


@contextmanager
def dense(model: Model, variants: Variants, precision: Precision) -> Iterator[Way]:
    """The whole network on every variant, batch norm folded into the convolutions."""
    height, width, channels = variants.shown.shape
    shape = (channels, height, width)
    prepare = model.preparation(shape)
    image = variants.shown.permute(2, 0, 1)[None]
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with half, folded_batch_norm(lambda: model.module(prepare(image.clone()))):
        yield Way(
            # Copies, as its first operation may be in place.
            whole=model.module(prepare(image.clone())),
            outputs=lambda numbers: model.module(prepare(variants(numbers))),
            order=np.arange(len(variants.masks)),
            size=model.fitting_batch(shape),
        )


def incremental(model: Model, variants: Variants, plan: Plan, changes: Changes) -> Way:
    """Only what each variant changed; the rest comes from one run on the image."""
    height, width, channels = variants.shown.shape
    run = Run(plan, variants.shown.permute(2, 0, 1))

    def outputs(numbers: Whole) -> torch.Tensor:
        layout = changes.layout(numbers)
        part = layout.parts[plan.graph.input]
        assert part is not None
        given = variants.parts(numbers, part.top, part.left, part.height, part.width)
        return run.outputs(layout, given.to(plan.dtype))

    size = model.fitting_batch((channels, height, width), at_most=_AT_ONCE)
    return Way(run.output, outputs, changes.order, size)


class Scorer:
    """Computes how far scores fall, for the images of one call.

    ``measured`` says how, for the provenance: the engine and the precision; where the incremental one was planned,
    the predicted ratio of multiplications; where it ran, or in another precision, on a few variants of the first
    image, the ratio of times and the largest deviation from whole runs in float32, of the range of the output.
    """

    def __init__(self, model: Model, engine: Engine, precision: Precision) -> None:
        if engine not in ("auto", "incremental", "dense"):
            raise ParameterError(f"engine={engine!r}: expected 'auto', 'incremental' or 'dense'")
        if precision not in ("float32", "bfloat16"):
            raise ParameterError(f"precision={precision!r}: expected 'float32' or 'bfloat16'")
        self._model, self._engine, self._precision = model, engine, precision
        self._last: tuple[Masks, Changes] | None = None
        self.measured: dict[str, Any] = {"precision": precision}
        self.notes: list[str] = []

    def drops(
        self,
        image: torch.Tensor,
        baseline: torch.Tensor,
        masks: Masks,
        scores: Scores,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> torch.Tensor:
        """S(image) - S(variant) for every variant of an image in which one mask is hidden.

        Args:
            image: (C, H, W), preprocessed, on the model's device; the model is in evaluation mode.
            baseline: (C, H, W), what shows where a mask hides the image.
            masks: M masks, made a batch at a time.
            scores: from the network's output for m variants, and m, to scores (m,), or (m, T): several targets
                cost no more than one.
            progress: called with the number of variants done.

        Returns:
            (M,) or (M, T) float64 on the CPU.

        Cost: M + 2 forward passes, or what is left of them; in batches that fit in memory.
        """
        variants = Variants.of(image, baseline, masks)
        planned = self._planned(image, masks)
        with self._way(variants, planned) as way:
            found, seconds = _drops(way, scores, progress)
            is_plain = planned is None and self._precision == "float32"
            if not is_plain and "deviation" not in self.measured:
                self._measure(variants, way, seconds / len(masks))
        if planned is not None and self._precision == "float32" and self.measured["deviation"] > self._tolerance():
            self.notes.append(
                f"incremental inference was off by {self.measured['deviation']:.1e} of the output's range, so "
                "whole networks were run; please report this network"
            )
            self._engine = "dense"
            for name in ("predicted_ratio", "measured_ratio", "deviation"):
                del self.measured[name]
            return self.drops(image, baseline, masks, scores, progress=progress)
        return found

    def _way(self, variants: Variants, planned: tuple[Plan, Changes] | None) -> AbstractContextManager[Way]:
        self.measured["engine"] = "dense" if planned is None else "incremental"
        if planned is None:
            return dense(self._model, variants, self._precision)
        return nullcontext(incremental(self._model, variants, *planned))

    def _planned(self, image: torch.Tensor, masks: Masks) -> tuple[Plan, Changes] | None:
        """How to run only what changes; None where whole networks are to be run."""
        model = self._model
        shape = (image.shape[0], image.shape[1], image.shape[2])
        is_little = model.structure(shape).n_values * len(masks) < WORK
        if self._engine == "dense" or (self._engine == "auto" and is_little):
            return None
        try:
            plan = plan_of(model.module, image, torch.bfloat16 if self._precision == "bfloat16" else None)
        except GraphError as reason:
            self.notes.append(f"whole networks were run, as this one cannot be taken apart: {reason}")
            self._engine = "dense"
            return None
        if self._last is None or self._last[0] is not masks:  # a grid of windows is the same for all images
            self._last = masks, plan.changes(masks.rectangles())
            self.measured["predicted_ratio"] = round(self._last[1].ratio(_AT_ONCE), 2)
        if self._engine == "auto" and self.measured["predicted_ratio"] < GAIN:
            return None
        return plan, self._last[1]

    def _measure(self, variants: Variants, way: Way, seconds: float) -> None:
        """Compare with whole runs in float32, on a few variants."""
        numbers = np.unique(np.linspace(0, len(variants.masks) - 1, _CHECKED).astype(np.int64))
        with dense(self._model, variants, "float32") as whole:
            started = time.perf_counter()
            expected = whole.outputs(numbers)
            if expected.device.type == "cuda":
                torch.cuda.synchronize()
            spent = (time.perf_counter() - started) / len(numbers)
            span = float(whole.whole.max() - whole.whole.min()) or float(whole.whole.abs().max()) or 1.0
        difference = float((way.outputs(numbers) - expected).abs().max())
        self.measured["measured_ratio"] = round(spent / seconds, 2)
        self.measured["deviation"] = float(f"{difference / span:.1e}")

    def _tolerance(self) -> float:
        """What rounding may do: float32 and float64 are held to it, a network of another type rounds more."""
        return EXACT if self._model.dtype in (torch.float32, torch.float64) else 1.0


def _drops(way: Way, scores: Scores, progress: Callable[[int], None] | None) -> tuple[torch.Tensor, float]:
    """S(image) - S(variant) for all variants, and the seconds that it took."""
    started = time.perf_counter()
    whole = scores(way.whole, 1).double().cpu()
    found = torch.empty((len(way.order), *whole.shape[1:]), dtype=torch.float64)

    def run(first: int, end: int) -> None:
        numbers = way.order[first:end]
        found[torch.from_numpy(numbers)] = scores(way.outputs(numbers), end - first).double().cpu()

    for done in in_batches(len(way.order), way.size, run):
        if progress:
            progress(done)
    return whole - found, time.perf_counter() - started


def finite(scores: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """The scores themselves, or `ModelError` naming the first image whose score is NaN or infinite."""
    bad = (~torch.isfinite(scores)).nonzero()
    if len(bad):
        i = int(bad[0, 0])
        raise ModelError(
            f"{names[i]}: the network's score is {float(scores[i].detach())}; there is nothing to explain"
        )
    return scores
