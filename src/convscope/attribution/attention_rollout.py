"""Attention rollout: from which patches information can reach a transformer's class token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from ..models import Model
from ..progress import Progress
from ..registry import register
from ..results import Attribution
from ..targets import Score, Target
from .cams import enlarged
from .method_run import Run
from .replaced_functions import Replaced
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
        convscope.errors.ModelError: Sequential has no attention among all patches in every layer; ...

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
    run.inputs.need_pictures(run.method)
    origin = run.structure.last_spatial
    grid = origin.shape[1:] if origin else (1, 1)

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        rolled = _rolled_out(batch.kept, len(batch.x), batch.model.name)
        maps = enlarged(_patches(rolled, grid), batch.size)
        return maps.expand(batch.scores.shape[1], *maps.shape)

    # With gradients, as without them attention takes a fused path past the functions that are replaced here.
    return run.by_batch(maps_of, keeping=lambda _: _attentions(run.model.module), folds=False)


@contextmanager
def _attentions(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """For one pass of the network: a list with the attention (n, T, T) of each layer, the mean over its heads."""
    found: list[torch.Tensor] = []

    def keep(weights: torch.Tensor) -> None:
        """Keep the mean over heads of weights (n, heads, T, T)."""
        if weights.ndim == 4 and weights.shape[-1] == weights.shape[-2] > 1:
            found.append(weights.detach().mean(dim=1))

    def product(func: Any, query: torch.Tensor, key: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        # With the identity as values the same call returns the weights, whatever its masks, scales and groups.
        names = ("value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
        options = {**dict(zip(names, args, strict=False)), **kwargs}
        identity = torch.eye(key.shape[-2], device=key.device, dtype=key.dtype).expand(*key.shape[:-1], -1)
        keep(func(query, key, **{**options, "value": identity}))
        return func(query, key, **options)

    def multi_head(func: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = {**kwargs, "need_weights": True, "average_attn_weights": False}
        output, weights = func(*args, **wanted)
        keep(weights)
        return output, weights if kwargs.get("need_weights", True) else None

    def softmax(func: Any, *args: Any, **kwargs: Any) -> Any:
        weights = func(*args, **kwargs)
        keep(weights)
        return weights

    table: dict[Any, Any] = dict.fromkeys((functional.softmax, torch.softmax, torch.Tensor.softmax), softmax)
    table[functional.scaled_dot_product_attention] = product
    table[functional.multi_head_attention_forward] = multi_head
    with Replaced(module, table):
        yield found


def _rolled_out(attentions: list[torch.Tensor], n_images: int, name: str) -> torch.Tensor:
    """The product (n, T, T) over all layers, each of them half attention and half the skip connection."""
    if len({attention.shape for attention in attentions}) != 1 or len(attentions[0]) != n_images:
        raise ModelError(f"{name} has no attention among all patches in every layer; attention rollout needs it")
    identity = torch.eye(attentions[0].shape[-1], device=attentions[0].device, dtype=attentions[0].dtype)
    rolled = identity.expand(attentions[0].shape)
    for attention in attentions:
        rolled = (attention.float() + identity) / 2 @ rolled
    return rolled


def _patches(rolled: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """How much of each patch reaches the class token, or all tokens where there is none, (n, h, w)."""
    n_patches = grid[0] * grid[1]
    n_prefix = rolled.shape[-1] - n_patches
    if n_prefix < 0:
        raise ModelError(
            f"attention among {rolled.shape[-1]} tokens, for {grid[0]} x {grid[1]} patches; attention rollout "
            "needs one for each patch"
        )
    reached = rolled[:, 0] if n_prefix else rolled.mean(dim=1)
    return reached[:, n_prefix:].reshape(-1, grid[0], grid[1])
