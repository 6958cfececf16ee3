"""The attentions of a network, written out, so that their weights can be seen and have rules and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from .method_run import Run
from .replaced_functions import Replaced

Multiply: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def written_out(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    multiply: Multiply = torch.matmul,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `torch.nn.functional.scaled_dot_product_attention` returns (..., T, D), and its weights (..., T, S)."""
    if enable_gqa:
        n_each = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(n_each, -3), value.repeat_interleave(n_each, -3)
    logits = multiply(query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale), key.mT)
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    if attn_mask is not None:
        is_choice = attn_mask.dtype == torch.bool
        logits = logits.masked_fill(~attn_mask, -math.inf) if is_choice else logits + attn_mask
    weights = functional.dropout(logits.softmax(dim=-1), dropout_p) if dropout_p else logits.softmax(dim=-1)
    return multiply(weights, value), weights


@contextmanager
def attentions(
    module: nn.Module, kept: Callable[[torch.Tensor], torch.Tensor] = lambda weights: weights
) -> Iterator[list[torch.Tensor]]:
    """For one pass of the network: a list with the weights of each attention among T tokens, in running order.

    The weights (n, heads, T, T) are those that the pass goes on with, so that its score has a gradient with
    respect to them. ``kept`` makes of them what the list keeps.
    """
    found: list[torch.Tensor] = []

    def keep(weights: torch.Tensor) -> None:
        if weights.ndim == 4 and weights.shape[-1] == weights.shape[-2] > 1:
            found.append(kept(weights))

    def product(_: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        out, weights = written_out(*args, **kwargs)
        keep(weights)
        return out

    def softmax(func: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        weights: torch.Tensor = func(*args, **kwargs)
        keep(weights)
        return weights

    table: dict[Any, Any] = dict.fromkeys((functional.softmax, torch.softmax, torch.Tensor.softmax), softmax)
    table[functional.scaled_dot_product_attention] = product
    with Replaced(module, table):
        yield found


def patch_grid(run: Run) -> tuple[int, ...]:
    """(rows, columns) of the patches of a run's images; `ImageError` for what are no pictures."""
    run.inputs.need_pictures(run.method)
    origin = run.structure.last_spatial
    return origin.shape[1:] if origin else (1, 1)


def check_among_all(found: list[torch.Tensor], n_images: int, name: str) -> None:
    """`ModelError` unless each layer has an attention (n, ..., T, T) among the same T tokens of each image."""
    if len({attention.shape[-2:] for attention in found}) != 1 or any(len(one) != n_images for one in found):
        raise ModelError(
            f"{name} has no attention among all patches in every layer, which maps of attention need: use "
            "saliency or grad_cam"
        )


def seen_from_class_token(
    flow: torch.Tensor, grid: tuple[int, ...], method: str, *, itself: float = 0.0
) -> torch.Tensor:
    """What of each patch has reached the class token, or all tokens on average where there is none, (n, h, w).

    Args:
        flow: (n, T, T), from the tokens of each column to those of each row.
        grid: (h, w) of the patches, the last of the tokens.
        method: whose map it is, for the error.
        itself: what each token has of itself from the start, which is taken off.
    """
    n_patches = grid[0] * grid[1]
    n_prefix = flow.shape[-1] - n_patches
    if n_prefix < 0:
        raise ModelError(
            f"attention among {flow.shape[-1]} tokens, for {grid[0]} x {grid[1]} patches; "
            f"{method.replace('_', ' ')} needs one for each patch"
        )
    flow = flow - itself * torch.eye(flow.shape[-1], device=flow.device, dtype=flow.dtype)
    reached = flow[:, 0] if n_prefix else flow.mean(dim=1)
    return reached[:, n_prefix:].reshape(-1, grid[0], grid[1])
