"""The detections of an image, as targets that methods explain."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..arguments import checks_arguments
from ..errors import TargetError
from ..execution.running import evaluating
from ..targets import Detection, detector_of
from ..targets.detector_outputs import Reader
from .bare_modules import as_model
from .model import Model


@checks_arguments
def detections(
    model: Model | nn.Module,
    image: Any,
    *,
    read: str | Reader | None = None,
    min_score: float = 0.5,
    max_overlap: float = 0.5,
    limit: int = 20,
) -> list[Detection]:
    """What a detector finds in an image, each as a target: ``rise(model, image, target=Several(*found))``.

    Each box counts for the class with its highest score. Among boxes of a class that overlap, only the one with
    the highest score is kept (non-maximum suppression).

    Args:
        model: a `Model` or a module that returns boxes and scores, in a form that `Detection` reads.
        image: one image, see `convscope.load_images`; a tensor (1, C, H, W) is taken as preprocessed.
        read: how to read the output, as in `Detection`.
        min_score: the least probability of a detection, 0 to 1.
        max_overlap: the intersection over union, 0 to 1, from which boxes of a class are the same object.
        limit: how many at most.

    Returns:
        A `Detection` for each, highest score first, with the box in pixels of the network's input, the class (its
        label where that is unique) and the ``score`` (a probability). Empty if there is none.

    Raises:
        TargetError: more than one image.
        ModelError: the output has no known form, or several; see `Detection`.

    Cost: one forward pass.

    Example:
        >>> class OneBox(nn.Module):  # as a YOLO-like head: (N, 4 + K, A) with K = 2 classes and A = 1 box
        ...     def forward(self, x):
        ...         return torch.cat([x.new_tensor([8, 8, 4, 4, 0.1, 0.9]) + 0 * x[:, 0, 0, :6]])[..., None]
        >>> (found,) = detections(OneBox(), torch.zeros(1, 3, 16, 16), read="yolov8")
        >>> found.name, round(found.score, 2)
        ('1 at (6, 6, 10, 10)', 0.9)
    """
    from torchvision.ops import batched_nms

    model = as_model(model)
    inputs = model.inputs(image)
    if len(inputs) != 1:
        raise TargetError(f"detections: {len(inputs)} images; expected one")
    inputs.need_pictures("detections")
    model.checked(inputs.shape)
    size = (inputs.shape[1], inputs.shape[2])
    with evaluating(model.module):
        output = model.module(next(model.batches(inputs, size=1)).x)
        detector = detector_of(read, output, size, len(model.labels) if model.labels else None)
    (boxes,), (every,) = detector.boxes.float(), detector.scores.float()
    scores, classes = every.max(dim=1)
    sides = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1)
    found = ((scores >= min_score) & (sides > 0) & torch.isfinite(boxes).all(dim=1)).nonzero()[:, 0]
    kept = found[batched_nms(boxes[found], scores[found], classes[found], max_overlap)[:limit]]
    return [
        Detection(boxes[i].tolist(), _name(int(classes[i]), model.labels), read, float(scores[i]))
        for i in kept.tolist()
    ]


def _name(index: int, labels: tuple[str, ...] | None) -> int | str:
    return labels[index] if labels and labels.count(labels[index]) == 1 else index
