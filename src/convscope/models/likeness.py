"""The feature vector of a network as a network of its own, to ask why two images are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import LayerError, TargetError
from .execution import evaluating, run_to
from .model import Model
from .target_kinds import SimilarTo


class _UpTo(nn.Module):
    """A network that ends at one of its layers, as vectors (N, D)."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network, self.layer = network, layer
        self.train(network.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return run_to(self.network, x, [self.layer])[self.layer].flatten(1)


def network_and_target(model: Model, target: Any) -> tuple[Model, Any]:
    """The network that is run for a target, and the target as a function of its output.

    They are what was given, but for `SimilarTo`: that looks at a layer, and the network ends there.
    """
    if not isinstance(target, SimilarTo):
        return model, target
    inputs = model.inputs(target.image)
    if len(inputs) != 1:
        raise TargetError(f"SimilarTo: {len(inputs)} images; expected one")
    layer = target.layer
    if layer is None:
        features = model.structure(inputs.shape).features
        if features is None:
            raise LayerError(f"{model.name} has no layer with weights to take a feature vector from; name a layer")
        layer = features.name
    model.structure(inputs.shape).find(layer)
    features_of = Model(_UpTo(model.module, layer), preprocessing=model.preprocessing, name=model.name)
    with evaluating(features_of.module), torch.inference_mode():
        reference = features_of.module(next(features_of.batches(inputs, size=1)).x)
    # Outside of inference mode, so that gradients may be taken beside it.
    return features_of, _likeness(reference.float().cpu().numpy(), target.name)


def _likeness(reference: Any, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    def likeness(output: torch.Tensor) -> torch.Tensor:
        other = torch.as_tensor(reference, device=output.device, dtype=output.dtype)
        return torch.nn.functional.cosine_similarity(output, other, dim=1)

    likeness.__name__ = name
    return likeness
