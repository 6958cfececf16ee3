"""The table of the forms that a detector's output has, and how one is told from another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..checks import Pair, as_choice
from ..errors import ModelError
from ..execution.output_parts import are_dicts_of_images, parts_of
from .detector_outputs import (
    Reader,
    boxes_and_scores,
    deformable_detr,
    described,
    detr,
    fcos,
    grid_of,
    retinanet,
    ssd,
    torchvision,
    yolov5,
    yolov8,
    yolov8_rows,
)

_ROUNDING = 1e-3  # how far half precision may take a probability beyond 1


class Form(NamedTuple):
    """A known form: its reader, its layout in words, and whether an output has it.

    ``fits`` gets the output and the number of the model's labels, or None if it has none. ``is_usual`` says that
    an output which also fits rarer forms most likely has this one.
    """

    read: Reader
    layout: str
    fits: Callable[[Any, int | None], bool]
    is_usual: bool = False


FORMS: dict[str, Form] = {
    "torchvision": Form(torchvision, "a list of dicts: boxes, labels, scores", lambda out, _: _is_listed(out)),
    "boxes_and_scores": Form(
        boxes_and_scores, "a pair of boxes (N, A, 4) and scores (N, A, K)", lambda out, _: _is_pair(out)
    ),
    "yolov8": Form(yolov8, "(N, 4 + K, A)", lambda out, k: _is_grid(out, 1, 4, k), is_usual=True),
    "yolov8_rows": Form(yolov8_rows, "(N, A, 4 + K)", lambda out, k: _is_grid(out, 2, 4, k)),
    "yolov5": Form(yolov5, "(N, A, 5 + K)", lambda out, k: _is_grid(out, 2, 5, k), is_usual=True),
    "detr": Form(
        detr, "logits (N, Q, K + 1) and pred_boxes (N, Q, 4)", lambda out, k: _is_detr(out, 1, k), is_usual=True
    ),
    "deformable_detr": Form(
        deformable_detr, "logits (N, Q, K) and pred_boxes (N, Q, 4)", lambda out, k: _is_detr(out, 0, k)
    ),
    "retinanet": Form(
        retinanet, "cls_logits, bbox_regression and anchors; a sigmoid a class", lambda out, _: _is_head(out)
    ),
    "ssd": Form(ssd, "cls_logits, bbox_regression and anchors; a softmax", lambda out, _: _is_head(out)),
    "fcos": Form(
        fcos, "cls_logits, bbox_regression, bbox_ctrness and anchors", lambda out, _: _is_head(out, "bbox_ctrness")
    ),
}


def forms_of(output: Any, n_labels: int | None) -> list[str]:
    """The names of the forms that an output may have."""
    return [name for name, form in FORMS.items() if form.fits(output, n_labels)]


def _reader_of(
    read: str | Reader | None, output: Any, size: Pair, n_labels: int | None
) -> tuple[Reader, tuple[str, ...]]:
    """The reader that the caller names, or that of the form that an output has; with a note if it was recognized.

    Raises:
        ModelError: the output has no known form, or several of which none is the usual one.
    """
    if read is not None:
        return (read if callable(read) else FORMS[as_choice(read, "read", tuple(FORMS))].read), ()
    by_shape = forms_of(output, n_labels)
    fitting = [name for name in by_shape if len(by_shape) == 1 or _is_plausible(FORMS[name].read, output, size)]
    usual = fitting if len(fitting) == 1 else [name for name in fitting if FORMS[name].is_usual]
    if len(usual) == 1:
        return FORMS[usual[0]].read, _note_on(usual[0], fitting)
    found = f"the network returns {described(output)}"
    if names := fitting or by_shape:
        listed = " or ".join(f"{name!r}, {FORMS[name].layout}" for name in names)
        labels = "" if n_labels else "; give the model its labels, whose number tells layouts apart, or"
        raise ModelError(f"{found}, which can be {listed}{labels or ';'} name one: read={names[0]!r}")
    of_labels = f" of {n_labels} classes, as many as there are labels" if n_labels else ""
    known = "; ".join(f"{name!r}: {form.layout}" for name, form in FORMS.items())
    raise ModelError(
        f"{found}, which is no known form of a detector's output{of_labels} ({known}); give read=, a function "
        "from the output and the (height, width) of the input to boxes (N, A, 4) and probabilities (N, A, K)"
    )


def _note_on(name: str, fitting: list[str]) -> tuple[str, ...]:
    """As what an output was read, and what else it can be."""
    if name == "torchvision":
        return ()
    others = " or ".join(f"{other!r}, {FORMS[other].layout}" for other in fitting if other != name)
    doubt = f"; it can also be {others}: then name it with read=, or give the model its labels" if others else ""
    return (f"the detector's output was read as {name!r}: {FORMS[name].layout}{doubt}",)


def _is_plausible(read: Reader, output: Any, size: Pair) -> bool:
    """Whether a form that fits by its shape gives probabilities: read the wrong way, pixels are among them."""
    try:
        _, scores = read(output, size)
    except ModelError:
        return False
    return _are_probabilities(scores)


def _are_probabilities(scores: torch.Tensor) -> bool:
    """Whether values lie between 0 and 1."""
    scores = scores.detach()
    return not scores.numel() or bool(scores.amin() >= 0 and scores.amax() <= 1 + _ROUNDING)


class Detector(NamedTuple):
    """How to read a detector's output, and what was read from that of whole images.

    ``n_classes`` is None where the output does not say it.
    """

    read: Reader
    boxes: torch.Tensor
    scores: torch.Tensor
    n_classes: int | None
    notes: tuple[str, ...]


def detector_of(read: str | Reader | None, output: Any, size: Pair, n_labels: int | None) -> Detector:
    """Find out how to read the output for whole images of this (height, width), and check what is read.

    Args:
        read: the name of a form, a function, or None to recognize the form.
        output: of the network.
        size: of its input.
        n_labels: the number of the model's labels, None if it has none.

    Raises:
        ModelError: the output has no known form or several, or the boxes and scores are not what a reader returns.
    """
    reader, notes = _reader_of(read, output, size, n_labels)
    try:
        boxes, scores = reader(output, size)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        name = read if isinstance(read, str) else getattr(reader, "__name__", "the function")
        raise ModelError(f"read={name}: {described(output)} raised {type(error).__name__}: {error}") from error
    if not (_is_pair((boxes, scores)) and scores.is_floating_point()):
        raise ModelError(
            f"read= returned {described((boxes, scores))}; expected boxes (N, A, 4) and scores (N, A, K)"
        )
    if not _are_probabilities(scores):
        low, high = float(scores.detach().amin()), float(scores.detach().amax())
        raise ModelError(
            f"the detector's scores lie between {low:.3g} and {high:.3g}; expected probabilities, 0 to 1: if they "
            "are logits, or no scores at all, give read= with a function that returns probabilities"
        )
    n_classes = n_labels if reader is torchvision else scores.shape[2]
    if n_labels is not None and n_classes != n_labels:
        raise ModelError(f"{n_labels} labels for a detector with scores of {n_classes} classes")
    return Detector(reader, boxes, scores, n_classes, notes)


def scores_of_class(scores: torch.Tensor, index: int) -> torch.Tensor:
    """The scores (N, A) of one class; 0 beyond the largest label that a list has."""
    return scores[..., index] if index < scores.shape[-1] else scores[..., 0] * 0


def _is_listed(output: Any) -> bool:
    """Whether it is torchvision's list of dicts."""
    return are_dicts_of_images(output, {"boxes", "labels", "scores"})


