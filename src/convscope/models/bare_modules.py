"""Bare modules as models, where methods take either."""

from __future__ import annotations

from torch import nn

from .model import Model
from .preprocessing import of_timm


def as_model(model: Model | nn.Module) -> Model:
    """A `Model` unchanged; a bare module wrapped in one, with the preprocessing that timm stores in its models."""
    if isinstance(model, Model):
        return model
    return Model(model, preprocessing=of_timm(model) if isinstance(model, nn.Module) else None)
