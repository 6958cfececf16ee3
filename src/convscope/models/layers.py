"""The layers of a network: their names and outputs, and those that methods use."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import nn

from ..checks import SIDES, Sides
from ..errors import LayerError, ModelError, ParameterError
from ..execution.capture import OUTPUT

STAGES = 4  # of a network whose maps all have one resolution
CONVOLUTIONS = (nn.Conv2d, nn.Conv1d, nn.Conv3d)
PASSING = (nn.Identity, nn.modules.dropout._DropoutNd)  # in evaluation mode they return their input
# The layout of a module's output: (N, C, H, W), (N, H, W, C), (N, T, C), (T, N, C), or (N, D).
Held: TypeAlias = Literal["maps", "maps, channels last", "tokens", "tokens first", "vector"]


@dataclass(frozen=True)
class Layer:
    """One intermediate output of a network.

    ``name`` is the module's path; ":1", ":2" mark later calls of a module that runs more than once, "[1]" or
    "[out]" one tensor of an output that is a list or a dict, and ":input" the module's input. ``shape`` is (C, H,
    W), or (D,) for a vector; for tokens, H and W count the patches, and tokens that stand for no patch are left
    out. ``receptive_field`` is the (height, width) in input pixels that one value can depend on, None for the
    whole image. For signals ``shape`` is (C, L), for volumes (C, D, H, W), and ``receptive_field`` is alike.
    ``held`` is the layout in the module itself, which `as_maps` converts. Along each side, the value at place i
    depends on the input pixels from ``first`` + i * ``step`` up to, but without, ``last`` + i * ``step``, as far
    as they lie in the image; ``pixels`` has these three for each side, and is empty for the whole image.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    receptive_field: Sides | None
    held: Held = "maps"
    pixels: tuple[tuple[float, float, float], ...] = ()

    @property
    def is_spatial(self) -> bool:
        return len(self.shape) > 1 and math.prod(self.shape[1:]) > 1


