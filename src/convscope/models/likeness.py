"""The feature vector of a network as a network of its own, to ask why two images are alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..errors import LayerError, TargetError
from .execution import _LOCKS, _lock_of, _watch, evaluating, hooks
from .layers import Structure
from .model import Model
from .target_kinds import SimilarTo


class _UpTo(nn.Module):
    """A network of which one layer is the output, as vectors (N, D)."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network, self.layer = network, layer
        _LOCKS[self] = _lock_of(network)  # flags and hooks are those of the network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the network to its end: torch.export cannot follow one that is broken off, and drops the rest."""
        kept: list[torch.Tensor] = []

        def keep(_: str, tensor: torch.Tensor) -> None:
            kept.append(tensor.clone())  # what follows may be in place

        path = self.layer.partition(":")[0]
        with hooks() as attached:
            attached.extend(_watch(self.get_submodule(path), path, {self.layer}, keep))
            self.network(x)
        return kept[0].flatten(1)

    def get_submodule(self, target: str) -> nn.Module:
        """Layers have the names that they have in the network."""
        return self.network.get_submodule(target)


class _ModelUpTo(Model):
    """A model of which one layer is the output; its layers are those of the whole one, under their names."""

    def __init__(self, whole: Model, layer: str) -> None:
        super().__init__(_UpTo(whole.module, layer), preprocessing=whole.preprocessing, name=whole.name)
        self._whole, self._layer = whole, layer

    def structure(self, shape: tuple[int, int, int] | None = None) -> Structure:
        """That of the whole network, but for what comes after the layer."""
        whole = self._whole.structure(shape)
        names = [layer.name for layer in whole.layers]
        if self._layer not in names:  # what the classifier takes in, or a sequence: after the last map
            return whole
        layers = whole.layers[: names.index(self._layer) + 1]
        if whole.last_spatial in layers:
            return replace(whole, layers=layers)
        maps = [layer for layer in layers if layer.is_spatial]
        return replace(whole, layers=layers, last_spatial=maps[-1] if maps else None, tokens=())


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
    features_of = _ModelUpTo(model, layer)
    with evaluating(features_of.module), torch.inference_mode():
        reference = features_of.module(next(features_of.batches(inputs, size=1)).x)
    # A copy outside of inference mode, so that gradients may be taken beside it.
    return features_of, _likeness(reference.clone(), target.name)


def _likeness(reference: torch.Tensor, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """From vectors (N, D) to the cosine (N,) of each with the reference (1, D)."""

    def likeness(output: torch.Tensor) -> torch.Tensor:
        if output.shape[1] != reference.shape[1]:
            raise TargetError(
                f"{name}: a vector of {output.shape[1]} numbers beside one of {reference.shape[1]}; "
                "give images of the same size"
            )
        return torch.nn.functional.cosine_similarity(output, reference.to(output), dim=1)

    likeness.__name__ = name
    return likeness
