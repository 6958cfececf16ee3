"""Choose the engine that computes how far scores fall when parts of an image are hidden.

Both engines give the same scores up to rounding: the dense one (`dense_scores`) runs the whole network on every
variant, the incremental one (`incremental_scores`) only what a mask changes. "auto" chooses the incremental engine

    on a CPU (a GPU is faster with whole networks in large batches),
    if there is enough work for a plan to pay off (`WORK`), and
    if the plan predicts enough fewer multiplications (`GAIN`).

Whatever the choice, the whole network runs if it mixes the images of a batch, cannot be split into operations, or
takes signals or volumes,
and if the incremental engine fails or deviates by more than rounding on a few variants of the first image.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, get_args

import torch

from ..checks import Precision, as_choice
from ..incremental import GraphError
from ..models import Model
from .dense_scores import dense_outputs, tolerance
from .incremental_scores import IncrementalEngine
from .masks import Masks
from .score_checks import SpotCheck
from .variants import Engine, Outputs, Scores, Variants

GAIN = 1.1  # "auto" runs whole networks below this predicted ratio
# Number of values in all layers' outputs for one image, times variants: below it a plan costs more than it saves.
WORK = 3e8


class Scorer:
    """Computes how far scores fall, for the images of one call.

    The engine is chosen at the first image. ``measured`` reports on it for the provenance: the engine; if a plan
    was made, the predicted ratio of multiplications; if the incremental engine or a precision other than float32
    ran, roughly how many times faster it was than whole runs in float32, and its largest deviation from them on a
    few variants of the first image, as a share of the output's range.
    """

    def __init__(self, model: Model, engine: Engine, precision: Precision) -> None:
        as_choice(engine, "engine", get_args(Engine))
        as_choice(precision, "precision", get_args(Precision))
        self._model, self._engine, self._precision = model, engine, precision
        self._incremental: IncrementalEngine | None = None  # if it was chosen and has not failed
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
        """S(image) - S(variant) for every variant, each with one mask hidden.

        Args:
            image: (C, H, W), preprocessed, on the model's device; the model is in evaluation mode.
            baseline: (C, H, W), what replaces the image where a mask hides it.
            masks: M masks, made batch by batch.
            scores: a function from the network's output for m variants, and m, to scores (m, T); several targets
                cost no more than one.
            progress: called with the number of variants done since the last call.

        Returns:
            (M, T) float64 on the CPU.

        Cost: M + 2 forward passes, fewer operations with the incremental engine; in batches that fit in memory.
        """
        variants = Variants.of(image, baseline, masks)
        check = self._choose(variants, scores) if "engine" not in self.measured else None
        started = time.perf_counter()
        if self._incremental is not None:
            try:
                outputs = self._incremental.outputs(variants)
                if check is not None:
                    self._hold_to(check, outputs)
            except Exception as error:  # whatever went wrong, whole runs are right
                self._give_up(self._incremental, error)
            else:
                return self._measured_drops(outputs, scores, progress, check, started)
        with dense_outputs(self._model, variants, self._precision) as outputs:
            if check is not None and self._precision != "float32":
                self.measured["deviation"] = check.deviation(outputs)
            return self._measured_drops(outputs, scores, progress, check, started)

    def _choose(self, variants: Variants, scores: Scores) -> SpotCheck | None:
        """Choose the engine; return a few variants run whole if there will be something to compare with them."""
        is_tried = self._is_worth_a_plan(variants)
        # Before the plan is made, which takes memory that these runs may need.
        check = SpotCheck(self._model, variants, scores) if is_tried or self._precision != "float32" else None
        self._incremental = self._planned(variants) if is_tried else None
        self.measured["engine"] = "dense" if self._incremental is None else "incremental"
        return check

    def _is_worth_a_plan(self, variants: Variants) -> bool:
        structure = self._model.structure(variants.shape)
        why = ""
        if not structure.rows_independent:
            why = "this network mixes the images of a batch, so variants cannot share one"
        elif len(variants.shape) != 3:
            why = "only the changes of pictures are followed through a network, not those of signals and volumes"
        if why:
            self.measured["reason"] = why
            if self._engine == "incremental":
                self.notes.append(f"the whole network was run: {why}")
            return False
        if self._engine != "auto":
            return self._engine == "incremental"
        device = variants.shown.device.type
        if device != "cpu":
            self.measured["reason"] = f"whole networks in large batches are faster on {device}"
            return False
        if structure.n_values * len(variants.masks) < WORK:
            self.measured["reason"] = "too little work for a plan to pay off"
            return False
        return True

    def _planned(self, variants: Variants) -> IncrementalEngine | None:
        """The incremental engine, if the network can be split into operations and, with "auto", if it pays off."""
        try:
            engine = IncrementalEngine(self._model, variants.image, self._precision)
        except GraphError as reason:
            self.notes.append(f"the whole network was run because it cannot be split into operations: {reason}")
            return None
        ratio = engine.predicted_ratio(variants.masks)
        self.measured["predicted_ratio"] = round(ratio, 2)
        if self._engine == "auto" and ratio < GAIN:
            self.measured["reason"] = f"nearly everything changes: {engine.explain()}"
            return None
        return engine

    def _hold_to(self, check: SpotCheck, outputs: Outputs) -> None:
        """Record the deviation of the checked variants; `ArithmeticError` if rounding does not explain it."""
        deviation = self.measured["deviation"] = check.deviation(outputs)
        if not deviation <= tolerance(self._model, self._precision):  # NaN is not
            raise ArithmeticError(f"off by {deviation:.1e} of the output's range")

    def _give_up(self, engine: IncrementalEngine, error: Exception) -> None:
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        self.notes.append(
            f"the whole network was run because incremental inference failed ({why}); please report this"
        )
        for name in ("predicted_ratio", "deviation"):
            self.measured.pop(name, None)
        self.measured["engine"] = "dense"
        self._incremental = None
        engine.forget()

    def _measured_drops(
        self,
        outputs: Outputs,
        scores: Scores,
        progress: Callable[[int], None] | None,
        check: SpotCheck | None,
        started: float,
    ) -> torch.Tensor:
        """The drops of all variants; with a check, also measure the speed and note visible errors."""
        drops = outputs.drops(scores, progress=progress)
        if check is not None and "deviation" in self.measured:
            each = (time.perf_counter() - started) / len(drops)
            self.measured["measured_ratio"] = round(check.seconds / each, 2)
            note = check.note_on(drops, self._precision)
            if note is not None:
                self.notes.append(note)
        return drops