@dataclass(frozen=True, eq=False)
class Structure:
    """What a few runs reveal about a network: its layers, those that methods use, and how it behaves.

    ``maps`` are the layers that a class activation map can use, in running order: spatial layers that depend on
    the image and that the output depends on. The last of them, ``last_spatial``, comes before the final pooling
    and the classifier. ``candidates`` are all spatial layers of the image before the end of the
    classifier, also those of another kind or on which only further outputs of the network depend. ``features`` is
    the image's feature vector: the classifier's input, or the network's output if it has no classifier;
    ``why_no_features`` says why there is none. ``output`` is the output of the whole network, a vector or a map
    for each image.

    ``n_values`` is the number of values in all layers' outputs for one image, from which memory is estimated.
    ``example`` is the noise (1, C, H, W) that the network was run on. ``memory_format`` is channels-last, which is
    faster, if the network can run in it and takes pictures. ``rows_independent``: whether an image gives the same
    in any batch.
    ``ends_in``: "softmax", "log_softmax" or "sigmoid" if the output went through one of these, "" otherwise.
    ``refusal`` says why no method can run. ``hidden``: functions that no rule can replace, because they are not
    called from Python or define their own backward pass. ``is_cut_off``: whether some have no gradient at all.
    ``why_no_gradients``: why a network that runs outside of PyTorch has none; "" for others.
    ``detached``: the first layer that gradients do not reach. ``notes`` are remarks on the network for its
    results.
    """

    layers: tuple[Layer, ...]
    candidates: tuple[Layer, ...]
    maps: tuple[Layer, ...]
    features: Layer | None
    output: Layer | None
    why_no_features: str
    n_values: int
    memory_format: torch.memory_format
    example: torch.Tensor = field(repr=False)
    rows_independent: bool = True
    ends_in: Literal["", "softmax", "log_softmax", "sigmoid"] = ""
    refusal: str = ""
    hidden: tuple[str, ...] = ()
    is_cut_off: bool = False
    why_no_gradients: str = ""
    detached: str = ""
    notes: tuple[str, ...] = ()

    @property
    def last_spatial(self) -> Layer | None:
        return self.maps[-1] if self.maps else None

    @property
    def stages(self) -> tuple[Layer, ...]:
        """The last map at each resolution; where all have the same, as tokens do, four evenly spaced ones."""
        by_size = {layer.shape[1:]: layer for layer in self.maps}
        if len(by_size) > 1:
            return tuple(by_size.values())
        ends = [len(self.maps) * i // STAGES for i in range(1, STAGES + 1)]
        return tuple(self.maps[end - 1] for end in dict.fromkeys(ends) if end)

    @property
    def patch(self) -> tuple[int, int]:
        """(height, width) in pixels of the patches into which the network first cuts an image; (1, 1) if none.

        Then each pixel is seen from one place of its first layer.
        """
        first = next((layer for layer in self.layers if layer.is_spatial), None)
        if first is None or self.example.ndim != 4 or len(first.shape) != 3:
            return (1, 1)
        (height, width), (rows, columns) = self.example.shape[2:], first.shape[1:]
        patch = first.receptive_field
        if patch is None and first.held == "tokens":  # cut out by reshaping
            patch = (height // rows, width // columns)
        if patch is None or (height // patch[0], width // patch[1]) != (rows, columns):
            return (1, 1)
        return patch[0], patch[1]

    def check(self, name: str, *, gradients: bool = False) -> None:
        """`ModelError` if a network of this name cannot be explained.

        It has to give the same scores in every run and, with ``gradients``, to have them everywhere.
        """
        if self.refusal:
            raise ModelError(self.refusal)
        if gradients and self.why_no_gradients:
            raise ModelError(
                f"{name} has no gradients ({self.why_no_gradients}). Use occlusion, rise, lime, kernel_shap or "
                "score_cam, or the network that the file was made from"
            )
        if gradients and self.is_cut_off:
            raise ModelError(
                f"{name} has functions without a gradient ({', '.join(self.hidden)}), as quantized networks do: "
                "its gradients would be zero or wrong. Use occlusion, rise, lime or score_cam, or the network "
                "before quantization"
            )

    def feature_layer(self, name: str, n_classes: int | None = None) -> Layer:
        """The layer of the image's feature vector; `LayerError` if none is known.

        ``name`` is the network's, ``n_classes`` how many classes it has, if that is known.
        """
        features, why = self.features, self.why_no_features
        if features is not None and features.name == OUTPUT and features.shape[0] == n_classes:
            features = None
            why = f"it returns scores of {n_classes} classes, but no visible linear layer computes them"
        if features is None:
            last = [*self.layers[-8:], *([self.output] if self.output else [])]
            there_are = ", ".join(layer.name for layer in last) or NO_LAYERS
            raise LayerError(
                f"{name}: no layer is known to hold the feature vector, because {why}; name a "
                f"layer. The last ones: {there_are}"
            )
        return features

    def find(self, name: str) -> Layer:
        """The layer of this name; `LayerError` names those that may be meant."""
        for layer in (*self.layers, self.features, self.output):
            if layer is not None and layer.name == name:
                return layer
        items = [layer for layer in self.layers if layer.name.startswith(f"{name}[")]
        if items:  # the last of an output's several tensors
            return items[-1]
        names = [layer.name for layer in self.layers]
        if near := difflib.get_close_matches(name, names, n=3):
            raise LayerError(
                f"no layer {name!r}; did you mean {' or '.join(map(repr, near))}? model.layers() lists all"
            )
        beside = [other for other in names if other.startswith(name.split(".")[0])]
        hint = ", ".join((beside or names)[:12])
        there_are = f"there are, among others: {hint} (model.layers() lists all)" if hint else NO_LAYERS
        raise LayerError(f"no layer {name!r}; {there_are}")


def of_last_kind(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers of the same kind as the last: maps, or the same number of tokens of the same width.

    Queries, keys and hidden layers of an MLP have other widths. The output of a dense layer is only added to the
    tokens, so it is left out unless nothing else remains.
    """
    if not layers or not layers[-1].held.startswith("tokens"):
        return tuple(layer for layer in layers if not layer.held.startswith("tokens"))
    tokens = [layer for layer in layers if layer.held.startswith("tokens")]
    tokens = [layer for layer in tokens if layer.kind != "Linear"] or tokens
    return tuple(layer for layer in tokens if layer.shape == tokens[-1].shape)


NO_LAYERS = "none of its layers is visible, as in TorchScript: give the nn.Module that it was made from"


def as_maps(tensor: torch.Tensor, layer: Layer) -> torch.Tensor:
    """A captured output as (N, C, *sides), whatever its layout in the module; a vector unchanged."""
    if layer.held == "maps, channels last":
        return tensor.movedim(-1, 1)
    if layer.held in ("tokens", "tokens first"):
        channels, height, width = layer.shape
        tokens = tensor if layer.held == "tokens" else tensor.transpose(0, 1)
        # Class tokens, distillation tokens and registers come first.
        patches = tokens[:, -height * width :].transpose(1, 2)
        return patches.reshape(len(patches), channels, height, width)
    return tensor


def first_convolution(module: nn.Module) -> nn.Conv2d | nn.Conv1d | nn.Conv3d | None:
    """The convolution that says what a network takes: its first one of pictures, or else of signals or volumes."""
    modules = list(module.modules())
    return next((m for kind in CONVOLUTIONS for m in modules if isinstance(m, kind)), None)


def n_sides_of(module: nn.Module) -> int:
    """How many sides an input has by the first convolution: 1 of signals, 2 of pictures, 3 of volumes."""
    first = first_convolution(module)
    return 2 if first is None else len(first.kernel_size)


def sides_of(module: nn.Module, size: int | Sides | None) -> Sides:
    """A size of an input: one number as the length of a signal, a square picture or a cube; sides as they are."""
    if size is None:
        sides, _ = SIDES[n_sides_of(module)]
        raise ParameterError(f"the input size of this network is not known: give `input_size`, {sides}")
    return (size,) * n_sides_of(module) if isinstance(size, int) else tuple(size)


def from_maps(maps: torch.Tensor, layer: Layer, like: torch.Tensor) -> torch.Tensor:
    """M maps (M, C, *sides) in the layout of a layer's own output, what `as_maps` undoes.

    ``like`` is that output for a single image, from which tokens that stand for no patch are taken.
    """
    maps = maps.to(like)
    if layer.held == "maps, channels last":
        return maps.movedim(1, -1)
    if layer.held in ("tokens", "tokens first"):
        patches = maps.flatten(2).transpose(1, 2)
        one = like if layer.held == "tokens" else like.transpose(0, 1)
        others = one[:, : one.shape[1] - patches.shape[1]].expand(len(maps), -1, -1)
        tokens = torch.cat([others, patches], dim=1)
        return tokens if layer.held == "tokens" else tokens.transpose(0, 1)
    return maps
