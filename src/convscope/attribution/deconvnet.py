"""Deconvnet: the score sent backward through the network, rectified on the way instead of masked."""

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
from .rectified_gradients import rectified_maps


@register
def deconvnet(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    kind: GradientKind = "absolute",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """The score sent backward through the network, without negative parts at every ReLU, whatever the image.

    A network run in reverse, offered because people ask for it. It ignores which units the image switched on,
    except for the maximum of each pooling window, so it draws much the same for every class and for random
    weights: it fails randomization checks.

        at each ReLU y = max(0, x):  g_x = max(0, g_y), whatever x is

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
        >>> deconvnet(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Zeiler, Fergus: Visualizing and understanding convolutional networks, 2013, arXiv 1311.2901.
        Adebayo et al.: Sanity checks for saliency maps, 2018, arXiv 1810.03292 (why not to trust it).
    """
    run = Run(
        "deconvnet",
        model,
        images,
        target=target,
        score=score,
        parameters={"kind": kind},
        unit=gradient_unit(kind, score),
        signed=kind != "absolute",
        progress=progress,
    )
    return rectified_maps(run, lambda gradient, *_: gradient.clamp_min(0), kind)
