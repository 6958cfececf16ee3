"""Targets beyond a single class: contrasts, regions, boxes, similarity to another image, several at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from ..arguments import checks_arguments
from ..checks import Pair, as_choice, shown
from ..errors import ParameterError, TargetError
from .detector_forms import FORMS, Detector, class_scores
from .detector_outputs import Reader, overlaps
from .segmentations import scores_in_place, where_seen

# From the network's output for M inputs (one per image, or variants of a single image) to scores (M,).
OutputScores: TypeAlias = Callable[[Any], torch.Tensor]
Box: TypeAlias = tuple[float, ...]  # left, top, right, bottom, in pixels of the network's input

_NEAR = 0.5  # the overlap that counts as the same object: a note tells if the best is less


@dataclass(frozen=True)
class Contrast:
    """Why this class rather than that one: the difference S_target - S_against of two classes, by index or label.

    Example:
        >>> Contrast("tabby", "lynx").name
        'tabby rather than lynx'
    """

    target: int | str
    against: int | str

    @property
    def name(self) -> str:
        return f"{self.target} rather than {self.against}"


class Several:
    """Several targets for every image, with one forward pass for all of them.

    A result has a map for each target: those of the first image, then those of the second, ...

    Args:
        *targets: class indices, labels, callables, contrasts, regions or detections.

    Example:
        >>> Several("tabby", Contrast("tabby", "lynx")).name
        'tabby; tabby rather than lynx'
    """

    def __init__(self, *targets: Any) -> None:
        if not targets or not all(_is_one(target) for target in targets):
            raise TargetError(
                "Several: give one or more class indices, labels, callables, contrasts, regions or detections; "
                "each applies to all images"
            )
        self.targets = tuple(t.item() if getattr(t, "ndim", None) == 0 else t for t in targets)

    @property
    def name(self) -> str:
        return "; ".join(name_of(target) for target in self.targets)


def _is_one(target: Any) -> bool:
    """Whether it is a single target, which applies to every image."""
    is_index = isinstance(target, int | str) or getattr(target, "ndim", None) == 0
    return is_index or isinstance(target, Contrast | Region | Detection) or callable(target)


@dataclass(frozen=True, eq=False)
class Region:
    """The sum of a class's scores over a part of a segmentation map, for networks that return (N, K, h, w).

    For networks that return instances, as torchvision's Mask R-CNN does (dicts of labels, scores and masks), the
    score at a pixel is the largest score times mask value among the instances of the class. So the mask of one
    instance as ``mask`` explains that instance.

    Args:
        target: class index or label.
        mask: (h, w) of booleans at the size of the network's output, True for the pixels to sum; by default the
            pixels where the network predicts the class in the whole image. For a network with one class, these
            are the pixels with a positive score, or above 0.5 if the network ends in a sigmoid; for instances,
            those inside of their masks (above 0.5).
    """

    target: int | str
    mask: Any = None

    @property
    def name(self) -> str:
        return f"{self.target}, where it is seen" if self.mask is None else f"{self.target} in a region"

    @checks_arguments
    def bound(self, output: Any, index: int, least: float = 0.0) -> OutputScores:
        """A function that sums scores over the pixels chosen from ``output``, that of the whole images.

        ``least``: the threshold of a network with one class.
        """
        if self.mask is None:
            masks = where_seen(output, index, least)
            if not masks.flatten(1).any(dim=1).all():
                raise TargetError(f"{self.name}: an image has no pixel predicted as this class; give a mask")
        else:
            whole = scores_in_place(output, index)
            given = self.mask if isinstance(self.mask, torch.Tensor) else np.array(self.mask)
            masks = torch.as_tensor(given, device=whole.device).bool()
            if masks.shape != whole.shape[1:]:
                raise TargetError(
                    f"a mask of shape {tuple(masks.shape)} for a segmentation map of {tuple(whole.shape[1:])}"
                )
            if not masks.any():
                raise TargetError(f"{self.name}: the mask has no pixel")
            masks = masks.expand(len(whole), -1, -1)

        def sums(output: Any) -> torch.Tensor:
            return torch.where(masks, scores_in_place(output, index), 0).sum(dim=(1, 2))  # others may be -inf

        return sums


@dataclass(frozen=True)
class Detection:
    """One box of a detector: the largest overlap times score among the detector's boxes of this class.

        S = max over boxes b of IoU(box, b) * p(class | b)

    p is the probability that the detector gives the class in box b, 0 to 1: for torchvision's lists of boxes the
    score of a box of the class; before suppression the sigmoid or softmax of its logits, times the objectness
    where there is one (see `convscope.targets.detector_outputs`). It is no logit, since a negative one would make
    S grow as the overlap falls. S is 0 if no box of the class overlaps.

    Args:
        box: (left, top, right, bottom) in pixels of the network's input.
        target: class index in the detector's own numbering, or label.
        read: how to read boxes and scores from the network's output: the name of a form, a key of
            `convscope.targets.FORMS`; or a function from the output and the (height, width) of the input to boxes
            (N, A, 4) and probabilities (N, A, K). By default the form is recognized by shapes and keys, and by the
            number of the model's labels; where several fit, it is an error.
        score: what `convscope.detections` found for it; it plays no part in S.

    Example:
        >>> def halves(output, size):  # a network that returns 4 numbers of a box and a logit for each of N images
        ...     return output[:, None, :4], output[:, None, 4:].sigmoid()
        >>> Detection((20, 10, 90, 80), 0, read=halves).name
        '0 at (20, 10, 90, 80)'

    References:
        Petsiuk et al.: Black-box explanation of object detectors via saliency maps, 2021, arXiv 2006.03204.
    """

    box: Sequence[float]
    target: int | str
    read: str | Reader | None = None
    score: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        try:
            left, top, right, bottom = sides = tuple(float(side) for side in self.box)
        except (TypeError, ValueError):
            left = top = right = bottom = math.nan
        if not (left < right and top < bottom and all(map(math.isfinite, (left, top, right, bottom)))):
            raise TargetError(f"box={shown(self.box)}: expected (left, top, right, bottom) in pixels")
        object.__setattr__(self, "box", sides)
        if self.read is not None and not callable(self.read):
            as_choice(self.read, "read", tuple(FORMS))

    @property
    def name(self) -> str:
        return f"{self.target} at {tuple(round(side) for side in self.box)}"


def scores_at(
    target: Detection, detector: Detector, index: int, size: Pair
) -> tuple[OutputScores, tuple[str, ...]]:
    """A function that computes the scores, and notes; `TargetError` if the box matches nothing in an image.

    ``detector`` has read the output for the whole images; ``size`` is the (height, width) of the input.
    """

    def matched(boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        full = torch.promote_types(boxes.dtype, torch.float32)  # areas overflow in half precision
        shared = overlaps(boxes.new_tensor(target.box, dtype=full), boxes.to(full))
        return shared, shared * class_scores(scores, index)

    shared, of_box = matched(detector.boxes.detach(), detector.scores.detach())
    best, at = of_box.max(dim=1)
    if not (best > 0).all():
        raise TargetError(f"{target.name}: the detector finds no such box in an image")
    share = float(shared.gather(1, at[:, None]).min())
    notes = (f"{target.name}: the box that matches best overlaps it by {share:.2f} only",) if share < _NEAR else ()
    return lambda output: matched(*detector.read(output, size))[1].amax(dim=1), detector.notes + notes


def boxes_of(target: Any, n: int) -> tuple[Box | None, ...]:
    """The boxes of n maps of a target, None for those of other targets; empty if no target has a box."""
    parts = target.targets if isinstance(target, Several) else (target,)
    each = tuple(tuple(part.box) if isinstance(part, Detection) else None for part in parts)
    return each * (n // len(each)) if any(each) else ()


class SimilarTo:
    """Why the network finds two images similar: the cosine similarity of their feature vectors.

    Args:
        image: the other image, in any form that methods take.
        layer: whose output is compared; by default the feature vector, which is the classifier's input.
    """

    @checks_arguments
    def __init__(self, image: Any, layer: str | None = None) -> None:
        if image is None:
            raise ParameterError("SimilarTo: give the other image")
        self.image, self.layer = image, layer

    @property
    def name(self) -> str:
        path = self.image if isinstance(self.image, str) else getattr(self.image, "name", None)
        return f"similarity to {path}" if isinstance(path, str) else "similarity to another image"


def name_of(target: Any) -> str:
    """The name of a single target."""
    if isinstance(target, Several | Contrast | Region | Detection | SimilarTo):
        return target.name
    return str(getattr(target, "__name__", type(target).__name__)) if callable(target) else str(target)
