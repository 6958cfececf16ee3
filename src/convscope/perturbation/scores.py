"""How far scores fall where parts of an image are hidden, by the engine that is fastest.

`Scorer.drops` is all that occlusion knows about running a network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from ..errors import ModelError, ParameterError
from ..execution import in_batches
from ..incremental import AT_ONCE, Changes, GraphError, Plan, forget_plan, plan_of
from ..models import Model
from .engines import Engine, Precision, Variants, Way, dense, incremental
from .masks import Masks

# From the network's output for m variants, and m, to scores (m, T) of T targets.
Scores: TypeAlias = Callable[[Any, int], torch.Tensor]

GAIN = 1.1  # below this predicted ratio "auto" runs whole networks
# Numbers that a network puts out for one image, times variants: below that, planning costs more than it saves.
WORK = 3e8
ROUGH = 0.05  # the same for types of fewer digits
EXACT = 1e-4  # of the range of the output: what float32 rounding may make of another order of the same sums
VISIBLE = 0.1  # of the largest value: from this error of a few values on a note says so
_CHECKED = 4  # variants of the first image that are run both ways


class Scorer:
    """Computes how far scores fall, for the images of one call.

    ``measured`` says how, for the provenance: the engine, which is chosen at the first image; where the
    incremental one was planned, the predicted ratio of multiplications; where it ran, or in another precision,
    about how many times as fast it was as whole runs in float32, and the largest deviation from them, of the range
    of the output, on a few variants of the first image. More than rounding makes it run whole networks.
    """

    def __init__(self, model: Model, engine: Engine, precision: Precision) -> None:
        if engine not in ("auto", "incremental", "dense"):
            raise ParameterError(f"engine={engine!r}: expected 'auto', 'incremental' or 'dense'")
        if precision not in ("float32", "bfloat16"):
            raise ParameterError(f"precision={precision!r}: expected 'float32' or 'bfloat16'")
        self._model, self._engine, self._precision = model, engine, precision
        self._plan: Plan | None = None
        self._changes: tuple[Masks, Changes] | None = None
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
            scores: from the network's output for m variants, and m, to scores (m, T): several targets
                cost no more than one.
            progress: called with the number of variants done since the last call.

        Returns:
            (M, T) float64 on the CPU.

        Cost: M + 2 forward passes, or what is left of them; in batches that fit in memory.
        """
        variants = Variants.of(image, baseline, masks)
        check = self._prepared(variants, scores) if "engine" not in self.measured else None
        started = time.perf_counter()
        if self.measured["engine"] == "incremental":
            try:
                way = self._incremental(variants)
                if check is not None:
                    self._accept(check, way)
            except Exception as error:  # whatever it is, whole networks are right
                self._give_up(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            else:
                return self._all(way, scores, progress, check, started)
        with dense(self._model, variants, self._precision) as way:
            if check is not None and self._precision != "float32":
                self.measured["deviation"] = check.deviation(way)
            return self._all(way, scores, progress, check, started)

    def _prepared(self, variants: Variants, scores: Scores) -> _Check | None:
        """Choose the engine, and run a few variants whole, before a plan takes memory beside them."""
        image, masks = variants.shown.permute(2, 0, 1), variants.masks
        is_tried = self._is_worth_a_plan(image, masks)
        check = _Check(self._model, variants, scores) if is_tried or self._precision != "float32" else None
        self.measured["engine"] = self._planned(image, masks) if is_tried else "dense"
        return check

    def _is_worth_a_plan(self, image: torch.Tensor, masks: Masks) -> bool:
        shape = (image.shape[0], image.shape[1], image.shape[2])
        structure = self._model.structure(shape)
        if not structure.rows_independent:
            why = self.measured["reason"] = (
                "this network mixes the images of a batch, so variants cannot share one"
            )
            if self._engine == "incremental":
                self.notes.append(f"whole networks were run: {why}")
            return False
        if self._engine != "auto":
            return self._engine == "incremental"
        if image.device.type != "cpu":
            self.measured["reason"] = f"whole networks in large batches are faster on {image.device.type}"
            return False
        if structure.n_values * len(masks) >= WORK:
            return True
        self.measured["reason"] = "too little to do for a plan to pay"
        return False

    def _planned(self, image: torch.Tensor, masks: Masks) -> Engine:
        """Incremental, where it can be and, with "auto", where it pays."""
        try:
            dtype = torch.bfloat16 if self._precision == "bfloat16" else None
            self._plan = plan_of(self._model.module, image, dtype)
        except GraphError as reason:
            self.notes.append(f"whole networks were run, as this one cannot be taken apart: {reason}")
            return "dense"
        ratio = self._changes_of(self._plan, masks).ratio(AT_ONCE)
        self.measured["predicted_ratio"] = round(ratio, 2)
        if self._engine == "auto" and ratio < GAIN:
            self.measured["reason"] = f"nearly everything changes: {self._plan.explain()}"
            return "dense"
        return "incremental"

    def _changes_of(self, plan: Plan, masks: Masks) -> Changes:
        """Remembered for a grid of windows, which is the same for all images."""
        if self._changes is None or self._changes[0] is not masks:
            self._changes = masks, plan.changes(masks.rectangles)
        return self._changes[1]

    def _incremental(self, variants: Variants) -> Way:
        assert self._plan is not None
        changes = self._changes_of(self._plan, variants.masks)
        return incremental(self._model, variants, self._plan, changes, self._precision)

    def _accept(self, check: _Check, way: Way) -> None:
        """Record how far the first variants are off; `ArithmeticError` where that is more than rounding."""
        deviation = self.measured["deviation"] = check.deviation(way)
        is_exact = self._precision == "float32" and self._model.dtype in (torch.float32, torch.float64)
        if not deviation <= (EXACT if is_exact else ROUGH):  # NaN is not
            raise ArithmeticError(f"off by {deviation:.1e} of the output's range")

    def _give_up(self, why: str) -> None:
        self.notes.append(f"whole networks were run, as incremental inference failed ({why}); please report this")
        for name in ("predicted_ratio", "deviation"):
            self.measured.pop(name, None)
        self.measured["engine"] = "dense"
        self._plan = self._changes = None
        forget_plan(self._model.module)

    def _all(
        self,
        way: Way,
        scores: Scores,
        progress: Callable[[int], None] | None,
        check: _Check | None,
        started: float,
    ) -> torch.Tensor:
        """The drops of all variants; with a check, how long they took and what that says about them."""
        clean = scores(way.clean, 1).cpu().double()
        found = torch.empty((len(way.order), *clean.shape[1:]), dtype=torch.float64, device="cpu")

        def run(first: int, end: int) -> None:
            numbers = way.order[first:end]
            found[torch.from_numpy(numbers)] = scores(way.outputs(numbers), end - first).cpu().double()

        before = 0
        for done in in_batches(len(way.order), way.size, run):
            if progress:
                progress(done - before)
            before = done
        drops = clean - found
        if check is not None and "deviation" in self.measured:
            each = (time.perf_counter() - started) / len(way.order)
            self.measured["measured_ratio"] = round(check.seconds / each, 2)
            off, largest = float((drops[check.numbers] - check.drops).abs().max()), float(drops.abs().max())
            if off > VISIBLE * largest:
                self.notes.append(
                    f"{self._precision}: of {len(check.numbers)} windows that were looked at, one is off by "
                    f"{off:.2g}, where the largest of all values is {largest:.2g}"
                )
        return drops


class _Check:
    """A few variants, run whole in float32 before anything else is in memory.

    ``drops`` (m,) are those of the variants with these ``numbers``, ``seconds`` what each of them took.
    """

    def __init__(self, model: Model, variants: Variants, scores: Scores) -> None:
        self._scores = scores
        self.numbers = np.unique(np.linspace(0, len(variants.masks) - 1, _CHECKED).astype(np.int64))
        with dense(model, variants, "float32") as way:
            halves = np.array_split(self.numbers, min(2, len(self.numbers)))
            values, after, started = [], [], 0.0
            for half in halves:  # the first batch of a size is slow, so that only the last counts for the time
                started = time.perf_counter()
                output = way.outputs(half)
                values.append(self._values(output, len(half)).cpu())  # waits for a GPU
                after.append(scores(output, len(half)))
            self.seconds = (time.perf_counter() - started) / len(halves[-1])
            clean = self._values(way.clean, 1)
            self.drops = (scores(way.clean, 1) - torch.cat(after)).cpu().double()
        self._expected = torch.cat(values)
        clean = clean[torch.isfinite(clean)]
        self._span = float(clean.max() - clean.min()) or float(clean.abs().max()) or 1.0

    def _values(self, output: Any, n: int) -> torch.Tensor:
        """All of an output, or the scores where it is no tensor."""
        return (output if isinstance(output, torch.Tensor) else self._scores(output, n)).float()

    def deviation(self, way: Way) -> float:
        """The largest difference, of the range of the output."""
        found = self._values(way.outputs(self.numbers), len(self.numbers)).cpu()
        real = torch.isfinite(self._expected)  # a class may be masked by minus infinity
        if not torch.equal(torch.isfinite(found), real) or not real.any():
            return float("inf")
        return float(f"{float((found - self._expected)[real].abs().max()) / self._span:.1e}")


def finite(scores: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """The scores themselves, or `ModelError` naming the first image whose score is NaN or infinite."""
    bad = (~torch.isfinite(scores)).nonzero()
    if len(bad):
        i = int(bad[0, 0])
        raise ModelError(
            f"{names[i]}: the network's score is {float(scores[i].detach())}; there is nothing to explain"
        )
    return scores
