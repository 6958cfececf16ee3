"""Class activation maps: the frame of a method that weighs the maps of a layer, and the way up to pixels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, TypeAlias

import torch
from torch.nn import functional

from ..checks import Sides
from ..execution import check_differentiable, kept_leaf
from ..results import Attribution
from .cam_layers import CamLayer, cam_layer
from .method_run import Run
from .scored import ScoredBatch, gradients_of

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # by the number of sides
CamKind: TypeAlias = Literal["positive", "signed"]
# From a layer's activations (n, K, h, w) and the gradients of the scores there, (T, n, K, h, w), to the weights of
# the activations, which broadcast against the gradients.
Weights: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cam(run: Run, layer: str | None, kind: CamKind, weights_of: Weights) -> Attribution:
    """The maps of a method that weighs a layer's activations by what it makes of their gradients."""
    place = cam_layer(run, layer)

    def maps_of(batch: ScoredBatch) -> torch.Tensor:
        activations, gradients = activations_and_gradients(batch, place)
        return weighted_sum(weights_of(activations, gradients), activations, kind, batch.size)

    return run.by_batch(maps_of, keeping=lambda _: kept_at(run, place))


def kept_at(run: Run, place: CamLayer) -> AbstractContextManager[list[torch.Tensor]]:
    """For one pass of the network: a list with the layer's output, a leaf; `LayerError` if it did not run."""
    return kept_leaf(run.model.module, place.name)


def activations_and_gradients(batch: ScoredBatch, place: CamLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's activations (n, K, h, w) for a batch, and the gradients of its scores there, (T, n, K, h, w)."""
    check_differentiable(batch.scores, batch.model.name)
    leaf = batch.kept[0]
    gradients = torch.stack([place.maps(gradient) for gradient in gradients_of(batch.scores, leaf)])
    return place.maps(leaf).detach(), gradients


def weighted_sum(weights: torch.Tensor, activations: torch.Tensor, kind: CamKind, size: Sides) -> torch.Tensor:
    """The maps (..., H, W): the sum of activations (..., K, h, w) by their weights, enlarged to ``size``."""
    maps = (weights * activations).sum(dim=-1 - len(size))
    return enlarged(maps.clamp_min(0) if kind == "positive" else maps, size)


def enlarged(maps: torch.Tensor, size: Sides) -> torch.Tensor:
    """Maps (..., h, w) at the size of the image, linear along each side between the middles of their places."""
    n_sides = len(size)
    flat = maps.reshape(-1, 1, *maps.shape[-n_sides:])
    large = functional.interpolate(flat, size, mode=_LINEAR[n_sides], align_corners=False)
    return large.reshape(*maps.shape[:-n_sides], *size)


def places_of(activations: torch.Tensor) -> tuple[int, ...]:
    """The dimensions of the places in activations (n, K, h, w), counted from the end."""
    return tuple(range(2 - activations.ndim, 0))


def over_places(weights: torch.Tensor, n_sides: int) -> torch.Tensor:
    """Weights of channels (n, K) as they are multiplied with activations (n, K, h, w): (n, K, 1, 1)."""
    return weights[(..., *(None,) * n_sides)]
