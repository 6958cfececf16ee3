"""The outputs of detectors before non-maximum suppression, read as boxes and class scores.

A reader is a plain function from the network's output and the (height, width) of its input to

    boxes (N, A, 4): left, top, right, bottom, in pixels of the input
    scores (N, A, K): the probability of each class, 0 to 1, in the detector's own numbering

for N images with A boxes each. `detector_forms.FORMS` is the table of those known; users write their own
(docs/detectors.md).

Scores are probabilities, not logits: they are multiplied by an overlap, and a negative score would then reward the
boxes that overlap least.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from ..checks import Pair
from ..errors import ModelError
from ..execution.output_parts import parts_of

Read: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # boxes (N, A, 4), scores (N, A, K)
Reader: TypeAlias = Callable[[Any, Pair], Read]

_LONGEST = math.log(1000 / 16)  # of a regressed side, in logarithms of its anchor's: torchvision's bound


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes (..., 4) given by center, width and height, by their corners."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def overlaps(box: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Intersection over union of one box (4,) with boxes (..., 4)."""
    inner = torch.minimum(boxes[..., 2:], box[2:]) - torch.maximum(boxes[..., :2], box[:2])
    inner, sides = inner.clamp_min(0), (boxes[..., 2:] - boxes[..., :2]).clamp_min(0)
    both = inner[..., 0] * inner[..., 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    return both / (sides[..., 0] * sides[..., 1] + area - both)


def yolov8(output: Any, size: Pair) -> Read:
    """YOLOv8 and later: (N, 4 + K, A) with cx, cy, w, h in pixels, then class probabilities."""
    return yolov8_rows(grid_of(output).mT, size)


def yolov8_rows(output: Any, size: Pair) -> Read:
    """The same the other way round, (N, A, 4 + K)."""
    output = grid_of(output)
    return corners(output[..., :4]), output[..., 4:]


def yolov5(output: Any, size: Pair) -> Read:
    """YOLOv5, YOLOv7, YOLOX: (N, A, 5 + K) with cx, cy, w, h in pixels, objectness, class probabilities."""
    output = grid_of(output)
    return corners(output[..., :4]), output[..., 4:5] * output[..., 5:]


def detr(output: Any, size: Pair) -> Read:
    """DETR: logits (N, Q, K + 1), the last of no object, and boxes cx, cy, w, h as shares of the input."""
    logits, boxes = _named(output, "pred_logits", "logits"), _named(output, "pred_boxes")
    return _in_pixels(boxes, size), logits.softmax(dim=-1)[..., :-1]


def deformable_detr(output: Any, size: Pair) -> Read:
    """Deformable DETR, RT-DETR: the same with a sigmoid for each of K classes."""
    logits, boxes = _named(output, "pred_logits", "logits"), _named(output, "pred_boxes")
    return _in_pixels(boxes, size), logits.sigmoid()


def retinanet(output: Any, size: Pair) -> Read:
    """torchvision's RetinaNet head: cls_logits (N, A, K), bbox_regression (N, A, 4), and the anchors (A, 4)."""
    return _regressed(output, (1.0, 1.0)), _named(output, "cls_logits").sigmoid()


def ssd(output: Any, size: Pair) -> Read:
    """torchvision's SSD head: the same, with a softmax over the classes; class 0, the background, scores 0."""
    found = _named(output, "cls_logits").softmax(dim=-1)
    return _regressed(output, (10.0, 5.0)), torch.cat([torch.zeros_like(found[..., :1]), found[..., 1:]], dim=-1)


def fcos(output: Any, size: Pair) -> Read:
    """torchvision's FCOS head: distances to the four sides; the score is sqrt(p(class) * p(center))."""
    anchors, distances = _anchors(output), _named(output, "bbox_regression")
    center, sides = (anchors[..., :2] + anchors[..., 2:]) / 2, anchors[..., 2:] - anchors[..., :2]
    boxes = torch.cat([center - distances[..., :2] * sides, center + distances[..., 2:] * sides], dim=-1)
    pair = _named(output, "cls_logits"), _named(output, "bbox_ctrness")
    likely = functional.logsigmoid(pair[0]) + functional.logsigmoid(pair[1])
    return boxes, (likely / 2).exp()  # a root would have no gradient at 0


def boxes_and_scores(output: Any, size: Pair) -> Read:
    """Boxes (N, A, 4) and probabilities (N, A, K), as they are."""
    boxes, scores = output
    return boxes, scores


def torchvision(output: Any, size: Pair) -> Read:
    """A dict of boxes, labels and scores for each image, after suppression; each box has a score for one class.

    K is one more than the largest label. Images with fewer boxes are filled up with empty ones; each has one.
    """
    n_classes = 1 + max((int(found["labels"].max()) for found in output if len(found["labels"])), default=0)
    boxes, scores = [], []
    for found in output:
        of_class = functional.one_hot(found["labels"].long(), n_classes) * found["scores"][:, None]
        boxes.append(functional.pad(found["boxes"], (0, 0, 0, 1)))
        scores.append(functional.pad(of_class, (0, 0, 0, 1)))
    return pad_sequence(boxes, batch_first=True), pad_sequence(scores, batch_first=True)


def grid_of(output: Any) -> torch.Tensor:
    """The one tensor (N, ., .) of a head; in evaluation mode many return it together with what it was made of."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor) or output.ndim != 3:
        raise ModelError(f"the network returns {described(output)}; expected one tensor of three dimensions")
    return output


def _named(output: Any, *names: str) -> torch.Tensor:
    parts = dict(parts_of(output))
    found = next((parts[name] for name in names if name in parts), None)
    if not isinstance(found, torch.Tensor):
        raise ModelError(f"the network returns {described(output)}; expected a tensor {' or '.join(names)} in it")
    return found


def _in_pixels(boxes: torch.Tensor, size: Pair) -> torch.Tensor:
    height, width = size
    return corners(boxes) * boxes.new_tensor([width, height, width, height])


def _anchors(output: Any) -> torch.Tensor:
    """The anchors (A, 4), or (N, A, 4); torchvision makes a list of them, one tensor for each image."""
    anchors = dict(parts_of(output)).get("anchors")
    if isinstance(anchors, list | tuple) and anchors:
        return torch.stack(tuple(anchors))
    if not isinstance(anchors, torch.Tensor):
        raise ModelError(
            "the head's boxes are relative to its anchors, which the network does not return: add them to its "
            'output as "anchors", (A, 4) with left, top, right, bottom in pixels of the input'
        )
    return anchors


def _regressed(output: Any, weights: tuple[float, float]) -> torch.Tensor:
    """Boxes relative to anchors: their shift by sides of the anchor, and the logarithm of their size."""
    anchors, change = _anchors(output), _named(output, "bbox_regression")
    sides = anchors[..., 2:] - anchors[..., :2]
    center = anchors[..., :2] + sides / 2 + change[..., :2] / weights[0] * sides
    return corners(torch.cat([center, sides * (change[..., 2:] / weights[1]).clamp_max(_LONGEST).exp()], dim=-1))


def described(output: Any) -> str:
    """An output in words: its shape, or its parts'."""
    if isinstance(output, torch.Tensor):
        return str(tuple(output.shape))
    parts = [f"{key}: {described(value)}" for key, value in list(parts_of(output))[:6]]
    name = type(output).__name__
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}{' of ' + ', '.join(parts) if parts else ''}"
