"""Which layers a network has: found by running it once, in the order in which they run."""

from __future__ import annotations

import weakref
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import LayerError, ModelError
from .execution import evaluating, hooks
from .receptive_field import Geometry, GeometryMode


@dataclass(frozen=True)
class Layer:
    """One output of a network on the way.

    ``name`` is the module's path; ":1", ":2" mark later calls of a module that runs more than once, and
    ":input" what goes into it. ``shape`` is (C, H, W), or (D,) for a vector. ``receptive_field`` (height, width)
    in input pixels is all that one value can depend on, None for the whole image. ``channels_last``: the
    module itself holds the map as (H, W, C).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    receptive_field: tuple[int, int] | None
    channels_last: bool = False

    @property
    def is_spatial(self) -> bool:
        return len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1


@dataclass(frozen=True)
class Structure:
    """What one run of a network shows: its layers, and the two that methods look for by themselves.

    ``last_spatial`` is the last feature map before any pooling or classifier; ``features`` is what the
    classifier (the last layer with weights) takes in, the image's feature vector. ``tokens`` are the layers
    after ``last_spatial`` that put out a sequence (T, D), as those of transformers do. ``n_values`` counts the
    numbers that all layers put out for one image, the measure of the memory that a run takes.
    ``memory_format`` is channels-last, which is faster, where the network can be run in it.
    """

    layers: tuple[Layer, ...]
    last_spatial: Layer | None
    features: Layer | None
    tokens: tuple[Layer, ...]
    n_values: int
    memory_format: torch.memory_format

    def find(self, name: str) -> Layer:
        """The layer of this name; `LayerError` lists names near it."""
        for layer in (*self.layers, self.features, *self.tokens):
            if layer is not None and layer.name == name:
                return layer
        near = [layer.name for layer in self.layers if layer.name.startswith(name.split(".")[0])]
        hint = ", ".join(near[:12] or [layer.name for layer in self.layers][:12])
        raise LayerError(f"no layer {name!r}; there are, among others: {hint} (model.layers() lists all)")


_POOLING = (
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
_WEIGHTED = (nn.Linear, nn.Conv2d)

# Remembered as long as the module lives, so that a bare module is not run again at every call.
_SEEN: weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Structure]] = weakref.WeakKeyDictionary()


def structure(module: nn.Module, shape: tuple[int, int, int], device: torch.device) -> Structure:
    """The structure of a module for inputs of this (C, H, W), from one run on a blank image."""
    known = _SEEN.setdefault(module, {})
    key = (*shape, *map(id, module.modules()))  # a network with another head is run again
    if key not in known:
        known[key] = _run(module, shape, device)
    return known[key]


def _run(module: nn.Module, shape: tuple[int, int, int], device: torch.device) -> Structure:
    """Run once, channels-last; a network that reshapes with ``view`` refuses that, and is run as it is."""
    try:
        return _record(module, shape, device, torch.channels_last)
    except Exception:
        try:
            return _record(module, shape, device, torch.contiguous_format)
        except Exception as error:
            raise ModelError(
                f"{type(module).__name__} cannot be run on an input of shape {(1, *shape)}: {error}"
            ) from error


def _record(
    module: nn.Module, shape: tuple[int, int, int], device: torch.device, memory_format: torch.memory_format
) -> Structure:
    recorder = _Recorder()
    names = {child: name for name, child in module.named_modules() if name}
    with evaluating(module), torch.inference_mode(False), torch.no_grad(), hooks() as attached:
        image = torch.zeros(1, *shape, device=device, dtype=_float_type(module))
        image = image.to(memory_format=memory_format)
        mode = GeometryMode(image)
        for child, name in names.items():
            attached.append(child.register_forward_hook(recorder.hook(name, mode)))
        with mode:
            module(image)
    n_values = recorder.n_values + image.numel()
    return Structure(
        layers=tuple(recorder.layers),
        last_spatial=recorder.last_map,
        features=recorder.features,
        tokens=tuple(recorder.tokens),
        n_values=n_values,
        memory_format=memory_format,
    )


class _Recorder:
    """Collects layers as the modules finish."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.features: Layer | None = None
        self.tokens: list[Layer] = []
        self.n_values = 0
        self._before_classifier: Layer | None = None
        self._spatial: Layer | None = None
        self._calls: dict[str, int] = defaultdict(int)
        self._pooled: tuple[int, tuple[int, ...]] | None = None

    @property
    def last_map(self) -> Layer | None:
        """The last map before the classifier, or of all where nothing spatial comes before the last weights."""
        return self._before_classifier or self._spatial

    def hook(self, name: str, mode: GeometryMode) -> Any:
        def finished(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            call = self._calls[name]
            self._calls[name] += 1
            if not isinstance(output, torch.Tensor):
                return
            is_leaf = next(module.children(), None) is None
            self.n_values += output.numel() if is_leaf else 0
            full_name = f"{name}:{call}" if call else name
            if output.ndim == 3 and len(output) == 1:
                self.tokens.append(Layer(full_name, type(module).__name__, tuple(output.shape[1:]), None))
            layer = self._layer(full_name, module, output, mode.of(output))
            if layer is None:
                return
            self.layers.append(layer)
            place = (output.data_ptr(), tuple(output.shape))
            if is_leaf:
                self._pooled = place if isinstance(module, _POOLING) else None
            if isinstance(module, _WEIGHTED) and given and isinstance(given[0], torch.Tensor):
                self.features = self._layer(f"{layer.name}:input", module, given[0], mode.of(given[0]))
                self._before_classifier = self._spatial
            # A container that ends in pooling puts out the pooled tensor itself: not a map of its own.
            if layer.is_spatial and place != self._pooled:
                self._spatial = layer
                self.tokens.clear()

        return finished

    def _layer(
        self, name: str, module: nn.Module, tensor: torch.Tensor, geometry: Geometry | None
    ) -> Layer | None:
        if tensor.ndim not in (2, 4) or tensor.shape[0] != 1:
            return None
        geometry = geometry or Geometry(whole=True)
        shape = tuple(tensor.shape[1:])
        if len(shape) == 3 and geometry.channels_last:
            shape = (shape[2], shape[0], shape[1])
        field = None if geometry.whole or len(shape) == 1 else geometry.size
        last = geometry.channels_last and len(shape) == 3
        return Layer(name, type(module).__name__, shape, field, last)


def _float_type(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def as_maps(tensor: torch.Tensor, layer: Layer) -> torch.Tensor:
    """A captured output as (N, C, H, W), whichever way the module holds it."""
    return tensor.permute(0, 3, 1, 2) if layer.channels_last else tensor
