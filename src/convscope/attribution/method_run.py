"""One run of a method: its images, whose scores it explains, how far it is, and the maps it has made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import nn

from ..errors import Interrupted, TargetError
from ..execution import OnePass, convolutions_of, differentiable, evaluating, fused
from ..models import Batch, Model, as_model, network_and_target
from ..perturbation import EXACT, ROUGH, finite
from ..progress import Progress
from ..results import Array, Attribution, Normalization, Provenance
from ..targets import (
    Direction,
    Score,
    SimilarTo,
    Target,
    Targets,
    Towards,
    boxes_of,
    describe,
    directed,
    is_of_classes,
    n_classes_of,
    resolve,
    unit_of,
)
from .made_maps import MadeMaps
from .map_notes import (
    completeness_errors,
    note_on_rounding,
    notes_on_gradients,
    notes_on_inputs,
    notes_on_maps,
)
from .scored import BatchMaps, ImageMaps, Keeping, ScoredBatch, ScoredImage
from .steps import Steps

Gradients: TypeAlias = Literal["image", "layer", "none"]


class Run:
    """A call of a method, from its images to its `Attribution`.

    Args:
        method: its name.
        model, images, target, score, progress: as the caller gave them to the method.
        parameters: the other options, for the provenance.
        unit: what the values are measured in; ``score`` in it becomes the kind of score that it is.
        signed: whether values can be negative.
        gradients: where the method takes gradients: at the "image", at a "layer" of the network, or nowhere.
        n_steps: into how many steps the work on an image is divided, for the progress (see `Steps`).
        jointly: whether the method explains several inputs at once, as one tensor (see `Packing`), if a call gives
            several. Other methods explain the image among them.
    """

    def __init__(
        self,
        method: str,
        model: Model | nn.Module,
        images: Any,
        *,
        target: Target,
        score: Score = "logit",
        parameters: Mapping[str, Any] | None = None,
        unit: str = "",
        signed: bool = True,
        gradients: Gradients = "image",
        n_steps: int = 1,
        jointly: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._started = time.perf_counter()
        self.method, self.score = method, score
        bound, x = as_model(model).bound(images, jointly=jointly)
        if bound.packing is not None and isinstance(target, SimilarTo):
            raise TargetError("SimilarTo compares images: several inputs cannot be explained for it")
        self.inputs = bound.inputs(x)
        self.model, self.target = network_and_target(bound, directed(target, bound.labels), self.inputs.shape)
        self._gradients, self._differentiates = gradients, gradients != "none"
        self.structure = self.model.checked(self.inputs.shape, gradients=self._differentiates)
        self.parameters = {"target": describe(target), **(parameters or {}), "score": score}
        self.measured: dict[str, Any] = {}
        self.notes: list[str] = notes_on_inputs(bound.explained, bound.several.values if bound.several else ())
        if self._differentiates:
            self.notes += notes_on_gradients(self.structure.detached, self.model.dtype)
        self.layers: dict[str, list[Array]] = {}  # maps (h, w) by name, in the order of the values
        self.steps = Steps(len(self.inputs), n_steps, progress)
        self._unit, self._signed = self._unit_in_words(unit, target), signed
        self._made = MadeMaps(method, self.inputs.shape[1:], bound, signed)

    def _unit_in_words(self, unit: str, target: Target) -> str:
        if isinstance(self.target, Towards | Direction):
            return unit.replace(self.score, "unit of the output")
        if is_of_classes(target):
            return unit.replace(self.score, unit_of(self.score, self.normalization()))
        return unit.replace(" (logit)", "")  # the target's score is none of the network's logits

    def normalization(self, n_classes: int = 2) -> Normalization:
        """How the scores of so many classes become probabilities."""
        return self.model.normalization(self.inputs.shape, n_classes)

    def describe(self, **parameters: Any) -> None:
        """Add options to the provenance that depend on the network or the images."""
        self.parameters.update(parameters)

    def note(self, *notes: str) -> None:
        """Add notes to the result, each once."""
        self.notes += [note for note in dict.fromkeys(notes) if note not in self.notes]

    def by_batch(self, maps_of: BatchMaps, *, keeping: Keeping | None = None, folds: bool = True) -> Attribution:
        """Make the maps of all images with a method that works on a batch of them at once.

        Args:
            maps_of: the method's formula, from a batch to its maps (T, n, H, W).
            keeping: from images, as they go into the network, to a context for their pass, which yields ``kept``.
            folds: whether batch norms are folded in that pass; ``keeping`` may do it itself.
        """

        def add(batch: ScoredBatch) -> None:
            self._made.add(maps_of(batch), batch)

        with self._kept_on_interrupt():
            self.each_batch(add, keeping=keeping, folds=folds)
        return self._result()

    def each_batch(
        self, visit: Callable[[ScoredBatch], None], *, keeping: Keeping | None = None, folds: bool = True
    ) -> None:
        """Call ``visit`` with one scored batch after another, as `by_batch` does."""
        with evaluating(self.model.module):
            for batch in self.model.batches(self.inputs, backward=self._differentiates):
                with self._running():
                    visit(self.score_batch(batch, keeping, folds=folds))
                self.steps.finish(len(batch.x), len(self.inputs) - batch.positions[-1] - 1)
            self.steps.end()

    def by_image(self, maps_of: ImageMaps, *, fuse: bool = True) -> Attribution:
        """Make the maps of all images with a method that runs many variants of each image.

        Args:
            maps_of: the method's formula, from an image to its maps (T, H, W).
            fuse: whether to run variants with fused operations; to see which can be costs another run of each
                image.
        """

        def add(image: ScoredImage) -> None:
            self._made.add(maps_of(image)[:, None], image.as_batch)

        with self._kept_on_interrupt():
            self.each(add, fuse=fuse)
        return self._result()

    def each(self, visit: Callable[[ScoredImage], None], *, fuse: bool = True) -> None:
        """Call ``visit`` with one scored image after another; the network is in evaluation mode meanwhile."""
        with evaluating(self.model.module):
            for batch in self.model.batches(self.inputs, size=1):
                with self._running():
                    visit(self._score_image(batch, fuse))
                self.steps.finish(len(batch.x), len(self.inputs) - batch.positions[-1] - 1)
            self.steps.end()

    def score_batch(
        self,
        batch: Batch,
        keeping: Keeping | None = None,
        *,
        folds: bool = True,
        gradients: Gradients | None = None,
    ) -> ScoredBatch:
        """Run the network on a batch; ``gradients`` may differ from where the run takes them."""
        leaf = batch.x.detach().requires_grad_((gradients or self._gradients) == "image")
        folding = OnePass(self.model.module) if folds and self._differentiates else nullcontext()
        with keeping(leaf) if keeping else nullcontext() as kept, folding:
            found = self._pass(batch, leaf)
        pixels = self.model.to_pixels(batch.x)
        return ScoredBatch(
            self.model, batch.x, pixels, batch.names, batch.labels, found.targets, found.scores, leaf, kept
        )

    def _score_image(self, batch: Batch, fuse: bool) -> ScoredImage:
        """Run the network on a single image, and see what can be fused for its variants."""
        differentiates = self._differentiates and fuse  # what is fused depends on it, the scores do not
        leaf = batch.x.detach().requires_grad_(differentiates)
        with torch.set_grad_enabled(differentiates), nullcontext() if fuse else OnePass(self.model.module):
            found, fusing = self._fused_pass(batch, leaf) if fuse else (self._pass(batch, leaf), nullcontext())
        return ScoredImage(
            model=self.model,
            x=batch.x[0],
            pixels=self.model.to_pixels(batch.x)[0],
            name=batch.names[0],
            label=batch.labels[0],
            position=batch.positions[0],
            targets=found.targets,
            scores=found.scores[0].detach(),
            rows_independent=self.structure.rows_independent,
            fusing=fusing,
            advance=self.steps.advance,
        )

    def _pass(self, batch: Batch, leaf: torch.Tensor) -> _Pass:
        """Run the network on images, resolve the targets, and score them."""
        output = self.model.module(leaf.clone())  # the network's first operation may be in place
        normalization = self.normalization(n_classes_of(output))
        targets = resolve(
            self.target,
            output,
            self.model.labels,
            n_batch=len(leaf),
            positions=batch.positions,
            n_images=len(self.inputs),
            score=self.score,
            normalization=normalization,
            size=leaf.shape[2:],
        )
        self.note(*targets.notes)
        scores = targets.of(output, len(leaf))
        finite(scores.flatten(), [name for name in batch.names for _ in range(scores.shape[1])])
        return _Pass(targets, scores, output)

    def _fused_pass(self, batch: Batch, leaf: torch.Tensor) -> tuple[_Pass, AbstractContextManager[Any]]:
        """Run the network on an image, with a context that fuses operations where its scores stay the same."""
        passes: list[_Pass] = []
        seen = convolutions_of(self.model.module, lambda: passes.append(self._pass(batch, leaf)))
        (found,) = passes
        fusing = fused(seen, gradients=self._differentiates)
        with fusing:
            again = found.targets.of(self.model.module(leaf.clone()), 1).detach()
        scores = found.scores.detach()
        output = found.output.detach() if isinstance(found.output, torch.Tensor) else scores
        size = torch.maximum(output.abs().max(), scores.abs().max())
        is_exact = self.model.dtype in (torch.float32, torch.float64)
        if (again - scores).abs().max() <= (EXACT if is_exact else ROUGH) * size:
            return found, fusing
        self.note("whole networks were run unfused, as fused operations gave other scores; please report this")
        return found, nullcontext()

    def _running(self) -> AbstractContextManager[Any]:
        return (differentiable if self._differentiates else evaluating)(self.model.module)

    def measure_completeness(self, values: torch.Tensor, change: torch.Tensor) -> None:
        """Record how far maps (T, ..., H, W) are from adding up to the ``change`` (T, ...) of the score."""
        self.measured.setdefault("completeness_error", []).extend(completeness_errors(values, change))

    def note_on_rounding(self, scores: torch.Tensor, values: torch.Tensor) -> None:
        """Note where values (M, T), differences of ``scores`` (T,) or (M, T), are hardly larger than rounding."""
        note = note_on_rounding(self.model.dtype, scores, values)
        self.note(*([note] if note else []))

    @contextmanager
    def _kept_on_interrupt(self) -> Iterator[None]:
        """On Ctrl-C inside, `Interrupted` carries the maps of the images that are finished."""
        try:
            yield
        except KeyboardInterrupt:
            n_done = len(self._made)
            if not n_done:
                raise
            raise Interrupted(self._result(f"interrupted after {n_done} of {len(self.inputs)} images")) from None

    def _result(self, *notes: str) -> Attribution:
        made = self._made.fields()
        every, images = made["values"], made["images"]
        about = notes_on_maps(every, images, positive_only=self.parameters.get("kind") == "positive")
        return Attribution(
            **made,
            layers={name: np.stack(maps[: len(every)]) for name, maps in self.layers.items()},
            unit=self._unit,
            signed=self._signed,
            boxes=boxes_of(self.target, len(every)),
            provenance=self.provenance(*about, *notes),
        )

    def provenance(self, *notes: str) -> Provenance:
        """Where the result of this run comes from, with these notes last."""
        return self.model.provenance(
            self.method,
            self.parameters,
            self._started,
            measured=self.measured,
            notes=(*self.inputs.notes, *self.notes, *notes),
            skipped=self.inputs.skipped,
        )


class _Pass(NamedTuple):
    """What a pass of the network gave: ``scores`` (n, T) with their graph, and the whole ``output``."""

    targets: Targets
    scores: torch.Tensor
    output: Any
