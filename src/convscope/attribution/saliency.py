"""Which pixels matter, by the gradient of the score with respect to the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .gradient_kinds import GradientKind, gradient_unit, per_pixel
from .method_run import Run
from .scored import ScoredBatch


@register
def saliency(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    kind: GradientKind = "absolute",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """How much the score would change with each pixel: the gradient of the score.

    Quick and sharp, but local: it tells the effect of an infinitely small change, not what the network would say
    without the pixel. Noisy for most networks; a saturated score has little gradient anywhere.

        absolute:          max over channels c of |dS/dx_c|
        signed:            sum over channels of dS/dx_c
        input_x_gradient:  sum over channels of x_c * dS/dx_c   (x as the network takes it, 0 = mean image)

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        kind: "absolute", "signed" or "input_x_gradient".
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W): score units per unit of the normalized input, or score units for
        "input_x_gradient"; never negative for "absolute".

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: unknown kind or score.

    Cost: one forward and one backward pass an image; no parameter's gradient is computed.

    Example:
        >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> saliency(linear, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks, 2013, arXiv 1312.6034.
        Shrikumar, Greenside, Shcherbina, Kundaje: Not just a black box, 2016, arXiv 1605.01713.
    """
    run = Run(
        "saliency",
        model,
        images,
        target=target,
        score=score,
        parameters={"kind": kind},
        unit=gradient_unit(kind, score),
        signed=kind != "absolute",
        jointly=True,
        progress=progress,
    )

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        return per_pixel(batch.gradients(), batch.x, kind, len(batch.size))

    return run.by_batch(maps_of)
