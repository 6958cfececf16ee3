"""Grad-CAM++: Grad-CAM for things that are small, or in the image more than once."""

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
def grad_cam_plus_plus(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    kind: CamKind = "positive",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """Grad-CAM with places weighted as well, so that something small, or in the image twice, is not lost.

    Grad-CAM weights a map by the mean of its gradient, which favors large things. Here each place with a positive
    gradient counts by how much it alone could raise an exponential of the score. Where average pooling follows the
    layer, the map hardly depends on the class, as only positive gradients count.

        map = max(0, sum over k of w_k * A_k),    w_k = sum over places of a_k * max(0, g_k),
        a_k = g_k^2 / (2 * g_k^2 + (sum over places of A_k) * g_k^3),    g_k = dS/dA_k

    A_k are the layer's maps; the result is enlarged to the image bilinearly. The weights are those of exp(S), so
    they depend on the scale of the scores.

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
        `Attribution` with values (N, H, W) from a map as small as the layer's, in the layer's own units; ``layer``
        of the parameters says which was taken. Never negative for "positive".

    Raises:
        LayerError: no such layer, or one without places.
        TargetError: the target is not a class of the network.
        ParameterError: unknown kind or score.

    Cost: one forward pass an image, and a backward pass through what follows the layer.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> grad_cam_plus_plus(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Chattopadhyay, Sarkar, Howlader, Balasubramanian: Grad-CAM++: improved visual explanations for deep
        convolutional networks, 2017, arXiv 1710.11063.
    """
    run = Run(
        "grad_cam_plus_plus",
        model,
        images,
        target=target,
        score=score,
        parameters={"kind": kind},
        unit=f"activation, weighted by its gradient ({score})",
        signed=kind != "positive",
        gradients="layer",
        progress=progress,
    )
    return cam(run, layer, kind, _weights)


def _weights(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    places = places_of(activations)
    total = activations.sum(dim=places, keepdim=True)
    shares = gradients**2 / (2 * gradients**2 + total * gradients**3)
    shares = shares.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)  # no gradient there
    return (shares * gradients.clamp_min(0)).sum(dim=places, keepdim=True)
