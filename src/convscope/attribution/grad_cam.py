"""Grad-CAM: the last feature maps, weighted by how much the score depends on each."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .cams import CamKind, cam, places_of
from .method_run import Run


@register
def grad_cam(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    kind: CamKind = "positive",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """Where the last feature maps respond, weighted by how much the score depends on each of them.

    Coarse, calm, and about the target: one of the few gradient methods whose map changes with the weights and the
    class. It shows where, not what: each value stands for all that one place of the layer sees, often most of the
    image.

        map = max(0, sum over k of w_k * A_k),    w_k = mean over places of dS/dA_k

    A_k are the layer's maps; the result is enlarged to the image bilinearly.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        layer: whose activations are used; by default the last feature map before pooling and classifier, or the
            last tokens of a transformer on which its scores depend.
        kind: "positive" drops what speaks against the target, as the paper does; "signed" keeps it.
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W) in score units, from a map as small as the layer's; ``layer`` of the
        parameters says which was taken. Never negative for "positive".

    Raises:
        LayerError: no such layer, or one without places.
        TargetError: the target is not a class of the network.
        ParameterError: unknown kind or score.

    Cost: one forward pass an image, and a backward pass through what follows the layer.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> grad_cam(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: visual explanations from deep networks via
        gradient-based localization, 2016, arXiv 1610.02391.
    """
    run = Run(
        "grad_cam",
        model,
        images,
        target=target,
        score=score,
        parameters={"kind": kind},
        unit=f"share of the score at the layer ({score})",
        signed=kind != "positive",
        gradients="layer",
        progress=progress,
    )

    def weights_of(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        return gradients.mean(dim=places_of(activations), keepdim=True)

    return cam(run, layer, kind, weights_of)
