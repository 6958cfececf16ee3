"""One call of a method: its images a batch at a time, whose scores are explained, and what has been found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch
from torch import nn

from ..errors import ModelError
from ..execution import differentiable, evaluating
from ..models import Batch, Model, as_model, network_and_target
from ..progress import Progress
from ..results import Attribution, Normalization
from ..targets import Score, Target, describe, is_of_classes, unit_of
from .explained import Explained
from .maps import Maps

# From a batch of n images to their maps (T, n, H, W) for the T targets of each; and from one image to (T, H, W).
BatchMaps: TypeAlias = Callable[["Explained"], torch.Tensor]
ImageMaps: TypeAlias = Callable[["Explained", int], torch.Tensor]


class Asking:
    """The images of a call, whose scores are asked for, and how far it is.

    Args:
        model, images, target, score, progress: as they were given to a method.
        steps: into how many steps the work on an image is divided, for the progress.
        gradients: whether the network is run with gradients.
    """

    def __init__(
        self,
        model: Model | nn.Module,
        images: Any,
        *,
        target: Target,
        score: Score = "logit",
        steps: int = 1,
        gradients: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.model, self.target = network_and_target(as_model(model), target)
        self.inputs = self.model.inputs(images)
        structure = self.model.checked(self.inputs.shape, gradients=gradients)
        self.rows_independent, self.hidden = structure.rows_independent, structure.hidden
        self.score: Score = score
        self.steps = steps
        self.method = ""
        self.notes: list[str] = []
        if gradients and structure.detached:
            self.notes.append(
                f"layer {structure.detached!r} is run without gradients, or detached: what it finds in the image "
                "is not in this map"
            )
        self._gradients, self._progress = gradients, progress
        self._done = self._before = 0  # steps done, and those of the images before this one
        self._left = len(self.inputs)

    def normalization(self, n_classes: int = 2) -> Normalization:
        """How the scores of so many classes become probabilities."""
        return self.model.normalization(self.inputs.shape, n_classes)

    def note(self, *notes: str) -> None:
        """Something that the result has to say, once."""
        self.notes += [note for note in dict.fromkeys(notes) if note not in self.notes]

    def each(self, visit: Callable[[Explained], None]) -> None:
        """Call ``visit`` with one image after another, scored; the network is in its state for running."""
        with evaluating(self.model.module):  # once for all images
            for batch in self.model.batches(self.inputs, size=1):
                with self.running():
                    image = Explained(self, batch)
                    image.watch(gradients=self._gradients)
                    visit(image)
                self.finished(batch)
        self.ended()

    def advance(self, steps: int) -> None:
        """So many steps more of the image are done; those of the others are taken to be as many."""
        self._done += steps
        if self._progress and steps:
            self._progress(self._done, self._before + self._left * self.steps)

    def finished(self, batch: Batch) -> None:
        """The images of this batch are done, however many steps they took."""
        self.advance(self._before + len(batch.x) * self.steps - self._done)
        self._before, self._left = self._done, len(self.inputs) - batch.positions[-1] - 1

    def ended(self) -> None:
        """There are no more images."""
        if self._progress and self.inputs.skipped:  # the last images may be among those
            self._progress(self._done, self._done)

    def running(self) -> AbstractContextManager[Any]:
        """The state in which the network is run."""
        return (differentiable if self._gradients else evaluating)(self.model.module)


class Call(Asking):
    """What every method begins with; `by_batch` and `by_image` do the rest.

    Args:
        method: its name.
        model, images, target, score, steps, gradients, progress: as for `Asking`.
        parameters: its other options, for the provenance.
        unit: what a value is measured in.
        signed: whether the method can find negative values.
    """

    def __init__(
        self,
        method: str,
        model: Model | nn.Module,
        images: Any,
        *,
        target: Target,
        parameters: Mapping[str, Any],
        unit: str,
        signed: bool = True,
        score: Score = "logit",
        steps: int = 1,
        gradients: bool = True,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(
            model, images, target=target, score=score, steps=steps, gradients=gradients, progress=progress
        )
        self.method = method
        about = {"target": describe(target), **parameters, "score": score}
        if is_of_classes(target):
            unit = unit.replace(score, unit_of(score, self.normalization()))
        else:  # its score is none of the network's logits
            unit = unit.replace(" (logit)", "")
        if gradients and self.model.dtype in (torch.float16, torch.bfloat16):
            name = str(self.model.dtype).removeprefix("torch.")
            self.notes.append(f"gradients in {name} are coarse: for those of single pixels run module.float()")
        self.maps = Maps(method, about, self.model, self.inputs, unit=unit, signed=signed)
        self.maps.notes += self.notes
        self.notes = self.maps.notes

    def describe(self, **parameters: Any) -> None:
        """Options that had to be looked at first, for the provenance."""
        self.maps.parameters.update(parameters)

    def by_batch(self, values_of: BatchMaps) -> Attribution:
        """The maps of all images, where a method works on a batch of them at once."""
        with self.maps.kept_on_interrupt(), evaluating(self.model.module):
            for batch in self.model.batches(self.inputs, backward=self._gradients):
                with self.running():
                    images = Explained(self, batch)
                    self._add(images, values_of(images))
                self.finished(batch)
            self.ended()
        return self.maps.result()

    def by_image(self, values_of: ImageMaps) -> Attribution:
        """The maps of all images, where a method runs many variants of each image."""
        with self.maps.kept_on_interrupt():
            self.each(lambda image: self._add(image, values_of(image, 0)[:, None]))
        return self.maps.result()

    def measure_completeness(self, values: torch.Tensor, change: torch.Tensor) -> None:
        """Record how far the sums of maps (T, ..., H, W) are from the ``change`` (T, ...) of the score.

        That is what they should add up to; the error is a share of it.
        """
        total = values.sum(dim=(-2, -1)).to(change)
        # Where both are rounding, nothing to add up to and nothing found, that is no error.
        size = torch.maximum(total.abs(), change.abs())
        error = (total - change).abs() / torch.where(change != 0, change.abs(), size)
        error = torch.where(size < 1e-6, 0.0, error).transpose(0, -1).flatten()
        self.maps.measured.setdefault("completeness_error", []).extend(float(f"{e:.2g}") for e in error.tolist())

    def _add(self, images: Explained, values: torch.Tensor) -> None:
        """Take in maps (T, n, H, W): those of an image one after another."""
        n_each = len(values)
        if not torch.isfinite(values).all():
            raise ModelError(
                f"{images.batch.names[0]}: the map is NaN or infinite somewhere, though the score is not; the "
                "network has an operation with no gradient there"
            )
        self.maps.add(
            values.transpose(0, 1).flatten(0, 1),
            images.scores.flatten(),
            images.pixels.repeat(n_each, axis=0),
            [name for name in images.batch.names for _ in range(n_each)],
            images.targets.names,
        )

    def note_on_rounding(self, images: Explained, values: torch.Tensor) -> None:
        """Differences of scores say little where they are no larger than what half precision makes of a score."""
        dtype = self.model.dtype
        if dtype not in (torch.float16, torch.bfloat16):
            return
        rounding = torch.finfo(dtype).eps * float(images.scores.abs().max())
        largest = float(values.abs().max())
        if 0 < largest < _MANY_ROUNDINGS * rounding:
            name = str(dtype).removeprefix("torch.")
            self.note(
                f"scores in {name} are known to {rounding:.1g} or so, and the largest value is {largest:.1g}: the "
                "small ones are rounding; run the network in float32 (module.float())"
            )


_MANY_ROUNDINGS = 200
