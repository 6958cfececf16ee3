"""Eigen-CAM: the first principal component of a layer's activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .cam_layers import cam_layer
from .cams import CamKind, kept_at, over_places, weighted_sum
from .method_run import Run
from .scored import ScoredBatch


@register
def eigen_cam(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    kind: CamKind = "positive",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """What the feature maps have most in common: their first principal component.

    The target plays no part: the map is the same for every class, and shows what stands out to the layer. Good
    for a first look, but no explanation of a score.

        map = max(0, A v),    A = U S V^T of the layer's activations (places x channels), v the first column of V

    with the sign that makes the sum positive; enlarged to the image bilinearly. As in the paper, channels are not
    centered.

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
        `Attribution` with values (N, H, W) from a map as small as the layer's, in units of the activations;
        ``layer`` of the parameters says which was taken. Several targets have the same map.

    Raises:
        LayerError: no such layer, or one without places.
        TargetError: the target is not a class of the network.
        ParameterError: unknown kind or score.

    Cost: one forward pass an image and the decomposition of a matrix of places x channels.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> eigen_cam(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Muhammad, Yeasin: Eigen-CAM: class activation map using principal components, 2020, arXiv 2008.00299.
    """
    run = Run(
        "eigen_cam",
        model,
        images,
        target=target,
        score=score,
        parameters={"kind": kind},
        unit="first component of the activations",
        signed=kind != "positive",
        gradients="none",
        progress=progress,
    )
    place = cam_layer(run, layer)

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        activations = place.maps(batch.kept[0])
        maps = weighted_sum(_first_component(activations), activations, kind, batch.size)
        return maps.expand(batch.scores.shape[1], *maps.shape)

    return run.by_batch(maps_of, keeping=lambda _: kept_at(run, place))


def _first_component(activations: torch.Tensor) -> torch.Tensor:
    """The first right singular vector of activations (n, K, h, w), (n, K, 1, 1): its map has a positive sum."""
    matrix = activations.flatten(2).transpose(1, 2).double()  # places x channels
    vector = torch.linalg.svd(matrix, full_matrices=False).Vh[:, 0]
    total = (matrix.sum(dim=1) * vector).sum(dim=1, keepdim=True)
    signed: torch.Tensor = torch.where(total < 0, -1, 1) * vector
    return over_places(signed, activations.ndim - 2)
