"""Guided backprop: the gradient of the score, without its negative parts at each ReLU."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .gradient_kinds import GradientKind, gradient_unit
from .method_run import Run
from .rectified_gradients import guided, rectified_maps


@register
def guided_backprop(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    kind: GradientKind = "absolute",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """The gradient of the score, without its negative parts at every ReLU.

    Sharp and pleasant to look at, and offered because people ask for it. But it draws the edges of the image, much
    the same for every class and for random weights: it fails randomization checks. Rely on `integrated_gradients`
    or `occlusion` instead.

        at each ReLU y = max(0, x):  g_x = g_y where x > 0 and g_y > 0, else 0

        absolute:          max over channels c of |g_c|
        signed:            sum over channels of g_c
        input_x_gradient:  sum over channels of x_c * g_c   (x as the network takes it, 0 = mean image)

    ReLU6 counts as a ReLU; other activations keep their own gradient. In a network without any ReLU this is the
    plain gradient, and a note says so.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        kind: "absolute", "signed" or "input_x_gradient".
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W), in an arbitrary unit; never negative for "absolute".

    Raises:
        TargetError: the target is not a class of the network.
        ParameterError: unknown kind or score.

    Cost: one forward and one backward pass an image.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> guided_backprop(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for simplicity, 2014, arXiv 1412.6806.
        Adebayo et al.: Sanity checks for saliency maps, 2018, arXiv 1810.03292 (why not to trust it).
    """
    run = Run(
        "guided_backprop",
        model,
        images,
        target=target,
        score=score,
        parameters={"kind": kind},
        unit=gradient_unit(kind, score),
        signed=kind != "absolute",
        progress=progress,
    )
    return rectified_maps(run, guided, kind)
