"""Attention rollout: from which patches information can reach a transformer's class token."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .attentions import attentions, check_among_all, patch_grid, seen_from_class_token
from .cams import enlarged
from .method_run import Run
from .scored import ScoredBatch


@register
def attention_rollout(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """How much of each patch reaches the class token through the attention of all layers.

    For vision transformers. The target plays no part: the map is the same for every class, and shows where
    information can come from, not what it does. The values that attention mixes, and the layers between
    attentions, are ignored.

        map = row of the class token in  B_L ... B_2 B_1,    B_l = (mean over heads of A_l + I) / 2

    A_l (T, T) is the attention of layer l; its rows add up to 1. Without a class token the map is the mean of all
    rows. The values of the patches are put in their places and enlarged to the image bilinearly.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W), never negative: the share of a patch in the rollout. Several targets
        have the same map.

    Raises:
        ModelError: a network without attention among all patches (windowed attention, as in Swin, does not count).
        TargetError: the target is not a class of the network.

    Cost: one forward pass an image; memory for the attention of all layers, L * T^2 numbers.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2))
        >>> attention_rollout(net, torch.ones(1, 1, 2, 2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        convscope.errors.ModelError: Sequential has no attention among all patches in every layer, which ...

    References:
        Abnar, Zuidema: Quantifying attention flow in transformers, 2020, arXiv 2005.00928.
    """
    run = Run(
        "attention_rollout",
        model,
        images,
        target=target,
        score=score,
        parameters={},
        unit="share in the attention rollout",
        signed=False,
        progress=progress,
    )
    grid = patch_grid(run)

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        check_among_all(batch.kept, len(batch.x), batch.model.name)
        maps = enlarged(seen_from_class_token(_rolled_out(batch.kept), grid, run.method), batch.size)
        return maps.expand(batch.scores.shape[1], *maps.shape)

    # With gradients, as without them attention takes a fused path past the functions that are replaced here.
    return run.by_batch(maps_of, keeping=lambda _: attentions(run.model.module, _mean_of_heads), folds=False)


def _mean_of_heads(weights: torch.Tensor) -> torch.Tensor:
    return weights.detach().mean(dim=1)


def _rolled_out(found: list[torch.Tensor]) -> torch.Tensor:
    """The product (n, T, T) over all layers, each of them half attention and half the skip connection."""
    identity = torch.eye(found[0].shape[-1], device=found[0].device)
    rolled = identity.expand(found[0].shape)
    for attention in found:
        rolled = (attention.float() + identity) / 2 @ rolled
    return rolled
