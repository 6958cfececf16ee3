"""Layer-CAM: feature maps, each place weighted by its own gradient."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .cams import CamKind, cam
from .method_run import Run


@register
def layer_cam(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    layer: str | None = None,
    kind: CamKind = "positive",
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """Where feature maps respond, each place weighted by its own gradient.

    Grad-CAM has one weight for a whole map, this has one for each place; so it also works at early layers, whose
    maps are finer: name one with ``layer``. Only positive gradients count. In front of average pooling the
    gradient is the same everywhere, and the map hardly depends on the class.

        map = max(0, sum over k of max(0, dS/dA_k) * A_k),    place by place

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
        >>> layer_cam(net, torch.ones(1, 1, 2, 2), target=1).values.shape
        (1, 2, 2)

    References:
        Jiang, Zhang, Hou, Cheng, Wei: LayerCAM: exploring hierarchical class activation maps for localization,
        IEEE Transactions on Image Processing, 2021.
    """
    run = Run(
        "layer_cam",
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
    return cam(run, layer, kind, lambda activations, gradients: gradients.clamp_min(0))
