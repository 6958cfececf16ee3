"""The target `Detection`: one box of a detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from ..checks import Pair, as_choice, shown
from ..errors import TargetError
from .classes import OutputScores
from .detector_forms import FORMS, Detector, scores_of_class
from .detector_outputs import Reader, overlaps

_NEAR = 0.5  # the overlap that counts as the same object: a note tells if the best is less


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
            (N, A, 4) and probabilities (N, A, K). By default the form is recognized by shapes, keys, values,
            and the number of the model's labels; a note says as what it was read. Where several fit and none of
            them is the usual one, it is an error.
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
        if not boxes.shape[1]:  # an empty box in place of none
            boxes, scores = functional.pad(boxes, (0, 0, 0, 1)), functional.pad(scores, (0, 0, 0, 1))
        full = torch.promote_types(boxes.dtype, torch.float32)  # areas overflow in half precision
        boxes = boxes.masked_fill(~torch.isfinite(boxes).all(dim=-1, keepdim=True), 0.0)  # which match nothing
        shared = overlaps(boxes.new_tensor(target.box, dtype=full), boxes.to(full))
        return shared, shared * scores_of_class(scores, index)

    shared, of_box = matched(detector.boxes.detach(), detector.scores.detach())
    best, at = of_box.max(dim=1)
    if not (best > 0).all():
        raise TargetError(f"{target.name}: the detector finds no such box in an image")
    share = float(shared.gather(1, at[:, None]).min())
    notes = (f"{target.name}: the box that matches best overlaps it by {share:.2f} only",) if share < _NEAR else ()
    return lambda output: matched(*detector.read(output, size))[1].amax(dim=1), detector.notes + notes
