"""Guided Grad-CAM: guided backprop, where Grad-CAM is bright."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..execution import check_differentiable
from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .cam_layers import cam_layer
from .cams import activations_and_gradients, kept_at, places_of, weighted_sum
from .gradient_kinds import GradientKind, per_pixel
from .method_run import Run
from .rectified_gradients import guided, rectified
from .scored import ScoredBatch, gradients_of


@register
def guided_grad_cam(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    kind: GradientKind = "absolute",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """Guided backprop, masked by Grad-CAM: fine lines in the right place.

    Its detail comes from `guided_backprop`, which draws the edges of the image for every class; only its place,
    from `grad_cam`, is about the target. Use it to show, not to prove.

        g * max(0, Grad-CAM),    g the gradient of guided backprop, Grad-CAM enlarged to the image

        absolute:          max over channels c of |g_c|
        signed:            sum over channels of g_c
        input_x_gradient:  sum over channels of x_c * g_c   (x as the network takes it, 0 = mean image)

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        layer: whose activations are used; by default the last feature map before pooling and classifier, or the
            last tokens of a transformer on which its scores depend.
        kind: "absolute", "signed" or "input_x_gradient".
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W), in an arbitrary unit; ``layer`` of the parameters
        names the layer. Never negative for "absolute".

    Raises:
        LayerError: no such layer, or one without places.
        TargetError: the target is not a class of the network.
        ParameterError: unknown kind or score.

    Cost: two forward passes and two backward passes an image.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> guided_grad_cam(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: visual explanations from deep networks via
        gradient-based localization, 2016, arXiv 1610.02391.
        Adebayo et al.: Sanity checks for saliency maps, 2018, arXiv 1810.03292 (why not to trust it).
    """
    run = Run(
        "guided_grad_cam",
        model,
        images,
        target=target,
        score=score,
        parameters={"kind": kind},
        unit=f"guided gradient times Grad-CAM ({score})",
        signed=kind != "absolute",
        gradients="layer",
        progress=progress,
    )
    place = cam_layer(run, layer)

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        activations, gradients = activations_and_gradients(batch, place)
        weights = gradients.mean(dim=places_of(activations), keepdim=True)
        maps = weighted_sum(weights, activations, "positive", batch.size)
        with rectified(run, guided):
            x = batch.x.detach().requires_grad_()
            scores = batch.targets.of(run.model.module(x.clone()), len(x))
        check_differentiable(scores, run.model.name)
        return per_pixel(gradients_of(scores, x), batch.x, kind, len(batch.size)) * maps

    return run.by_batch(maps_of, keeping=lambda _: kept_at(run, place))
