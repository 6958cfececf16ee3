"""From a gradient with channels to one value a pixel."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

from ..targets import Score

GradientKind: TypeAlias = Literal["absolute", "signed", "input_x_gradient"]

_UNITS = {
    "absolute": "|change in score| per unit of input ({})",
    "signed": "change in score per unit of input ({})",
    "input_x_gradient": "change in score ({})",
}


def gradient_unit(kind: GradientKind, score: Score) -> str:
    """What the values of such a map are measured in."""
    return _UNITS[kind].format(score)


def per_pixel(gradient: torch.Tensor, x: torch.Tensor, kind: GradientKind, n_sides: int) -> torch.Tensor:
    """A gradient (..., C, *sides) at images x (..., C, *sides) as (..., *sides), of so many sides.

    absolute:          max over channels c of |g_c|
    signed:            sum over channels of g_c
    input_x_gradient:  sum over channels of x_c * g_c
    """
    channels = -1 - n_sides
    if kind == "absolute":
        return gradient.abs().amax(dim=channels)
    if kind == "signed":
        return gradient.sum(dim=channels)
    return (gradient * x).sum(dim=channels)
