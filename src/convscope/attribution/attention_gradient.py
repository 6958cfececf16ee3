"""Gradient-weighted attention: which patches a transformer's score takes up through its attentions."""

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
from .attentions import attentions, check_among_all, patch_grid, seen_from_class_token
from .cams import enlarged
from .method_run import Run
from .scored import ScoredBatch


@register
def attention_gradient(
    model: Model | nn.Module,
    images: Any,
    *,
    target: Target = None,
    score: Score = "logit",
    progress: Progress | None = None,
) -> Attribution:
    """What the class token takes up from each patch, where more attention to it would raise the score.

    For vision transformers. Like `attention_rollout`, it follows the attentions from layer to layer, but weighs
    each by the gradient of the score, so that the map depends on the target and heads that do not matter do not
    count.

        R = I;  then for each layer  R = R + A_l R,    A_l = mean over heads of max(0, dS/dA * A)

        map = row of the class token in R

    A (T, T) are the weights of a head in layer l. Without a class token the map is the mean of all rows, I left
    out. The values of the patches are put in their places and enlarged to the image bilinearly.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) is taken as preprocessed.
        target: class index, label, a list with one for each image, a callable from the output (N, K) to scores
            (N,), or None for the predicted class.
        score: "logit" (before softmax) or "probability".
        progress: called with (images done, images in all).

    Returns:
        `Attribution` with values (N, H, W), never negative. Products over layers are in no unit of the score, so
        compare places within one map only.

    Raises:
        ModelError: a network without attention among all patches (windowed attention, as in Swin, does not count).
        TargetError: the target is not a class of the network.

    Cost: one forward pass an image and one backward pass for each target; memory for the attention of all layers
    and heads, L * heads * T^2 numbers.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2))
        >>> attention_gradient(net, torch.ones(1, 1, 2, 2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        convscope.errors.ModelError: Sequential has no attention among all patches in every layer, which ...

    References:
        Chefer, Gur, Wolf: Generic attention-model explainability for interpreting bi-modal and encoder-decoder
        transformers, 2021, arXiv 2103.15679 (its rule for self-attention, equation 6).
    """
    run = Run(
        "attention_gradient",
        model,
        images,
        target=target,
        score=score,
        parameters={},
        unit="gradient-weighted attention",
        signed=False,
        progress=progress,
    )
    grid = patch_grid(run)

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        check_among_all(batch.kept, len(batch.x), batch.model.name)
        check_differentiable(batch.scores, batch.model.name)
        flows = [_flow(batch.scores[:, t].sum(), batch.kept) for t in range(batch.scores.shape[1])]
        patches = [seen_from_class_token(flow, grid, run.method, itself=1.0) for flow in flows]
        return enlarged(torch.stack(patches), batch.size)

    return run.by_batch(maps_of, keeping=lambda _: attentions(run.model.module), folds=False)


def _flow(score: torch.Tensor, found: list[torch.Tensor]) -> torch.Tensor:
    """R (n, T, T) after all layers; an attention that the score does not depend on adds nothing."""
    gradients = torch.autograd.grad(score, found, retain_graph=True, allow_unused=True)
    flow = torch.eye(found[0].shape[-1], device=found[0].device).expand(len(found[0]), -1, -1)
    for weights, gradient in zip(found, gradients, strict=True):
        if gradient is not None:
            flow = flow + (weights.detach() * gradient).float().clamp_min(0).mean(dim=1) @ flow
    return flow
