"""A network cut at its feature vector, to explain why two images are similar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..checks import InputShape
from ..errors import TargetError
from ..execution.capture import watch
from ..execution.hooking import hooks
from ..execution.running import evaluating, stands_for
from ..targets.compound import SimilarTo
from .layers import Structure, of_last_kind
from .model import Model


class _UpTo(nn.Module):
    """A network whose output is one of its layers, as vectors (N, D)."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network, self.layer = network, layer
        stands_for(self, network)  # it has no flags and hooks of its own

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the whole network: torch.export cannot follow a run that stops early, and drops what is unused."""
        kept: list[torch.Tensor] = []

        def keep(_: str, tensor: torch.Tensor) -> None:
            kept.append(tensor.clone())  # a later operation may be in place

        with hooks() as attached:
            attached.append(watch(self.network, self.layer, keep))
            self.network(x)
        return kept[0].flatten(1)

    def get_submodule(self, target: str) -> nn.Module:
        """Layers keep the names that they have in the network."""
        return self.network.get_submodule(target)


class _ModelUpTo(Model):
    """A model whose output is one layer of another; its layers keep their names."""

    def __init__(self, whole: Model, layer: str) -> None:
        super().__init__(_UpTo(whole.module, layer), preprocessing=whole.preprocessing, name=whole.name)
        self._whole, self._layer = whole, layer

    def structure(self, shape: InputShape | None = None) -> Structure:
        """The structure of the whole network up to the layer."""
        return self._cut(self._whole.structure(shape))

    def _known(self, shape: InputShape) -> Structure:
        return self._cut(self._whole._known(shape))

    def _notes(self) -> tuple[str, ...]:
        return self._whole._notes()

    def _cut(self, whole: Structure) -> Structure:
        names = [layer.name for layer in whole.layers]
        if self._layer not in names:  # the classifier's input, or the output: nothing to cut off
            return whole
        layers = whole.layers[: names.index(self._layer) + 1]
        candidates = tuple(layer for layer in whole.candidates if layer in layers)
        return replace(whole, layers=layers, maps=of_last_kind(candidates), candidates=candidates)


def network_and_target(model: Model, target: Any) -> tuple[Model, Any]:
    """The network to run for a target, and the target as a function of its output.

    Both are returned as given, except for `SimilarTo`, for which the network is cut at the layer it compares.
    """
    if not isinstance(target, SimilarTo):
        return model, target
    inputs = model.inputs(target.image)
    if len(inputs) != 1:
        raise TargetError(f"SimilarTo: {len(inputs)} images; expected one")
    layer = target.layer
    if layer is None:
        layer = model.feature_layer(inputs.shape).name
    layer = model.checked(inputs.shape).find(layer).name
    features_of = _ModelUpTo(model, layer)
    with evaluating(features_of.module):
        reference = features_of.module(next(features_of.batches(inputs, size=1)).x)
    return features_of, _similarity(reference, target.name)


def _similarity(reference: torch.Tensor, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """From vectors (N, D) to the cosine (N,) of each with the reference (1, D)."""

    def similarity(output: torch.Tensor) -> torch.Tensor:
        if output.shape[1] != reference.shape[1]:
            raise TargetError(
                f"{name}: vectors of {output.shape[1]} and {reference.shape[1]} numbers cannot be compared; "
                "give images of the same size"
            )
        return torch.nn.functional.cosine_similarity(output, reference.to(output), dim=1)

    similarity.__name__ = name
    return similarity
