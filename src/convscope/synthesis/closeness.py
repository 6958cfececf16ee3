"""Staying near a photo: how far a picture may go from it, measured in what an early layer makes of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from ..execution import run_to
from ..models import Model
from .objectives import full
from .parameterizations import Parameterization

TRIES = 5  # to get below the limit: the distance is nearly, not quite, in proportion to the step


class Near(NamedTuple):
    """How near: at most this relative ``distance`` in what ``layer`` gives, or in pixels for None."""

    layer: str | None
    distance: float


def relative_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(N,): ||a - b|| / ||b|| of each row, in float32; b may be one row for all."""
    a, b = full(a).flatten(1), full(b).flatten(1)
    norm = torch.linalg.vector_norm
    found: torch.Tensor = norm(a - b, dim=1) / norm(b, dim=1).clamp_min(1e-12)
    return found


def values_at(model: Model, layer: str | None, pictures: torch.Tensor) -> torch.Tensor:
    """What a layer gives for pictures (N, C, H, W); these themselves for None."""
    if layer is None:
        return pictures
    return run_to(model.module, pictures.to(model.dtype, copy=True), [layer])[layer]


def kept_near(
    model: Model, near: Near, make: Parameterization, first: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function that moves free variables straight back to the first ones until they are near enough."""
    first = first.detach().clone()  # the ascent changes its own in place
    with torch.no_grad():
        wanted = values_at(model, near.layer, make.picture(first)).clone()

    def keep(free: torch.Tensor) -> torch.Tensor:
        for _ in range(TRIES):
            gone = relative_distance(values_at(model, near.layer, make.picture(free)), wanted)
            if (gone <= near.distance).all():
                break
            share = (near.distance / gone.clamp_min(1e-12)).clamp_max(1.0)
            free = first + share.reshape(-1, *[1] * (free.ndim - 1)) * (free - first)
        return free

    return keep
