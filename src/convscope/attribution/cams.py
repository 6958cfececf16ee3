"""What the class activation maps have in common: activations, their gradients, and the way up to pixels."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch.nn import functional

from ..errors import LayerError
from ..execution import check_differentiable, intercepted
from .cam_layers import CamLayer
from .explained import Explained, gradients_of

CamKind: TypeAlias = Literal["positive", "signed"]


def activations_and_gradients(images: Explained, layer: CamLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's activations (n, K, h, w) for a batch, and the gradients of its scores there, (T, n, K, h, w).

    Only what follows the layer is differentiated.
    """
    (activations, leaf), scores = _run(images, layer)
    check_differentiable(scores, images.model.name)
    return activations, torch.stack([layer.maps(gradient) for gradient in gradients_of(scores, leaf)])


def activations_of(images: Explained, layer: CamLayer) -> torch.Tensor:
    """A layer's activations (n, K, h, w) for a batch of images."""
    with torch.no_grad():
        return _run(images, layer)[0][0]


def _run(images: Explained, layer: CamLayer) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Run the images: the layer's maps, its output itself as a leaf of what follows, and the scores."""
    kept: list[torch.Tensor] = []

    def keep(output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().clone().requires_grad_(torch.is_grad_enabled()))
        return kept[0].clone()  # what follows may be in place

    with intercepted(images.model.module, layer.name, keep):
        scores = images.whole()
    if not kept:
        raise LayerError(f"layer {layer.name!r} did not run on {images.batch.names[0]}; name one that does")
    return (layer.maps(kept[0]).detach(), kept[0]), scores


def enlarged(maps: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Maps (..., h, w) at the size of the image, bilinear between the middles of their places."""
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    large = functional.interpolate(flat, size, mode="bilinear", align_corners=False)
    return large.reshape(*maps.shape[:-2], *size)


def of_kind(maps: torch.Tensor, kind: CamKind) -> torch.Tensor:
    """Without what speaks against the target, or with it."""
    return maps.clamp_min(0) if kind == "positive" else maps
