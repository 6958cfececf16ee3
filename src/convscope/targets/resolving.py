"""Resolve a target: class indices, labels, lists of these, callables, target objects, or the predicted class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch

from ..checks import Sides
from ..errors import ParameterError, TargetError
from ..results import Normalization
from ..texts import counted
from .box import Detection, scores_at
from .classes import OutputScores, class_names, class_scores, find_class
from .compound import Contrast, Several, TargetObject, name_of
from .detector_forms import detector_of
from .regression import Direction, Towards, default_of_values, directed
from .resolved import Score, SeveralTargets, Targets, note_on_scores, note_on_single_score
from .segmentations import n_classes_in
from .segmented_region import Region

OneTarget: TypeAlias = int | str | Contrast
Target: TypeAlias = OneTarget | Sequence[OneTarget] | TargetObject | Callable[[torch.Tensor], torch.Tensor] | None


def is_of_classes(target: Any) -> bool:
    """Whether a target names classes; callables and other target objects compute their own scores."""
    if isinstance(target, Several):
        return all(is_of_classes(one) for one in target.targets)
    kinds = (str, int, np.integer, list, tuple, np.ndarray, torch.Tensor, Contrast)
    return target is None or isinstance(target, kinds)


def describe(target: Any) -> str | int | tuple[str | int, ...] | None:
    """A target as provenance records it; `resolve` refuses whatever is not a target."""
    if callable(target) or isinstance(target, TargetObject):
        return name_of(target)
    if isinstance(target, np.ndarray | torch.Tensor):
        return tuple(target.reshape(-1).tolist())
    if target is None or isinstance(target, str):
        return target
    if isinstance(target, Sequence):
        return tuple(int(t) if isinstance(t, int | np.integer) else name_of(t) for t in target)
    return int(target) if isinstance(target, int | np.integer) else type(target).__name__


def resolve(
    target: Target,
    output: Any,
    labels: Sequence[str] | None,
    *,
    n_batch: int | None = None,
    positions: Sequence[int] | None = None,
    n_images: int | None = None,
    score: Score = "logit",
    normalization: Normalization | None = None,
    size: Sides = (0, 0),
) -> Targets:
    """Resolve a user's target for a batch: to class indices, or to a function of the output.

    Args:
        target: class index, label or `Contrast`, one of these per image, `Several`, `Region`, `Detection`, a
            callable (N, K) -> (N,), or None for the class with the highest score in each image; of values, for
            "up" of the only one.
        output: the network's output for the batch, (N, K); anything that a callable takes.
        labels: names of the K classes, or None.
        n_batch: images in the batch; by default the length of the output.
        positions: indices of the batch's images among all images, to pick from a list of targets.
        n_images: number of all images, the length that a list of targets must have.
        score: "logit" (before softmax) or "probability".
        normalization: how scores become probabilities; by default softmax, or sigmoid for a single class.
            "values" have none.
        size: (height, width) of the network's input, which a `Detection` needs where boxes are shares of it.
    """
    if score not in ("logit", "probability"):
        raise ParameterError(f"score={score!r}: expected 'logit' or 'probability'")
    n_batch = len(output) if n_batch is None else n_batch
    if normalization == "values" and score == "probability":
        raise ParameterError("score='probability' has no meaning for values (regression=True): leave score out")
    asked = default_of_values(output) if target is None and normalization == "values" else target
    target = directed(asked, labels)
    if isinstance(target, Several):
        options: dict[str, Any] = {
            "n_batch": n_batch, "score": score, "normalization": normalization, "size": size,
        }  # fmt: skip
        parts = tuple(resolve(one, output, labels, **options) for one in target.targets)
        names = tuple(part.names[i] for i in range(n_batch) for part in parts)
        notes = tuple(note for part in parts for note in part.notes)
        return SeveralTargets(None, None, names, score, notes=notes, parts=parts)
    if _is_of_output(target):
        return _of_output(target, output, labels, n_batch, score, normalization, size)
    odd = next((one for one in target if _is_of_output(one)), None) if isinstance(target, list | tuple) else None
    if odd is not None:
        raise TargetError(
            f"a list has a class or a contrast for each image, and a {type(odd).__name__} holds for all of them: "
            "give it alone, several as Several(...), or call the method for each image"
        )
    output = class_scores(output, n_batch)
    n_classes = output.shape[1]
    noun = "value" if normalization == "values" else "class"
    every = class_names(labels, n_classes, noun)
    chosen = _one_each(target, output, n_batch, positions, n_images)
    contrasts = [one for one in chosen if isinstance(one, Contrast)]
    if len(contrasts) not in (0, len(chosen)):
        raise TargetError("the list mixes contrasts and plain classes; give only one kind")
    classes = [one.target if isinstance(one, Contrast) else one for one in chosen]
    indices = [find_class(one, n_classes, labels, noun) for one in classes]
    others = [find_class(one.against, n_classes, labels, noun) for one in contrasts]
    normalization = normalization or ("softmax" if n_classes > 1 else "sigmoid")
    return Targets(
        torch.tensor(indices, device="cpu"),
        None,
        tuple(Contrast(every[i], every[a]).name for i, a in zip(indices, others, strict=True))
        if others
        else tuple(every[i] for i in indices),
        score,
        torch.tensor(others, device="cpu") if others else None,
        normalization,
        (
            *(note_on_scores(normalization) if normalization != "sigmoid" or score == "probability" else ()),
            *(note_on_single_score(normalization, n_classes) if target is None else ()),
        ),
    )


def _is_of_output(
    target: object,
) -> TypeGuard[Callable[[torch.Tensor], torch.Tensor] | Region | Detection | Towards | Direction]:
    """Whether a target computes its own scores from the output."""
    return callable(target) or isinstance(target, Region | Detection | Towards | Direction)


def _of_output(
    target: Callable[[torch.Tensor], torch.Tensor] | Region | Detection | Towards | Direction,
    output: Any,
    labels: Sequence[str] | None,
    n_batch: int,
    score: Score,
    normalization: Normalization | None,
    size: Sides,
) -> Targets:
    """A target that computes its own scores from the output."""
    if score != "logit":
        raise ParameterError(
            f"score='probability' has no meaning for {name_of(target)}, which computes its own scores from the "
            "output"
        )
    if isinstance(target, Region):
        return _of_region(target, output, labels, n_batch, score, 0.5 if normalization == "none" else 0.0)
    if isinstance(target, Detection):
        return _of_detection(target, output, labels, n_batch, score, size)
    if isinstance(target, Towards | Direction):
        target.score(class_scores(output))  # a column that is not there is an error at once
        return Targets(None, partial(_of_values, target.score), (target.name,) * n_batch, score)
    return Targets(None, target, (name_of(target),) * n_batch, score)


def _of_region(
    region: Region, output: Any, labels: Sequence[str] | None, n_batch: int, score: Score, least: float
) -> Targets:
    """``least``: of a single class, the score above which a pixel belongs to it (a probability above 0.5)."""
    if (n_classes := n_classes_in(output)) is not None:
        class_names(labels, n_classes)  # an error unless there are as many labels
    index = None
    if region.target is not None or region.point is None:
        known = n_classes or (len(labels) if labels else None)
        index = find_class(region.target, known, labels)  # type: ignore[arg-type]  # which refuses None
    seen = region.classes_at(output, least).tolist() if index is None else [index] * n_batch
    each = [replace(region, target=_label(one, labels)) for one in seen]
    return Targets(None, each[0].bound(output, index, least), tuple(one.name for one in each), score)


def _of_detection(
    target: Detection, output: Any, labels: Sequence[str] | None, n_batch: int, score: Score, size: Sides
) -> Targets:
    if len(size) != 2:
        raise TargetError(f"{target.name}: boxes are of pictures, and the input has the size {tuple(size)}")
    height, width = size
    detector = detector_of(target.read, output, (height, width), len(labels) if labels else None)
    index = find_class(target.target, detector.n_classes, labels)
    target = replace(target, target=_label(index, labels))
    function, notes = scores_at(target, detector, index, (height, width))
    return Targets(None, function, (target.name,) * n_batch, score, notes=notes)


def _label(index: int, labels: Sequence[str] | None) -> str:
    return labels[index] if labels else f"class {index}"


def _of_values(score: OutputScores, output: Any) -> torch.Tensor:
    """The scores of the values (N, K) in an output."""
    return score(class_scores(output))


def _one_each(
    target: Any, output: torch.Tensor, n_batch: int, positions: Sequence[int] | None, n_images: int | None
) -> Sequence[OneTarget]:
    """The class of each image in the batch, as the caller gave it."""
    if target is None:
        return list(output.argmax(dim=1).tolist())
    if isinstance(target, str | Contrast) or _is_index(target):
        return [target] * n_batch
    items = target.tolist() if isinstance(target, np.ndarray | torch.Tensor) else target
    if not isinstance(items, Sequence):
        raise TargetError(f"a {type(target).__name__} is not a target: give an index, label, list or callable")
    expected = n_images if n_images is not None else n_batch
    if len(items) != expected:
        given, images = counted(len(items), "target"), counted(expected, "image")
        raise TargetError(f"{given} for {images}; give one, or one per image")
    return list(items) if positions is None else [items[p] for p in positions]


def _is_index(value: object) -> bool:
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.ndim == 0
    return isinstance(value, int | np.integer)
