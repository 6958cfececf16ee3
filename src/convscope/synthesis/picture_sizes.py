"""What pictures a network takes: whether any, and how large they have to be for what is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..checks import InputShape
from ..errors import NotPicturesError
from ..execution import run_to
from ..models import CONVOLUTIONS, Model, Structure
from .objectives import Objective

FIELDS = 2  # receptive fields side by side
LEAST_PX, STEP_PX = 64, 32


def enough_for(
    model: Model, structure: Structure, objectives: Sequence[Objective], seen: InputShape
) -> tuple[int, int] | None:
    """The size of a picture in which an early layer sees all it can, if that is less than an input (C, H, W).

    None if an objective asks for a place in the map or for what depends on the whole image, or if the network
    takes no other size.
    """
    terms = [term for objective in objectives for _, term in objective.terms]
    if not all(term.is_mean for term in terms):
        return None
    layers = [structure.find(name) for name in dict.fromkeys(term.layer for term in terms)]
    fields = [layer.receptive_field for layer in layers if layer.held == "maps"]
    largest = max((max(field) for field in fields if field is not None), default=0)
    side = max(LEAST_PX, math.ceil(FIELDS * largest / STEP_PX) * STEP_PX)
    if len(fields) < len(layers) or None in fields or side >= min(seen[1:]):
        return None
    zero = torch.zeros(1, seen[0], side, side, device=model.device, dtype=model.dtype)
    try:
        with torch.no_grad():
            run_to(model.module, zero, [layer.name for layer in layers])
    except Exception:  # of any kind: networks check their input's size in many ways
        return None
    return side, side


def check_makes_pictures(model: Model) -> None:
    """`NotPicturesError` for a network whose convolutions are all for signals or volumes."""
    kinds = {type(m).__name__ for m in model.module.modules() if isinstance(m, CONVOLUTIONS)}
    if kinds and not any("2d" in kind for kind in kinds):
        raise NotPicturesError(
            f"visualize makes pictures (C, H, W), and this network has {', '.join(sorted(kinds))} alone: "
            "feature_maps and the attribution methods take signals and volumes"
        )