def _is_pair(output: Any) -> bool:
    return (
        isinstance(output, tuple | list)
        and len(output) == 2
        and all(isinstance(part, torch.Tensor) and part.ndim == 3 for part in output)
        and output[0].shape[:2] == output[1].shape[:2]
        and output[0].shape[2] == 4
    )


def _is_grid(output: Any, dim: int, n_before: int, n_labels: int | None) -> bool:
    """Whether it is one tensor with a dimension for the box, so many other numbers and the classes."""
    if isinstance(output, tuple | list) and any(getattr(part, "ndim", 0) == 3 for part in output[1:]):
        return False
    try:
        length = grid_of(output).shape[dim]
    except ModelError:
        return False
    return length > n_before if n_labels is None else length == n_before + n_labels


def _is_detr(output: Any, n_more: int, n_labels: int | None) -> bool:
    """Whether it has boxes and logits, so many more than there are classes."""
    parts = dict(parts_of(output))
    logits = parts.get("pred_logits", parts.get("logits"))
    if not (isinstance(logits, torch.Tensor) and isinstance(parts.get("pred_boxes"), torch.Tensor)):
        return False
    return n_labels is None or logits.shape[-1] == n_labels + n_more


def _is_head(output: Any, *more: str) -> bool:
    parts = dict(parts_of(output))
    wanted = {"cls_logits", "bbox_regression", *more}
    return wanted <= parts.keys() and (bool(more) or "bbox_ctrness" not in parts)
