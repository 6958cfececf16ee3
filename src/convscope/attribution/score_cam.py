"""Score-CAM: feature maps, weighted by the score of the image seen through each."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models import Model
from ..perturbation import finite
from ..progress import Progress
from ..registry import register, tried_by
from ..results import Attribution
from ..targets import Score, Target
from .cam_layers import cam_layer
from .cams import CamKind, enlarged, kept_at, over_places, weighted_sum
from .method_run import Run
from .scored import ScoredImage


@register
@tried_by("eigen_cam")
def score_cam(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    kind: CamKind = "positive",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """Where the last feature maps respond, each weighted by the score of the image seen through it.

    No gradient is needed: every map of the layer becomes a mask, and the network scores the image behind it. The
    weights are a softmax over the channels, so they tell which mask does best rather than how well.

        map = max(0, sum over k of w_k * A_k),    w = softmax over k of S(x * M_k),
        M_k = A_k, enlarged to the image, from 0 (its least) to 1 (its greatest value)

    A_k are the layer's maps; the result is enlarged to the image bilinearly. Hidden pixels are 0 after
    preprocessing, the mean image; a map without any variation hides everything.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        layer: whose activations are used; by default the last feature map before pooling and classifier, or the
            last tokens of a transformer on which its scores depend.
        kind: "positive" drops what speaks against the target, as the paper does; "signed" keeps it.
        score: "logit" (before softmax) or "probability".
        progress: called with (channels done, channels in all).

    Returns:
        `Attribution` with values (N, H, W) from a map as small as the layer's, in units of the activations;
        ``layer`` of the parameters says which was taken.

    Raises:
        LayerError: no such layer, or one without places.
        TargetError: the target is not a class of the network.
        ParameterError: unknown kind or score.

    Cost: one forward pass for each channel of the layer: 1,280 in the default network; memory for one batch.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> score_cam(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Wang et al.: Score-CAM: score-weighted visual explanations for convolutional neural networks, 2019,
        arXiv 1910.01279.
    """
    run = Run(
        "score_cam",
        model,
        images,
        target=target,
        score=score,
        parameters={"kind": kind},
        unit=f"activation, weighted by the score behind it ({score})",
        signed=kind != "positive",
        gradients="none",
        progress=progress,
    )
    place = cam_layer(run, layer)

    def maps_of(image: ScoredImage) -> torch.Tensor:
        with kept_at(run, place) as kept:
            image.scores_of(image.x[None])
        (activations,), size = place.maps(kept[0]), image.size
        run.steps.each = len(activations)

        def seen_through(first: int, end: int) -> torch.Tensor:
            return image.x * _masks(enlarged(activations[first:end], size))[:, None]

        scores = image.score_variants(len(activations), seen_through)
        finite(scores.flatten(), [image.name] * scores.numel())
        weights = over_places(scores.softmax(dim=0).to(activations).T, len(size))
        return weighted_sum(weights, activations, kind, size)

    return run.by_image(maps_of)


def _masks(maps: torch.Tensor) -> torch.Tensor:
    """Maps (m, H, W) from 0 to 1 each; 0 where one is the same everywhere."""
    places = tuple(range(1, maps.ndim))
    low, high = maps.amin(dim=places, keepdim=True), maps.amax(dim=places, keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1)
