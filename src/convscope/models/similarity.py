"""A network cut at its feature vector, to explain why an image is similar to others, or to a vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..checks import InputShape
from ..errors import TargetError
from ..execution.capture import watch
from ..execution.hooking import hooks
from ..execution.running import evaluating, stands_for
from ..results import Array
from ..targets.similar import SimilarTo
from .layers import Layer, Structure, as_maps, of_last_kind
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
        return self._vectors(kept[0])

    def _vectors(self, output: torch.Tensor) -> torch.Tensor:
        return output.flatten(1)

    def get_submodule(self, target: str) -> nn.Module:
        """Layers keep the names that they have in the network."""
        return self.network.get_submodule(target)


class _Toward(_UpTo):
    """A network whose output is how similar one of its layers is to some vectors (R, D): cosines (N, R).

    As vectors of a map are compared, its channels' means are. The length of the layer's vector f counts as a
    constant where gradients are taken, so that S = f . v / (|f| |v|) is linear in f: where f is the mean over the
    places of a map, Grad-CAM divides S among them. The gradient of the cosine itself would not do: it is
    perpendicular to f, so that such a map adds up to 0, whatever the two images have in common.
    """

    def __init__(self, network: nn.Module, layer: Layer, vectors: torch.Tensor) -> None:
        super().__init__(network, layer.name)
        self.described, self.directions = layer, nn.functional.normalize(vectors, dim=1)

    def _vectors(self, output: torch.Tensor) -> torch.Tensor:
        values = as_maps(output, self.described).flatten(1 if len(self.described.shape) == 1 else 2)
        vectors = values if values.ndim == 2 else values.mean(dim=2)
        directions = self.directions.to(vectors.device, vectors.dtype)
        length: torch.Tensor = vectors.norm(dim=1, keepdim=True).detach()
        return vectors @ directions.T / length


class _ModelUpTo(Model):
    """A model whose output is made of one layer of another; its layers keep their names."""

    def __init__(self, whole: Model, network: _UpTo, labels: Sequence[str] | None = None) -> None:
        about: Any = {"preprocessing": whole.preprocessing, "name": whole.name}
        super().__init__(network, labels=labels, regression=labels is not None, **about)
        self._whole, self._layer = whole, network.layer

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


def network_and_target(model: Model, target: Any, shape: InputShape) -> tuple[Model, Any]:
    """The network to run for a target on images (C, H, W), and the target as a function of its output.

    Both are returned as given, except for `SimilarTo`, for which the network is cut at the layer it compares.
    """
    if not isinstance(target, SimilarTo):
        return model, target
    if target.vector is not None:
        layer = target.layer or _layer_of_length(len(target.vector), model, shape)
        layer = model.checked(shape).find(layer).name
        reference = torch.from_numpy(target.vector)[None]
        features_of = _ModelUpTo(model, _UpTo(model.module, layer))
        return features_of, _similarity(reference, target.name, "give a vector of that layer")
    inputs = model.inputs(target.image)
    if len(inputs) != 1:
        raise TargetError(f"SimilarTo: {len(inputs)} images; expected one")
    layer = target.layer or model.feature_layer(inputs.shape).name
    layer = model.checked(inputs.shape).find(layer).name
    features_of = _ModelUpTo(model, _UpTo(model.module, layer))
    with evaluating(features_of.module):
        reference = features_of.module(next(features_of.batches(inputs, size=1)).x)
    return features_of, _similarity(reference, target.name, "give images of the same size")


def toward(model: Model, layer: Layer, vectors: Array, names: Sequence[str]) -> Model:
    """A model whose values are the similarities (N, R) of images to R vectors of one of its layers, with names.

    As a target, an index says to which one.
    """
    network = _Toward(model.module, layer, torch.from_numpy(vectors))
    return _ModelUpTo(model, network, [f"similarity to {name}" for name in names])


def _layer_of_length(length: int, model: Model, shape: InputShape) -> str:
    """The layer that a vector of this length belongs to: the network's output or its features.

    A text's vector lives in the output of a tower, whose last linear layer looks like a classifier; one made by
    `embed` is the input of that layer.
    """
    structure = model.checked(shape)
    known = {} if structure.features is None else {structure.features.name: structure.features.shape}
    if structure.output is not None and not model.labels:  # with labels, the output holds scores
        known[structure.output.name] = structure.output.shape
    fitting = [name for name, size in known.items() if math.prod(size) == length]
    if len(fitting) == 1:
        return fitting[0]
    there_are = " and ".join(f"{name!r} has {math.prod(size):,}" for name, size in known.items())
    why = "fits both" if fitting else "fits no layer that holds the network's embedding"
    raise TargetError(
        f"SimilarTo: a vector of {length:,} numbers {why} ({there_are or 'none is known'}); name the "
        "layer= it belongs to"
    )


def _similarity(reference: torch.Tensor, name: str, hint: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """From vectors (N, D) to the cosine (N,) of each with the reference (1, D)."""

    def similarity(output: torch.Tensor) -> torch.Tensor:
        if output.shape[1] != reference.shape[1]:
            raise TargetError(
                f"{name}: vectors of {output.shape[1]} and {reference.shape[1]} numbers cannot be compared; {hint}"
            )
        return torch.nn.functional.cosine_similarity(output, reference.to(output.dtype).to(output.device), dim=1)

    similarity.__name__ = name
    return similarity
